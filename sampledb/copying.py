"""New files: complete and on disk before they have their name; among them a copy of a file that is in use."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sampledb.connection import Connection, Connections
from sampledb.errors import InvalidInputError, SampleDBError, StorageError
from sampledb.limits import MEMORY
from sampledb.sqlite import sqlite3


def backup(connections: Connections, path: str) -> None:
    """Copy the database, as it is at one moment, to a new file."""
    with appearing(path) as partial:
        # Inside a transaction, or the copy would wait for a writer without end.
        with connections.snapshot() as connection:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            with _border(str(partial)):
                _copy(connection, partial)
        if connections.path != MEMORY:
            # As readable as the original; a temporary file is for its owner alone.
            partial.chmod(Path(connections.path).stat().st_mode & 0o777)


@contextmanager
def appearing(path: str) -> Iterator[Path]:
    """An empty file beside `path`, which takes this name at the end; on any exception there is none.

    A process that is killed leaves it: any other could still be filling it.

    Raises:
        InvalidInputError: There is a file at `path` already.
        StorageError: It cannot be written.
    """
    # Imports a dozen modules that nothing else here needs.
    import tempfile  # noqa: PLC0415

    with _border(path):
        target = Path(path)
        if target.exists():
            raise InvalidInputError.of("path", "a path where no file is", path)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
        os.close(handle)
        partial = Path(name)
        try:
            yield partial
            partial.replace(target)
            _sync(target.parent)
        finally:
            # The journal is there where a database could not be written.
            for left in (partial.with_name(f"{partial.name}-journal"), partial):
                with suppress(OSError):
                    left.unlink()


@contextmanager
def _border(path: str) -> Iterator[None]:
    """Where errors of SQLite and of the system become ours."""
    try:
        yield
    except SampleDBError:
        raise
    except (sqlite3.Error, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StorageError(f"{path} could not be written: {reason}.", {"path": path, "reason": reason}) from error


def _copy(connection: Connection, path: Path) -> None:
    copy = sqlite3.connect(path, isolation_level=None)
    try:
        connection.backup(copy)
        # The copy of a file in WAL mode says so in its header, and would be of no use on read-only media.
        copy.execute("PRAGMA journal_mode = DELETE")
    finally:
        copy.close()


def _sync(folder: Path) -> None:
    """Have the folder on disk, or a power cut could take the new name away; Windows knows no such thing."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
