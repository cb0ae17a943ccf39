"""The connections of one handle: lent to threads, one transaction at a time.

Nothing above this module sees an exception of `sqlite3`, and nothing in the tables knows of threads or forks.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
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
# Idle connections that the pool keeps; each has descriptors and a cache. More calls at once open more for a moment.
_MOST_IDLE: Final = 8


class _Loan:
    """A connection lent to one call.

    Attributes:
        frame: The call's frame. While it is on the stack of its thread, the call is running; a loan whose call is not
            was left by an interrupt at a bad moment.
        is_nested: The call runs inside another one on the same thread: a signal handler or a finalizer made it.
    """

    def __init__(self, *, writes: bool) -> None:
        self.thread = threading.get_ident()
        self.frame = _find_caller()
        self.writes = writes
        self.is_nested = False
        self.connection: Connection | None = None


class Connections:
    """The connections of one SampleDB: as many as calls use it at once, or one for a database in memory.

    A call takes a connection for one transaction and returns it, so a thread that ends leaves none behind. No
    connection crosses a fork, and no call gets the connection of another that it interrupts.
    """

    def __init__(self, path: str, *, readonly: bool, timeout: float) -> None:
        self.path = path
        self.readonly = readonly
        self.timeout = timeout
        self.closed = False
        self._loans: list[_Loan] = []
        self._suspects: set[Connection] = set()
        # More than the idle ones were open; see _close_surplus.
        self._had_surplus = False
        # The thread that is forking now.
        self._forking: int | None = None
        self._is_lost = False
        self._changed = threading.Condition()
        with self._translating():
            opened = file.open_file(path, readonly=readonly, timeout=timeout)
        self.identity = opened.identity
        self._immutable = opened.is_immutable
        self._idle: list[Connection] = [opened.connection]
        self._journal = Journal(path if self.identity is None else self.identity.path, timeout)
        forks.watch(self)

    # Transactions

    @contextmanager
    def reading(self, *, writes: bool = False) -> Iterator[Connection]:
        """Yield a connection for one SELECT; `writes` tells that the caller will do more."""
        loan = _Loan(writes=writes)
        with self._translating():
            try:
                yield self._take(loan)
            except BaseException as error:
                _abandon_cursors(error)
                self._suspect(loan, error)
                raise
            finally:
                self._give_back(loan)

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Yield a connection for several SELECTs of one state. Be brief: it holds back checkpoints."""
        with self.reading() as connection, sqlite.transaction(connection, "BEGIN", "ROLLBACK"):
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield a connection in a write transaction: committed at the end, rolled back on any exception."""
        with self.maintaining() as connection:
            with sqlite.transaction(connection, "BEGIN IMMEDIATE", "COMMIT"):
                self._journal.require_safe(connection)
                yield connection
            # A change in a file that has lost its name meanwhile must not be acknowledged.
            self._require_file(writable=True)

    @contextmanager
    def maintaining(self) -> Iterator[Connection]:
        """Yield a connection that may write, outside any transaction: for VACUUM."""
        self.require_writable()
        with self.reading(writes=True) as connection:
            self._require_file(writable=True)
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

    def _require_file(self, *, writable: bool = False) -> None:
        if self.identity is not None:
            self.identity.require(writable=writable)

    def _take(self, loan: _Loan) -> Connection:
        # Only a database in memory has a single connection to wait for; other files wait only for a fork.
        patience = self.timeout if self.path == MEMORY else None
        with self._changed:
            self._refuse_deadlock(loan, self._find_outer_calls())
            if not self._changed.wait_for(self._is_free, timeout=patience):
                raise BusyError.of(self.path, "another thread is using it", self.timeout)
            self._require_open()
            loan.connection = self._idle.pop() if self._idle and not loan.is_nested else None
            self._loans.append(loan)
        if loan.connection is not None and loan.connection in self._suspects:
            # Before another is opened, which would share its memory beside a WAL, even if that is read-only.
            suspect, loan.connection = loan.connection, None
            self._suspects.discard(suspect)
            suspect.close()
        if loan.connection is None:
            loan.connection = self._connect(loan)
        _roll_back(loan.connection)
        return loan.connection

    def _find_outer_calls(self) -> list[_Loan]:
        """Return the loans of calls that this call interrupts; end those that an interrupt left."""
        mine = [each for each in self._loans if each.thread == threading.get_ident()]
        running = [each for each in mine if _is_running(each.frame)]
        for left in mine:
            if left not in running:
                self._loans.remove(left)
                if left.connection is not None:
                    _roll_back(left.connection)
                    self._idle.append(left.connection)
        return running

    def _refuse_deadlock(self, loan: _Loan, outer: list[_Loan]) -> None:
        """Raise BusyError if a call would wait for the call that it interrupts, which cannot go on until it ends."""
        loan.is_nested = bool(outer)
        is_blocked = self.path == MEMORY or (loan.writes and any(each.writes for each in outer))
        if (outer and is_blocked) or self._forking == loan.thread:
            why = "a signal handler or a finalizer called it inside another call, which must end first"
            raise BusyError.of(self.path, why, self.timeout)

    def _connect(self, loan: _Loan) -> Connection:
        self._require_file()
        return file.connect(
            self.path if self.identity is None else self.identity.path,
            readonly=self.readonly,
            # A nested call must not wait for a lock of the outer one.
            timeout=0.0 if loan.is_nested else self.timeout,
            immutable=self._immutable,
        )

    def _is_free(self) -> bool:
        return self._forking is None and (self.path != MEMORY or not self._loans)

    def _suspect(self, loan: _Loan, error: BaseException) -> None:
        """Replace the loan's connection before its next use if it may be the reason for `error`, not the file.

        SQLite opens a file read-only if it merely has no descriptor left, and a failed rollback stays with its
        connection, while the file may have recovered.
        """
        if loan.connection is not None and self.path != MEMORY and sqlite.is_failure(error):
            self._suspects.add(loan.connection)

    def _give_back(self, loan: _Loan) -> None:
        """Return a connection to the pool, or close it if the pool has no use for it."""
        connection = loan.connection
        if connection is not None:
            _roll_back(connection)
        # An idle reader would keep the last writer from leaving one file, and cannot do that itself.
        keep = not loan.is_nested and not (self.readonly and self._journal.has_wal())
        with self._changed:
            if loan in self._loans:
                self._loans.remove(loan)
            loan.connection = None
            if connection is not None and keep and not self.closed and len(self._idle) < _MOST_IDLE:
                self._idle.append(connection)
                connection = None
            self._changed.notify_all()
        if connection is not None:
            self._suspects.discard(connection)
            if self.closed and not loan.is_nested:
                self._close_last(connection)
            else:
                connection.close()
                self._had_surplus |= not loan.is_nested
        if self._had_surplus and not self._loans:
            self._close_surplus()

    def _close_surplus(self) -> None:
        """Close the idle connections too, when no call is running after more connections were open than are kept.

        SQLite keeps the descriptor of a closed connection for as long as another one of the process has a lock, and in
        WAL mode each has one until it is closed.
        """
        with self._changed:
            idle, self._idle = self._idle, []
            self._had_surplus = False
        for connection in idle:
            connection.close()

    def _close_all(self, idle: list[Connection]) -> None:
        for connection in idle[1:]:
            connection.close()
        for connection in idle[:1]:
            self._close_last(connection)

    def _close_last(self, connection: Connection) -> None:
        with self._translating():
            try:
                if not self.readonly:
                    self._leave_one_file(connection)
            finally:
                connection.close()

    def _leave_one_file(self, connection: Connection) -> None:
        """Tidy up as far as possible: everything is on disk already, and the file may be full, moved or read-only."""
        with suppress(SampleDBError), self._translating():
            self._require_file()
            self._journal.leave_one_file(connection)

    # Forks

    def before_fork(self) -> None:
        """Close all connections when no thread uses one, and lend none until the fork is done."""
        self._changed.acquire()
        try:
            self._forking = threading.get_ident()
            # A signal handler may fork inside a call of this thread; the child then loses the handle.
            own = self._find_outer_calls()
            self._changed.wait_for(lambda: len(self._loans) <= len(own), timeout=_FORK_PATIENCE)
            if self.path != MEMORY:
                # As in close(): neither process may use this handle again, and one file is to be left.
                with suppress(SampleDBError):
                    self._close_all(self._idle)
                self._idle = []
                self._suspects.clear()
                self._journal.forget()
        except BaseException:
            self._forking = None
            self._changed.release()
            raise

    def after_fork(self, *, in_child: bool) -> None:
        """Lend connections again; the child has only the thread that forked."""
        self._forking = None
        if in_child:
            self._changed = threading.Condition()
            if self._loans:
                self.lose()
        else:
            self._changed.notify_all()
            self._changed.release()

    def lose(self) -> None:
        """Give up all connections, in a child whose fork was not prepared. SQLite is wrong about their locks."""
        self._changed = threading.Condition()
        self._is_lost = True
        forks.abandon(*self._idle, *(each.connection for each in self._loans))
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
            if sqlite.result_code(error) == sqlite.INTERRUPT:
                raise KeyboardInterrupt from error
            raise sqlite.translate(error, self.path, self.timeout) from error
        except _MISREAD as error:
            raise CorruptFileError.of(f"a value cannot be read, {error!r}", "the tables", self.path) from error


def _find_caller() -> FrameType:
    """Return the frame of the function whose `with` statement takes a connection, which must not be a generator's."""
    frame = sys._getframe()  # noqa: SLF001 - documented, and the only way
    while frame.f_code.co_filename in _OWN_FILES and frame.f_back:
        frame = frame.f_back
    return frame


def _is_running(frame: FrameType) -> bool:
    """Return whether a frame is on the stack of this thread."""
    running: FrameType | None = sys._getframe()  # noqa: SLF001 - as above
    while running is not None and running is not frame:
        running = running.f_back
    return running is not None


_OWN_FILES: Final = {_find_caller.__code__.co_filename, contextmanager.__code__.co_filename}


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
