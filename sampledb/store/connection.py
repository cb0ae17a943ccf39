"""Connections to one file: transactions, threads and forks, journal mode, and the border for SQLite's errors.

Nothing above this module sees an exception of `sqlite3`, and nothing below it knows of threads or forks.

A closed file is always in rollback-journal mode: one file, readable from read-only media and by any SQLite.
The first write of a handle switches it to WAL where the linked SQLite has the fix for the WAL-reset bug, and
closing the last handle switches it back. Keeping it in WAL for good was rejected: every read-only opening
would then leave `-wal` and `-shm` files behind, or fail where they cannot be made.
"""

import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final

from sampledb.errors import BusyError, ClosedError, CorruptFileError, SampleDBError
from sampledb.limits import MEMORY
from sampledb.store import file as opening
from sampledb.store import sqlite
from sampledb.store.sqlite import WAL_IS_SAFE, sqlite3

Connection = sqlite3.Connection


class Connections:
    """The connections of one SampleDB: as many as threads use it at once, one for a database in memory.

    Threads take a connection for one transaction and give it back, so that none is left behind by a thread
    that ended. No connection crosses a fork: SQLite's belief about its locks would be wrong in the child.
    """

    def __init__(self, path: str, *, readonly: bool, timeout: float) -> None:
        self.path = path
        self.readonly = readonly
        self.timeout = timeout
        self.closed = False
        self._immutable = False
        self._journal_is_set = path == MEMORY
        self._idle: list[Connection] = []
        # By thread, which has one at most: what an interrupt at the wrong moment left here, its next call finds.
        self._lent: dict[int, Connection | None] = {}
        self._suspects: set[Connection] = set()
        self._is_forking = False
        self._is_lost = False
        self._changed = threading.Condition()
        with self._border():
            self._idle.append(self._open_first())
        _all.add(self)

    # Transactions

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for one SELECT, which sees the file at one moment."""
        try:
            yield self._take()
        except BaseException as error:
            _abandon_cursors(error)
            if isinstance(error, CorruptFileError):
                error.details.setdefault("path", self.path)
            if isinstance(error, sqlite.ERRORS):
                self._suspect(error)
                raise sqlite.translated(error, self.path, self.timeout) from error
            if isinstance(error, _MISREAD) and not isinstance(error, SampleDBError):
                raise sqlite.damaged_error(self.path, f"a value cannot be read, {error!r}") from error
            raise
        finally:
            self._give_back()

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A connection for several SELECTs that see the file at one moment. Be brief: it holds back checkpoints."""
        with self.reading() as connection:
            connection.execute("BEGIN")
            with opening.ending(connection, "ROLLBACK"):
                yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection inside BEGIN IMMEDIATE: committed at the end, rolled back on any exception."""
        with self.maintaining() as connection:
            connection.execute("BEGIN IMMEDIATE")
            with opening.ending(connection, "COMMIT"):
                self._refuse_unsafe_wal(connection)
                yield connection

    @contextmanager
    def maintaining(self) -> Iterator[Connection]:
        """A connection that may write, outside any transaction: for VACUUM."""
        self.require_writable()
        with self.reading() as connection:
            self._set_journal_mode(connection)
            yield connection

    def require_writable(self) -> None:
        """Raise now what a write would raise later: ClosedError, ReadOnlyError."""
        self._require_open()
        if self.readonly:
            raise sqlite.read_only_error(self.path)

    @contextmanager
    def querying(self) -> Iterator[Connection]:
        """A connection for SQL of the user's, which can read this file and do nothing else."""
        with self.reading() as connection:
            connection.set_authorizer(sqlite.authorize_reading)
            # A view of a stranger's may have no end. Only where Python runs does Ctrl-C raise; SQLite then stops.
            connection.set_progress_handler(_go_on, _OPCODES)
            try:
                yield connection
            except (sqlite3.Error, sqlite3.Warning, ValueError, TypeError, OverflowError) as error:
                if sqlite.code(error) == sqlite.INTERRUPT:
                    raise KeyboardInterrupt from error
                if sqlite.is_operational(error):
                    raise
                raise sqlite.bad_sql_error(error) from error
            finally:
                connection.set_progress_handler(None, 0)
                connection.set_authorizer(None)

    def close(self) -> None:
        """Close all connections; those that other threads are using, as soon as they give them back."""
        with self._changed:
            self.closed = True
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        self._close_all(idle)

    def _close_all(self, idle: list[Connection]) -> None:
        for connection in idle[1:]:
            connection.close()
        for connection in idle[:1]:
            self._close_last(connection)

    # The pool

    def _require_open(self) -> None:
        if self.closed:
            raise ClosedError("This SampleDB is closed.", {"path": self.path})
        if self._is_lost:
            why = "another thread was using it when the process forked; open it in a process that was not forked"
            raise ClosedError(f"This SampleDB cannot be used: {why}.", {"path": self.path})

    def _take(self) -> Connection:
        thread = threading.get_ident()
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_free(thread), timeout=self._patience):
                raise self._busy("another thread is using it")
            self._require_open()
            connection = self._lent.get(thread) or (self._idle.pop() if self._idle else None)
            self._lent[thread] = connection
        if connection is not None and connection in self._suspects:
            # Before another is opened, which would share with it the memory beside a WAL, read-only as it may be.
            self._lent[thread] = None
            self._suspects.discard(connection)
            connection.close()
            connection = None
        if connection is None:
            connection = self._lent[thread] = self._connect()
        _roll_back(connection)
        return connection

    def _suspect(self, error: BaseException) -> None:
        """Have the next call that gets this thread's connection open another: the failure may be the connection's.

        SQLite opens a file read-only when it just has no descriptor left, and a rollback that failed stays with
        its connection; the file may have recovered.
        """
        connection = self._lent.get(threading.get_ident())
        if connection is not None and self.path != MEMORY and sqlite.is_failure(error):
            self._suspects.add(connection)

    @property
    def _patience(self) -> float | None:
        """Seconds to wait for a connection: there is one only in memory, elsewhere just a fork keeps them back."""
        return self.timeout if self.path == MEMORY else None

    def _is_free(self, thread: int) -> bool:
        return not self._is_forking and (self.path != MEMORY or not self._lent or thread in self._lent)

    def _give_back(self) -> None:
        """Put the connection of this thread back, or close it where nobody needs it any more."""
        thread = threading.get_ident()
        connection = self._lent.get(thread)
        if connection is not None:
            _roll_back(connection)
        # An idle reader would keep the last writer from tidying up, and cannot do it itself.
        keep = not (self.readonly and self._has_wal())
        with self._changed:
            self._lent.pop(thread, None)
            if connection is not None and keep and not self.closed:
                self._idle.append(connection)
                connection = None
            self._changed.notify_all()
        if connection is not None:
            self._close_last(connection)

    # Forks

    def before_fork(self) -> None:
        """Wait until no other thread uses a connection, and close all; nobody gets one before the fork is done."""
        self._changed.acquire()
        try:
            self._is_forking = True
            # What this thread has lent was left behind by an interrupt: it is not in a call now.
            left = self._lent.pop(threading.get_ident(), None)
            self._idle += [left] if left else []
            self._changed.wait_for(lambda: not self._lent, timeout=_FORK_PATIENCE)
            if self.path != MEMORY:
                # As at the end: nobody may use this handle any more, and one file is to be left.
                with suppress(SampleDBError):
                    self._close_all(self._idle)
                self._idle = []
                self._suspects.clear()
                self._journal_is_set = False
        except BaseException:
            self._is_forking = False
            self._changed.release()
            raise

    def after_fork(self, *, in_child: bool) -> None:
        """Let threads have connections again; in the child there is only the one that forked."""
        self._is_forking = False
        if in_child:
            self._changed = threading.Condition()
            if self._lent:
                self.lose()
        else:
            self._changed.notify_all()
            self._changed.release()

    def lose(self) -> None:
        """In a child for whose fork this could not be prepared: what SQLite believes of locks is wrong here."""
        self._changed = threading.Condition()
        self._is_lost = True
        _abandoned.extend([*self._idle, *self._lent.values()])
        self._idle = []

    # Opening and closing

    def _open_first(self) -> Connection:
        try:
            return self._recognised()
        except sqlite3.OperationalError as error:
            if not self.readonly or not opening.must_be_immutable(self.path, error):
                raise
            self._immutable = True
            return self._recognised()

    def _recognised(self) -> Connection:
        connection = self._connect()
        try:
            if opening.recognise(connection, self.path, readonly=self.readonly):
                self._set_journal_mode(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self) -> Connection:
        return opening.connect(self.path, readonly=self.readonly, timeout=self.timeout, immutable=self._immutable)

    def _has_wal(self) -> bool:
        return os.path.exists(self.path + "-wal")  # noqa: PTH110 - called at every read of a readonly handle

    def _set_journal_mode(self, connection: Connection) -> None:
        """Before the first write: WAL where it is safe; where not, away from the WAL that another SQLite left."""
        if self._journal_is_set:
            return
        wanted = "wal" if WAL_IS_SAFE else "delete"
        if self._switch_journal(connection, wanted):
            self._journal_is_set = True
        elif not WAL_IS_SAFE:
            raise self._busy("another process uses it in WAL mode, which this process's SQLite cannot do safely")
        # Else others are reading: this write goes through the rollback journal, the next one tries again.

    def _refuse_unsafe_wal(self, connection: Connection) -> None:
        """Inside the transaction, because until it began another process could have switched the file to WAL."""
        if not WAL_IS_SAFE and connection.execute("PRAGMA journal_mode").fetchone() == ("wal",):
            self._journal_is_set = False
            raise self._busy("another process uses it in WAL mode, which this process's SQLite cannot do safely")

    def _switch_journal(self, connection: Connection, mode: str) -> bool:
        """Switch at once or not at all: it takes a moment in which nobody else uses the file."""
        connection.execute("PRAGMA busy_timeout = 0")
        try:
            ((now,),) = connection.execute(f"PRAGMA journal_mode = {mode}")
        except sqlite3.OperationalError as error:
            if sqlite.code(error) not in sqlite.BUSY:
                raise
            return False
        finally:
            connection.execute(f"PRAGMA busy_timeout = {int(self.timeout * 1000)}")
        return bool(now == mode)

    def _close_last(self, connection: Connection) -> None:
        with self._border():
            try:
                if not self.readonly and self.path != MEMORY:
                    self._leave_one_file(connection)
            finally:
                connection.close()

    def _leave_one_file(self, connection: Connection) -> None:
        for _ in range(_FAREWELLS):
            if self._switch_journal(connection, "delete"):
                self._remove_dead_journal(connection)
                return
            # Others still use the file, perhaps just to close it too; it should be complete without its WAL anyway.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            time.sleep(_PAUSE * os.urandom(1)[0] / 255)

    def _remove_dead_journal(self, connection: Connection) -> None:
        """Remove the journal of a process that died before it changed the file: the next write is long to come."""
        if os.path.exists(self.path + "-journal"):  # noqa: PTH110 - as _has_wal
            # Not by its name: this way SQLite takes the lock under which no other process has one.
            self._switch_journal(connection, "persist")
            self._switch_journal(connection, "delete")

    # Errors

    @contextmanager
    def _border(self) -> Iterator[None]:
        """As in `reading`, which has this inside it because every call goes through there."""
        try:
            yield
        except sqlite.ERRORS as error:
            raise sqlite.translated(error, self.path, self.timeout) from error
        except CorruptFileError as error:
            error.details.setdefault("path", self.path)
            raise

    def _busy(self, why: str) -> BusyError:
        return sqlite.busy_error(self.path, why, self.timeout)


