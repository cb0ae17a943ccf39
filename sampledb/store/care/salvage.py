"""Salvage: copy everything readable of a damaged file into a new one, and list what was lost.

Whole samples are copied with their ids. Damaged ones are rebuilt from what is left: functions whose frame and rows
are readable get new ids; a report without its header gets one made from the sample's row; a sample without its row
gets one made from its report.

Everything is read from a copy of the file, because SQLite may change a file that has a journal beside it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from sampledb import limits
from sampledb.errors import (
    ConflictError,
    CorruptFileError,
    InvalidInputError,
    NotASampleDBError,
    SampleDBError,
    StorageError,
)
from sampledb.format.report import join_report, parse_report
from sampledb.intake.files import find_real_path, new_file
from sampledb.intake.source import read_source
from sampledb.model import Function, Problem, Sample
from sampledb.store import file, forks, sqlite
from sampledb.store.care.rawcopy import copy_raw
from sampledb.store.connection import Connections
from sampledb.store.sqlite import Connection, sqlite3
from sampledb.store.tables import functions, jobs, references, reports, samples, signatures, trigrams

_T = TypeVar("_T")

_TIMEOUT: Final = 60.0
# Seconds in which a file system may give two writes the same time, and more.
_TICK: Final = 0.05
_ATTEMPTS: Final = 5

# Each finds ids on another path through the file: damage that stops one may not stop another.
_PATHS: Final = (
    "SELECT sample_id FROM samples NOT INDEXED ORDER BY sample_id",
    "SELECT sample_id FROM samples NOT INDEXED ORDER BY sample_id DESC",
    "SELECT sample_id FROM samples ORDER BY sha256",
    "SELECT sample_id FROM samples ORDER BY sha256 DESC",
    "SELECT sample_id FROM samples INDEXED BY samples_by_family",
    "SELECT sample_id FROM reports ORDER BY sample_id",
    "SELECT sample_id FROM reports ORDER BY sample_id DESC",
    "SELECT DISTINCT sample_id FROM functions ORDER BY sample_id",
    "SELECT DISTINCT sample_id FROM functions ORDER BY sample_id DESC",
)
# The rows of one sample in each table, by its id and its first and last function id.
_TABLES: Final = {
    "samples": "sample_id = :sample",
    "sample_tags": "sample_id = :sample",
    "reports": "sample_id = :sample",
    "labels": "sample_id = :sample",
    "label_history": "sample_id = :sample",
    "functions": "function_id BETWEEN :first AND :last",
    "disassembly": "first_function_id BETWEEN :first AND :last",
}
_COUNTED: Final = {"samples", "functions", "jobs"}
_COUNTERS: Final = "SELECT name, seq FROM sqlite_sequence"
_OWN_FUNCTIONS: Final = "SELECT min(function_id), max(function_id) FROM functions WHERE sample_id = ?"
_BINARY: Final = "SELECT sha256, checksum, binary FROM binaries WHERE binary_id = ?"
# Far more than any report has; a damaged row must not make the search for them endless.
_MOST_FUNCTIONS: Final = 10_000_000

_OVERRIDES: Final = ("family", "version", "component", "is_library", "name")
_HEADER: Final = (
    *("architecture", "base_addr", "binary_size", "bitness", "md5", "sha1", "sha256"),
    *("smda_version", "statistics"),
)

# Raised by reading a file that is damaged, or that somebody tampered with.
_UNREADABLE: Final = (sqlite3.Error, SampleDBError, TypeError, ValueError, ArithmeticError, RecursionError)


class _Rows(NamedTuple):
    """Rows of a table, unchanged."""

    table: str
    columns: list[str]
    values: list[tuple[Any, ...]]

    def insert(self, connection: Connection) -> None:
        """Insert them into the same table of another file."""
        columns = ", ".join(f'"{column}"' for column in self.columns)
        marks = ", ".join("?" * len(self.columns))
        connection.executemany(f"INSERT INTO {self.table} ({columns}) VALUES ({marks})", self.values)  # noqa: S608


def salvage_file(damaged: str, path: str) -> list[Problem]:
    """Copy everything readable of a file into a new one, keeping ids. Returns a Problem for each loss.

    Raises:
        InvalidInputError: A handle of this process has the file open, or there is a file at `path`.
        NotASampleDBError: Nothing can be read that belongs to this package.
        StorageError: The file cannot be read, or the new one cannot be written.
    """
    if forks.is_open(damaged):
        # Closing the file would drop the locks of that handle.
        raise InvalidInputError.of("damaged", "a file that no handle has open; or call the handle's salvage()", damaged)
    real = find_real_path(damaged)
    with forks.delay(), new_file(path) as partial_file, _open_copy(real, partial_file.parent) as (source, foreign):
        return foreign + _copy_all(source, partial_file)


def salvage_open_file(connections: Connections, path: str) -> list[Problem]:
    """Copy everything readable of an open file into a new one, as `salvage_file` does."""
    with new_file(path) as partial_file, connections.snapshot() as source:
        # An interrupted statement would be taken for a damaged one.
        source.set_progress_handler(None, 0)
        try:
            return _copy_all(source, partial_file)
        finally:
            sqlite.watch_for_interrupts(source)


def _copy_all(source: Connection, path: Path) -> list[Problem]:
    target = Connections(str(path), readonly=False, timeout=_TIMEOUT)
    try:
        return list(_Salvage(source, target).run())
    finally:
        target.close()


@contextmanager
def _open_copy(damaged: str, folder: Path) -> Iterator[tuple[Connection, list[Problem]]]:
    """Yield a connection to a copy of a file, and a Problem for each journal beside it that belongs to another file."""
    # Imports a dozen modules that nothing else here needs.
    import tempfile  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix=".salvage.", dir=folder) as place:
        copy = str(Path(place) / "copy")
        foreign = copy_raw(damaged, copy)
        connection = None
        try:
            connection = file.connect(copy, readonly=False, timeout=_TIMEOUT, damaged=True)
            connection.execute("SELECT sample_id FROM samples LIMIT 0")
            yield connection, foreign
        except sqlite3.Error as error:
            raise NotASampleDBError.in_file(damaged, f"no sample can be read ({error})") from error
        finally:
            if connection is not None:
                connection.close()


class _Salvage:
    """Copies from one connection into one new file."""

    def __init__(self, source: Connection, target: Connections) -> None:
        self._source = source
        self._target = target

    def run(self) -> Iterator[Problem]:
        """Copy whole samples, then rebuild the others; yield a Problem for each loss."""
        found = {sample_id for path in _PATHS for (sample_id,) in self._read(path)}
        ids = sorted(each for each in found if isinstance(each, int) and 0 < each < limits.MAX_ID)
        damaged = [sample_id for sample_id in ids if not self._copy_sample(sample_id)]
        with self._target.writing() as connection:
            self._keep_counters(connection)
            references.rebuild(connection)
            trigrams.rebuild(connection)
        for sample_id in damaged:
            for problem in self._rebuild_sample(sample_id):
                yield msgspec.structs.replace(problem, sample_id=sample_id)
        yield from self._copy_binaries()
        yield from self._copy_jobs()

    def _read(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Return the rows before the first damage."""
        rows: list[tuple[Any, ...]] = []
        with suppress(sqlite3.Error):
            # Not extend(list(…)), which would lose those before an error.
            for row in self._source.execute(sql, parameters):
                rows.append(row)  # noqa: PERF402
        return rows

    def _store(self, change: Callable[[Connection], object]) -> str:
        """Make a change in the new file. Returns the rule that it breaks, or `""`."""
        try:
            with self._target.writing() as connection:
                change(connection)
        except (InvalidInputError, ConflictError) as error:
            return error.message
        except StorageError as error:
            if not isinstance(error.__cause__, sqlite3.IntegrityError):
                raise
            return str(error.__cause__)
        return ""

    # Whole samples

    def _copy_sample(self, sample_id: int) -> bool:
        """Copy a sample with all its rows; return whether it was whole."""
        try:
            tables = self._read_whole(sample_id)
        except _UNREADABLE:
            return False
        return not self._store(lambda connection: [rows.insert(connection) for rows in tables])

    def _read_whole(self, sample_id: int) -> list[_Rows]:
        """Return a sample's rows in all tables; raise one of `_UNREADABLE` if any of them is damaged."""
        samples.get(self._source, sample_id)
        stored = samples.locate(self._source, sample_id)
        first, last = stored.function_ids
        if stored.is_analyzed or first <= last:
            self._read_header(sample_id)
        for problem in functions.find_differences(self._source, first, last) if first <= last else ():
            raise CorruptFileError.of(problem.what, problem.where)
        ids = {"sample": sample_id, "first": first, "last": last}
        tables = [self._read_rows(table, condition, ids) for table, condition in _TABLES.items()]
        return tables + self._read_signatures(sample_id)

    def _read_signatures(self, sample_id: int) -> list[_Rows]:
        """Return the signatures of a sample; none if they are damaged, as they are made again when asked for."""
        try:
            if not list(signatures.find_differences(self._source, sample_id)):
                return [self._read_rows("signatures", "sample_id = :sample", {"sample": sample_id})]
        except _UNREADABLE:
            pass
        return []

    def _read_rows(self, table: str, condition: str, parameters: Mapping[str, object]) -> _Rows:
        cursor = self._source.execute(f"SELECT * FROM {table} WHERE {condition}", parameters)  # noqa: S608
        return _Rows(table, [column for column, *_ in cursor.description], cursor.fetchall())

    def _read_header(self, sample_id: int) -> dict[str, Any]:
        """Return the report of a sample without its functions."""
        report = join_report(reports.get_header(self._source, sample_id), ())
        ((sha256,),) = self._read("SELECT sha256 FROM samples WHERE sample_id = ?", sample_id) or ((None,),)
        if sha256 is not None and str(report.get("sha256")).lower() != sha256:
            raise CorruptFileError.of("the report is that of another file", f"reports, sample_id {sample_id}")
        return report

    def _keep_counters(self, connection: Connection) -> None:
        """Keep ids from being reused, also those of lost rows."""
        for name, last in self._read(_COUNTERS):
            if name in _COUNTED and isinstance(last, int) and 0 <= last < limits.MAX_ID // 2:
                now = connection.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = ?", (name,)).fetchone()[0]
                connection.execute("DELETE FROM sqlite_sequence WHERE name = ?", (name,))
                connection.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (name, max(now or 0, last)))

    # Damaged samples

    def _rebuild_sample(self, sample_id: int) -> Iterator[Problem]:
        """Store what is left of a sample; yield a Problem for each loss."""
        where = f"samples, sample_id {sample_id}"
        sample = _try(samples.get, self._source, sample_id)
        if sample is None:
            sample = _try(samples.get_untagged, self._source, sample_id)
            yield Problem("its tags cannot be read" if sample else "its row cannot be read", where)
        report = _try(self._read_header, sample_id)
        parts = list(self._recover_functions(sample_id))
        found = [each for each in parts if isinstance(each, Function)]
        yield from (each for each in parts if isinstance(each, Problem))
        if report is None and sample and (found or sample.smda_version):
            yield Problem("its report cannot be read; one made from its row replaces it", where)
            report = _make_report(sample)
        if report is not None:
            report["xcfg"] = {str(each.offset): each.disassembly for each in found}
        if sample or report:
            fault = self._store(lambda connection: _store_sample(connection, sample_id, sample, report))
            fault = fault or self._store(partial(self._copy_labels, sample_id))
            yield from [Problem(f"what is left of it breaks a rule: {fault}", where)] if fault else []

    def _copy_labels(self, sample_id: int, connection: Connection) -> None:
        for table in ("labels", "label_history"):
            rows = _try(self._read_rows, table, _TABLES[table], {"sample": sample_id})
            if rows is not None:
                rows.insert(connection)
        for (label_id,) in connection.execute(
            "SELECT label_id FROM labels WHERE sample_id = ?", (sample_id,)
        ).fetchall():
            trigrams.add_label(connection, label_id)

    def _recover_functions(self, sample_id: int) -> Iterator[Function | Problem]:
        ids = _try(lambda: samples.locate(self._source, sample_id).function_ids)
        ((first, last),) = self._read(_OWN_FUNCTIONS, sample_id) or ((None, None),)
        if ids is not None and ids[0] <= ids[1]:
            # The row may claim more functions than any report has.
            first, last = ids[0], min(ids[1], ids[0] + _MOST_FUNCTIONS)
        if isinstance(first, int) and isinstance(last, int):
            for each in functions.recover(self._source, first, last):
                if isinstance(each, Problem) or each.sample_id == sample_id:
                    yield each

    # The queue

    def _copy_binaries(self) -> Iterator[Problem]:
        for (binary_id,) in self._read("SELECT binary_id FROM binaries ORDER BY binary_id"):
            where = f"binaries, binary_id {binary_id}"
            try:
                rows = self._read_rows("binaries", "binary_id = :id", {"id": binary_id})
                jobs.verify(*self._source.execute(_BINARY, (binary_id,)).fetchone())
            except _UNREADABLE as error:
                yield Problem(f"a binary cannot be read: {error}", where)
                continue
            fault = self._store(rows.insert)
            yield from [Problem(f"a binary breaks a rule: {fault}", where)] if fault else []

    def _copy_jobs(self) -> Iterator[Problem]:
        for number, job_id in self._read("SELECT job_number, job_id FROM jobs ORDER BY job_number"):
            where = f"jobs, job_id {job_id}"
            try:
                jobs.get(self._source, job_id)
                rows = self._read_rows("jobs", "job_number = :number", {"number": number})
            except _UNREADABLE as error:
                yield Problem(f"a job cannot be read: {error}", where)
                continue
            fault = self._store(partial(_insert_job, rows))
            yield from [Problem(f"a job breaks a rule: {fault}", where)] if fault else []
        with self._target.writing() as connection:
            incomplete = list(jobs.drop_incomplete(connection))
        for job_id in incomplete:
            yield Problem("the binary of an unfinished job cannot be read", f"jobs, job_id {job_id}")


