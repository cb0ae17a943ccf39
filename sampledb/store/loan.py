"""A loan: the connection of one call and the transaction around it, whatever interrupts the call."""

import sys
import threading
from contextlib import AbstractContextManager
from types import FrameType, TracebackType
from typing import Protocol

from sampledb.store.sqlite import Connection


class Pool(Protocol):
    """The connections that loans come from."""

    def is_nested(self, *, writes: bool) -> bool:
        """Return whether a call would run inside another one of this thread; raise BusyError if it cannot."""

    def lend(self, loan: "Loan") -> Connection:
        """Give a loan a connection, and begin its transaction."""

    def finish(self, loan: "Loan") -> None:
        """End the transaction of a loan that has met no error."""

    def take_back(self, loan: "Loan", error: BaseException | None = None) -> None:
        """End a loan, whose call may have failed."""

    def translate(self, error: BaseException) -> BaseException:
        """Return the error that callers know in place of SQLite's, or `error` itself."""


class Runner(Protocol):
    """A thread, or what runs in one."""

    @property
    def ident(self) -> int | None:
        """Return the number of the thread."""

    def is_alive(self) -> bool:
        """Return whether it still runs."""


class Loan(AbstractContextManager[Connection]):
    """A connection lent to one call, for its `with` block, and the transaction around that.

    It is no generator, because an interrupt may leave it between any two steps: a generator would go on, and roll back
    what then is another call's, when the exception that has it is forgotten.

    Attributes:
        begin: The statement that begins the transaction, or `""` for none.
        end: The statement that ends it unless the call fails.
        writes: The call will write.
        is_nested: The call runs inside another one on the same thread: a signal handler or a finalizer made it.
        thread: The thread that runs the block, or to which it has handed the connection.
        frame: The frame that has the block. While it is on the stack of its thread, the call is running; a loan whose
            call is not was left by an interrupt.
        connection: `None` before and after the block.
    """

    def __init__(self, pool: Pool, begin: str = "", end: str = "", *, writes: bool = False) -> None:
        self._pool = pool
        self._handled = sys.exception()
        self.begin = begin
        self.end = end
        self.writes = writes
        self.is_nested = pool.is_nested(writes=writes)
        self.thread: Runner = threading.current_thread()
        self.frame: FrameType | None = None
        self.connection: Connection | None = None

    def __enter__(self) -> Connection:
        # A loan may be made in one thread and used in another.
        self.thread = threading.current_thread()
        self.frame = sys._getframe(1)  # noqa: SLF001 - documented, and the only way
        try:
            connection = self._pool.lend(self)
        except BaseException as error:
            self._fail(error)
            raise
        # Python looks for signals at calls; between here and the block there is none.
        return connection

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.thread is not threading.current_thread():
            return  # it has another owner now, who ends it
        if error is not None:
            self._fail(error)
            return
        try:
            self._pool.finish(self)
        except BaseException as failure:
            self._fail(failure)
            raise
        self._pool.take_back(self)

    def _fail(self, error: BaseException) -> None:
        """End the loan, and raise the error that callers know in place of SQLite's."""
        self.abort(error)
        translated = self._pool.translate(error)
        if translated is not error:
            raise translated from error

    def abort(self, error: BaseException | None) -> None:
        """End the loan of a call that may have failed."""
        try:
            _abandon_cursors(error, self._handled)
        finally:
            self._pool.take_back(self, error)

    def is_left(self) -> bool:
        """Return whether an interrupt left it, on this thread or on one that has ended."""
        if self.thread is threading.current_thread():
            return not _is_running(self.frame)
        # Either may be wrong: the first of a thread whose join() was interrupted, the second of a greenlet.
        return not self.thread.is_alive() and self.thread.ident not in sys._current_frames()  # noqa: SLF001 - as above


def _is_running(frame: FrameType | None) -> bool:
    """Return whether a frame is on the stack of this thread."""
    running: FrameType | None = sys._getframe()  # noqa: SLF001 - as above
    while running is not None and running is not frame:
        running = running.f_back
    return running is not None


def _abandon_cursors(error: BaseException | None, handled: BaseException | None) -> None:
    """Release the cursors of the calls that an exception ended; not those of `handled`, which is older.

    A SELECT that has not reached its end holds its lock, even after its connection is closed, and its cursor lives as
    long as somebody keeps the exception.
    """
    import traceback  # noqa: PLC0415 - only errors need it

    while error is not None and error is not handled:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__
