"""New files that appear when they are complete, and the copy of a database as it is at one moment."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sampledb.errors import InvalidInputError, StorageError
from sampledb.sqlite import sqlite3


@contextmanager
def appearing(path: str) -> Iterator[Path]:
    """An empty file beside `path`, which takes this name at the end; on any exception there is none.

    Raises:
        InvalidInputError: There is a file at `path` already.
        StorageError: It cannot be written.
    """
    # Imports a dozen modules that nothing else here needs.
    import tempfile  # noqa: PLC0415

    target = Path(path)
    if target.exists():
        raise InvalidInputError.of("path", "a path where no file is", path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
        os.close(handle)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}.", {"path": path, "reason": str(error)}) from error
    partial = Path(name)
    try:
        yield partial
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def copy(connection: sqlite3.Connection, path: Path) -> None:
    """Copy what a connection sees into a file that is empty."""
    target = sqlite3.connect(path, isolation_level=None)
    try:
        connection.backup(target)
        # The copy of a file in WAL mode says so in its header, and would be of no use on read-only media.
        target.execute("PRAGMA journal_mode = DELETE")
    finally:
        target.close()
