"""Child processes as the system shows them, programs that are no interpreters, and patience for busy machines."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import subprocess

# Leaves a mark beside itself when it is started.
_PROGRAM = '#!/bin/sh\ntouch "$0.started"\n'

linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")

# Seconds after which a test hangs, on however busy a machine: less than pytest gives it, so that it can clean up.
HANGS = 500


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition that comes true, however long a busy machine takes."""
    deadline = time.monotonic() + HANGS
    while not condition():
        assert time.monotonic() < deadline, "this will never be"
        time.sleep(0.02)


@contextmanager
def killed_at_last(process: "subprocess.Popen[Any]") -> Iterator["subprocess.Popen[Any]"]:
    """Kill a process as the context ends; where a test fails, Popen alone would wait for it for ever."""
    with process:
        try:
            yield process
        finally:
            process.kill()


def children_of(process: int, module: str = "") -> set[int]:
    """The living child processes of a process that serve a module of `sampledb.workers`, or any."""
    served = f"sampledb.workers.{module}".encode()
    return {child for child in map(int, _numbers()) if _parent(child) == process and served in _command(child)}


def environment_of(process: int) -> dict[str, str]:
    entries = Path(f"/proc/{process}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)


def is_alive(process: int) -> bool:
    return _parent(process) is not None


def _numbers() -> list[str]:
    return [name for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208 - names are all it takes


def _parent(process: int) -> int | None:
    """The parent of a process; `None` when it has ended."""
    try:
        state, parent = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return None
    return None if state in "ZX" else int(parent)


def _command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def become_program(monkeypatch: pytest.MonkeyPatch, path: Path, *, is_frozen: bool) -> Callable[[], bool]:
    """Make this process look like the program at `path`, and return whether that was started since."""
    path.write_text(_PROGRAM)
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))
    if is_frozen:
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    return Path(f"{path}.started").exists
