"""Worker processes that disassemble: an Executor whose time and memory limits hold whatever the binary does.

Why not a library: `multiprocessing`, under `pebble` and all others, runs the user's script again in its workers
unless that guards itself, or forks a process with threads; and it unpickles what a worker sends, while the worker has
just read malware. These workers start this package alone, and all that comes back from them is bytes.

First a worker reads a line that says where Python finds its modules. Then come messages: 8 bytes of length, then
MessagePack. One says what the worker may take, and it answers when it has found SMDA; then each task has its result.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import Any, BinaryIO, Final

import msgspec

from sampledb import analysis
from sampledb.analysis import Request
from sampledb.errors import AnalysisError, MissingExtraError

# Bytes of address space for each worker: SMDA takes up to a few hundred times the size of a binary, 1.8 GB for one of
# 3 MB. Not more than its share of the machine's memory, so that the system has no reason to kill something else.
MOST_MEMORY: Final = 8 * 1024**3
LEAST_MEMORY: Final = 1024**3
# SMDA looks at the clock now and then; a worker that is this much later is stuck.
_GRACE: Final = 0.1
_LEAST_GRACE: Final = 2.0
# Seconds for a worker to start, with a cold disk.
_START: Final = 120.0
_LENGTH: Final = 8
# As much as a report may have.
_MAX_MESSAGE: Final = 2 * 1024**3
# The path is that of this process, but for the current folder (`-P`), whose modules are not what is meant.
_BOOT: Final = """
import json, sys
sys.path[:] = json.loads(sys.stdin.buffer.readline())
from sampledb.workers import serve
serve()
"""


class WorkerDiedError(Exception):
    """A worker ended in the middle of its work, killed by somebody, by the system, or by what it read."""


class WorkersUnavailableError(Exception):
    """No worker can be started, which is no binary's fault."""


class _Setup(msgspec.Struct):
    memory_limit: int
    parent: int


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
        self._busy: dict[str, _Worker] = {}
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
        worker: _Worker | None = None
        while (item := self._tasks.get()) is not None:
            future, task = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                worker = worker or _Worker(self._memory_limit)
                future.set_result(self._ask(worker, task))
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
                future.set_exception(error)
            if worker and not worker.is_well:
                worker.end()
                worker = None
        if worker:
            worker.end()

    def _ask(self, worker: "_Worker", task: _Task) -> bytes:
        with self._lock:
            if self._is_shut_down:
                raise CancelledError
            self._busy[task.request.job_id] = worker
        try:
            return worker.ask(task)
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


