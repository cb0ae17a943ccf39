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


# What each version of the format brought: undone in this order, a file is one of the version before.
_UNDO = {
    3: """
        DROP TABLE sample_search;
        DROP TABLE function_search;
        DROP VIEW sample_texts;
        DROP INDEX samples_by_md5;
        DROP INDEX samples_by_sha1;
        DROP INDEX functions_by_name;
        DELETE FROM _sqlite_migrations WHERE name = '3_search';
        """,
    2: """
        DROP TABLE jobs;
        DROP TABLE binaries;
        DELETE FROM _sqlite_migrations WHERE name = '2_queue';
        """,
}


def downgrade(path: Path, version: int) -> None:
    """Make a file of today one of an earlier version, as its SQLite tables go."""
    with raw(path) as connection:
        for each, undo in _UNDO.items():
            if each > version:
                connection.executescript(undo)
        connection.execute(f"PRAGMA user_version = {version}")
