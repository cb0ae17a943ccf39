"""Read-only SQL from users: it reads this file and does nothing else."""

import _thread
import threading
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, Final

from sampledb.errors import InvalidInputError
from sampledb.store import sqlite
from sampledb.store.connection import Connections
from sampledb.store.loan import Loan
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


class _Query:
    """A query in a thread of its own, so that Ctrl-C ends the wait for it.

    It is no `threading.Thread`, whose start() and join() have steps in which an interrupt breaks them. The caller lends
    the connection, because it may be a signal handler, in a thread that has the lock of the pool. The thread has the
    loan while it runs, and ends it if the caller has stopped waiting.
    """

    def __init__(self, loan: Loan, sql: str, parameters: Sequence[Any] | Mapping[str, Any]) -> None:
        self._loan = loan
        self._sql = sql
        self._parameters = parameters
        self._rows: _Rows = [], []
        self._error: BaseException | None = None
        self._is_done = False
        self._is_abandoned = False
        self._state = threading.Lock()
        self._running = threading.Lock()
        self._running.acquire()

    @property
    def ident(self) -> None:
        """Tell no number of the thread: it is this object that has the loan."""

    def is_alive(self) -> bool:
        """Return whether the thread has the loan."""
        return not self._is_done

    def _run(self) -> None:
        with self._state:
            connection = self._loan.connection
            if self._is_abandoned or connection is None:
                return
            self._loan.thread = self
        try:
            self._rows = _run(connection, self._sql, self._parameters)
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            self._error = error
        with self._state:
            self._is_done = True
        self._running.release()
        if self._is_abandoned:
            self._loan.abort(self._error)

    def wait(self, connection: Connection) -> _Rows:
        """Return the rows, or raise what the query raised."""
        try:
            _thread.start_new_thread(self._run, ())
            while not self._running.acquire(timeout=_POLL):
                pass
        except BaseException:
            # SQLite ends at the next instruction. A step that is one long instruction, such as the LIKE of a large
            # text, goes on without a result.
            connection.interrupt()
            raise
        finally:
            with self._state:
                self._is_abandoned = not self._is_done
                if self._is_done or self._loan.thread is not self:
                    self._loan.thread = threading.current_thread()
        if self._error is not None:
            raise self._error
        return self._rows


def run_query(connections: Connections, sql: str, parameters: Sequence[Any] | Mapping[str, Any]) -> _Rows:
    """Run one SELECT from a user, and return the names of its columns and its rows.

    Raises:
        InvalidInputError: The SQL is wrong, or would do more than read.
        KeyboardInterrupt: Ctrl-C was pressed meanwhile.
    """
    loan = connections.reading()
    with loan as connection:
        # Ctrl-C reaches the main thread only.
        if threading.current_thread() is threading.main_thread():
            return _Query(loan, sql, parameters).wait(connection)
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
