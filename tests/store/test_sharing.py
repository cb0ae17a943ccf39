"""One file among threads, forks, processes, and two versions of SQLite."""

import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import sampledb
from sampledb import BusyError, InvalidInputError, SampleDB, find_reports
from sampledb.store import sqlite
from tests.strategies import function, report


def test_a_handle_pickles_to_its_path(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    with sampledb.open(path.name, readonly=True, timeout=1.5) as db:
        pickled = pickle.dumps(db)
        monkeypatch.chdir("/")
        with pickle.loads(pickled) as again:  # noqa: S301
            assert (again.path, again.readonly) == (str(path), True)
            assert again.get_sample(1) == db.get_sample(1)


def test_threads_share_a_handle(path: Path) -> None:
    with sampledb.open(path) as db, ThreadPoolExecutor(8) as pool:
        added = list(pool.map(lambda seed: db.add_sample(report(function(1), seed=f"t{seed}")).sample_id, range(40)))
        assert sorted(added) == list(range(2, 42))
        assert list(pool.map(lambda each: db.get_sample(each).sample_id, added)) == added
        assert db.check(deep=True) == []
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208


def test_threads_share_a_store_in_memory() -> None:
    with sampledb.open(":memory:") as db, ThreadPoolExecutor(8) as pool:
        added = pool.map(lambda seed: db.add_sample(report(function(1), seed=f"t{seed}")).sample_id, range(40))
        assert sorted(added) == list(range(1, 41))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform does not fork")
def test_a_handle_survives_fork(path: Path) -> None:
    program = f"""
import os, sampledb
db = sampledb.open({str(path)!r})
db.update_sample(1, notes="parent")
child = os.fork()
if child == 0:
    assert db.get_sample(1).notes == "parent"
    db.update_sample(1, notes="child")
    db.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert db.get_sample(1).notes == "child"
db.update_sample(1, notes="both")
db.close()
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)
    with sampledb.open(path) as db:
        assert db.get_sample(1).notes == "both"
        assert db.check(deep=True) == []
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform does not fork")
def test_a_handle_that_is_not_used_after_a_fork_leaves_one_file_without_wal(path: Path) -> None:
    with sampledb.open(path) as db:
        db.update_sample(1, notes="written before")
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
    assert path.read_bytes()[18:20] == b"\1\1"
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform does not fork")
def test_what_a_child_writes_stays_when_the_parent_closes_first(path: Path) -> None:
    program = f"""
import os, sampledb
db = sampledb.open({str(path)!r})
db.update_sample(1, notes="parent")
started, closed = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    db.list_samples()
    os.write(started[1], b"x")
    os.read(closed[0], 1)
    for number in range(5):
        db.add_media(sha256=str(number).zfill(64))
    db.close()
    os._exit(0)
os.read(started[0], 1)
db.close()
os.write(closed[1], b"x")
assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)
    with sampledb.open(path) as db:
        assert len(db.list_samples()) == 6
        assert db.check(deep=True) == []
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform does not fork")
def test_a_fork_waits_for_threads_that_write(path: Path) -> None:
    program = f"""
import os, threading, sampledb
db = sampledb.open({str(path)!r}, timeout=30)
done = threading.Event()
def write():
    while not done.is_set():
        db.update_sample(1, notes="thread")
threads = [threading.Thread(target=write) for _ in range(2)]
for thread in threads:
    thread.start()
for number in range(10):
    child = os.fork()
    if child == 0:
        db.add_media(sha256=str(number).zfill(64))
        db.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
done.set()
for thread in threads:
    thread.join()
db.close()
"""
    # Python 3.12 warns of forks beside threads.
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
    with sampledb.open(path) as db:
        assert len(db.list_samples()) == 11


@pytest.mark.slow
def test_workers_of_a_process_pool_leave_one_file(path: Path) -> None:
    program = f"""
import multiprocessing, pickle, sampledb
from concurrent.futures import ProcessPoolExecutor

def add(pickled, number):
    global db
    if number < 2 or "db" not in globals():
        db = pickle.loads(pickled)
    return db.add_media(sha256=str(number).zfill(64)).sample_id

if __name__ == "__main__":
    pickled = pickle.dumps(sampledb.open({str(path)!r}))
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert len(set(pool.map(add, [pickled] * 10, range(10)))) == 10
"""
    script = path.parent / "pool.py"
    script.write_text(program)
    subprocess.run([sys.executable, str(script)], check=True, timeout=120)
    script.unlink()
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208


def test_a_reader_that_outlives_the_writer_leaves_one_file(path: Path) -> None:
    writer, reader = sampledb.open(path), sampledb.open(path, readonly=True)
    writer.update_sample(1, notes="x")
    assert reader.get_sample(1).notes == "x"
    writer.update_sample(1, notes="y")
    writer.close()
    assert reader.get_sample(1).notes == "y"
    reader.close()
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208