def _roll_back(connection: Connection) -> None:
    """End what is open: whatever left it so has failed already, and the next user must not inherit it."""
    if connection.in_transaction:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


def _go_on() -> int:
    """What SQLite asks now and then; the answer is to go on, unless Python raises KeyboardInterrupt here."""
    return 0


def _abandon_cursors(error: BaseException | None) -> None:
    """Forget the cursors of calls that an exception broke off.

    A SELECT that is not at its end holds its lock, even when its connection is closed; and its cursor would live for
    as long as somebody keeps the exception.
    """
    import traceback  # noqa: PLC0415 - only errors need it

    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__


def file_statistics(connection: Connection) -> dict[str, Any]:
    """What Stats says of the file itself."""

    def pragma(name: str) -> Any:  # noqa: ANN401 - integers and text
        return connection.execute(f"PRAGMA {name}").fetchone()[0]

    return {
        "file_bytes": pragma("page_size") * pragma("page_count"),
        "free_bytes": pragma("page_size") * pragma("freelist_count"),
        "format_version": pragma("user_version"),
        "journal_mode": pragma("journal_mode"),
        "sqlite_version": sqlite.VERSION,
    }


def is_open(path: str) -> bool:
    """Whether this process has a handle on this file."""
    return any(each.path == path and not each.closed for each in list(_all))


