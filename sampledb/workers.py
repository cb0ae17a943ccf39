"""Worker processes that disassemble: an Executor whose time and memory limits hold whatever the binary does.

Why not a library: `multiprocessing`, under `pebble` and all others, runs the user's script again in its workers
unless that guards itself, or forks a process with threads; and it unpickles what a worker sends, while the worker has
just read malware. These workers start this package alone, and all that comes back from them is bytes.

A message is its length in 8 bytes, then MessagePack.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, BinaryIO, Final

import msgspec

from sampledb import analysis
from sampledb.analysis import Request
from sampledb.errors import AnalysisError, MissingExtraError

# SMDA takes up to a few hundred times the size of a binary.
MEMORY_LIMIT: Final = 8 * 1024**3
# SMDA looks at the clock now and then; a worker that is this much later is stuck.
_GRACE: Final = 0.1
_LEAST_GRACE: Final = 2.0
_LENGTH: Final = 8
# As much as a report may have.
_MAX_MESSAGE: Final = 2 * 1024**3


class WorkerDiedError(Exception):
    """A worker ended in the middle of its work, killed by somebody, by the system, or by what it read."""


class _Task(msgspec.Struct):
    binary: bytes
    request: Request


class _Result(msgspec.Struct):
    """Either `report`, or what prevented it."""

    report: bytes = b""
    reason: str = ""
    is_missing_extra: bool = False


class Workers(Executor):
    """Runs `analysis.disassemble`, and nothing else, in `count` processes, which live until `shutdown`."""

    def __init__(self, count: int) -> None:
        self._max_workers = count
        self._threads = ThreadPoolExecutor(count, "sampledb-worker")
        self._idle: list[_Worker] = []
        self._busy: dict[str, _Worker] = {}

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401 - as in Executor
        """Like any Executor's, but for one function."""
        if function is not analysis.disassemble or kwargs:
            raise TypeError("these workers only disassemble")
        return self._threads.submit(self._run, *args)

    def _run(self, binary: bytes, request: Request) -> bytes:
        try:
            worker = self._idle.pop()
        except IndexError:
            worker = _Worker()
        self._busy[request.job_id] = worker
        try:
            result = worker.ask(binary, request)
        except BaseException:
            worker.end()
            raise
        finally:
            del self._busy[request.job_id]
        self._idle.append(worker)
        if result.is_missing_extra:
            raise MissingExtraError.of("analysis", "Disassembling binaries")
        if result.reason:
            raise AnalysisError.of(request.job_id, result.reason)
        return result.report

    def cancel(self, job_id: str) -> None:
        """End the worker that is busy with a job."""
        worker = self._busy.get(job_id)
        if worker:
            worker.cancel()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as in Executor
        """End all workers, at once those that are busy."""
        self._threads.shutdown(wait=False, cancel_futures=cancel_futures)
        for job_id in list(self._busy):
            self.cancel(job_id)
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)
        while self._idle:
            self._idle.pop().end()


class _Worker:
    """One process, which does one thing at a time."""

    def __init__(self) -> None:
        # `-P`: a file called smda.py in the current folder is not what is meant.
        command = [sys.executable, "-P", "-c", "from sampledb.workers import serve; serve()"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )
        self._is_late = self._is_cancelled = False

    def ask(self, binary: bytes, request: Request) -> _Result:
        """What came of a binary; after the time limit, the worker is killed.

        Raises:
            AnalysisError: It was too slow.
            CancelledError: It was cancelled.
            WorkerDiedError: It died.
        """
        limit = request.timeout + max(request.timeout * _GRACE, _LEAST_GRACE)
        clock = threading.Timer(limit, self._give_up)
        clock.start()
        try:
            _send(self._stream(self._process.stdin), _Task(binary, request))
            result: _Result = _receive(self._stream(self._process.stdout), _Result)
        except (OSError, ValueError, EOFError) as error:
            self.end()
            if self._is_cancelled:
                raise CancelledError from error
            if self._is_late:
                raise AnalysisError.of(request.job_id, f"it took longer than {request.timeout:g} seconds") from error
            raise WorkerDiedError(f"the worker process ended with {self._process.returncode}") from error
        finally:
            clock.cancel()
        return result

    @staticmethod
    def _stream(pipe: Any) -> BinaryIO:  # noqa: ANN401 - IO[bytes] | None
        stream: BinaryIO = pipe
        return stream

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
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                self._stream(pipe).close()


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
    _limit_memory()
    tasks: list[_Task] = []
    arrived = threading.Semaphore(0)

    def listen() -> None:
        # Also while a task is being done: without the one who asked, there is no use in going on.
        try:
            while True:
                tasks.append(_receive(sys.stdin.buffer, _Task))
                arrived.release()
        finally:
            os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        arrived.acquire()
        _send(replies, _done(tasks.pop()))


def _done(task: _Task) -> _Result:
    try:
        return _Result(report=analysis.disassemble(task.binary, task.request))
    except AnalysisError as error:
        return _Result(reason=str(error.details["reason"]))
    except MissingExtraError:
        return _Result(is_missing_extra=True)
    except MemoryError:
        return _Result(reason=f"it takes more than {MEMORY_LIMIT >> 30} GiB of memory")
    except Exception as error:  # noqa: BLE001 - whatever SMDA stumbles over, the binary is why
        return _Result(reason=f"SMDA failed: {error!r}"[:300])


def _limit_memory() -> None:
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
