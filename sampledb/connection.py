"""Connections to one file: opening, pragmas, transactions, journal mode, and the border for SQLite's errors.

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
from pathlib import Path
from typing import Any, Final

from sampledb import schema, sqlite
from sampledb.errors import (
    BusyError,
    ClosedError,
    CorruptFileError,
    InvalidInputError,
    NewerFormatError,
    StorageError,
)
from sampledb.limits import MEMORY
from sampledb.sqlite import WAL_IS_SAFE, sqlite3

Connection = sqlite3.Connection

_PRAGMAS: Final = (
    "PRAGMA foreign_keys = ON",
    # In WAL the same as FULL; with a rollback journal it also syncs the folder, without which a power cut
    # can bring a deleted journal, and so the state before the commit, back.
    "PRAGMA synchronous = EXTRA",
    # A file may come from a stranger: SQL planted in its schema gets no function that could do harm,
    # and cells are checked before they are believed.
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    # One large report must not leave a WAL of its size until the handle closes.
    "PRAGMA journal_size_limit = 16777216",
)


class Connections:
    """The connections of one SampleDB: as many as threads use it at once, one for a database in memory.

    Threads take a connection for one transaction and give it back, so that none is left behind by a thread
    that ended. After a fork, the child opens its own.
    """

    def __init__(self, path: str, *, readonly: bool, timeout: float) -> None:
        self.path = path
        self.readonly = readonly
        self.timeout = timeout
        self.closed = False
        self._most = 1 if path == MEMORY else None
        self._immutable = False
        self._journal_is_set = path == MEMORY
        self._idle: list[Connection] = []
        self._in_use = 0
        self._changed = threading.Condition()
        with self._border():
            self._idle.append(self._open_first())
        _all.add(self)

    # Transactions

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for one SELECT, which sees the file at one moment."""
        with self._border():
            connection = self._take()
            try:
                yield connection
            finally:
                self._give_back(connection)

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A connection for several SELECTs that see the file at one moment. Be brief: it holds back checkpoints."""
        with self.reading() as connection:
            connection.execute("BEGIN")
            with _ending(connection, "ROLLBACK"):
                yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection inside BEGIN IMMEDIATE: committed at the end, rolled back on any exception."""
        with self.maintaining() as connection:
            connection.execute("BEGIN IMMEDIATE")
            with _ending(connection, "COMMIT"):
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
        target = Path(path)
        if target.exists():
            raise InvalidInputError.of("path", "a path where no file is", path)
        partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
        try:
            with self.reading() as connection:
                _copy(connection, partial)
            partial.replace(target)
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}.", {"path": path, "reason": str(error)}) from error
        finally:
            partial.unlink(missing_ok=True)

    def close(self) -> None:
        """Close all connections; those that other threads are using, as soon as they give them back."""
        with self._changed:
            self.closed = True
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        for connection in idle[1:]:
            connection.close()
        for connection in idle[:1]:
            self._close_last(connection)

    # The pool

    def _require_open(self) -> None:
        if self.closed:
            raise ClosedError("This SampleDB is closed.", {"path": self.path})

    def _take(self) -> Connection:
        with self._changed:
            while not self.closed and not self._idle and self._in_use == self._most:
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
        if self._return(connection):
            self._close_last(connection)

    def _return(self, connection: Connection | None) -> bool:
        """Put a connection back; whether the pool is closed and the caller has to close it."""
        with self._changed:
            self._in_use -= 1
            if connection is not None and not self.closed:
                self._idle.append(connection)
            self._changed.notify()
            return self.closed

    def after_fork(self) -> None:
        """Forget, in the child, the connections of the parent: SQLite's may not be used, nor closed, across a fork."""
        self._changed = threading.Condition()
        self._in_use = 0
        if self.path != MEMORY:
            _of_the_parent.extend(self._idle)
            self._idle = []
            self._journal_is_set = False

    # Opening and closing

    def _open_first(self) -> Connection:
        try:
            connection = self._connect()
            self._recognise(connection)
        except sqlite3.OperationalError as error:
            if not self._may_be_immutable(error):
                raise
            self._immutable = True
            connection = self._connect()
            self._recognise(connection)
        return connection

    def _may_be_immutable(self, error: sqlite3.Error) -> bool:
        """Whether this is a file in WAL mode that cannot have its `-shm`, as on a read-only file system."""
        return (
            self.readonly
            and sqlite.code(error) in {sqlite.CANTOPEN, sqlite.READONLY}
            and Path(self.path).is_file()
            and not self._wal_size()
        )

    def _connect(self) -> Connection:
        connection = sqlite3.connect(
            self._uri(),
            uri=True,
            timeout=self.timeout,
            isolation_level=None,  # transactions begin where we say so
            check_same_thread=False,  # the pool gives a connection to one thread at a time
        )
        try:
            for pragma in _PRAGMAS:
                connection.execute(pragma)
        except BaseException:
            connection.close()
            raise
        return connection

    def _uri(self) -> str:
        if self.path == MEMORY:
            return "file::memory:"
        mode = "ro" if self.readonly else "rwc"
        return f"{Path(self.path).as_uri()}?mode={mode}{'&immutable=1' if self._immutable else ''}"

    def _recognise(self, connection: Connection) -> None:
        """Accept a file of ours, make an empty one ours, upgrade an older one, refuse all others."""
        try:
            if self._state(connection) != "current":
                self._create_or_upgrade(connection)
            _refuse(self._cut_off(connection) or schema.fault(connection))
        except BaseException:
            connection.close()
            raise

    def _cut_off(self, connection: Connection) -> str:
        """SQLite notices missing pages by itself, but takes what is missing of the last one for zeros."""
        if self.path == MEMORY or self._wal_size():
            return ""
        ((page_size,),) = connection.execute("PRAGMA page_size")
        return "the last page is cut off" if Path(self.path).stat().st_size % page_size else ""

    def _wal_size(self) -> int:
        wal = Path(self.path + "-wal")
        return wal.stat().st_size if wal.exists() else 0

    def _create_or_upgrade(self, connection: Connection) -> None:
        if self.readonly:
            if self._state(connection) == "empty":
                raise sqlite.not_ours_error(self.path, "it is empty")
            raise sqlite.read_only_error(self.path, "it has an older format, and must be opened for writing once")
        # Asked again under the lock: another process may be creating the same file.
        connection.execute("BEGIN IMMEDIATE")
        with _ending(connection, "COMMIT"):
            state = self._state(connection)
            # SQLite takes a file of a few bytes for an empty database, and would write over them.
            if state == "empty" and self.path != MEMORY and Path(self.path).stat().st_size:
                raise sqlite.not_ours_error(self.path, "another program's file")
            if state != "current":
                schema.migrate(connection)
        self._set_journal_mode(connection)

    def _state(self, connection: Connection) -> str:
        """`empty`, `older` or `current`; an error for a file that is neither ours nor empty."""
        ((application_id, version, tables),) = connection.execute(
            "SELECT (SELECT application_id FROM pragma_application_id), "
            "(SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_schema)"
        )
        if application_id == version == tables == 0:
            return "empty"
        if application_id != schema.APPLICATION_ID:
            raise sqlite.not_ours_error(self.path, "another program's SQLite database")
        if version > schema.FORMAT_VERSION:
            raise NewerFormatError(
                f"{self.path} has format {version}; this sampledb reads up to {schema.FORMAT_VERSION}. Upgrade it.",
                {"path": self.path, "found": version, "supported": schema.FORMAT_VERSION},
            )
        return "current" if version == schema.FORMAT_VERSION else "older"

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
                    self._switch_journal(connection, "delete")
            finally:
                connection.close()

    # Errors

    @contextmanager
    def _border(self) -> Iterator[None]:
        """Where SQLite's errors become ours, the cause kept and the file named."""
        try:
            yield
        except sqlite3.Error as error:
            raise sqlite.translated(error, self.path, self.timeout) from error
        except CorruptFileError as error:
            error.details.setdefault("path", self.path)
            raise

    def _busy(self, why: str) -> BusyError:
        return sqlite.busy_error(self.path, why, self.timeout)


@contextmanager
def _ending(connection: Connection, end: str) -> Iterator[None]:
    """End a transaction with `end`; on any exception, KeyboardInterrupt too, roll it back."""
    try:
        yield
        connection.execute(end)
    except BaseException:
        # SQLite has rolled back by itself where the disk is full or fails.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _refuse(fault: str) -> None:
    if fault:
        raise CorruptFileError.of(fault, "the file as a whole")


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
# Kept alive so that nothing closes them: a close in the child could remove the WAL under the parent.
_of_the_parent: list[Connection] = []


def _after_fork_in_child() -> None:
    for connections in list(_all):
        connections.after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork_in_child)
