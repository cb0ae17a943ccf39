"""The journal mode: WAL while a handle writes, one file when all handles are closed.

A closed file is always in rollback-journal mode: one file, readable on read-only media and by any SQLite. The first
write of a handle switches it to WAL if the SQLite library has the fix for the WAL-reset bug; closing the last handle
switches it back. A file that stays in WAL mode was rejected: every read-only opening would leave `-wal` and `-shm`
files behind, or fail where they cannot be created.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sampledb.errors import BusyError
from sampledb.limits import MEMORY
from sampledb.store import sqlite
from sampledb.store.sqlite import WAL_IS_SAFE, Connection, sqlite3

# Two processes that close at the same moment keep each other from leaving one file; so both try again,
# after a random pause of at most so many seconds.
_ATTEMPTS: Final = 4
_PAUSE: Final = 0.01
# Milliseconds that one of them waits for the other to be done with the WAL.
_MOST_WAIT: Final = 200


class Journal:
    """The journal mode of one file, as one handle sets it."""

    def __init__(self, path: str, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._is_set = path == MEMORY

    def prepare(self, connection: Connection) -> None:
        """Set the mode for writing, before the first write.

        That is WAL, or a rollback journal if this SQLite has the WAL-reset bug. If others are reading, the file cannot
        become WAL now: this write goes through the rollback journal, and the next one tries again.
        """
        if self._is_set:
            return
        if self._switch(connection, "wal" if WAL_IS_SAFE else "delete"):
            self._is_set = True
        elif not WAL_IS_SAFE:
            raise self._unsafe()

    def require_safe(self, connection: Connection) -> None:
        """Raise BusyError if the file is in WAL mode and this SQLite cannot write a WAL safely.

        Asked inside the transaction: another process can switch the file until it has begun.
        """
        if not WAL_IS_SAFE and connection.execute("PRAGMA journal_mode").fetchone() == ("wal",):
            self._is_set = False
            raise self._unsafe()

    def forget(self) -> None:
        """Have the next write set the mode again, after all connections were closed."""
        self._is_set = self._path == MEMORY

    def has_wal(self) -> bool:
        """Return whether there is a WAL beside the file."""
        return os.path.exists(self._path + "-wal")  # noqa: PTH110 - called at every read of a readonly handle

    def leave_one_file(self, connection: Connection) -> None:
        """Return to rollback-journal mode, if nobody else uses the file; otherwise move the WAL into the file."""
        if self._path == MEMORY:
            return
        for _ in range(_ATTEMPTS):
            if self._switch(connection, "delete"):
                if self.has_wal():
                    # It could not be deleted: a virus scanner may have it open. Later it would count as another file's.
                    self._switch(connection, "wal")
                self._remove_dead_journal(connection)
                return
            # Others still use the file, or are closing it too; the file should be complete without its WAL. They may
            # wait for this connection, too: so it does not wait for its whole timeout.
            with _waiting(connection, _MOST_WAIT):
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            time.sleep(_PAUSE * os.urandom(1)[0] / 255)

    def _remove_dead_journal(self, connection: Connection) -> None:
        """Remove the journal of a process that died before it changed the file. Only a write would do so."""
        if os.path.exists(self._path + "-journal"):  # noqa: PTH110 - as in has_wal
            # SQLite removes it under a lock that shows that no other process has a journal.
            self._switch(connection, "persist")
            self._switch(connection, "delete")

    def _switch(self, connection: Connection, mode: str) -> bool:
        """Switch the mode at once or not at all. It fails if anybody else uses the file."""
        try:
            with _waiting(connection, 0):
                ((now,),) = connection.execute(f"PRAGMA journal_mode = {mode}")
        except sqlite3.OperationalError as error:
            if sqlite.result_code(error) not in sqlite.BUSY:
                raise
            return False
        return bool(now == mode)

    def _unsafe(self) -> BusyError:
        reason = "another process uses it in WAL mode, and this process's SQLite has the WAL-reset bug"
        return BusyError.of(self._path, reason, self._timeout)


@contextmanager
def _waiting(connection: Connection, milliseconds: int) -> Iterator[None]:
    """Have statements fail if somebody else holds a lock for longer."""
    ((timeout,),) = connection.execute("PRAGMA busy_timeout")
    connection.execute(f"PRAGMA busy_timeout = {min(milliseconds, timeout)}")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA busy_timeout = {timeout}")
