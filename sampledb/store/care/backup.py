"""Backup: a copy of the database at one moment, made while the file is in use."""

from pathlib import Path

from sampledb.errors import StorageError
from sampledb.files import new_file
from sampledb.limits import MEMORY
from sampledb.store.connection import Connection, Connections
from sampledb.store.sqlite import sqlite3


def backup(connections: Connections, path: str) -> None:
    """Copy the database, as it is at one moment, to a new file."""
    with new_file(path) as partial:
        # Inside a transaction, or the copy would wait for a writer without end.
        with connections.snapshot() as connection:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            try:
                _copy(connection, partial)
            except sqlite3.Error as error:
                raise StorageError.not_written(str(partial), error) from error
        if connections.path != MEMORY:
            # As readable as the original; a temporary file is for its owner alone.
            partial.chmod(Path(connections.path).stat().st_mode & 0o777)


def _copy(connection: Connection, path: Path) -> None:
    copy = sqlite3.connect(path, isolation_level=None)
    try:
        connection.backup(copy)
        # The copy of a file in WAL mode says so in its header, and would be of no use on read-only media.
        copy.execute("PRAGMA journal_mode = DELETE")
    finally:
        copy.close()
