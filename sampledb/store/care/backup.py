"""Backup: copy the file while it is in use."""

from pathlib import Path

from sampledb.errors import StorageError
from sampledb.intake.files import new_file
from sampledb.limits import MEMORY
from sampledb.store.connection import Connections
from sampledb.store.sqlite import Connection, sqlite3


def backup(connections: Connections, path: str) -> None:
    """Copy the database to a new file, in the state of one moment."""
    with new_file(path) as partial:
        # A SELECT inside a transaction takes the lock first; the copy itself would wait for a writer without end.
        with connections.snapshot() as connection:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            try:
                _copy(connection, partial)
            except sqlite3.Error as error:
                raise StorageError.not_written(str(partial), error) from error
        if connections.path != MEMORY:
            # A temporary file is readable by its owner alone; the copy, by all who can read the original.
            partial.chmod(Path(connections.path).stat().st_mode & 0o777)


def _copy(connection: Connection, path: Path) -> None:
    copy = sqlite3.connect(path, isolation_level=None)
    try:
        connection.backup(copy)
        # The copy of a WAL file is in WAL mode too, which read-only media would not allow.
        copy.execute("PRAGMA journal_mode = DELETE")
    finally:
        copy.close()
