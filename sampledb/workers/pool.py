"""Threads that each drive one child process: limits, cancellation and restarts."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from functools import partial
from queue import SimpleQueue
from time import monotonic
from typing import Any, Final, Self, TypeAlias, TypeVar

from sampledb.workers.process import Process

_T = TypeVar("_T")
#: Sends a question to the thread's process and returns the answer; the second argument is a time limit in seconds.
Ask: TypeAlias = Callable[[bytes, float | None], bytes]
# Seconds for threads to end whose processes were killed.
_PATIENCE: Final = 5.0


class Pool:
    """Runs work in `count` threads, each of which has a child process to ask.

    A process starts with the first question of its thread, and another one takes its place if it has ended.
    """

    def __init__(self, module: str, count: int, *, memory_limit: int = 0) -> None:
        self._new_process = partial(Process, module, memory_limit=memory_limit)
        self._owner = os.getpid()
        self._tasks: SimpleQueue[tuple[Future[Any], Callable[[Ask], Any]] | None] = SimpleQueue()
        self._busy: dict[Future[Any], Process] = {}
        # By thread.
        self._processes: dict[int, Process] = {}
        self._is_shut_down = False
        self._lock = threading.Lock()
        # Daemons: a program that ends does not wait for work that it has abandoned.
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    def submit(self, work: Callable[[Ask], _T]) -> Future[_T]:
        """Call `work` in a thread that is free; what it asks raises as `Process.start` and `Process.ask` do."""
        future: Future[_T] = Future()
        self._tasks.put((future, work))
        return future

    def cancel(self, future: Future[Any]) -> None:
        """Cancel a future; if its work has begun, kill the process that it asks."""
        if not future.cancel():
            with self._lock:
                if future in self._busy:
                    self._busy[future].cancel()

    def shutdown(self) -> None:
        """End all processes, in the middle of their work too; what waits for them gets CancelledError."""
        # The child of a fork has no such threads, and the processes are its parent's.
        if os.getpid() != self._owner:
            return
        with self._lock:
            self._is_shut_down = True
            for process in self._processes.values():
                process.cancel()
        for _ in self._threads:
            self._tasks.put(None)
        # An interrupt of the caller, while Python locks a future for it, leaves that locked: its thread never ends.
        end = monotonic() + _PATIENCE
        for thread in self._threads:
            thread.join(max(end - monotonic(), 0))

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            future, work = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work(partial(self._ask, future)))
            except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
                future.set_exception(error)
            with self._lock:
                self._busy.pop(future, None)
        if process := self._processes.get(threading.get_ident()):
            process.end()

    def _ask(self, future: Future[Any], question: bytes, limit: float | None) -> bytes:
        process = self._processes.get(threading.get_ident())
        if process and not process.is_well:
            process.end()
            process = None
        is_new = process is None
        with self._lock:
            if self._is_shut_down:
                raise CancelledError
            process = process or self._new_process()
            self._processes[threading.get_ident()] = self._busy[future] = process
        if is_new:
            process.start()
        return process.ask(question, limit)
