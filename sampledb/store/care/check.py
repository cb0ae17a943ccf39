"""What `check()` looks at: SQLite's own structure, what the tables say of each other, and every stored blob."""

from collections.abc import Callable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Final

from sampledb.errors import CorruptFileError, SampleDBError, StorageError
from sampledb.format.report import join_report
from sampledb.model import Problem
from sampledb.store.connection import Connection, Connections
from sampledb.store.tables import functions, jobs, samples, search

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

_BINARIES_FOR_NOTHING: Final = """
SELECT sha256
FROM binaries
WHERE NOT is_kept AND sha256 NOT IN (SELECT sha256 FROM jobs WHERE state IN ('queued', 'running'))"""

_REUSABLE_IDS: Final = """
SELECT 'samples' WHERE (SELECT max(sample_id) FROM samples)
    > coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'samples'), 0)
UNION ALL
SELECT 'functions' WHERE (SELECT max(function_id) FROM functions)
    > coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'functions'), 0)"""


def run(connections: Connections, *, deep: bool) -> list[Problem]:
    """All problems found; each part is looked at even where another is damaged."""
    parts = [_pages, _foreign_keys, _counts, _order, _blobs_are_there, _json, _id_counters, _queue]
    if deep:
        parts += [_reports, _disassembly, _binaries, _search]
    return [problem for part in parts for problem in _found(connections, part)]


def _found(connections: Connections, part: Callable[[Connection], Iterator[Problem]]) -> list[Problem]:
    problems: list[Problem] = []
    try:
        with connections.snapshot() as connection:
            problems.extend(part(connection))
    except CorruptFileError as error:
        problems.append(Problem(str(error.details["what"]), str(error.details["where"])))
    except StorageError as error:
        problems.append(Problem(f"SQLite cannot read it: {error.details['reason']}", part.__name__.strip("_")))
    except (TypeError, ValueError, ArithmeticError) as error:
        problems.append(Problem(f"a value of an impossible kind: {error}", part.__name__.strip("_")))
    return problems


def _pages(connection: Connection) -> Iterator[Problem]:
    search.refresh(connection)
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
            offset &= 0xFFFFFFFFFFFFFFFF  # noqa: PLW2901
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
        yield Problem("the binary that is to be disassembled is missing", f"jobs, job_id {job_id}")
    for (sha256,) in connection.execute(_BINARIES_FOR_NOTHING):
        yield Problem("nobody waits for the binary, and it was not to be kept", f"binaries, sha256 {sha256}")


def _analyses(connection: Connection) -> list[tuple[int, str, int, int]]:
    return connection.execute(_ANALYSES).fetchall()


def _reports(connection: Connection) -> Iterator[Problem]:
    for sample_id, sha256, *_ in _analyses(connection):
        where = f"reports, sample_id {sample_id}"
        try:
            header = join_report(samples.report_header(connection, sample_id), ())
        except SampleDBError as error:
            yield Problem(str(error.details.get("what", error)), where, sample_id)
            continue
        if str(header.get("sha256")).lower() != sha256:
            yield Problem("the report is that of another file", where, sample_id)


def _disassembly(connection: Connection) -> Iterator[Problem]:
    for sample_id, _, first, count in _analyses(connection):
        try:
            yield from functions.differences(connection, first, first + count - 1)
        except SampleDBError as error:
            where = str(error.details.get("where", "disassembly"))
            yield Problem(str(error.details.get("what", error)), where, sample_id)


def _binaries(connection: Connection) -> Iterator[Problem]:
    return jobs.damaged(connection)


def _search(connection: Connection) -> Iterator[Problem]:
    return search.differences(connection)
