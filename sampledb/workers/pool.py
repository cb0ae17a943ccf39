"""Worker processes that disassemble: an Executor whose time and memory limits hold whatever the binary does."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Final

import msgspec

from sampledb.errors import AnalysisError, MissingExtraError
from sampledb.workers import disassembler as analysis
from sampledb.workers.disassembler import Request
from sampledb.workers.process import Channel, LateError, Process

# Bytes of address space for each worker: SMDA takes up to a few hundred times the size of a binary, 1.8 GB for one of
# 3 MB. Not more than its share of the machine's memory, so that the system has no reason to kill something else.
MOST_MEMORY: Final = 8 * 1024**3
LEAST_MEMORY: Final = 1024**3
# SMDA looks at the clock now and then; a worker that is this much later is stuck.
_GRACE: Final = 0.1
_LEAST_GRACE: Final = 2.0


class _Setup(msgspec.Struct):
    memory_limit: int


class _Task(msgspec.Struct):
    binary: bytes
    request: Request


class _Result(msgspec.Struct):
    """Either `report`, or what prevented it; both are empty when a worker says that it is ready."""

    report: bytes = b""
    reason: str = ""


class Workers(Executor):
    """Runs `analysis.disassemble`, and nothing else, in `count` processes, which live until `shutdown`."""

    def __init__(self, count: int, memory_limit: int | None = None) -> None:
        self._max_workers = count
        self._memory_limit = memory_limit or _share_of_memory(count)
        self._tasks: SimpleQueue[tuple[Future[bytes], _Task] | None] = SimpleQueue()
        self._busy: dict[str, Process] = {}
        self._is_shut_down = False
        self._lock = threading.Lock()
        # Daemons, so that a program that ends does not wait for what nobody waits for.
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401 - as in Executor
        """Like any Executor's, but for one function."""
        if function is not analysis.disassemble or kwargs:
            raise TypeError("these workers only disassemble")
        if self._is_shut_down:
            raise RuntimeError("the workers are shut down")
        future: Future[bytes] = Future()
        self._tasks.put((future, _Task(*args)))
        return future

    def _work(self) -> None:
        """What each thread does: task after task, with one process as long as that is well."""
        worker: Process | None = None
        while (item := self._tasks.get()) is not None:
            future, task = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                worker = worker or self._started()
                future.set_result(self._ask(worker, task))
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
                future.set_exception(error)
            if worker and not worker.is_well:
                worker.end()
                worker = None
        if worker:
            worker.end()

    def _started(self) -> Process:
        worker = Process("pool", _Setup(self._memory_limit))
        if worker.start(_Result).reason:
            worker.end()
            raise MissingExtraError.of("analysis", "Disassembling binaries")
        return worker

    def _ask(self, worker: Process, task: _Task) -> bytes:
        with self._lock:
            if self._is_shut_down:
                raise CancelledError
            self._busy[task.request.job_id] = worker
        try:
            return _asked(worker, task)
        finally:
            with self._lock:
                self._busy.pop(task.request.job_id, None)

    def cancel(self, job_id: str) -> None:
        """End the worker that is busy with a job."""
        with self._lock:
            worker = self._busy.get(job_id)
            if worker:
                worker.cancel()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as in Executor
        """End all workers, at once those that are busy."""
        with self._lock:
            self._is_shut_down = True
            for worker in self._busy.values():
                worker.cancel()
        while cancel_futures and not self._tasks.empty():
            item = self._tasks.get()
            if item:
                item[0].cancel()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads if wait else ():
            thread.join()


def _share_of_memory(count: int) -> int:
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return MOST_MEMORY
    return max(min(physical // count, MOST_MEMORY), LEAST_MEMORY)


def _asked(worker: Process, task: _Task) -> bytes:
    """The report of a binary; after the time limit, the worker is killed."""
    timeout, job_id = task.request.timeout, task.request.job_id
    try:
        result = worker.ask(task, _Result, limit=timeout + max(timeout * _GRACE, _LEAST_GRACE))
    except LateError as error:
        raise AnalysisError.of(job_id, f"it took longer than {timeout:g} seconds") from error
    if result.reason:
        raise AnalysisError.of(job_id, result.reason)
    return result.report


# In the worker


def serve() -> None:
    """Do what comes in until the other side is gone."""
    channel = Channel()
    memory_limit = channel.setup(_Setup).memory_limit
    try:
        analysis.require()
    except MissingExtraError as error:
        channel.answer(_Result(reason=error.message))
        return
    _limit_memory(memory_limit)
    channel.answer(_Result())
    for task in channel.questions(_Task):
        channel.answer(_done(task, memory_limit))


def _done(task: _Task, memory_limit: int) -> _Result:
    try:
        return _Result(report=analysis.disassemble(task.binary, task.request))
    except AnalysisError as error:
        return _Result(reason=str(error.details["reason"]))
    except MemoryError:
        return _Result(reason=f"it takes more than {memory_limit / 1e9:.1f} GB of memory")
    except Exception as error:  # noqa: BLE001 - whatever SMDA stumbles over, the binary is why
        return _Result(reason=f"SMDA failed: {error!r}"[:300])


def _limit_memory(size: int) -> None:
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
