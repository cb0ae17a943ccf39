"""A consistent copy of the file while it is in use: complete and on disk before it has its name."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sampledb.connection import Connection, Connections
from sampledb.errors import InvalidInputError, SampleDBError, StorageError
from sampledb.limits import MEMORY
from sampledb.sqlite import sqlite3


def run(connections: Connections, path: str) -> None:
    """Copy the database, as it is at one moment, to a new file."""
    with _border(connections.path, path):
        target = Path(path)
        if target.exists():
            raise InvalidInputError.of("path", "a path where no file is", path)
        partial = _partial(target)
        try:
            _fill(connections, partial)
            if connections.path != MEMORY:
                # As readable as the original; a temporary file is for its owner alone.
                partial.chmod(Path(connections.path).stat().st_mode & 0o777)
            partial.replace(target)
            _sync(target.parent)
        finally:
            # The journal is there where the copy itself could not be written.
            for left in (partial.with_name(f"{partial.name}-journal"), partial):
                with suppress(OSError):
                    left.unlink()


@contextmanager
def _border(source: str, path: str) -> Iterator[None]:
    """Where errors of SQLite and of the system become ours: either of the two files may have failed."""
    try:
        yield
    except SampleDBError:
        raise
    except (sqlite3.Error, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        message = f"{path} could not become a copy of {source}: {reason}."
        raise StorageError(message, {"path": path, "reason": reason}) from error


def _partial(target: Path) -> Path:
    """A new file beside the target. A process that is killed leaves it: any other could still be filling it."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
    os.close(handle)
    return Path(name)


def _fill(connections: Connections, partial: Path) -> None:
    # Inside a transaction, or the copy would wait for a writer without end.
    with connections.snapshot() as connection:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        with _border(connections.path, str(partial)):
            _copy(connection, partial)


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