# What our code raises when it meets values that none of our calls writes; theirs were checked before a connection.
_MISREAD: Final = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)

_all: "weakref.WeakSet[Connections]" = weakref.WeakSet()
# Seconds that a fork waits for calls in other threads; one that takes longer costs the child this handle.
_FORK_PATIENCE: Final = 60.0
# How often, in steps of SQLite's machine, a query looks whether Ctrl-C was pressed: some milliseconds.
_OPCODES: Final = 200_000
# Two processes that close at the same moment keep each other from leaving one file; so they try again.
_FAREWELLS: Final = 4
_PAUSE: Final = 0.01

_fork_lock = threading.Lock()
_at_fork: list[Connections] = []
# Connections of the parent that could not be closed before the fork; closing them in the child would harm the file.
_abandoned: list[Connection | None] = []


def _before_fork() -> None:
    # Two threads may fork at the same moment.
    _fork_lock.acquire()
    for connections in list(_all):
        if not connections.closed:
            connections.before_fork()
            _at_fork.append(connections)


def _after_fork(*, in_child: bool) -> None:
    # Python forks even when an interrupt has ended _before_fork half-way.
    unprepared = [connections for connections in _all if connections not in _at_fork] if in_child else []
    for connections in unprepared:
        connections.lose()
    while _at_fork:
        _at_fork.pop().after_fork(in_child=in_child)
    _fork_lock.release()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=partial(_after_fork, in_child=False),
        after_in_child=partial(_after_fork, in_child=True),
    )