@pytest.mark.slow
def test_processes_may_create_one_file_together(tmp_path: Path) -> None:
    path = tmp_path / "together.sampledb"
    program = (
        "import sys, sampledb; db = sampledb.open(sys.argv[1]); db.add_media(sha256=sys.argv[2].zfill(64)); db.close()"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program, str(path), str(number)], stderr=subprocess.PIPE)
        for number in range(8)
    ]
    assert [(process.communicate(timeout=60)[1], process.returncode) for process in started] == [(b"", 0)] * 8
    with sampledb.open(path) as db:
        assert len(db.list_samples()) == 8
        assert db.check(deep=True) == []
    assert os.listdir(tmp_path) == [path.name]  # noqa: PTH208


def test_a_writer_that_does_not_end_makes_others_busy(path: Path) -> None:
    with sampledb.open(path) as db, sampledb.open(path, timeout=0.2) as other:
        with db._connections.writing(), pytest.raises(BusyError) as raised:
            other.update_sample(1, notes="x")
        assert raised.value.details == {"retry_after": 0.2, "path": str(path)}
        assert other.update_sample(1, notes="y").notes == "y"


@pytest.mark.skipif(not sqlite.WAL_IS_SAFE, reason="this SQLite gets a rollback journal")
def test_a_safe_sqlite_uses_wal_and_readers_never_wait(path: Path) -> None:
    with sampledb.open(path) as db:
        db.update_sample(1, notes="x")
        assert db.stats().journal_mode == "wal"
        with db._connections.writing(), sampledb.open(path, timeout=0) as other:
            assert other.get_sample(1).notes == "x"


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 40, 1), False), ((3, 44, 5), False), ((3, 44, 6), True), ((3, 45, 0), False), ((3, 50, 6), False),
        ((3, 50, 7), True), ((3, 51, 2), False), ((3, 51, 3), True), ((3, 53, 4), True),
    ],
)  # fmt: skip
def test_wal_is_used_where_its_bug_is_fixed(version: tuple[int, ...], safe: bool) -> None:
    assert sqlite.is_wal_safe(version) is safe


@pytest.mark.skipif(not sqlite.WAL_IS_SAFE, reason="there is only one SQLite here")
def test_an_older_sqlite_works_with_a_rollback_journal(path: Path, tmp_path: Path) -> None:
    # The interpreter's own SQLite, as on platforms for which pysqlite3 has no wheels.
    program = f"""
import sys
sys.modules["pysqlite3"] = None
import sampledb
from sampledb.store import sqlite
with sampledb.open({str(path)!r}) as db:
    db.update_sample(1, notes="older", tags=["b", "a"])
    expected = "wal" if sqlite.WAL_IS_SAFE else "delete"
    assert db.stats().journal_mode == expected, db.stats()
    assert db.get_function(1, 1).offset == 4096
with sampledb.open({str(tmp_path / "new.sampledb")!r}) as db:
    db.add_media(sha256="0" * 64, tags=["b", "a"])
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)
    with sampledb.open(path) as db:
        assert (db.get_sample(1).notes, db.get_sample(1).tags) == ("older", ("b", "a"))


def test_an_idle_thread_keeps_nothing_open(path: Path) -> None:
    with sampledb.open(path) as db:
        for _ in range(5):
            thread = threading.Thread(target=db.get_sample, args=(1,))
            thread.start()
            thread.join()
        assert len(db._connections._idle) == 1


def test_two_processes_that_close_together_leave_one_file(path: Path) -> None:
    program = """
import sys, sampledb
db = sampledb.open(sys.argv[1])
db.add_media(sha256=sys.argv[2].zfill(64))
print("ready", flush=True)
sys.stdin.readline()
db.close()
"""
    command = [sys.executable, "-c", program, str(path)]
    for number in range(0, 8, 2):
        both = [
            subprocess.Popen([*command, str(number + each)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for each in range(2)
        ]
        for process in both:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in both:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in both:
            process.communicate(timeout=60)
            assert process.returncode == 0
        assert os.listdir(path.parent) == [path.name]  # noqa: PTH208


def leave_open(db: SampleDB) -> None:
    db._connections.writing().__enter__()


def test_an_interrupted_call_is_repaired_by_the_next(path: Path) -> None:
    with sampledb.open(path) as db, sampledb.open(":memory:", timeout=5) as memory:
        for store in (db, memory):
            # What an interrupt leaves behind when it strikes before `finally` is reached.
            leave_open(store)
            store.add_media(sha256="0" * 64)
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(store.get_sample_by_sha256, "0" * 64).result().name == ""
            assert store._connections._loans == []


def test_no_call_reads_a_store_that_is_open(path: Path) -> None:
    """Closing the file after reading it would drop the POSIX locks of the handle."""
    link = path.with_name("link")
    link.symlink_to(path)
    with sampledb.open(path) as db:
        for call in (db.add_sample, db.add_media, db.submit_binary, db.analyze):
            for name in (path, str(link)):
                with pytest.raises(InvalidInputError, match="is an open store"):
                    call(name)
        outcomes = list(db.add_samples([path, *find_reports(path)]))
        assert [outcome.error and "is an open store" in outcome.error.message for outcome in outcomes] == [True, True]
