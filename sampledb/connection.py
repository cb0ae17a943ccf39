"""Connections to one file: transactions, threads and forks, journal mode, and the border for SQLite's errors.

Nothing above this module sees an exception of `sqlite3`, and nothing below it knows of threads or forks.

A closed file is always in rollback-journal mode: one file, readable from read-only media and by any SQLite.
The first write of a handle switches it to WAL where the linked SQLite has the fix for the WAL-reset bug, and
closing the last handle switches it back. Keeping it in WAL for good was rejected: every read-only opening
would then leave `-wal` and `-shm` files behind, or fail where they cannot be made.
"""

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from sampledb import opening, sqlite
from sampledb.errors import (
    BusyError,
    ClosedError,
    CorruptFileError,
    InvalidInputError,
    StorageError,
)
from sampledb.limits import MEMORY
from sampledb.sqlite import WAL_IS_SAFE, sqlite3

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
        self._in_use = 0
        self._is_forking = False
        self._changed = threading.Condition()
        # Re-entrant, so that an interrupt at the wrong moment cannot lock its own thread out for good.
        self._memory_lock = threading.RLock()
        with self._border():
            first = self._open_first()
        self._memory = first if path == MEMORY else None
        if self._memory is None:
            self._idle.append(first)
        _all.add(self)

    # Transactions

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for one SELECT, which sees the file at one moment."""
        connection = None
        try:
            connection = self._take()
            yield connection
        except sqlite3.Error as error:
            raise sqlite.translated(error, self.path, self.timeout) from error
        except CorruptFileError as error:
            error.details.setdefault("path", self.path)
            raise
        finally:
            if connection is not None:
                self._give_back(connection)

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
            try:
                yield connection
            except (sqlite3.Error, sqlite3.Warning, ValueError, TypeError, OverflowError) as error:
                if sqlite.is_operational(error):
                    raise
                raise sqlite.bad_sql_error(error) from error
            finally:
                connection.set_authorizer(None)

    def copy_to(self, path: str) -> None:
        """Copy the database, as it is at one moment, to a new file, which appears when it is complete."""
        # Imports a dozen modules that nothing else here needs.
        import tempfile  # noqa: PLC0415

        target = Path(path)
        if target.exists():
            raise InvalidInputError.of("path", "a path where no file is", path)
        try:
            handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
            os.close(handle)
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}.", {"path": path, "reason": str(error)}) from error
        partial = Path(name)
        try:
            # Inside a transaction, or the copy would wait for a writer without end.
            with self.snapshot() as connection:
                connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
                _copy(connection, partial)
            if self._memory is None:
                # As readable as the original; a temporary file is for its owner alone.
                partial.chmod(Path(self.path).stat().st_mode & 0o777)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    def close(self) -> None:
        """Close all connections; those that other threads are using, as soon as they give them back."""
        with self._changed:
            self.closed = True
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        if self._memory is not None:
            with self._memory_lock:
                self._memory.close()
        for connection in idle[1:]:
            connection.close()
        for connection in idle[:1]:
            self._close_last(connection)

    # The pool

    def _require_open(self) -> None:
        if self.closed:
            raise ClosedError("This SampleDB is closed.", {"path": self.path})

    def _take(self) -> Connection:
        if self._memory is not None:
            if not self._memory_lock.acquire(timeout=self.timeout):
                raise sqlite.busy_error(self.path, "another thread is using it", self.timeout)
            if self.closed:
                self._memory_lock.release()
            self._require_open()
            return self._memory
        with self._changed:
            while self._is_forking:
                self._changed.wait()
            self._require_open()
            connection = self._idle.pop() if self._idle else None
            self._in_use += 1
        try:
            return connection or self._connect()
        except BaseException:
            self._return(None)
            raise

    def _give_back(self, connection: Connection) -> None:
        if connection.in_transaction:
            # Whatever left it open has failed already; the next user must not inherit it.
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        if self._memory is not None:
            self._memory_lock.release()
        elif self.readonly and self._has_wal():
            # An idle reader would keep the last writer from tidying up, and cannot do it itself.
            connection.close()
            self._return(None)
        elif self._return(connection):
            self._close_last(connection)

    def _return(self, connection: Connection | None) -> bool:
        """Put a connection back; whether the pool is closed and the caller has to close it."""
        with self._changed:
            self._in_use -= 1
            if connection is not None and not self.closed:
                self._idle.append(connection)
            if self._is_forking:
                self._changed.notify_all()
            return self.closed

    # Forks

    def before_fork(self) -> None:
        """Wait until no thread uses a connection, and close them all; nobody gets one before the fork is done."""
        self._memory_lock.acquire()
        self._changed.acquire()
        self._is_forking = True
        self._changed.wait_for(lambda: self._in_use == 0, timeout=self.timeout)
        for connection in self._idle:
            connection.close()
        self._idle = []
        self._journal_is_set = self.path == MEMORY

    def after_fork(self, *, in_child: bool) -> None:
        """Let threads have connections again; in the child there is only the one that forked."""
        self._is_forking = False
        if in_child:
            self._in_use = 0
            self._changed = threading.Condition()
            self._memory_lock = threading.RLock()
        else:
            self._changed.notify_all()
            self._changed.release()
            self._memory_lock.release()

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
                if not self.readonly and not self._switch_journal(connection, "delete"):
                    # Others still use the file; it should be complete without its WAL all the same.
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                connection.close()

    # Errors

    @contextmanager
    def _border(self) -> Iterator[None]:
        """As in `reading`, which has this inside it because every call goes through there."""
        try:
            yield
        except sqlite3.Error as error:
            raise sqlite.translated(error, self.path, self.timeout) from error
        except CorruptFileError as error:
            error.details.setdefault("path", self.path)
            raise

    def _busy(self, why: str) -> BusyError:
        return sqlite.busy_error(self.path, why, self.timeout)


def _copy(connection: Connection, path: Path) -> None:
    copy = sqlite3.connect(path, isolation_level=None)
    try:
        connection.backup(copy)
        # The copy of a file in WAL mode says so in its header, and would be of no use on read-only media.
        copy.execute("PRAGMA journal_mode = DELETE")
    finally:
        copy.close()


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


_all: "weakref.WeakSet[Connections]" = weakref.WeakSet()
_fork_lock = threading.Lock()
_at_fork: list[Connections] = []


def _before_fork() -> None:
    # Two threads may fork at the same moment.
    _fork_lock.acquire()
    _at_fork[:] = [connections for connections in _all if not connections.closed]
    for connections in _at_fork:
        connections.before_fork()


def _after_fork(*, in_child: bool) -> None:
    while _at_fork:
        _at_fork.pop().after_fork(in_child=in_child)
    _fork_lock.release()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=partial(_after_fork, in_child=False),
        after_in_child=partial(_after_fork, in_child=True),
    )
