"""The connections of one handle: lent to threads, one transaction at a time.

Nothing above this module sees an exception of `sqlite3`, and nothing in the tables knows of threads or forks.
"""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Final, Protocol

from sampledb.errors import BusyError, ClosedError, CorruptFileError, ReadOnlyError, SampleDBError
from sampledb.limits import MEMORY
from sampledb.store import file, forks, sqlite
from sampledb.store.journal import Journal
from sampledb.store.loan import Loan
from sampledb.store.sqlite import Connection, sqlite3

# Raised by code of this package when a file holds values that no call writes. Arguments are checked before a
# connection is taken, so they cannot be the reason.
_MISREAD: Final = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
# Idle connections that the pool keeps; each has descriptors and a cache. More calls at once open more for a moment.
_MOST_IDLE: Final = 8


class Lender(Protocol):
    """Whoever lends connections to read: those of a handle, or one of somebody else's."""

    def reading(self) -> AbstractContextManager[Connection]:
        """Return a `with` block that has a connection for one SELECT."""

    def snapshot(self) -> AbstractContextManager[Connection]:
        """Return a block for several SELECTs of one state."""


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
        self._loans: list[Loan] = []
        self._suspects: set[Connection | None] = set()
        # More than the idle ones were open; see _close_surplus.
        self._had_surplus = False
        # The thread that is forking now; twice if a signal handler forks inside a fork.
        self._forking: list[threading.Thread] = []
        self._is_lost = False
        self._renew_lock()
        with self._translating(), forks.delay():
            opened = file.open_file(path, readonly=readonly, timeout=timeout)
        self.identity = opened.identity
        self._immutable = opened.is_immutable
        self._idle: list[Connection] = [opened.connection]
        self._journal = Journal(path if self.identity is None else self.identity.path, timeout)
        forks.watch(self)

    # Transactions

    def reading(self) -> Loan:
        """Return a `with` block that has a connection for one SELECT."""
        return Loan(self)

    def snapshot(self) -> AbstractContextManager[Connection]:
        """Return a block for several SELECTs of one state. Be brief: it holds back checkpoints."""
        return Loan(self, "BEGIN", "ROLLBACK")

    def writing(self) -> AbstractContextManager[Connection]:
        """Return a block that is a write transaction: committed at the end, rolled back on any exception."""
        self.require_writable()
        return Loan(self, "BEGIN IMMEDIATE", "COMMIT", writes=True)

    def maintaining(self) -> AbstractContextManager[Connection]:
        """Return a block that may write, outside any transaction: for VACUUM."""
        self.require_writable()
        return Loan(self, writes=True)

    def require_writable(self) -> None:
        """Raise ClosedError or ReadOnlyError now if a write would raise it later."""
        self._require_open()
        if self.readonly:
            raise ReadOnlyError.of(self.path)

    def close(self) -> None:
        """Close all connections; those that other calls use, when these return them."""
        with self._lock:
            self._find_outer_calls()
            self.closed = True
            lent = [each.connection for each in self._loans]
            idle, self._idle = [each for each in self._idle if each not in lent], []
            is_last = not self._loans
            self._changed.notify_all()
        self._close_all(idle, is_last=is_last)

    # The pool, for loans

    def is_nested(self, *, writes: bool) -> bool:
        """Return whether a call would run inside another one of this thread.

        Raises:
            BusyError: It would wait for that call, which cannot go on until this one ends.
        """
        if not self._loans and not self._forking:
            return False
        with self._lock:
            outer = self._find_outer_calls()
            is_blocked = outer and (self.path == MEMORY or (writes and any(each.writes for each in outer)))
            is_blocked = is_blocked or threading.current_thread() in self._forking
        if is_blocked:
            why = "a signal handler or a finalizer called it inside another call, which must end first"
            raise BusyError.of(self.path, why, self.timeout)
        return bool(outer)

    def lend(self, loan: Loan) -> Connection:
        """Give a loan a connection, and begin its transaction."""
        # Only a database in memory has a single connection to wait for; other files wait only for a fork.
        patience = self.timeout if self.path == MEMORY else None
        with self._lock:
            if not self._changed.wait_for(self._is_free, timeout=patience):
                raise BusyError.of(self.path, "another thread is using it", self.timeout)
            self._require_open()
            # In this order: a call that interrupts this one leaves the connections alone as soon as it sees the loan.
            self._loans.append(loan)
            if self._idle and not loan.is_nested:
                loan.connection = self._idle[-1]
                self._idle.remove(loan.connection)
        if loan.connection is not None and loan.connection in self._suspects:
            # Before another is opened, which would share its memory beside a WAL, even if that is read-only.
            suspect, loan.connection = loan.connection, None
            self._suspects.discard(suspect)
            suspect.close()
        if loan.connection is None:
            loan.connection = self._connect(loan)
        if loan.writes:
            self._require_file(writable=True)
            self._journal.prepare(loan.connection)
        if loan.begin:
            loan.connection.execute(loan.begin)
        if loan.begin and loan.writes:
            self._journal.require_safe(loan.connection)
        return loan.connection

    def finish(self, loan: Loan) -> None:
        """End the transaction of a loan that has met no error."""
        if not loan.end:
            return
        if loan.connection is None:  # in the child of a fork inside the call
            raise self._find_refusal()
        loan.connection.execute(loan.end)
        if loan.writes:
            # A change in a file that has lost its name meanwhile must not be acknowledged.
            self._require_file(writable=True)

    def take_back(self, loan: Loan, error: BaseException | None = None) -> None:
        """End a loan: its connection returns to the pool, or is closed if the pool has no use for it.

        It is replaced before its next use if it may be the reason for `error`, and not the file: SQLite opens a file
        read-only if it merely has no descriptor left, and a failed rollback stays with its connection.
        """
        connection = loan.connection
        if connection is not None:
            is_whole = _roll_back(connection)
            if self.path != MEMORY and (not is_whole or (error is not None and sqlite.is_failure(error))):
                self._suspects.add(connection)
            if error is not None and sqlite.result_code(error) == sqlite.INTERRUPT:
                sqlite.watch_for_interrupts(connection)
        # An idle reader would keep the last writer from leaving one file, and cannot do that itself.
        keep = not loan.is_nested and not (self.readonly and self._journal.has_wal())
        with self._lock:
            surplus = self._end(loan, keep=keep)
            is_last = self.closed and not self._loans
            self._changed.notify_all()
        if surplus is not None:
            self._suspects.discard(surplus)
            self._close_all([surplus], is_last=is_last)
            self._had_surplus |= not loan.is_nested
        if self._had_surplus and not self._loans:
            self._close_surplus()

    def translate(self, error: BaseException) -> BaseException:
        """Return this package's error for one of SQLite's, or of a value that cannot be read; others as they are."""
        if isinstance(error, CorruptFileError):
            error.details.setdefault("path", self.path)
        if isinstance(error, SampleDBError):
            return error
        if isinstance(error, sqlite.ERRORS):
            if sqlite.result_code(error) == sqlite.INTERRUPT:
                return sqlite.find_interrupt()
            return self._find_refusal() if self._is_lost else sqlite.translate(error, self.path, self.timeout)
        if isinstance(error, _MISREAD):
            return CorruptFileError.of(f"a value cannot be read, {error!r}", "the tables", self.path)
        return error

    def _end(self, loan: Loan, *, keep: bool) -> Connection | None:
        """Forget a loan, and return its connection if the pool does not keep it."""
        connection = loan.connection
        if connection is not None and keep and not self.closed and len(self._idle) < _MOST_IDLE:
            # An interrupt may end this half-way, and it is done again then.
            self._idle += [connection] if connection not in self._idle else []
            connection = None
        if loan in self._loans:
            self._loans.remove(loan)
        loan.connection = None
        return connection

    def _find_outer_calls(self) -> list[Loan]:
        """Return the loans of calls that this one interrupts; end those that an interrupt left."""
        for loan in [each for each in self._loans if each.is_left()]:
            if loan.connection is not None:
                _roll_back(loan.connection)
                # Its cursors may live on, with the exception that has them.
                self._suspects |= {loan.connection} if self.path != MEMORY else set()
            self._suspects.discard(self._end(loan, keep=True))
        return [each for each in self._loans if each.thread is threading.current_thread()]

    def _require_open(self) -> None:
        if self.closed or self._is_lost:
            raise self._find_refusal()

    def _find_refusal(self) -> ClosedError:
        if self.closed:
            return ClosedError("This SampleDB is closed.", {"path": self.path})
        why = "a call was using it when the process forked; open it in a process that was not forked"
        return ClosedError(f"This SampleDB cannot be used: {why}.", {"path": self.path})

    def _require_file(self, *, writable: bool = False) -> None:
        if self.identity is not None:
            self.identity.require(writable=writable)

    def _connect(self, loan: Loan) -> Connection:
        self._require_file()
        return file.connect(
            self.path if self.identity is None else self.identity.path,
            readonly=self.readonly,
            # A nested call must not wait for a lock of the outer one.
            timeout=0.0 if loan.is_nested else self.timeout,
            immutable=self._immutable,
        )

    def _is_free(self) -> bool:
        return not self._forking and (self.path != MEMORY or not self._loans)

    def _close_surplus(self) -> None:
        """Close the idle connections too, when no call is running after more connections were open than are kept.

        SQLite keeps the descriptor of a closed connection for as long as another one of the process has a lock, and in
        WAL mode each has one until it is closed.
        """
        with self._lock:
            idle, self._idle = self._idle, []
            self._had_surplus = False
        self._close_all(idle, is_last=False)

    def _close_all(self, connections: list[Connection], *, is_last: bool) -> None:
        """Close connections; the last one of the handle leaves one file."""
        with self._translating(), forks.delay():
            for number, connection in enumerate(connections, 1):
                try:
                    if is_last and number == len(connections) and not self.readonly:
                        self._leave_one_file(connection)
                finally:
                    connection.close()

    def _leave_one_file(self, connection: Connection) -> None:
        """Tidy up as far as possible: everything is on disk already, and the file may be full, moved or read-only."""
        # If the file was only moved, the journals at its old path still belong to it.
        if self.identity is not None and self.identity.is_replaced():
            return
        with suppress(SampleDBError), self._translating():
            self._journal.leave_one_file(connection)

    # Forks

    def before_fork(self) -> None:
        """Close all connections when no thread uses one, and lend none until the fork is done."""
        self._lock.acquire()
        try:
            self._forking.append(threading.current_thread())
            # A signal handler may fork inside a call of this thread; the child then loses the handle.
            own = self._find_outer_calls()
            self._changed.wait_for(lambda: all(each in own for each in self._loans), timeout=forks.PATIENCE)
            if self.path != MEMORY:
                # As in close(): neither process may use this handle again, and one file is to be left.
                idle, self._idle = self._idle, []
                with suppress(SampleDBError):
                    self._close_all(idle, is_last=not self._loans)
                self._suspects.clear()
                self._journal.forget()
        except BaseException:
            self._forking.pop()
            self._lock.release()
            raise

    def after_fork(self, *, in_child: bool) -> None:
        """Lend connections again; the child has only the thread that forked."""
        self._forking.pop()
        if not in_child:
            self._changed.notify_all()
            self._lock.release()
        elif self._loans:
            self.lose()
        else:
            self._renew_lock()

    def lose(self) -> None:
        """Give up all connections, in a child whose fork was not prepared. SQLite is wrong about their locks."""
        self._renew_lock()
        self._is_lost = True
        forks.abandon(*self._idle, *(each.connection for each in self._loans))
        for loan in self._loans:
            # A call that forked may go on in the child. Other threads may hold locks inside SQLite.
            if loan.connection is not None and loan.thread is threading.current_thread():
                loan.connection.set_authorizer(_deny)
            loan.connection = None
        self._loans, self._idle = [], []

    def _renew_lock(self) -> None:
        # Entered by itself: Condition's own __enter__ is a function of Python, and an interrupt at its end would leave
        # the lock taken.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            translated = self.translate(error)
            if translated is error:
                raise
            raise translated from error


def _roll_back(connection: Connection) -> bool:
    """Roll back a transaction whose call has failed already; return whether the connection is in none."""
    try:
        # SQLite has already rolled back if the disk is full or fails.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error:
        return False
    return True


def _deny(*_: object) -> int:
    return sqlite3.SQLITE_DENY
