"""Read-only SQL from users: it reads this file and does nothing else."""

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, Final

from sampledb.errors import InvalidInputError
from sampledb.store import sqlite
from sampledb.store.sqlite import Connection, sqlite3

# Authorizer actions.
_PRAGMA: Final = 19
_READ, _SELECT, _FUNCTION, _RECURSIVE = 20, 21, 31, 33
# These only read when they have no argument.
_READING_PRAGMAS: Final = {
    *("application_id", "compile_options", "data_version", "encoding", "freelist_count", "journal_mode"),
    *("page_count", "page_size", "schema_version", "synchronous", "user_version"),
}
# The argument of these names a table or an index.
_DESCRIBING_PRAGMAS: Final = {
    *("foreign_key_list", "index_info", "index_list", "index_xinfo", "table_info", "table_list", "table_xinfo"),
}
# Virtual machine instructions between two checks for Ctrl-C: a few milliseconds.
_INSTRUCTIONS: Final = 200_000


def run_query(
    connection: Connection, sql: str, parameters: Sequence[Any] | Mapping[str, Any]
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Run one SELECT from a user, and return the names of its columns and its rows.

    Raises:
        InvalidInputError: The SQL is wrong, or would do more than read.
        KeyboardInterrupt: Ctrl-C was pressed meanwhile.
    """
    connection.set_authorizer(_authorize)
    # A view in a hostile file may never end, and Ctrl-C raises only where Python code runs; SQLite then stops.
    connection.set_progress_handler(_continue, _INSTRUCTIONS)
    try:
        cursor = connection.execute(sql, parameters)
        return _name_columns(cursor), cursor.fetchall()
    except (sqlite3.Error, sqlite3.Warning, ValueError, TypeError, OverflowError) as error:
        if sqlite.result_code(error) == sqlite.INTERRUPT:
            raise KeyboardInterrupt from error
        if sqlite.is_operational(error):
            raise
        raise InvalidInputError(
            f"sql must be one read-only statement: {error}.",
            {"field": "sql", "rule": "one read-only statement with its parameters", "value": str(error)[:200]},
        ) from error
    finally:
        connection.set_progress_handler(None, 0)
        connection.set_authorizer(None)


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    """Allow only reads of this file. SQLite calls it for each action of a statement."""
    if action == _PRAGMA:
        allowed = first in _DESCRIBING_PRAGMAS or (first in _READING_PRAGMAS and second is None)
    else:
        # The second argument of FUNCTION is the function's name.
        allowed = action in {_READ, _SELECT, _FUNCTION, _RECURSIVE} and second != "load_extension"
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _continue() -> int:
    """Tell SQLite to continue; Python raises KeyboardInterrupt on the way here."""
    return 0


def _name_columns(cursor: sqlite3.Cursor) -> list[str]:
    """Return different names for the columns, as SQLite does for a view or a table made from a SELECT."""
    columns: dict[str, None] = {}
    for column, *_ in cursor.description or ():
        others = (f"{column}:{number}" for number in count(1))
        columns[column if column not in columns else next(each for each in others if each not in columns)] = None
    return list(columns)
