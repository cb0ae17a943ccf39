"""Child processes that serve one module of this package over two pipes, in messages of bytes.

Why not a library: `multiprocessing.Process`, on which `pebble` and others build, runs the user's script again in the
child unless the script guards itself, or forks a process that has threads; and it unpickles what the child sends,
which has just read malware. Only its connections are used here: they frame bytes, bound a message, and know Windows.

The first message tells a child where to find its modules; its first answer, an empty one, that it is ready. Then each
question has one answer. Only `sampledb.workers` and what that imports are loaded, never the store: `sampledb` itself
is an empty package in a child.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

# Seconds for a process to start, from a cold disk on a busy machine.
_START: Final = 120.0
# Seconds for a process to exit by itself that has closed its pipes: only then does its exit code say why.
_LAST_BREATH: Final = 10.0
# The largest report, with room for what it is packed in.
_MAX_MESSAGE: Final = 3 * 1024**3
# What Python needs to start in a child as it did here, and to find its modules; LC_* too. All else stays out: a child
# reads malware, and environments hold tokens.
_PASSED: Final = frozenset({
    # For programs and libraries on every system, also where Python itself was not installed in a usual place.
    "PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "NIX_LD",
    "NIX_LD_LIBRARY_PATH",
    # Languages, the time zone, and temporary files.
    "LANG", "TZ", "TMPDIR", "TEMP", "TMP",
    # Folders of the user's own packages, whose `.pth` files run as Python starts.
    "HOME", "USERPROFILE", "APPDATA",
    # Windows starts no program without the first; `platform` reads the others.
    "SYSTEMROOT", "WINDIR", "PROCESSOR_ARCHITECTURE", "PROCESSOR_ARCHITEW6432",
    # Python's own. Not PYTHONWARNINGS, PYTHONDEVMODE and others that make a child fail, talk or need more memory.
    "PYTHONHOME", "PYTHONPATH", "PYTHONPLATLIBDIR", "PYTHONUSERBASE", "PYTHONNOUSERSITE", "PYTHONUTF8",
    "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "PYTHONHASHSEED", "PYTHON_GIL",
})  # fmt: skip
# How many threads OpenBLAS, OpenMP, MKL and Apple's Accelerate start.
_THREAD_COUNTS: Final = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
# Names of interpreters. A host program, such as IDA, is `sys.executable` itself, or leaves it empty.
_INTERPRETERS: Final = ("python", "pypy", "graalpy")
# `sys.path` is the parent's, less the current folder (`-P`), whose modules could have any name.
_BOOT: Final = """
import json, sys, types
from multiprocessing.connection import {kind}
questions, answers = {kind}({questions}, writable=False), {kind}({answers}, readable=False)
sys.path[:], folder = json.loads(questions.recv_bytes())
sys.modules["sampledb"] = types.ModuleType("sampledb")
sys.modules["sampledb"].__path__ = [folder]
from sampledb.workers.process import Channel
from sampledb.workers.{module} import serve
serve(Channel(questions, answers, memory_limit={memory_limit}))
"""


class DiedError(Exception):
    """A process ended while it worked: killed by the system, by a person, or by its input."""


class UnavailableError(Exception):
    """No process can be started, whatever its input would be."""


def can_start_python() -> bool:
    """Return whether `sys.executable` is an interpreter, so that starting it starts Python.

    In a frozen application, and in a host program such as IDA, it would start that application once more.
    """
    return not getattr(sys, "frozen", False) and Path(sys.executable or "").name.lower().startswith(_INTERPRETERS)


class Process:
    """A child process that runs `serve()` of one module of `sampledb.workers`.

    Attributes:
        memory_limit: Bytes of address space that it may use, 0 for no limit.
    """

    def __init__(self, module: str, *, memory_limit: int = 0) -> None:
        if not can_start_python():
            raise UnavailableError(f"{sys.executable or 'this program'} is no Python interpreter")
        # It takes 20 ms, which adding a few reports does not need.
        from multiprocessing.connection import Pipe  # noqa: PLC0415

        self._is_late = self._is_cancelled = False
        # Two pipes: large messages take half the time of the child that they take through one socket.
        questions, self._questions = Pipe(duplex=False)
        self._answers, answers = Pipe(duplex=False)
        handles = questions.fileno(), answers.fileno()
        program = _BOOT.format(
            kind=type(questions).__name__, questions=handles[0], answers=handles[1], module=module,
            memory_limit=memory_limit,
        )  # fmt: skip
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the interpreter that runs this
                [sys.executable, "-P", "-c", program],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                env=_environment(), **_inherit(*handles),
            )  # fmt: skip
        except (OSError, ValueError) as error:
            self._close()
            raise UnavailableError(f"Python does not start: {error}") from error
        finally:
            questions.close()
            answers.close()

    def start(self) -> None:
        """Wait until the process is ready.

        Raises:
            UnavailableError: It ended by itself or took too long, as another one would.
            DiedError: It was killed.
            CancelledError: `cancel` was called.
        """
        settings = json.dumps([_module_path(), str(Path(__file__).parents[1])])
        try:
            self.ask(settings.encode(), _START)
        except (DiedError, TimeoutError) as error:
            if self._is_late or self._process.returncode >= 0:
                raise UnavailableError(f"{error}, as it started") from error
            raise

    def ask(self, question: bytes, limit: float | None = None) -> bytes:
        """Return the answer; kill the process after `limit` seconds, if that is not `None`.

        Raises:
            TimeoutError: It took longer.
            CancelledError: `cancel` was called.
            DiedError: The process ended.
        """
        try:
            with self._clock(limit):
                self._questions.send_bytes(question)
                return self._answers.recv_bytes(_MAX_MESSAGE)
        except (OSError, EOFError) as error:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_LAST_BREATH)
            self.end()
            if self._is_cancelled:
                raise CancelledError from error
            if self._is_late:
                raise TimeoutError(f"the worker process took longer than {limit:g} seconds") from error
            raise DiedError(f"the worker process ended with {self._process.returncode}") from error

    @contextmanager
    def _clock(self, limit: float | None) -> Iterator[None]:
        """Kill the process after `limit` seconds, wherever it is stuck: it may stop in the middle of an answer."""
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
        """Kill the process; a thread that waits for it gets CancelledError."""
        self._is_cancelled = True
        self._process.kill()

    def end(self) -> None:
        """Kill the process and close its pipes."""
        self._process.kill()
        self._process.wait()
        self._close()

    def _close(self) -> None:
        self._questions.close()
        self._answers.close()

    @property
    def is_well(self) -> bool:
        """Tell whether it can take another question; its time may have run out just after the last answer."""
        return not self._is_late and not self._is_cancelled and self._process.poll() is None


def _inherit(*handles: int) -> dict[str, Any]:
    """Return the options of Popen for a child that keeps `handles` open, and that Ctrl-C does not reach."""
    if sys.platform == "win32":
        for handle in handles:
            os.set_handle_inheritable(handle, True)
        startup = subprocess.STARTUPINFO(lpAttributeList={"handle_list": [*handles]})
        return {"startupinfo": startup, "creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"pass_fds": handles, "process_group": 0}


def _environment() -> dict[str, str]:
    """Return the environment of a child."""
    passed = {name: value for name, value in os.environ.items() if name in _PASSED or name.startswith("LC_")}
    # glibc would reserve address space, of which there is a limit, for each thread. And numpy's libraries would start
    # threads for all cores, while a process is there for one.
    return passed | {"MALLOC_ARENA_MAX": "1"} | dict.fromkeys(_THREAD_COUNTS, "1")


def _module_path() -> list[str]:
    """Return `sys.path` with absolute entries, less those that Python itself skips."""
    found: list[str] = []
    for entry in cast("list[object]", sys.path):
        # `""` is the current folder, which may have been deleted.
        with suppress(OSError):
            found += [os.path.abspath(entry)] if isinstance(entry, str) else []  # noqa: PTH100
    return found


# In the child


class Channel:
    """The child's ends of the pipes.

    Attributes:
        memory_limit: Bytes of address space that the process may use, 0 for no limit.
    """

    def __init__(self, questions: "Connection", answers: "Connection", *, memory_limit: int) -> None:
        self.memory_limit = memory_limit
        self._questions = questions
        self._answers = answers
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
        if memory_limit:
            _limit_memory(memory_limit)

    def questions(self) -> Iterator[bytes]:
        """Tell the parent that the process is ready, and yield its questions without end.

        When the parent closes its pipe or ends, the process ends at once, whatever it is doing.
        """
        waiting: SimpleQueue[bytes] = SimpleQueue()
        threading.Thread(target=self._listen, args=(waiting,), daemon=True).start()
        self.answer(b"")
        while True:
            yield waiting.get()

    def _listen(self, waiting: "SimpleQueue[bytes]") -> None:
        try:
            while True:
                waiting.put(self._questions.recv_bytes(_MAX_MESSAGE))
        finally:
            os._exit(0)

    def answer(self, content: bytes) -> None:
        """Send an answer."""
        self._answers.send_bytes(content)


def _end_with(parent: int) -> None:
    """End the process with its parent, also where another child that the parent forked holds the pipe open."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)


def _limit_memory(size: int) -> None:
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
