"""Salvage: what can still be read of a damaged file goes into a new one, and what cannot is listed.

What is whole is copied as it is, ids included. Of samples that are not, what is left is put together again: functions
whose frame and rows are there get new ids; a report whose header is gone gets one made of the sample's row; a sample
whose row is gone is that of its report.

Everything is read from a copy of the file: what SQLite does about a journal beside it could be the end of it.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from io import FileIO
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
from sampledb.files import new_file
from sampledb.format.report import join_report, parse_report
from sampledb.intake.source import read_source
from sampledb.model import Function, Problem, Sample
from sampledb.store import file as opening
from sampledb.store import sqlite
from sampledb.store.connection import Connection, Connections, is_open
from sampledb.store.sqlite import sqlite3
from sampledb.store.tables import functions, jobs, samples, search
from sampledb.store.tables import reports as storing

_T = TypeVar("_T")

_BESIDE: Final = ("", "-wal", "-journal")
_PIECE: Final = 1024 * 1024
_TIMEOUT: Final = 60.0

# Each finds ids by another way through the file: what one cannot pass, another may.
_WAYS: Final = (
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
# Of one sample, which takes its id, and its first and last function id.
_TABLES: Final = {
    "samples": "sample_id = :sample",
    "sample_tags": "sample_id = :sample",
    "reports": "sample_id = :sample",
    "functions": "function_id BETWEEN :first AND :last",
    "disassembly": "first_function_id BETWEEN :first AND :last",
}
_COUNTED: Final = {"samples", "functions", "jobs"}
_COUNTERS: Final = "SELECT name, seq FROM sqlite_sequence"
_OWN_FUNCTIONS: Final = "SELECT min(function_id), max(function_id) FROM functions WHERE sample_id = ?"
_BINARY: Final = "SELECT sha256, checksum, binary FROM binaries WHERE binary_id = ?"
_SECTOR: Final = 4096
# Far above any report's; a row that lies must not keep this busy for ever.
_MOST_FUNCTIONS: Final = 10_000_000

_OVERRIDES: Final = ("family", "version", "component", "is_library", "name")
_HEADER: Final = (
    *("architecture", "base_addr", "binary_size", "bitness", "md5", "sha1", "sha256"),
    *("smda_version", "statistics"),
)

# What reading a damaged file, or one that somebody has tampered with, may raise.
_UNREADABLE: Final = (sqlite3.Error, SampleDBError, TypeError, ValueError, ArithmeticError, RecursionError)


class _Rows(NamedTuple):
    """Rows of a table, as they are."""

    table: str
    columns: list[str]
    values: list[tuple[Any, ...]]

    def insert(self, connection: Connection) -> None:
        """Put them into the same table of another file."""
        columns = ", ".join(f'"{column}"' for column in self.columns)
        marks = ", ".join("?" * len(self.columns))
        connection.executemany(f"INSERT INTO {self.table} ({columns}) VALUES ({marks})", self.values)  # noqa: S608


def salvage(damaged: str, path: str) -> list[Problem]:
    """Put what can be read of a file, which no handle of this process has open, into a new one; what was lost."""
    if is_open(damaged):
        # Closing the file would drop the locks of that handle.
        raise InvalidInputError.of("damaged", "a file that no handle has open; or call the handle's salvage()", damaged)
    with new_file(path) as partial, _opened_copy(damaged, partial.parent) as source:
        return into(source, partial)


def into(source: Connection, path: Path) -> list[Problem]:
    """Put what a connection can read into an empty file; what was lost.

    Raises:
        NotASampleDBError: There is nothing of ours to be read.
    """
    target = Connections(str(path), readonly=False, timeout=_TIMEOUT)
    try:
        return list(_Salvage(source, target).run())
    finally:
        target.close()


@contextmanager
def _opened_copy(damaged: str, folder: Path) -> Iterator[Connection]:
    # Imports a dozen modules that nothing else here needs.
    import tempfile  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix=".salvage.", dir=folder) as place:
        copy = str(Path(place) / "copy")
        for suffix in _BESIDE:
            if not suffix or Path(damaged + suffix).exists():
                _copy_readable(damaged + suffix, copy + suffix)
        try:
            connection = opening.connect(copy, readonly=False, timeout=_TIMEOUT, damaged=True)
        except sqlite3.Error as error:
            raise _nothing_of_ours(damaged, error) from error
        try:
            connection.execute("SELECT sample_id FROM samples LIMIT 0")
            yield connection
        except sqlite3.Error as error:
            raise _nothing_of_ours(damaged, error) from error
        finally:
            connection.close()


def _nothing_of_ours(path: str, error: sqlite3.Error) -> NotASampleDBError:
    return sqlite.not_ours_error(path, f"nothing of one can be read ({error})")


def _copy_readable(path: str, copy: str) -> None:
    """Copy a file; pieces that the disk does not give are zeros."""
    try:
        with Path(path).open("rb", buffering=0) as source, Path(copy).open("wb") as target:
            size = os.fstat(source.fileno()).st_size
            target.writelines(_piece(source, start, min(_PIECE, size - start)) for start in range(0, size, _PIECE))
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}.", {"path": path, "reason": str(error)}) from error


def _piece(file: FileIO, start: int, size: int) -> bytes:
    try:
        file.seek(start)
        return file.read(size).ljust(size, b"\0")
    except OSError:
        if size <= _SECTOR:
            return bytes(size)
    # The piece has a bad place somewhere.
    end = start + size
    return b"".join(_piece(file, place, min(_SECTOR, end - place)) for place in range(start, end, _SECTOR))


class _Salvage:
    """From one connection into one new file."""

    def __init__(self, source: Connection, target: Connections) -> None:
        self._source = source
        self._target = target

    def run(self) -> Iterator[Problem]:
        """Copy what is whole, then put the rest together; what was lost."""
        damaged = [sample_id for sample_id in self._ids() if not self._copied(sample_id)]
        with self._target.writing() as connection:
            self._keep_counters(connection)
            search.rebuild(connection)
        for sample_id in damaged:
            for problem in self._put_together(sample_id):
                yield msgspec.structs.replace(problem, sample_id=sample_id)
        yield from self._copy_binaries()
        yield from self._copy_jobs()

    def _ids(self) -> list[int]:
        found = {sample_id for way in _WAYS for (sample_id,) in self._readable(way)}
        return sorted(each for each in found if isinstance(each, int) and 0 < each < limits.MAX_ID)

    def _readable(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """The rows up to where the file is damaged."""
        rows: list[tuple[Any, ...]] = []
        with suppress(sqlite3.Error):
            # Not extend(list(…)), which would lose those before an error.
            for row in self._source.execute(sql, parameters):
                rows.append(row)  # noqa: PERF402
        return rows

    def _stored(self, change: Callable[[Connection], object]) -> str:
        """Make a change; why the rules of a file do not allow it, `""` when they do."""
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

    # What is whole

    def _copied(self, sample_id: int) -> bool:
        """Copy a sample with all it has; whether that could be done."""
        try:
            tables = self._whole(sample_id)
        except _UNREADABLE:
            return False
        return not self._stored(lambda connection: [rows.insert(connection) for rows in tables])

    def _whole(self, sample_id: int) -> list[_Rows]:
        """Its rows in all tables, when nothing is wrong with any of them."""
        samples.get(self._source, sample_id)
        stored = samples.locate(self._source, sample_id)
        first, last = stored.function_ids
        if stored.is_analyzed or first <= last:
            self._header(sample_id)
        for problem in functions.differences(self._source, first, last) if first <= last else ():
            raise CorruptFileError.of(problem.what, problem.where)
        ids = {"sample": sample_id, "first": first, "last": last}
        return [self._rows(table, condition, ids) for table, condition in _TABLES.items()]

    def _rows(self, table: str, condition: str, parameters: Mapping[str, object]) -> _Rows:
        cursor = self._source.execute(f"SELECT * FROM {table} WHERE {condition}", parameters)  # noqa: S608
        return _Rows(table, [column for column, *_ in cursor.description], cursor.fetchall())

    def _header(self, sample_id: int) -> dict[str, Any]:
        """The report of a sample without its functions."""
        report = join_report(samples.report_header(self._source, sample_id), ())
        ((sha256,),) = self._readable("SELECT sha256 FROM samples WHERE sample_id = ?", sample_id) or ((None,),)
        if sha256 is not None and str(report.get("sha256")).lower() != sha256:
            raise CorruptFileError.of("the report is that of another file", f"reports, sample_id {sample_id}")
        return report

    def _keep_counters(self, connection: Connection) -> None:
        """Let no id be given twice, those of what was lost neither."""
        for name, last in self._readable(_COUNTERS):
            if name in _COUNTED and isinstance(last, int) and 0 <= last < limits.MAX_ID // 2:
                now = connection.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = ?", (name,)).fetchone()[0]
                connection.execute("DELETE FROM sqlite_sequence WHERE name = ?", (name,))
                connection.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (name, max(now or 0, last)))

    # What is damaged

    def _put_together(self, sample_id: int) -> Iterator[Problem]:
        """Store what there is of a sample; what there is not."""
        where = f"samples, sample_id {sample_id}"
        sample = self._tried(samples.get, self._source, sample_id)
        if sample is None:
            sample = self._tried(samples.get_untagged, self._source, sample_id)
            yield Problem("its tags cannot be read" if sample else "its row cannot be read", where)
        report = self._tried(self._header, sample_id)
        parts = list(self._functions(sample_id))
        found = [each for each in parts if isinstance(each, Function)]
        yield from (each for each in parts if isinstance(each, Problem))
        if report is None and sample and (found or sample.smda_version):
            yield Problem("its report cannot be read; one made of its row takes the place", where)
            report = _made_of(sample)
        if report is not None:
            report["xcfg"] = {str(each.offset): each.disassembly for each in found}
        if sample or report:
            fault = self._stored(lambda connection: _store(connection, sample_id, sample, report))
            yield from [Problem(f"what is left of it breaks a rule: {fault}", where)] if fault else []

    def _tried(self, read: Callable[..., _T], *arguments: object) -> _T | None:
        try:
            return read(*arguments)
        except _UNREADABLE:
            return None

    def _functions(self, sample_id: int) -> Iterator[Function | Problem]:
        ids = self._tried(lambda: samples.locate(self._source, sample_id).function_ids)
        ((first, last),) = self._readable(_OWN_FUNCTIONS, sample_id) or ((None, None),)
        if ids is not None and ids[0] <= ids[1]:
            # A row may lie; there are not more than the highest id.
            first, last = ids[0], min(ids[1], ids[0] + _MOST_FUNCTIONS)
        if isinstance(first, int) and isinstance(last, int):
            for each in functions.readable(self._source, first, last):
                if isinstance(each, Problem) or each.sample_id == sample_id:
                    yield each

    # The queue

    def _copy_binaries(self) -> Iterator[Problem]:
        for (binary_id,) in self._readable("SELECT binary_id FROM binaries ORDER BY binary_id"):
            where = f"binaries, binary_id {binary_id}"
            try:
                rows = self._rows("binaries", "binary_id = :id", {"id": binary_id})
                jobs.verify(*self._source.execute(_BINARY, (binary_id,)).fetchone())
            except _UNREADABLE as error:
                yield Problem(f"a binary cannot be read: {error}", where)
                continue
            fault = self._stored(rows.insert)
            yield from [Problem(f"a binary breaks a rule: {fault}", where)] if fault else []

    def _copy_jobs(self) -> Iterator[Problem]:
        for number, job_id in self._readable("SELECT job_number, job_id FROM jobs ORDER BY job_number"):
            where = f"jobs, job_id {job_id}"
            try:
                jobs.get(self._source, job_id)
                rows = self._rows("jobs", "job_number = :number", {"number": number})
            except _UNREADABLE as error:
                yield Problem(f"a job cannot be read: {error}", where)
                continue
            fault = self._stored(partial(_insert_job, rows))
            yield from [Problem(f"a job breaks a rule: {fault}", where)] if fault else []
        with self._target.writing() as connection:
            for job_id in jobs.drop_incomplete(connection):
                yield Problem("the binary of an unfinished job cannot be read", f"jobs, job_id {job_id}")


def _store(connection: Connection, sample_id: int, sample: Sample | None, report: dict[str, Any] | None) -> None:
    """Store a sample of what is left: its row, its report, or both."""
    overrides = {field: getattr(sample, field) for field in _OVERRIDES} if sample else {}
    read = parse_report(read_source(report), overrides) if report is not None else None
    sha256 = sample.sha256 if sample else read.sha256 if read else ""
    username = sample.username if sample else "anonymous"
    samples.insert(connection, sha256, username, sample_id)
    if read:
        storing.add(connection, read, overrides, username=username)
    if sample:
        samples.restore(connection, sample)


def _made_of(sample: Sample) -> dict[str, Any]:
    """A report's header with what SMDA requires, as far as the sample's row knows it."""
    return {
        **{field: getattr(sample, field) for field in _HEADER},
        "code_areas": [],
        "confidence_threshold": 0.0,
        "disassembly_errors": {},
        "execution_time": 0.0,
        "identified_alignment": 0,
        "message": "The report of this sample was lost; this is made of what was left of it.",
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
    (values,) = rows.values
    connection.execute(
        "UPDATE jobs SET sample_id = NULL WHERE job_number = ? AND sample_id NOT IN (SELECT sample_id FROM samples)",
        (values[rows.columns.index("job_number")],),
    )
