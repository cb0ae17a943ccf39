"""Read-only SQL from users: it reads this file and does nothing else."""

import threading
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, Final

from sampledb.errors import InvalidInputError
from sampledb.store import sqlite
from sampledb.store.connection import Connections
from sampledb.store.sqlite import Connection, sqlite3

# Authorizer actions.
_PRAGMA: Final = 19
_READ, _SELECT, _UPDATE, _FUNCTION, _RECURSIVE = 20, 21, 23, 31, 33
# These only read when they have no argument.
_READING_PRAGMAS: Final = {
    *("application_id", "compile_options", "data_version", "encoding", "freelist_count", "journal_mode"),
    *("page_count", "page_size", "schema_version", "synchronous", "user_version"),
}
# The argument of these names a table or an index.
_DESCRIBING_PRAGMAS: Final = {
    *("foreign_key_list", "index_info", "index_list", "index_xinfo", "table_info", "table_list", "table_xinfo"),
}
# Seconds between two looks for Ctrl-C, which ends no wait on Windows.
_POLL: Final = 0.5

_Rows = tuple[list[str], list[tuple[Any, ...]]]


class _Query(threading.Thread):
    """A query in a thread of its own, so that Ctrl-C ends the wait for it."""

    def __init__(self, connections: Connections, sql: str, parameters: Sequence[Any] | Mapping[str, Any]) -> None:
        super().__init__(name="sampledb-query", daemon=True)
        # Made here, because a signal handler may have called this inside another call of this thread.
        self._loan = connections.reading()
        self._sql = sql
        self._parameters = parameters
        self._connection: Connection | None = None
        self._rows: _Rows = [], []
        self._error: BaseException | None = None
        # Not join(): up to Python 3.12, an interrupt has it take the thread for ended.
        self._running = threading.Lock()
        self._running.acquire()

    def run(self) -> None:
        try:
            with self._loan as self._connection:
                self._rows = _run(self._connection, self._sql, self._parameters)
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            self._error = error
        finally:
            self._connection = None
            self._running.release()

    def wait(self) -> _Rows:
        """Return the rows, or raise what the query raised."""
        try:
            self.start()
            while not self._running.acquire(timeout=_POLL):
                pass
        except BaseException:
            # SQLite ends at the next instruction. A step that is one long instruction, such as the LIKE of a large
            # text, goes on without a result.
            if connection := self._connection:
                connection.interrupt()
            raise
        if self._error is not None:
            raise self._error
        return self._rows


def run_query(connections: Connections, sql: str, parameters: Sequence[Any] | Mapping[str, Any]) -> _Rows:
    """Run one SELECT from a user, and return the names of its columns and its rows.

    Raises:
        InvalidInputError: The SQL is wrong, or would do more than read.
        KeyboardInterrupt: Ctrl-C was pressed meanwhile.
    """
    # Ctrl-C reaches the main thread only.
    if threading.current_thread() is threading.main_thread():
        return _Query(connections, sql, parameters).wait()
    with connections.reading() as connection:
        return _run(connection, sql, parameters)


def _run(connection: Connection, sql: str, parameters: Sequence[Any] | Mapping[str, Any]) -> _Rows:
    """Run a query on a connection that lets it only read.

    Raises:
        InvalidInputError: The SQL is wrong, or would do more than read.
        KeyboardInterrupt: Ctrl-C was pressed meanwhile.
    """
    connection.set_authorizer(_authorize)
    try:
        cursor = connection.execute(sql, parameters)
        return _name_columns(cursor), cursor.fetchall()
    except (sqlite3.Error, sqlite3.Warning, ValueError, TypeError, OverflowError) as error:
        if sqlite.result_code(error) == sqlite.INTERRUPT or sqlite.is_operational(error):
            raise
        raise InvalidInputError(
            f"sql must be one read-only statement: {error}.",
            {"field": "sql", "rule": "one read-only statement with its parameters", "value": str(error)[:200]},
        ) from error
    finally:
        connection.set_authorizer(None)


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    """Allow only reads of this file. SQLite calls it for each action of a statement."""
    if action == _PRAGMA:
        allowed = first in _DESCRIBING_PRAGMAS or (first in _READING_PRAGMAS and second is None)
    elif action == _UPDATE:
        # Older versions of SQLite ask this when they declare a virtual table, such as json_each, to themselves. SQL
        # that would change the schema asks for more, and is denied then.
        allowed = first == "sqlite_master"
    else:
        # The second argument of FUNCTION is the function's name.
        allowed = action in {_READ, _SELECT, _FUNCTION, _RECURSIVE} and second != "load_extension"
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _name_columns(cursor: sqlite3.Cursor) -> list[str]:
    """Return different names for the columns, as SQLite does for a view or a table made from a SELECT."""
    columns: dict[str, None] = {}
    for column, *_ in cursor.description or ():
        others = (f"{column}:{number}" for number in count(1))
        columns[column if column not in columns else next(each for each in others if each not in columns)] = None
    return list(columns)
