"""A file as any SQLite sees it."""

import contextlib
import sqlite3 as python_sqlite
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def raw(path: Path) -> Iterator[python_sqlite.Connection]:
    """The file as any SQLite sees it, from a process that has no other connection to it."""
    connection = python_sqlite.connect(path)
    try:
        yield connection
        connection.commit()
    finally:
        connection.close()
