"""One file among many processes and threads at once: what was acknowledged is there, and all of it or none."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

import sampledb
from sampledb import BusyError, ConflictError, NotFoundError, SampleDB
from tests.conftest import Record
from tests.strategies import function, report

# Seconds for processes that need two or three; a loaded machine takes longer, a deadlock does not end.
PATIENCE = 600
# Functions of every report here: several frames, so that a sample is never written at one stroke.
FUNCTIONS = 40

# Not this module, which would take longer to import than most of what is done here takes.
PRELUDE = """
import hashlib, json, os, random, sys, time, sampledb
from sampledb import BusyError
path, number = sys.argv[1:]
template = json.loads(sys.stdin.readline())
def some_report(seed):
    return {**template, "sha256": hashlib.sha256(seed.encode()).hexdigest()}
print("ready", flush=True)
sys.stdin.readline()
"""
#: What processes do, each with the number that it is given.
ADD_THE_SAME = """
with sampledb.open(path, timeout=60) as db:
    outcomes = db.add_samples([some_report(f"shared {each}") for each in range(5)])
    print(*(outcome.status for outcome in outcomes))
"""
ADD_OTHERS = """
with sampledb.open(path, timeout=60) as db:
    for each in range(8):
        sample = db.add_sample(some_report(f"{number} {each}"))
        print(sample.sample_id, sample.sha256, flush=True)
"""
READ = """
from time import perf_counter
with sampledb.open(path, readonly=number == "4", timeout=60) as db:
    times, seen = [], 0
    while seen < 24:
        begun = perf_counter()
        samples = db.list_samples()
        times.append(perf_counter() - begun)
        seen = len(samples)
        for sample_id in list(samples)[-2:]:
            begun = perf_counter()
            functions = db.list_functions(sample_id, disassembly=True)
            times.append(perf_counter() - begun)
            assert len(functions) == samples[sample_id].num_functions == 40
            assert len(db.get_report(sample_id)["xcfg"]) == 40
    times.sort()
    p50, p99 = (times[len(times) * share // 100] * 1e6 for share in (50, 99))
    print(len(times), int(p50), int(p99))
"""
MIX = """
def change(db, each):
    what = each % 3
    if what == 0:
        db.add_sample(some_report(f"mix {number} {each}"), exist_ok=True)
    elif what == 1:
        db.add_media(sha256=f"{number}{each}".zfill(64), tags=["mixed"], exist_ok=True)
    else:
        db.tag_sample(1, f"{number} {each}")
    for sample in db.list_samples(limit=3).values():
        assert len(db.list_functions(sample.sample_id)) == sample.num_functions
waits = 0
for each in range(9):
    while True:
        try:
            with sampledb.open(path, timeout=5) as db:
                change(db, each)
            break
        except BusyError:
            waits += 1
            time.sleep(random.random() / 10)
print(waits)
"""
# With the interpreter's own SQLite, as on platforms for which pysqlite3 has no wheels.
WITHOUT_PYSQLITE = 'import sys; sys.modules["pysqlite3"] = None'
OLDER = f"{WITHOUT_PYSQLITE}\n{PRELUDE}{MIX}"
HOLD = """
with sampledb.open(path, timeout=60) as db:
    with db._connections.writing() as connection:
        connection.execute("UPDATE samples SET username = 'holder' WHERE sample_id = 1")
        print("holding", flush=True)
        sys.stdin.readline()
print("done")
"""


def some_report(seed: str) -> dict[str, object]:
    functions = [function(0x1000 * place, function_name=f"sub_{place}") for place in range(1, FUNCTIONS + 1)]
    return report(*functions, seed=seed)


@contextmanager
def started(path: Path, *programs: str) -> Iterator[list["subprocess.Popen[str]"]]:
    """Processes that have imported everything, and wait for a line; they are given the path and their number."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(path), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number, program in enumerate(programs)
    ]
    try:
        for process in processes:
            tell(process, json.dumps(some_report("template")))
        for process in processes:
            assert said(process) == "ready"
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: "subprocess.Popen[str]", line: str = "") -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def together(path: Path, *programs: str) -> list[list[str]]:
    """What processes that begin at one moment have printed, each the lines."""
    whole = [program if program.startswith(WITHOUT_PYSQLITE) else PRELUDE + program for program in programs]
    with started(path, *whole) as processes:
        for process in processes:
            tell(process)
        ended = [process.communicate(timeout=PATIENCE) for process in processes]
    assert [error for _, error in ended] == [""] * len(programs)
    return [out.splitlines() for out, _ in ended]