def _try(read: Callable[..., _T], *arguments: object) -> _T | None:
    try:
        return read(*arguments)
    except _UNREADABLE:
        return None


def _store_sample(connection: Connection, sample_id: int, sample: Sample | None, report: dict[str, Any] | None) -> None:
    """Store a sample from its row, its report, or both."""
    overrides = {field: getattr(sample, field) for field in _OVERRIDES} if sample else {}
    parsed = parse_report(read_source(report), overrides) if report is not None else None
    sha256 = sample.sha256 if sample else parsed.sha256 if parsed else ""
    username = sample.username if sample else "anonymous"
    samples.insert(connection, sha256, username, sample_id)
    if parsed:
        reports.add_report(connection, parsed, overrides, username=username)
    if sample:
        samples.restore(connection, sample)


def _make_report(sample: Sample) -> dict[str, Any]:
    """Return a report without functions from a sample's row, with all fields that SMDA requires."""
    return {
        **{field: getattr(sample, field) for field in _HEADER},
        "code_areas": [],
        "confidence_threshold": 0.0,
        "disassembly_errors": {},
        "execution_time": 0.0,
        "identified_alignment": 0,
        "message": "The report of this sample was lost; this one was made from the rest.",
        "status": "ok",
        "metadata": {
            **{
                field: getattr(sample, field) for field in ("family", "version", "component", "is_library", "binweight")
            },
            "filename": sample.name,
        },
    }


def _insert_job(rows: _Rows, connection: Connection) -> None:
    rows.insert(connection)
    (row,) = rows.values
    connection.execute(
        "UPDATE jobs SET sample_id = NULL WHERE job_number = ? AND sample_id NOT IN (SELECT sample_id FROM samples)",
        (row[rows.columns.index("job_number")],),
    )