class _Worker:
    """One process, which does one thing at a time."""

    def __init__(self, memory_limit: int) -> None:
        self._is_late = self._is_cancelled = False
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
                [sys.executable or "", "-P", "-c", _BOOT],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                # glibc would set address space aside for each thread, of which there is a limit.
                env={**os.environ, "MALLOC_ARENA_MAX": "1"}, **_APART,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            raise WorkersUnavailableError(f"Python does not start: {error}") from error
        try:
            with self._clock(_START):
                self._input.write(json.dumps(_path()).encode() + b"\n")
                _send(self._input, _Setup(memory_limit, os.getpid()))
                ready: _Result = _receive(self._output, _Result)
        except (OSError, ValueError, EOFError) as error:
            self.end()
            code = self._process.returncode
            # By itself, and the next one would do so too; or it was killed.
            kind = WorkersUnavailableError if code > 0 else WorkerDiedError
            raise kind(f"the worker process ended with {code} as it started") from error
        if ready.reason:
            self.end()
            raise MissingExtraError.of("analysis", "Disassembling binaries")

    def ask(self, task: _Task) -> bytes:
        """The report of a binary; after the time limit, the worker is killed.

        Raises:
            AnalysisError: There is none, or not in time.
            CancelledError: It was cancelled.
            WorkerDiedError: It died.
        """
        timeout, job_id = task.request.timeout, task.request.job_id
        try:
            with self._clock(timeout + max(timeout * _GRACE, _LEAST_GRACE)):
                _send(self._input, task)
                result: _Result = _receive(self._output, _Result)
        except (OSError, ValueError, EOFError) as error:
            self.end()
            if self._is_cancelled:
                raise CancelledError from error
            if self._is_late:
                raise AnalysisError.of(job_id, f"it took longer than {timeout:g} seconds") from error
            raise WorkerDiedError(f"the worker process ended with {self._process.returncode}") from error
        if result.reason:
            raise AnalysisError.of(job_id, result.reason)
        return result.report

    @contextmanager
    def _clock(self, limit: float) -> Iterator[None]:
        clock = threading.Timer(limit, self._give_up)
        clock.daemon = True
        clock.start()
        try:
            yield
        finally:
            clock.cancel()

    def _give_up(self) -> None:
        self._is_late = True
        self._process.kill()

    def cancel(self) -> None:
        """Kill the process; whoever waits for it gets CancelledError."""
        self._is_cancelled = True
        self._process.kill()

    def end(self) -> None:
        """Kill the process and forget it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._input, self._output):
            with suppress(OSError):
                pipe.close()

    @property
    def is_well(self) -> bool:
        """Whether it can take another task; the clock may have struck just after the last answer."""
        return not self._is_late and not self._is_cancelled and self._process.poll() is None

    @property
    def _input(self) -> BinaryIO:
        stream: Any = self._process.stdin
        return stream  # type: ignore[no-any-return]

    @property
    def _output(self) -> BinaryIO:
        stream: Any = self._process.stdout
        return stream  # type: ignore[no-any-return]


# Ctrl-C in a terminal is meant for the one who waits, not for the workers.
_APART: Final[dict[str, Any]] = (
    {"creationflags": 0x00000200} if sys.platform == "win32" else {"process_group": 0}  # CREATE_NEW_PROCESS_GROUP
)


def _path() -> list[str]:
    entries: list[object] = [*sys.path]
    # "" is the current folder; some put other things in it, which Python passes over.
    return [os.path.abspath(entry) for entry in entries if isinstance(entry, str)]  # noqa: PTH100


def _send(stream: BinaryIO, message: msgspec.Struct) -> None:
    content = msgspec.msgpack.encode(message)
    stream.write(len(content).to_bytes(_LENGTH, "little"))
    stream.write(content)
    stream.flush()


def _receive(stream: BinaryIO, kind: type[Any]) -> Any:  # noqa: ANN401 - one of that kind
    length = int.from_bytes(_read(stream, _LENGTH), "little")
    if length > _MAX_MESSAGE:
        raise ValueError(f"a message of {length} bytes")
    return msgspec.msgpack.decode(_read(stream, length), type=kind)


def _read(stream: BinaryIO, size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise EOFError
    return content


# In the worker


def serve() -> None:
    """Do what comes in until the other side is gone."""
    replies = os.fdopen(os.dup(1), "wb")
    # What anything below prints must not get between the messages.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    setup: _Setup = _receive(sys.stdin.buffer, _Setup)
    threading.Thread(target=_end_with, args=(setup.parent,), daemon=True).start()
    tasks: SimpleQueue[_Task] = SimpleQueue()
    threading.Thread(target=_listen, args=(tasks,), daemon=True).start()
    try:
        analysis.require()
    except MissingExtraError as error:
        _send(replies, _Result(reason=error.message))
        return
    _limit_memory(setup.memory_limit)
    _send(replies, _Result())
    while True:
        _send(replies, _done(tasks.get(), setup.memory_limit))


def _listen(tasks: "SimpleQueue[_Task]") -> None:
    """Take tasks, also while one is being done: without the one who asked, there is no use in going on."""
    try:
        while True:
            tasks.put(_receive(sys.stdin.buffer, _Task))
    finally:
        os._exit(0)


def _end_with(parent: int) -> None:
    """End when the parent has: a child that it forked may hold our input open."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)


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
