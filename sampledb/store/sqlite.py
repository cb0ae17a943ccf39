"""The SQLite in use: which library it is, what its errors mean to our users, what their SQL may do."""

from typing import TYPE_CHECKING, Final

from sampledb.errors import (
    BusyError,
    CorruptFileError,
    InvalidInputError,
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

VERSION: Final = sqlite3.sqlite_version

# Primary result codes; the extended ones carry them in their low byte.
BUSY: Final = {5, 6}
_READONLY: Final = 8
INTERRUPT: Final = 9
_CANTOPEN: Final = 14
_CORRUPT: Final = 11
# SQLITE_READONLY_CANTINIT and _DIRECTORY; not _ROLLBACK, which a hot journal gives.
_READONLY_WITHOUT_SHM: Final = {8 | 5 << 8, 8 | 6 << 8}
_NOTADB: Final = 26
_NOMEM, _IOERR, _FULL, _PROTOCOL, _NOLFS = 7, 10, 13, 15, 22
_OPERATIONAL: Final = BUSY | {_NOMEM, _READONLY, _IOERR, _CORRUPT, _FULL, _CANTOPEN, _PROTOCOL, _NOLFS, _NOTADB}

# SQLITE_CONSTRAINT is the other one.
_DISAGREEING: Final = {_CORRUPT, 19}

# Authorizer actions.
_PRAGMA: Final = 19
_READ, _SELECT, _FUNCTION, _RECURSIVE = 20, 21, 31, 33
_READING_PRAGMAS: Final = {
    *("application_id", "compile_options", "data_version", "encoding", "freelist_count", "journal_mode"),
    *("page_count", "page_size", "schema_version", "synchronous", "user_version"),
}
_DESCRIBING_PRAGMAS: Final = {
    *(
        "foreign_key_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "table_info",
        "table_list",
        "table_xinfo",
    ),
}


# What Python's module raises: MemoryError for SQLITE_NOMEM, and damaged text in a message may be no text.
ERRORS: Final = (sqlite3.Error, UnicodeDecodeError, MemoryError)


def wal_is_safe(version: tuple[int, ...]) -> bool:
    """Whether this SQLite has the fix for the WAL-reset bug, which could corrupt a file with two writers."""
    return version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)


WAL_IS_SAFE: Final = wal_is_safe(sqlite3.sqlite_version_info)


def harden(connection: sqlite3.Connection) -> None:
    """Let no SQL write to the schema or to FTS5's tables, and no trigger run: a second wall, from Python 3.12 on.

    Only Python's own module has the call; pysqlite3 has not.
    """
    if hasattr(connection, "setconfig"):
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)  # type: ignore[attr-defined]
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_TRIGGER, False)  # type: ignore[attr-defined]


def code(error: BaseException) -> int:
    """SQLite's primary result code; 0 for errors that Python's module raises by itself."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def lacks_shm(error: sqlite3.Error) -> bool:
    """Whether a file in WAL mode may have failed to open because its `-shm` can be neither found nor made."""
    extended = getattr(error, "sqlite_errorcode", 0)
    return code(error) == _CANTOPEN or extended in _READONLY_WITHOUT_SHM


def is_operational(error: BaseException) -> bool:
    """Whether the file or the machine is at fault, rather than the SQL."""
    return code(error) in _OPERATIONAL


def is_disagreement(error: BaseException) -> bool:
    """Whether an index of FTS5 does not hold what it is told to remove, or holds what it is told to add."""
    return code(error) in _DISAGREEING


def is_failure(error: BaseException) -> bool:
    """Whether the file could not be read or written, though nobody else held it."""
    return code(error) in _OPERATIONAL - BUSY


def translated(error: Exception, path: str, timeout: float) -> SampleDBError:
    """Our error for one of SQLite's."""
    primary = code(error)
    if primary in BUSY:
        return busy_error(path, "another connection is using it", timeout)
    if primary == _READONLY:
        return read_only_error(path, str(error))
    if primary == _NOTADB:
        return not_ours_error(path, "it is no SQLite database")
    if primary == _CORRUPT or _is_bad_text(error):
        return damaged_error(path, str(error), "pages")
    reason = f"{error} ({getattr(error, 'sqlite_errorname', type(error).__name__)})"
    return StorageError(f"{path}: {reason}.", {"path": path, "reason": reason})


def _is_bad_text(error: BaseException) -> bool:
    # Python's module raises this one by itself, without a result code.
    return isinstance(error, UnicodeDecodeError) or "Could not decode to UTF-8" in str(error)


def damaged_error(path: str, what: str, where: str = "the tables") -> CorruptFileError:
    """The error for what SQLite, or we, cannot make sense of."""
    return CorruptFileError(
        f"{path} is damaged: {what}. check() says where.", {"what": what, "where": where, "path": path}
    )


def busy_error(path: str, why: str, timeout: float) -> BusyError:
    """The error for a lock that did not come within `timeout` seconds."""
    details = {"retry_after": max(timeout, 0.1), "path": path}
    return BusyError(f"{path} is busy: {why}; try again.", details)


def not_ours_error(path: str, reason: str) -> NotASampleDBError:
    """The error for a file that is something else."""
    return NotASampleDBError(f"{path} is not a sampledb file: {reason}.", {"path": path, "reason": reason})


def read_only_error(path: str, reason: str = "it was opened with readonly=True") -> ReadOnlyError:
    """The error for a write that cannot be."""
    return ReadOnlyError(f"{path} is read-only: {reason}.", {"path": path})


def bad_sql_error(error: Exception) -> InvalidInputError:
    """The error for SQL of the user's that does not run, or would do more than read."""
    return InvalidInputError(
        f"sql must be one read-only statement: {error}.",
        {"field": "sql", "rule": "one read-only statement with its parameters", "value": str(error)[:200]},
    )


def authorize_reading(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    """SQLite's authorizer for SQL of the user's: it reads this file, and neither writes nor attaches others."""
    if action == _PRAGMA:
        fine = first in _DESCRIBING_PRAGMAS or (first in _READING_PRAGMAS and second is None)
    else:
        # FUNCTION names the function in its second argument.
        fine = action in {_READ, _SELECT, _FUNCTION, _RECURSIVE} and second != "load_extension"
    return sqlite3.SQLITE_OK if fine else sqlite3.SQLITE_DENY