def assert_whole(path: Path) -> None:
    with sampledb.open(path) as db:
        assert db.check(deep=True) == []
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A file in a folder of its own, which nobody has made yet."""
    return tmp_path / "shared.sampledb"


@pytest.mark.slow
def test_of_many_that_add_the_same_to_a_new_file_one_has_added_it(shared: Path) -> None:
    said = [word for line in together(shared, *[ADD_THE_SAME] * 4) for word in " ".join(line).split()]
    assert Counter(said) == {"added": 5, "existed": 15}
    with sampledb.open(shared) as db:
        assert sorted(db.list_samples()) == [1, 2, 3, 4, 5]
    assert_whole(shared)


def test_what_many_add_is_all_there_while_others_read(shared: Path, record: Record) -> None:
    sampledb.open(shared).close()
    *added, reader, readonly = together(shared, *[ADD_OTHERS] * 3, READ, READ)
    acknowledged = {tuple(line.split()) for lines in added for line in lines}
    with sampledb.open(shared) as db:
        assert {(str(each.sample_id), each.sha256) for each in db.list_samples().values()} == acknowledged
        assert sorted(db.list_samples()) == list(range(1, 25))
    assert_whole(shared)
    for handle, (line,) in (("writable", reader), ("read-only", readonly)):
        reads, p50, p99 = map(int, line.split())
        record(f"reads beside three writers, {handle}", {"reads": reads, "p50 in µs": p50, "p99 in µs": p99})


@pytest.mark.slow
def test_two_versions_of_sqlite_take_turns(path: Path, record: Record) -> None:
    # One without a safe WAL gets in when nobody uses the file with it, and is told so by BusyError when not.
    said = together(path, MIX, OLDER, MIX, OLDER)
    with sampledb.open(path) as db:
        assert len(db.list_samples()) == 1 + 4 * 6
        assert len(db.get_sample(1).tags) == 4 * 3
    assert_whole(path)
    record("waits for another version of SQLite", {"waits": sum(int(line) for (line,) in said)})


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="the platform does not pause processes")
def test_a_paused_writer_makes_others_busy_and_not_hang(path: Path) -> None:
    with started(path, PRELUDE + HOLD) as (holder,), sampledb.open(path, timeout=0.5) as db:
        tell(holder)
        assert said(holder) == "holding"
        holder.send_signal(signal.SIGSTOP)
        writes: list[Callable[[], object]] = [partial(db.add_sample, some_report("late")), partial(db.delete_sample, 1)]
        for write in writes:
            begun = time.monotonic()
            with pytest.raises(BusyError) as raised:
                write()
            assert raised.value.details["retry_after"] == 0.5
            assert 0.4 < time.monotonic() - begun < 20
        assert db.get_sample(1).username == "anonymous"
        holder.send_signal(signal.SIGCONT)
        tell(holder)
        assert said(holder) == "done"
        assert db.tag_sample(1, "late").username == "holder"
    assert_whole(path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform does not fork")
def test_children_and_their_parent_write_at_once_through_one_handle(shared: Path) -> None:
    program = """
db = sampledb.open(path, timeout=60)
db.add_media(sha256="f" * 64)
children = []
for child in range(3):
    pid = os.fork()
    if pid == 0:
        for each in range(5):
            sample = db.add_sample(some_report(f"child {child} {each}"))
            assert len(db.list_functions(sample.sample_id)) == 40
        db.close()
        os._exit(0)
    children.append(pid)
for each in range(5):
    sample = db.add_sample(some_report(f"parent {each}"))
    assert len(db.get_report(sample.sample_id)["xcfg"]) == 40
assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
print(len(db.list_samples()), db.check())
db.close()
"""
    assert together(shared, program) == [["21 []"]]
    assert_whole(shared)


def test_threads_do_everything_at_once_through_one_handle(shared: Path) -> None:
    with sampledb.open(shared, timeout=60) as db:
        db.add_sample(some_report("kept"))
        with ThreadPoolExecutor(12) as pool:
            assert sum(pool.map(lambda number: _everything(db, number), range(36))) == 36
        assert db.check(deep=True) == []
    assert_whole(shared)


@pytest.mark.parametrize("seed", [9, 10])
def test_a_handle_finds_no_damage_in_what_others_have_merged(shared: Path, seed: int) -> None:
    # What FTS5 remembers of an index is out of date only after some sequences of calls; these are two.
    chance = random.Random(seed)  # noqa: S311 - it must be repeatable
    with sampledb.open(shared) as one, sampledb.open(shared) as two, sampledb.open(shared) as three:
        handles = [one, two, three]
        one.add_sample(_twenty(0))
        for step in range(80):
            handle, what, number = chance.randrange(3), chance.choice(list(CHANGES)), chance.randrange(6)
            with suppress(ConflictError, NotFoundError):
                CHANGES[what](handles[handle], number, step, chance)
        assert [handle.check() for handle in handles] == [[], [], []]


def _twenty(seed: int) -> dict[str, object]:
    return report(*[function(16 * place, function_name=f"sub_{place}") for place in range(20)], seed=str(seed))


#: By name, twice those that shall come twice as often.
CHANGES: dict[str, Callable[[SampleDB, int, int, random.Random], object]] = {
    "add": lambda db, number, _, chance: db.add_sample(_twenty(number), exist_ok=bool(chance.randrange(2))),
    "tag": lambda db, number, step, _: db.tag_sample(number + 1, f"t{step}"),
    "tag again": lambda db, number, step, _: db.tag_sample(number + 1, f"t{step}"),
    "delete": lambda db, number, *_: db.delete_sample(number + 2),
    "search": lambda db, *_: db.search("sub_7"),
}


def _everything(db: SampleDB, number: int) -> int:
    """Add, find, change, and delete; others do the same with a third of the same samples."""
    seed = f"of three {number % 12}"
    try:
        sample = db.add_sample(some_report(seed), exist_ok=bool(number % 2))
        db.tag_sample(sample.sample_id, f"tag {number}")
        assert db.get_function(sample.sample_id, next(iter(db.list_functions(sample.sample_id)))).disassembly
        assert db.search("sub_7", limit=3)
        if number % 3 == 0:
            db.delete_sample(sample.sample_id)
    except (ConflictError, NotFoundError, StopIteration):
        # Another thread was there before.
        assert db.get_sample(1).num_functions == FUNCTIONS
    return 1


@pytest.mark.slow
def test_a_backup_amid_writers_holds_a_prefix_of_what_each_has_added(shared: Path) -> None:
    sampledb.open(shared).close()
    copies = [shared.with_name(f"copy{number}.sampledb") for number in range(4)]
    with started(shared, *[PRELUDE + ADD_OTHERS] * 2) as writers, sampledb.open(shared, timeout=60) as db:
        for writer in writers:
            tell(writer)
        acknowledged = []
        for copy in copies:
            acknowledged.append([said(writer).split()[1] for writer in writers])
            db.backup(copy)
        ended = [writer.communicate(timeout=PATIENCE) for writer in writers]
        assert [error for _, error in ended] == ["", ""]
        order = [sample.sha256 for sample in db.list_samples().values()]
    before: set[str] = set()
    for copy, added in zip(copies, acknowledged, strict=True):
        before |= set(added)
        with sampledb.open(copy, readonly=True) as db:
            assert db.check(deep=True) == []
            there = [sample.sha256 for sample in db.list_samples().values()]
        assert there == order[: len(there)]
        assert before <= set(there)
        copy.unlink()
    assert_whole(shared)


@pytest.mark.sweep
def test_many_rounds_of_everything_at_once(tmp_path: Path, record: Record) -> None:
    rounds = 6
    for number in range(rounds):
        path = tmp_path / f"round{number}" / "shared.sampledb"
        path.parent.mkdir()
        with sampledb.open(path) as db:
            db.add_sample(some_report("first"))
        together(path, *[MIX] * 4, ADD_THE_SAME, ADD_THE_SAME, ADD_OTHERS)
        assert_whole(path)
    record("rounds of seven processes on one file", {"rounds": rounds})
