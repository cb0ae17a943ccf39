"""Programs of tests that run in a process of their own: to be killed there, or to have Python's own SQLite."""

import os
import random
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Final

import sampledb
from tests.workers.processes import HANGS, killed_at_last

_OWN_SQLITE: Final = "import sys\nsys.modules['pysqlite3'] = None\n"
_CRASH: Final = """
import os, sys
import sampledb
db = sampledb.open(sys.argv[1])
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    db.add_media(sha256=f"{number:064x}", name=f"sample {number}")
os.kill(os.getpid(), 9)
"""


def run(program: str, *arguments: object, own_sqlite: bool = False) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end; `own_sqlite` hides pysqlite3, as on platforms that have no wheels of it."""
    code = (_OWN_SQLITE if own_sqlite else "") + program
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=HANGS, check=False)


def run_and_kill(program: str, *arguments: object, lines: int = 1) -> list[int]:
    """Kill a program soon after it has printed so many numbers, a line each, and return all that it printed."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    root = Path(__file__).parent.parent.parent
    with killed_at_last(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)) as process:
        assert process.stdout is not None
        numbers = [int(line) for line in islice(process.stdout, lines)]
        assert len(numbers) == lines
        time.sleep(random.uniform(0, 0.1))  # noqa: S311
        process.kill()
        return [*numbers, *map(int, process.stdout.read().split())]


def crash(path: Path, first: int = 0, last: int = 5) -> None:
    """Add samples in a process that is killed afterwards; with WAL, they are in the `-wal` only."""
    assert run(_CRASH, path, first, last).returncode == -signal.SIGKILL


def list_folder(path: Path) -> list[str]:
    """Return what is in the folder of a path."""
    return sorted(os.listdir(path.parent))  # noqa: PTH208


def list_names(path: Path) -> list[str]:
    """Return the names of the samples of a file that is whole."""
    with sampledb.open(path) as db:
        assert db.check(deep=True) == []
        return [sample.name for sample in db.list_samples().values()]
