"""A file as any SQLite sees it, and as a later version of this package would want it."""

import contextlib
import sqlite3 as python_sqlite
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlite_utils

from sampledb.store import schema

NEXT_FORMAT = schema.FORMAT_VERSION + 1


@contextlib.contextmanager
def raw(path: Path) -> Iterator[python_sqlite.Connection]:
    """The file as any SQLite sees it, from a process that has no other connection to it."""
    connection = python_sqlite.connect(path)
    try:
        yield connection
        connection.commit()
    finally:
        connection.close()


def register_next_format(monkeypatch: pytest.MonkeyPatch, step: Callable[[sqlite_utils.Database], None]) -> None:
    """Make this package one of the next format, which `step` makes of a file of this one."""
    with contextlib.closing(python_sqlite.connect(":memory:", isolation_level=None)) as connection:
        schema.create(connection)
        step(sqlite_utils.Database(connection, execute_plugins=False))
        # Not the tables that FTS5 makes for itself, nor SQLite's own.
        after = connection.execute("SELECT sql FROM sqlite_schema WHERE name NOT LIKE '%@_search@_%' ESCAPE '@'")
        statements = tuple(sql for (sql,) in after if sql and "sqlite_" not in sql)
    former = tuple(statement for statement in schema.STATEMENTS if statement not in statements)
    monkeypatch.setattr(schema, "FORMAT_VERSION", NEXT_FORMAT)
    monkeypatch.setattr(schema, "UPGRADES", {NEXT_FORMAT: step})
    monkeypatch.setattr(schema, "STATEMENTS", statements)
    monkeypatch.setattr(schema, "FORMER_STATEMENTS", former)
