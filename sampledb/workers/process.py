"""Processes that start this package alone, do one thing at a time, and answer in bytes.

Why not a library: `multiprocessing`, under `pebble` and all others, runs the user's script again in its workers
unless that guards itself, or forks a process with threads; and it unpickles what a worker sends, while the worker has
just read malware.

First a process reads a line that says where Python finds its modules, and writes a mark, before which Python may have
printed things of its own. Then come messages: 8 bytes of length, then MessagePack. The first is answered when the
process is ready; then each question has its answer.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from io import FileIO, RawIOBase
from queue import SimpleQueue
from typing import Any, Final, TypeVar, cast

import msgspec

# Seconds for a process to start, with a cold disk.
_START: Final = 120.0
_LENGTH: Final = 8
_MARK: Final = b"\0sampledb\0"
# Of what Python may print as it starts.
_MAX_CHATTER: Final = 1024 * 1024
# Seconds for a process to end that has closed its output.
_LAST_BREATH: Final = 1.0
# As much as a report may have, and what it is packed in.
_MAX_MESSAGE: Final = 3 * 1024**3
# The path is that of this process, but for the current folder (`-P`), whose modules are not what is meant.
_BOOT: Final = """
import json, sys
sys.path[:] = json.loads(open(0, "rb", buffering=0, closefd=False).readline())
from sampledb.workers.{module} import serve
serve()
"""

_Answer = TypeVar("_Answer", bound=msgspec.Struct)


class DiedError(Exception):
    """A process ended in the middle of its work, killed by somebody, by the system, or by what it read."""


class LateError(Exception):
    """A process was killed because its time was up."""


class UnavailableError(Exception):
    """No process can be started, which is the fault of nothing that it would have read."""


class Process:
    """One process, which runs `serve()` of a module of this package."""

    def __init__(self, module: str, setup: msgspec.Struct) -> None:
        self._is_late = self._is_cancelled = False
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
                [sys.executable or "", "-P", "-c", _BOOT.format(module=module)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                # Without buffers, whose locks a fork could copy in the middle of a read.
                bufsize=0,
                # glibc would set address space aside for each thread, of which there is a limit.
                env={**os.environ, "MALLOC_ARENA_MAX": "1"}, **_APART,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            raise UnavailableError(f"Python does not start: {error}") from error
        self._setup = setup

    def start(self, kind: type[_Answer]) -> _Answer:
        """Wait until the process says that it is ready; what it says.

        Raises:
            UnavailableError: It ended by itself, and the next one would do so too.
            DiedError: It was killed.
        """
        try:
            with self._clock(_START):
                _write(self._input, json.dumps(_path()).encode() + b"\n")
                _skip_chatter(self._output)
                _send(self._input, self._setup)
                return _receive(self._output, kind)
        except (OSError, ValueError, EOFError) as error:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_LAST_BREATH)
            code = self._process.returncode
            self.end()
            raised = DiedError if code is not None and code < 0 else UnavailableError
            raise raised(f"the worker process ended with {code} as it started") from error

    def ask(self, question: msgspec.Struct, kind: type[_Answer], *, limit: float | None = None) -> _Answer:
        """The answer, within `limit` seconds, or the process is killed; `None` waits for as long as it takes.

        Raises:
            LateError: It took longer.
            CancelledError: `cancel` was called.
            DiedError: The process died.
        """
        try:
            with self._clock(limit):
                _send(self._input, question)
                return _receive(self._output, kind)
        except (OSError, ValueError, EOFError) as error:
            self.end()
            if self._is_cancelled:
                raise CancelledError from error
            if self._is_late:
                raise LateError from error
            raise DiedError(f"the worker process ended with {self._process.returncode}") from error

    @contextmanager
    def _clock(self, limit: float | None) -> Iterator[None]:
        if limit is None:
            yield
            return
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
        """Whether it can take another question; the clock may have struck just after the last answer."""
        return not self._is_late and not self._is_cancelled and self._process.poll() is None

    @property
    def _input(self) -> RawIOBase:
        stream: Any = self._process.stdin
        return stream  # type: ignore[no-any-return]

    @property
    def _output(self) -> RawIOBase:
        stream: Any = self._process.stdout
        return stream  # type: ignore[no-any-return]


# Ctrl-C in a terminal is meant for the one who waits, not for the workers.
_APART: Final[dict[str, Any]] = (
    {"creationflags": 0x00000200} if sys.platform == "win32" else {"process_group": 0}  # CREATE_NEW_PROCESS_GROUP
)


def _path() -> list[str]:
    # "" is the current folder; some put other things in it, which Python passes over.
    found: list[str] = []
    for entry in cast("list[object]", sys.path):
        # The current folder may be gone.
        with suppress(OSError):
            found += [os.path.abspath(entry)] if isinstance(entry, str) else []  # noqa: PTH100
    return found


def _skip_chatter(stream: RawIOBase) -> None:
    read = b""
    while not read.endswith(_MARK):
        read += _read(stream, 1)
        if len(read) > _MAX_CHATTER:
            raise ValueError("no mark")


def _send(stream: RawIOBase, message: msgspec.Struct) -> None:
    content = msgspec.msgpack.encode(message)
    _write(stream, len(content).to_bytes(_LENGTH, "little"))
    _write(stream, content)


def _write(stream: RawIOBase, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[stream.write(rest) or 0 :]


def _receive(stream: RawIOBase, kind: type[_Answer]) -> _Answer:
    length = int.from_bytes(_read(stream, _LENGTH), "little")
    if length > _MAX_MESSAGE:
        raise ValueError(f"a message of {length} bytes")
    return msgspec.msgpack.decode(_read(stream, length), type=kind)


def _read(stream: RawIOBase, size: int) -> bytes:
    content = bytearray(size)
    rest = memoryview(content)
    while rest:
        count = stream.readinto(rest)
        if not count:
            raise EOFError
        rest = rest[count:]
    return bytes(content)


# In the process


class Channel:
    """The process's own end: what is asked comes out, what is answered goes in."""

    def __init__(self) -> None:
        self._replies = FileIO(os.dup(1), "wb")
        self._questions = FileIO(os.dup(0), "rb")
        _write(self._replies, _MARK)
        # What anything below prints must not get between the messages.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()

    def setup(self, kind: type[_Answer]) -> _Answer:
        """The first message."""
        return _receive(self._questions, kind)

    def questions(self, kind: type[_Answer]) -> Iterator[_Answer]:
        """All others, without end: without the one who asks, the process ends, whatever it is doing."""
        waiting: SimpleQueue[_Answer] = SimpleQueue()
        threading.Thread(target=self._listen, args=(kind, waiting), daemon=True).start()
        while True:
            yield waiting.get()

    def _listen(self, kind: type[_Answer], waiting: "SimpleQueue[_Answer]") -> None:
        try:
            while True:
                waiting.put(_receive(self._questions, kind))
        finally:
            os._exit(0)

    def answer(self, message: msgspec.Struct) -> None:
        """Send an answer."""
        _send(self._replies, message)


def _end_with(parent: int) -> None:
    """End when the parent has: a child that it forked may hold our input open."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)
