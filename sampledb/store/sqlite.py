"""The SQLite library in use, the meaning of its errors, and its transactions."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from sampledb.errors import (
    BusyError,
    CorruptFileError,
    NotASampleDBError,
    ReadOnlyError,
    SampleDBError,
    StorageError,
)

if TYPE_CHECKING:
    import sqlite3
else:
    try:
        # The same choice as sqlite_utils makes, so that one process never has two SQLite libraries on one
        # file: closing a file in one would drop the POSIX locks of the other.
        import pysqlite3.dbapi2 as sqlite3
    except ImportError:
        import sqlite3

__all__ = ["sqlite3"]

Connection = sqlite3.Connection

VERSION: Final = sqlite3.sqlite_version

# Primary result codes. sqlite3 reports extended ones, which carry them in their low byte; pysqlite3 reports these.
BUSY: Final = {5, 6}
_NOMEM, _READONLY, _IOERR, _CORRUPT, _FULL, _CANTOPEN = 7, 8, 10, 11, 13, 14
_PROTOCOL, _CONSTRAINT, _NOLFS, _NOTADB = 15, 19, 22, 26
INTERRUPT: Final = 9
# What a signal handler raised while this thread was in SQLite.
_interrupts: Final = threading.local()
# Virtual machine instructions between two checks for Ctrl-C: a few milliseconds.
_INSTRUCTIONS: Final = 200_000
_OPERATIONAL: Final = BUSY | {_NOMEM, _READONLY, _IOERR, _CORRUPT, _FULL, _CANTOPEN, _PROTOCOL, _NOLFS, _NOTADB}

# Python's module raises MemoryError for SQLITE_NOMEM, and the text of a message may be damaged too.
ERRORS: Final = (sqlite3.Error, UnicodeDecodeError, MemoryError)


def is_wal_safe(version: tuple[int, ...]) -> bool:
    """Return whether this SQLite has the fix for the WAL-reset bug.

    Without it, a WAL file with two writers could become corrupt.
    """
    return version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)


WAL_IS_SAFE: Final = is_wal_safe(sqlite3.sqlite_version_info)


def harden(connection: Connection) -> None:
    """Forbid SQL to write the schema or FTS5's tables, and disable triggers.

    A second wall, from Python 3.12 on. pysqlite3 lacks the call.
    """
    if hasattr(connection, "setconfig"):
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)  # type: ignore[attr-defined]
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_TRIGGER, False)  # type: ignore[attr-defined]


def watch_for_interrupts(connection: Connection) -> None:
    """Let Ctrl-C end a statement: it raises only where Python code runs, and SQLite then reports INTERRUPT.

    After that, the connection must be watched anew.
    """
    watch = _watch()
    next(watch)
    connection.set_progress_handler(watch.__next__, _INSTRUCTIONS)


def _watch() -> Iterator[int]:
    """Yield 0 until a signal handler raises. A function would be too late: signals are looked for at its entry."""
    try:
        while True:
            yield 0
    except GeneratorExit:
        raise
    except BaseException as error:  # noqa: BLE001 - SQLite's module would drop it
        _interrupts.error = error


def find_interrupt() -> BaseException:
    """Return the error that a signal handler raised in the last statement that was interrupted."""
    error = getattr(_interrupts, "error", None) or KeyboardInterrupt()
    _interrupts.error = None
    return error


@contextmanager
def transaction(connection: Connection, begin: str, end: str) -> Iterator[None]:
    """Execute `begin` before and `end` after the block; roll back on any exception, KeyboardInterrupt too."""
    connection.execute(begin)
    try:
        yield
        connection.execute(end)
    except BaseException:
        # SQLite has already rolled back if the disk is full or fails.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def result_code(error: BaseException) -> int:
    """Return SQLite's primary result code, or 0 for errors that Python's module raises itself."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def may_be_read_only(error: sqlite3.Error) -> bool:
    """Return whether a file may have failed to open because SQLite would have to write beside it.

    That is a `-shm` for WAL mode, or the rollback of a hot journal. Which one only extended codes tell, and pysqlite3
    reports primary codes.
    """
    return result_code(error) in {_CANTOPEN, _READONLY}


def is_operational(error: BaseException) -> bool:
    """Return whether the file or the machine caused the error, and not the SQL."""
    return result_code(error) in _OPERATIONAL


def is_failure(error: BaseException) -> bool:
    """Return whether the file could not be read or written, for another reason than a lock."""
    return result_code(error) in _OPERATIONAL - BUSY


def is_out_of_step(error: BaseException) -> bool:
    """Return whether an FTS5 index disagrees with the rows that it is told to add or remove."""
    return result_code(error) in {_CORRUPT, _CONSTRAINT}


def translate(error: Exception, path: str, timeout: float) -> SampleDBError:
    """Return this package's error for one of `ERRORS`."""
    primary = result_code(error)
    if "no such module: fts5" in str(error):
        advice = "use another Python, or pip install pysqlite3 where it has wheels"
        return StorageError.in_file(path, f"SQLite {VERSION} of this Python lacks full-text search (FTS5); {advice}")
    if primary in BUSY:
        return BusyError.of(path, "another connection is using it", timeout)
    if primary == _READONLY:
        return ReadOnlyError.of(path, str(error))
    if primary == _NOTADB:
        return NotASampleDBError.in_file(path, "it is no SQLite database")
    # Python's module raises the error for text that is not UTF-8 by itself, without a result code.
    if primary == _CORRUPT or isinstance(error, UnicodeDecodeError) or "Could not decode to UTF-8" in str(error):
        return CorruptFileError.of(str(error), "pages", path)
    return StorageError.in_file(path, f"{error} ({getattr(error, 'sqlite_errorname', type(error).__name__)})")
