"""The connections of one handle: lent to threads, one transaction at a time.

Nothing above this module sees an exception of `sqlite3`, and nothing in the tables knows of threads or forks.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from sampledb.errors import BusyError, ClosedError, CorruptFileError, ReadOnlyError, SampleDBError
from sampledb.limits import MEMORY
from sampledb.store import file, forks, sqlite
from sampledb.store.journal import Journal
from sampledb.store.sqlite import Connection, sqlite3

# Seconds that a fork waits for calls in other threads; if one takes longer, the child loses this handle.
_FORK_PATIENCE: Final = 60.0
# Raised by code of this package when a file holds values that no call writes. Arguments are checked before a
# connection is taken, so they cannot be the reason.
_MISREAD: Final = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class Connections:
    """The connections of one SampleDB: as many as threads use it at once, or one for a database in memory.

    A thread takes a connection for one transaction and returns it, so a thread that ends leaves none behind. No
    connection crosses a fork.
    """

    def __init__(self, path: str, *, readonly: bool, timeout: float) -> None:
        self.path = path
        self.readonly = readonly
        self.timeout = timeout
        self.closed = False
        self._journal = Journal(path, timeout)
        # By thread, which has one at most. After an interrupt at a bad moment, the thread's next call finds it here.
        self._lent: dict[int, Connection | None] = {}
        self._suspects: set[Connection] = set()
        self._is_forking = False
        self._is_lost = False
        self._changed = threading.Condition()
        with self._translating():
            first, self._immutable = file.open_file(path, readonly=readonly, timeout=timeout)
        self._idle: list[Connection] = [first]
        forks.watch(self)

    # Transactions

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection for one SELECT."""
        with self._translating():
            try:
                yield self._take()
            except BaseException as error:
                _abandon_cursors(error)
                self._suspect(error)
                raise
            finally:
                self._give_back()

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Yield a connection for several SELECTs of one state. Be brief: it holds back checkpoints."""
        with self.reading() as connection, sqlite.transaction(connection, "BEGIN", "ROLLBACK"):
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield a connection in a write transaction: committed at the end, rolled back on any exception."""
        with self.maintaining() as connection, sqlite.transaction(connection, "BEGIN IMMEDIATE", "COMMIT"):
            self._journal.require_safe(connection)
            yield connection

    @contextmanager
    def maintaining(self) -> Iterator[Connection]:
        """Yield a connection that may write, outside any transaction: for VACUUM."""
        self.require_writable()
        with self.reading() as connection:
            self._journal.prepare(connection)
            yield connection

    def require_writable(self) -> None:
        """Raise ClosedError or ReadOnlyError now if a write would raise it later."""
        self._require_open()
        if self.readonly:
            raise ReadOnlyError.of(self.path)

    def close(self) -> None:
        """Close all connections; those that other threads use, when these return them."""
        with self._changed:
            self.closed = True
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        self._close_all(idle)

    # The pool

    def _require_open(self) -> None:
        if self.closed:
            raise ClosedError("This SampleDB is closed.", {"path": self.path})
        if self._is_lost:
            why = "another thread was using it when the process forked; open it in a process that was not forked"
            raise ClosedError(f"This SampleDB cannot be used: {why}.", {"path": self.path})

    def _take(self) -> Connection:
        thread = threading.get_ident()
        # Only a database in memory has a single connection to wait for; other files wait only for a fork.
        patience = self.timeout if self.path == MEMORY else None
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_free(thread), timeout=patience):
                raise BusyError.of(self.path, "another thread is using it", self.timeout)
            self._require_open()
            connection = self._lent.get(thread) or (self._idle.pop() if self._idle else None)
            self._lent[thread] = connection
        if connection is not None and connection in self._suspects:
            # Before another is opened, which would share its memory beside a WAL, even if that is read-only.
            self._lent[thread] = None
            self._suspects.discard(connection)
            connection.close()
            connection = None
        if connection is None:
            connection = self._lent[thread] = file.connect(
                self.path, readonly=self.readonly, timeout=self.timeout, immutable=self._immutable
            )
        _roll_back(connection)
        return connection

    def _is_free(self, thread: int) -> bool:
        return not self._is_forking and (self.path != MEMORY or not self._lent or thread in self._lent)

    def _suspect(self, error: BaseException) -> None:
        """Replace this thread's connection before its next use, if it may be the reason for `error`.

        SQLite opens a file read-only if it merely has no descriptor left, and a failed rollback stays with its
        connection, while the file may have recovered.
        """
        connection = self._lent.get(threading.get_ident())
        if connection is not None and self.path != MEMORY and sqlite.is_failure(error):
            self._suspects.add(connection)

    def _give_back(self) -> None:
        """Return this thread's connection to the pool, or close it."""
        thread = threading.get_ident()
        connection = self._lent.get(thread)
        if connection is not None:
            _roll_back(connection)
        # An idle reader would keep the last writer from leaving one file, and cannot do that itself.
        keep = not (self.readonly and self._journal.has_wal())
        with self._changed:
            self._lent.pop(thread, None)
            if connection is not None and keep and not self.closed:
                self._idle.append(connection)
                connection = None
            self._changed.notify_all()
        if connection is not None:
            self._close_last(connection)

    def _close_all(self, idle: list[Connection]) -> None:
        for connection in idle[1:]:
            connection.close()
        for connection in idle[:1]:
            self._close_last(connection)

    def _close_last(self, connection: Connection) -> None:
        with self._translating():
            try:
                if not self.readonly:
                    self._journal.leave_one_file(connection)
            finally:
                connection.close()

    # Forks

    def before_fork(self) -> None:
        """Close all connections when no thread uses one, and lend none until the fork is done."""
        self._changed.acquire()
        try:
            self._is_forking = True
            # An interrupt left this thread's entry behind: the thread forks now, so it is in no call.
            left = self._lent.pop(threading.get_ident(), None)
            self._idle += [left] if left else []
            self._changed.wait_for(lambda: not self._lent, timeout=_FORK_PATIENCE)
            if self.path != MEMORY:
                # As in close(): neither process may use this handle again, and one file is to be left.
                with suppress(SampleDBError):
                    self._close_all(self._idle)
                self._idle = []
                self._suspects.clear()
                self._journal.forget()
        except BaseException:
            self._is_forking = False
            self._changed.release()
            raise

    def after_fork(self, *, in_child: bool) -> None:
        """Lend connections again; the child has only the thread that forked."""
        self._is_forking = False
        if in_child:
            self._changed = threading.Condition()
            if self._lent:
                self.lose()
        else:
            self._changed.notify_all()
            self._changed.release()

    def lose(self) -> None:
        """Give up all connections, in a child whose fork was not prepared. SQLite is wrong about their locks."""
        self._changed = threading.Condition()
        self._is_lost = True
        forks.abandon(*self._idle, *self._lent.values())
        self._idle = []

    # Errors

    @contextmanager
    def _translating(self) -> Iterator[None]:
        """Translate SQLite's errors, and those of values that cannot be read. The new ones name the file."""
        try:
            yield
        except CorruptFileError as error:
            error.details.setdefault("path", self.path)
            raise
        except SampleDBError:
            raise
        except sqlite.ERRORS as error:
            raise sqlite.translate(error, self.path, self.timeout) from error
        except _MISREAD as error:
            raise CorruptFileError.of(f"a value cannot be read, {error!r}", "the tables", self.path) from error


def _roll_back(connection: Connection) -> None:
    """Roll back a transaction whose call has failed already; the next user must not inherit it."""
    if connection.in_transaction:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


def _abandon_cursors(error: BaseException | None) -> None:
    """Release the cursors of the calls that an exception ended.

    A SELECT that has not reached its end holds its lock, even after its connection is closed, and its cursor lives as
    long as somebody keeps the exception.
    """
    import traceback  # noqa: PLC0415 - only errors need it

    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__
