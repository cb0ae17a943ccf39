"""Whatever call of the system fails, or is a process's last, and wherever the power is cut: the file is whole.

What was acknowledged is there, and what was under way is there wholly or not at all. `pytest -m sweep` tries every
system call of every operation; without it, a few of each are tried.
"""

import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple, Self

import pytest

from sampledb.store import sqlite
from tests.conftest import Record
from tests.markers import SWEEP_EVERY, mostly_slow
from tests.torture.faults import JOURNALS
from tests.torture.operations import OPERATIONS, UNSAFE

Case = dict[str, Any]


class Kind(NamedTuple):
    """A fault, tried at one of `every` so many calls."""

    call: str
    action: str
    lasts: bool = False
    every: int = 1


KILL = "signal=KILL"
KILLS = [Kind(call, KILL) for call in ("pwrite64", "fsync", "fdatasync", "ftruncate", "unlink", "link", "openat")]
ERRORS = [
    Kind("pwrite64", "error=ENOSPC", every=2),
    Kind("pwrite64", "error=ENOSPC", lasts=True, every=5),
    Kind("pwrite64", "error=EIO", every=5),
    Kind("pwrite64", "error=EROFS", lasts=True, every=15),
    *(Kind(call, "error=EIO") for call in ("fsync", "fdatasync", "ftruncate", "unlink", "link", "chmod")),
    *(Kind(call, "error=EIO", lasts=True, every=3) for call in ("fsync", "fdatasync")),
    Kind("unlink", "error=EROFS", lasts=True),
    Kind("openat", "error=EMFILE"),
    Kind("openat", "error=EMFILE", lasts=True, every=2),
    Kind("openat", "error=EROFS", every=2),
    Kind("openat", "error=EACCES", lasts=True, every=3),
    Kind("pread64", "error=EIO", every=4),
    Kind("newfstatat", "error=EIO", every=4),
]
# Each was a defect once.
DEFECTS: list[Case] = [
    {"operation": "add", "call": "openat", "action": "error=EMFILE", "number": 1, "lasts": False},
    {"operation": "recover and add", "call": "openat", "action": "error=EMFILE", "number": 4, "lasts": False},
    {"operation": "add", "call": "pwrite64", "action": KILL, "number": 3, "lasts": False},
    {"operation": "create", "call": "newfstatat", "action": "error=EIO", "number": 1, "lasts": False},
    {"operation": "update", "call": "newfstatat", "action": "error=EIO", "number": 1, "lasts": False},
    {"operation": "update", "call": "newfstatat", "action": "error=EIO", "number": 2, "lasts": False},
    {"operation": "add", "call": "pread64", "action": "error=EIO", "number": 28, "lasts": False},
    {"operation": "add", "call": "unlink", "action": "error=EROFS", "number": 2, "lasts": True},
    {"operation": "back up", "call": "link", "action": "error=EIO", "number": 1, "lasts": False},
    {"operation": "back up", "call": "chmod", "action": "error=EIO", "number": 1, "lasts": False},
    {"operation": "back up", "call": "unlink", "action": "error=EIO", "number": 1, "lasts": False},
    {"operation": "back up", "call": "fsync", "action": "error=EIO", "number": 4, "lasts": True},
    {"operation": "back up", "call": "fdatasync", "action": "error=EIO", "number": 4, "lasts": True},
]
# What the default run tries; the sweeps try all.
TYPICAL = ["create and add", "add", "replace", "run a job", "compact", "back up", "recover and add"]
# It has the system calls of ten others, and they are all alike.
LONG = "add more than fits the cache"
LONG_EVERY = 9

pytestmark = [
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace, which makes system calls fail, is not here"),
]


PROGRAM = """
import sys
from pathlib import Path
if sys.argv[1] == "rollback":
    # The interpreter's own SQLite, as on platforms for which pysqlite3 has no wheels.
    sys.modules["pysqlite3"] = None
from tests.torture.faults import serve
serve(sys.argv[1], Path(sys.argv[2]))
"""


class Worker:
    """A process that runs cases."""

    def __init__(self, journal: str, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, journal, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent.parent,
        )

    def ask(self, case: Case) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(case), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, f"no answer to {case}"
        found: dict[str, Any] = json.loads(answer)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=300)


class Bench:
    """As many workers as there are cores."""

    def __init__(self, journal: str, stack: ExitStack) -> None:
        self.journal = journal
        # Nothing here needs a real disk: what a crash of the machine leaves is made from what was written.
        memory = Path("/dev/shm")  # noqa: S108 - a new folder in it
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None))
        )
        self._free: SimpleQueue[Worker] = SimpleQueue()
        count = os.cpu_count() or 1
        for number in range(count):
            (folder / str(number)).mkdir()
            self._free.put(stack.enter_context(Worker(journal, folder / str(number))))
        self._pool = stack.enter_context(ThreadPoolExecutor(count))
        self._counts: dict[str, dict[str, int]] = {}

    def ask(self, cases: Iterable[Case]) -> Iterator[tuple[Case, dict[str, Any]]]:
        cases = list(cases)
        return zip(cases, self._pool.map(self._ask, cases), strict=True)

    def counts(self, operations: Iterable[str]) -> list[tuple[str, dict[str, int]]]:
        """Return how often each operation makes each system call."""
        new = [{"do": "count", "operation": each} for each in operations if each not in self._counts]
        self._counts |= {case["operation"]: answer for case, answer in self.ask(new)}
        return [(each, self._counts[each]) for each in operations]

    def _ask(self, case: Case) -> dict[str, Any]:
        worker = self._free.get()
        try:
            return worker.ask(case)
        finally:
            self._free.put(worker)


