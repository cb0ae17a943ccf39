"""Check: SQLite's own structure, agreement of the tables, and every stored blob."""

from collections.abc import Callable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Final

from sampledb.errors import CorruptFileError, SampleDBError, StorageError
from sampledb.format import codec
from sampledb.format.report import join_report
from sampledb.model import Problem
from sampledb.store.connection import Connections
from sampledb.store.sqlite import Connection
from sampledb.store.tables import functions, jobs, references, reports, samples, signatures, trigrams

_COUNTS: Final = """
SELECT samples.sample_id, samples.num_functions, samples.first_function_id,
       count(function_id), min(function_id), max(function_id)
FROM samples LEFT JOIN functions USING (sample_id)
GROUP BY samples.sample_id"""

_OFFSETS: Final = 'SELECT sample_id, function_id, "offset" FROM functions ORDER BY function_id'

_ANALYSES_WITHOUT_REPORT: Final = """
SELECT sample_id
FROM samples LEFT JOIN reports USING (sample_id)
WHERE num_functions > 0 AND reports.sample_id IS NULL"""

_FUNCTIONS_BEFORE_THEIR_FRAME: Final = """
SELECT sample_id, first_function_id
FROM samples
WHERE num_functions > 0 AND first_function_id NOT IN (SELECT first_function_id FROM disassembly)"""

_ANALYSES: Final = """
SELECT sample_id, sha256, coalesce(first_function_id, 1), num_functions
FROM samples JOIN reports USING (sample_id)"""

# No CHECK constraint in the schema: with `trusted_schema` off, SQLite before 3.41 refuses json_valid() there.
_BAD_JSON: Final = """
SELECT sample_id
FROM samples
WHERE NOT json_valid(statistics) OR NOT json_valid(media_info)"""

_JOBS_WITHOUT_BINARY: Final = """
SELECT job_id
FROM jobs
WHERE state IN ('queued', 'running') AND sha256 NOT IN (SELECT sha256 FROM binaries)"""

_BINARIES_WITHOUT_JOB: Final = """
SELECT sha256
FROM binaries
WHERE NOT is_kept AND sha256 NOT IN (SELECT sha256 FROM jobs WHERE state IN ('queued', 'running'))"""

_REUSABLE_IDS: Final = """
SELECT 'samples' WHERE (SELECT max(sample_id) FROM samples)
    > coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'samples'), 0)
UNION ALL
SELECT 'functions' WHERE (SELECT max(function_id) FROM functions)
    > coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'functions'), 0)"""


def find_problems(connections: Connections, *, deep: bool) -> list[Problem]:
    """Return all problems found; damage in one part does not end the check of the others."""
    parts = {
        "pages": _pages,
        "foreign keys": _foreign_keys,
        "counts": _counts,
        "order": _order,
        "blobs": _blobs_are_there,
        "JSON": _json,
        "id counters": _id_counters,
        "queue": _queue,
    }
    if deep:
        parts |= {
            "media": samples.find_differences,
            "reports": _reports,
            "disassembly": _disassembly,
            "references": references.find_differences,
            "signatures": signatures.find_differences,
            "binaries": jobs.find_damage,
            "search": trigrams.find_differences,
        }
    return [problem for name, part in parts.items() for problem in _run(connections, name, part)]


def _run(connections: Connections, name: str, part: Callable[[Connection], Iterator[Problem]]) -> list[Problem]:
    """Return the problems that a part finds, each part in a transaction of its own."""
    problems: list[Problem] = []
    try:
        with connections.snapshot() as connection:
            problems.extend(part(connection))
    except CorruptFileError as error:
        problems.append(Problem(str(error.details["what"]), str(error.details["where"])))
    except StorageError as error:
        problems.append(Problem(f"SQLite cannot read it: {error.details['reason']}", name))
    except (TypeError, ValueError, ArithmeticError) as error:
        problems.append(Problem(f"a value of an impossible kind: {error}", name))
    return problems


def _pages(connection: Connection) -> Iterator[Problem]:
    trigrams.refresh(connection)
    for (finding,) in connection.execute("PRAGMA integrity_check"):
        if finding != "ok":
            yield Problem(finding, "pages")


def _foreign_keys(connection: Connection) -> Iterator[Problem]:
    for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        yield Problem(f"a row belongs to no row of {parent}", f"{table}, row {row}")


def _counts(connection: Connection) -> Iterator[Problem]:
    for sample_id, claimed, first, count, lowest, highest in connection.execute(_COUNTS):
        where = f"samples, sample_id {sample_id}"
        if claimed != count:
            yield Problem(f"num_functions is {claimed}, but there are {count}", where, sample_id)
        if first != lowest:
            yield Problem(f"first_function_id is {first}, but the lowest is {lowest}", where, sample_id)
        if count and highest - lowest + 1 != count:
            yield Problem("the ids of the functions have gaps", where, sample_id)


def _order(connection: Connection) -> Iterator[Problem]:
    for sample_id, rows in groupby(connection.execute(_OFFSETS), key=itemgetter(0)):
        before = -1
        for _, function_id, offset in rows:
            offset &= codec.MASK  # noqa: PLW2901
            if offset <= before:
                where = f"functions, function_id {function_id}"
                yield Problem("the function is not in offset order", where, sample_id)
            before = offset


def _blobs_are_there(connection: Connection) -> Iterator[Problem]:
    for (sample_id,) in connection.execute(_ANALYSES_WITHOUT_REPORT):
        yield Problem("there are functions, but no report", f"reports, sample_id {sample_id}", sample_id)
    for sample_id, first in connection.execute(_FUNCTIONS_BEFORE_THEIR_FRAME):
        where = f"disassembly, function_id {first}"
        yield Problem("there is no frame for the first function", where, sample_id)


def _json(connection: Connection) -> Iterator[Problem]:
    for (sample_id,) in connection.execute(_BAD_JSON):
        yield Problem("statistics or media_info is no JSON", f"samples, sample_id {sample_id}", sample_id)


def _id_counters(connection: Connection) -> Iterator[Problem]:
    for (table,) in connection.execute(_REUSABLE_IDS):
        yield Problem(f"ids of {table} could be given twice", "sqlite_sequence")


def _queue(connection: Connection) -> Iterator[Problem]:
    for (job_id,) in connection.execute(_JOBS_WITHOUT_BINARY):
        yield Problem("the binary of an unfinished job is missing", f"jobs, job_id {job_id}")
    for (sha256,) in connection.execute(_BINARIES_WITHOUT_JOB):
        yield Problem("the binary has no job, and was not submitted with keep_binary", f"binaries, sha256 {sha256}")


def _reports(connection: Connection) -> Iterator[Problem]:
    for sample_id, sha256, *_ in connection.execute(_ANALYSES).fetchall():
        where = f"reports, sample_id {sample_id}"
        try:
            header = join_report(reports.get_header(connection, sample_id), ())
        except SampleDBError as error:
            yield Problem(str(error.details.get("what", error)), where, sample_id)
            continue
        if str(header.get("sha256")).lower() != sha256:
            yield Problem("the report is that of another file", where, sample_id)


def _disassembly(connection: Connection) -> Iterator[Problem]:
    for sample_id, _, first, count in connection.execute(_ANALYSES).fetchall():
        try:
            yield from functions.find_differences(connection, first, first + count - 1)
        except SampleDBError as error:
            where = str(error.details.get("where", "disassembly"))
            yield Problem(str(error.details.get("what", error)), where, sample_id)
