"""Opening a file: recognised, created, upgraded, or refused."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sampledb.errors import CorruptFileError, NewerFormatError, StorageError
from sampledb.limits import MEMORY
from sampledb.store import schema, sqlite
from sampledb.store.sqlite import sqlite3

Connection = sqlite3.Connection

_PRAGMAS: Final = (
    "PRAGMA foreign_keys = ON",
    # In WAL the same as FULL; with a rollback journal it also syncs the folder, without which a power cut
    # can bring a deleted journal, and so the state before the commit, back.
    "PRAGMA synchronous = EXTRA",
    # A file may come from a stranger: SQL planted in its schema gets no function that could do harm,
    # and cells are checked before they are believed.
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    # One large report must not leave a WAL of its size until the handle closes.
    "PRAGMA journal_size_limit = 16777216",
)


def connect(path: str, *, readonly: bool, timeout: float, immutable: bool = False, damaged: bool = False) -> Connection:
    """A connection with our pragmas, to a file that has not been looked at; to one that may be `damaged` as well."""
    uri = "file::memory:"
    if path != MEMORY:
        uri = f"{Path(path).as_uri()}?mode={'ro' if readonly else 'rwc'}{'&immutable=1' if immutable else ''}"
        if _is_strange(path):
            raise sqlite.not_ours_error(path, "it is no regular file")
    connection = sqlite3.connect(
        uri,
        uri=True,
        timeout=timeout,
        isolation_level=None,  # transactions begin where we say so
        check_same_thread=False,  # the pool gives a connection to one thread at a time
    )
    try:
        if damaged:
            # Else SQLite would refuse a file that is cut off, or has one bad entry in its schema, as a whole.
            connection.execute("PRAGMA writable_schema = ON")
        else:
            sqlite.harden(connection)
        for pragma in _PRAGMAS:
            connection.execute(pragma)
    except BaseException:
        connection.close()
        raise
    return connection


def _is_strange(path: str) -> bool:
    """Whether there is a pipe, for which SQLite would wait for ever; what cannot be looked at is left to SQLite."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116 - microseconds of each opening
    except OSError:
        return False


def must_be_immutable(path: str, error: sqlite3.Error) -> bool:
    """Whether `error` says that a closed file in WAL mode cannot have its `-shm`, as on a read-only file system."""
    # Reading the header drops this process's POSIX locks on the file, so it is read only where nobody can write.
    if not sqlite.lacks_shm(error):
        return False
    try:
        with Path(path).open("rb") as file:
            header = file.read(20)
    except OSError:
        return False
    # A hot journal or WAL holds what the file needs to be whole, and immutable would not look at it.
    return header[18:20] == b"\2\2" and not any(_size(path + suffix) for suffix in ("-wal", "-journal"))


def recognise(connection: Connection, path: str, *, readonly: bool) -> bool:
    """Accept a file of ours, make an empty one ours, upgrade an older one, refuse others; whether it was written."""
    # In a transaction, because another process may be creating the file between two answers.
    connection.execute("BEGIN")
    with ending(connection, "ROLLBACK"):
        state = _state(connection, path)
    if state != "current":
        _create_or_upgrade(connection, path, state, readonly=readonly)
    _refuse(_cut_off(connection, path) or schema.fault(connection))
    return state != "current"


def _refuse(fault: str) -> None:
    if fault:
        raise CorruptFileError.of(fault, "the file as a whole")


def _state(connection: Connection, path: str) -> str:
    """`empty`, `older` or `current`; an error for a file that is neither ours nor empty."""
    # Not the functions pragma_…(): a view of that name, planted in the file, would answer for them.
    application_id, version = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_schema")
    if application_id == version == tables == 0:
        return "empty"
    if application_id != schema.APPLICATION_ID:
        raise sqlite.not_ours_error(path, "another program's SQLite database")
    if version > schema.FORMAT_VERSION:
        raise NewerFormatError(
            f"{path} has format {version}; this sampledb reads up to {schema.FORMAT_VERSION}. Upgrade it.",
            {"path": path, "found": version, "supported": schema.FORMAT_VERSION},
        )
    return "current" if version == schema.FORMAT_VERSION else "older"


def _create_or_upgrade(connection: Connection, path: str, state: str, *, readonly: bool) -> None:
    if readonly:
        if state == "empty":
            raise sqlite.not_ours_error(path, "it is empty")
        raise sqlite.read_only_error(path, "it has an older format, and must be opened for writing once")
    # Asked again under the lock: another process may be creating the same file.
    connection.execute("BEGIN IMMEDIATE")
    with ending(connection, "COMMIT"):
        state = _state(connection, path)
        # SQLite takes a file of a few bytes for an empty database, and would write over them.
        if state == "empty" and path != MEMORY and _size(path):
            raise sqlite.not_ours_error(path, "another program's file")
        if state != "current":
            # A trigger of a stranger's would see the migration.
            _refuse(schema.planted(connection))
            schema.migrate(connection)


def _cut_off(connection: Connection, path: str) -> str:
    """SQLite notices missing pages by itself, but takes what is missing of the last one for zeros."""
    if path == MEMORY or _size(path + "-wal"):
        return ""
    ((page_size,),) = connection.execute("PRAGMA page_size")
    return "the last page is cut off" if _size(path) % page_size else ""


def _size(path: str) -> int:
    """Bytes; 0 for a file that is not there, or was removed this moment."""
    try:
        return Path(path).stat().st_size
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise StorageError.of_system(path, error) from error


@contextmanager
def ending(connection: Connection, end: str) -> Iterator[None]:
    """End a transaction with `end`; on any exception, KeyboardInterrupt too, roll it back."""
    try:
        yield
        connection.execute(end)
    except BaseException:
        # SQLite has rolled back by itself where the disk is full or fails.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