# One journal in the default run, both in CI.
@pytest.fixture(scope="module", params=mostly_slow(JOURNALS, {"wal" if sqlite.WAL_IS_SAFE else "rollback"}))
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    journal = request.param
    if journal == "wal" and not sqlite.WAL_IS_SAFE:
        pytest.skip("this SQLite gets a rollback journal")
    with ExitStack() as stack:
        bench = Bench(journal, stack)
        ((_, answer),) = bench.ask([{"do": "count", "operation": "create"}])
        if "refused" in answer:
            pytest.skip(f"strace may trace nothing here: {answer['refused']}")
        yield bench


# Cases


def faults(
    bench: Bench, kinds: Iterable[Kind], operations: Iterable[str] = OPERATIONS, *, one_of: int = 1
) -> Iterator[Case]:
    """Yield one of so many cases, in an order that is always the same."""
    for (operation, calls), kind in itertools.product(bench.counts(operations), kinds):
        every = kind.every * one_of * (LONG_EVERY if operation == LONG else 1)
        # Other numbers for other operations.
        start = random.Random(f"{operation} {kind}").randrange(every)  # noqa: S311
        for number in range(start + 1, calls.get(kind.call, 0) + 1, every):
            fault = {"call": kind.call, "action": kind.action, "number": number, "lasts": kind.lasts}
            yield {"do": "fail", "operation": operation, **fault}


def cuts(*, each: int, every: int, operations: Iterable[str] = OPERATIONS) -> Iterator[Case]:
    """Yield power cuts at one of `every` so many events; `each` is how many of their outcomes are left to chance."""
    for operation in operations:
        long = LONG_EVERY if operation == LONG else 1
        yield {"do": "cut", "operation": operation, "cuts": each, "every": every * long}


def some(cases: Iterable[Case], each: int) -> Iterator[Case]:
    """Yield a few cases of each operation, always the same."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case["operation"], []).append(case)
    for operation, group in groups.items():
        yield from random.Random(operation).sample(group, min(each, len(group)))  # noqa: S311


def tried(bench: Bench, cases: Iterable[Case]) -> dict[str, int]:
    """How much was tried, when nothing was wrong with any."""
    counts: Counter[str] = Counter()
    wrong = []
    for case, answer in bench.ask(cases):
        counts.update({"cases": 1, **{key: value for key, value in answer.items() if isinstance(value, int)}})
        wrong += [{**case, **answer}] if answer["problems"] else []
    assert wrong == [], f"{len(wrong)} of {counts['cases']}"
    return counts


# A few of each


@pytest.mark.slow
def test_what_once_went_wrong_does_so_no_more(bench: Bench) -> None:
    tried(bench, [{"do": "fail", **case} for case in DEFECTS])


def test_a_killed_process_leaves_a_whole_file(bench: Bench) -> None:
    tried(bench, some(faults(bench, KILLS, TYPICAL), 2))


def test_a_failing_disk_is_an_error_of_ours_and_loses_nothing(bench: Bench) -> None:
    tried(bench, some(faults(bench, ERRORS, TYPICAL), 2))


def test_a_power_cut_leaves_a_whole_file(bench: Bench) -> None:
    tried(bench, cuts(each=1, every=50, operations=TYPICAL))


@pytest.mark.slow
def test_a_backup_that_returned_outlives_a_power_cut(bench: Bench) -> None:
    tried(bench, [{"do": "cut", "operation": "back up", "cuts": 4, "every": 1}])


@pytest.mark.slow
def test_a_power_cut_leaves_no_journal_of_a_new_file_without_the_file(bench: Bench) -> None:
    tried(bench, [{"do": "cut", "operation": "create", "cuts": 6, "every": 1}])


@pytest.mark.slow
def test_the_loss_of_what_was_not_synced_would_be_noticed(bench: Bench) -> None:
    """Without this, the others would prove little."""
    ((_, answer),) = bench.ask([{"do": "cut", "operation": UNSAFE, "cuts": 2, "every": 5}])
    assert any("neither as it was" in problem for problem in answer["problems"])
    assert any("cannot be opened" in problem or "damaged" in problem for problem in answer["problems"])


# All of each

sweep = pytest.mark.sweep


@sweep
def test_a_process_may_be_killed_at_any_system_call(bench: Bench, record: Record) -> None:
    record(f"kills, {bench.journal}", tried(bench, faults(bench, KILLS, one_of=SWEEP_EVERY)))


@sweep
def test_any_system_call_may_fail(bench: Bench, record: Record) -> None:
    record(f"errors, {bench.journal}", tried(bench, faults(bench, ERRORS, one_of=SWEEP_EVERY)))


@sweep
def test_the_power_may_be_cut_at_any_time(bench: Bench, record: Record) -> None:
    record(f"power cuts, {bench.journal}", tried(bench, cuts(each=6, every=2 * SWEEP_EVERY)))
