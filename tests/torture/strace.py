"""strace: makes the system calls of a process fail, or be its last, and tells what they were."""

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.torture.powercut import Acknowledge, Create, Event, Link, Remove, Rename, Sync, Truncate, Write

# The calls that change files, or fail because of them; those of Python and SQLite on any Linux.
CALLS = (
    *("openat", "pwrite64", "write", "pread64", "ftruncate", "fsync", "fdatasync", "unlink", "rename", "link"),
    *("chmod", "fchmod", "fchown", "fallocate", "newfstatat", "fcntl", "close", "mkdir", "rmdir"),
)
_LONGEST = 1 << 20
# So that a process other than its parent may trace one (Yama's ptrace_scope); from <linux/prctl.h>.
_PR_SET_PTRACER = 0x59616D61


class RefusedError(Exception):
    """This machine does not let one process trace another."""


class Fault(NamedTuple):
    """What becomes of the calls of a kind: of the one of that number, counted from 1, and perhaps of all after it."""

    call: str
    action: str  # as strace writes it: error=EIO, signal=KILL
    number: int
    lasts: bool = False

    def __str__(self) -> str:
        return f"inject={self.call}:{self.action}:when={self.number}{'+' if self.lasts else ''}"


def allow() -> None:
    """In a process that is to be traced by one that it did not start."""
    # Seldom needed, and not to be had everywhere.
    import ctypes  # noqa: PLC0415

    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, -1, 0, 0, 0)


@contextmanager
def attached(process: int, log: Path, fault: Fault | None, *, content: bool = False) -> Iterator[None]:
    """While strace follows a process; it ends with it. With `content`, the log has all that is written."""
    command = [shutil.which("strace") or "strace", "-f", "-y", "-o", str(log), "-p", str(process)]
    command += ["-e", f"trace={','.join(CALLS)}"]
    command += ["-e", str(fault)] if fault else []
    command += ["-xx", "-s", str(_LONGEST)] if content else ["-s", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as tracer:
        assert tracer.stderr is not None
        said = tracer.stderr.readline()
        if b"attached" not in said:
            raise RefusedError(said.decode().strip())
        yield
        tracer.stderr.read()


# Its log

_LINE = re.compile(r"(?:\d+ +)?(\w+)\((.*)\) += (-?\d+)(.*)")
_DESCRIPTOR = re.compile(r"(?:\d+|AT_FDCWD)<(.*?)>(?: ?\(deleted\))?")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


def counted(log: Path) -> dict[str, int]:
    """How often each call was made."""
    counts: dict[str, int] = {}
    for line in log.read_text().splitlines():
        if match := _LINE.fullmatch(line):
            counts[match[1]] = counts.get(match[1], 0) + 1
    return counts


def events(log: Path, folder: Path, names: Iterable[str]) -> Iterator[Event]:
    """What a process did to the files of a folder, where those `names` were, and what it said through pipes."""
    known = set(names)
    for line in log.read_text().splitlines():
        match = _LINE.fullmatch(line)
        if match and int(match[3]) >= 0:
            event = _event(match[1], match[2], match[3] + match[4], str(folder), known)
            yield from [event] if event else []


def _event(call: str, arguments: str, result: str, folder: str, known: set[str]) -> Event | None:
    described = _DESCRIPTOR.match(arguments)
    file = _plain(described[1]) if described else ""
    path = _inside(file, folder)
    texts = [bytes.fromhex(text.replace("\\x", "")) for text in _TEXT.findall(arguments)]
    named = [_inside(text.decode(), folder) for text in texts if call in {"openat", "unlink", "rename", "link"}]
    if call == "openat":
        return _opened(_inside(_plain(result.partition("<")[2].rstrip(">")), folder), arguments, known)
    if call == "unlink" and named[0]:
        known.discard(named[0])
        return Remove(named[0])
    if call in {"rename", "link"} and named[0] and named[1]:
        known.add(named[1])
        return Rename(named[0], named[1]) if call == "rename" else Link(named[0], named[1])
    if call == "write" and file.startswith("pipe:"):
        return Acknowledge(texts[0].decode())
    if path is None:
        return None
    return _changed(call, path, arguments, texts)


def _opened(path: str | None, arguments: str, known: set[str]) -> Event | None:
    if path and "O_TRUNC" in arguments:
        raise ValueError(f"not modelled: {arguments}")
    if not path or path in known or "O_CREAT" not in arguments:
        return None
    known.add(path)
    return Create(path)


def _changed(call: str, path: str, arguments: str, texts: list[bytes]) -> Event | None:
    if call in {"fsync", "fdatasync"}:
        return Sync(path)
    if call == "ftruncate":
        return Truncate(path, int(arguments.rpartition(",")[2]))
    if call == "pwrite64":
        return Write(path, int(arguments.rpartition(",")[2]), texts[0])
    if call in {"write", "fallocate"}:
        raise ValueError(f"not modelled: {call}({arguments[:100]}")
    return None


def _plain(path: str) -> str:
    """A path as strace writes it when it writes content, or otherwise."""
    return bytes.fromhex(path.replace("\\x", "")).decode() if path.startswith("\\x") else path


def _inside(path: str, folder: str) -> str | None:
    """The name of a file in the folder, `""` for the folder itself, `None` for what is elsewhere."""
    if path == folder:
        return ""
    return path[len(folder) + 1 :] if path.startswith(folder + "/") else None
