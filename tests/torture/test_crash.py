"""A process that is really killed leaves every acknowledged call, and the interrupted one wholly or not at all."""

import signal
from pathlib import Path

import pytest

import sampledb
from sampledb.store import sqlite
from sampledb.store.schema import PAGE_BYTES
from tests.markers import mostly_slow
from tests.store.programs import run_and_kill
from tests.strategies import function, report

WRITER = """
import sys
import sampledb
from sampledb.store import sqlite
from tests.strategies import function, report

db = sampledb.open(sys.argv[1])
number = int(sys.argv[2])
while True:
    functions = [function(16 * each) for each in range(200)]
    sample = db.add_sample(report(*functions, seed=str(number)))
    print(sample.sample_id, flush=True)
    db.update_sample(sample.sample_id, tags=["a", "b"], notes="x" * 1000)
    if number % 3 == 0:
        db.add_sample(report(*functions[:90], seed=str(number)), replace=True)
    number += 1
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the platform has no SIGKILL")
@pytest.mark.parametrize("kills", mostly_slow([2, 8], {2}))
def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path, kills: int) -> None:
    path = tmp_path / "crashed.sampledb"
    acknowledged: list[int] = []
    for start in range(0, 1000 * kills, 1000):
        acknowledged += run_and_kill(WRITER, path, start)
        with sampledb.open(path) as db:
            assert db.check(deep=True) == []
            samples = db.list_samples()
            assert set(acknowledged) <= samples.keys()
            assert len(samples) - len(acknowledged) <= start // 1000 + 1
            for sample in samples.values():
                assert sample.num_functions in {90, 200}
                assert (sample.tags, sample.notes) in {((), None), (("a", "b"), "x" * 1000)}
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_disk_that_is_full_changes_nothing(tmp_path: Path) -> None:
    with sampledb.open(tmp_path / "full.sampledb") as db:
        db.add_sample(report(function(1)))
        before = db.get_sample(1), db.stats()
        with db._connections.reading() as connection:
            # SQLite's own way to say that the disk is full.
            connection.execute(f"PRAGMA max_page_count = {before[1].file_bytes // PAGE_BYTES + 1}")
        with pytest.raises(sampledb.StorageError, match="full") as raised:
            db.add_sample(report(*(function(16 * each) for each in range(2000)), seed="b"))
        assert raised.value.details["path"] == db.path
        assert db.get_sample(1) == before[0]
        assert db.stats().num_samples == 1
        assert db.check(deep=True) == []
        assert db.update_sample(1, notes="usable").notes == "usable"


def test_a_connection_that_failed_is_not_used_again(tmp_path: Path) -> None:
    """What was wrong may have been the connection's: a file that could be opened for reading only, by mischance."""
    large = report(*(function(16 * each) for each in range(2000)), seed="b")
    with sampledb.open(tmp_path / "full.sampledb") as db:
        db.add_sample(report(function(1)))
        with db._connections.reading() as connection:
            connection.execute(f"PRAGMA max_page_count = {db.stats().file_bytes // PAGE_BYTES + 1}")
        with pytest.raises(sampledb.StorageError, match="full"):
            db.add_sample(large)
        assert db.add_sample(large).num_functions == 2000
    assert [each.name for each in tmp_path.iterdir()] == ["full.sampledb"]


@pytest.mark.parametrize("content", [b"", b"\0" * 516])
def test_a_journal_of_a_process_that_died_before_it_wrote_is_removed(path: Path, content: bytes) -> None:
    before = path.read_bytes()
    journal = path.with_name(f"{path.name}-journal")
    journal.write_bytes(content)
    with sampledb.open(path, readonly=True) as db:
        assert db.get_sample(1).num_functions == 1
    assert journal.exists()
    with sampledb.open(path) as db:
        assert db.get_sample(1).num_functions == 1
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before


def test_the_journal_of_a_writer_is_left_alone(path: Path) -> None:
    # With the library that the store uses: POSIX locks of another one in the same process would not count.
    writer = sqlite.sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE samples SET notes = 'under way'")
    with sampledb.open(path) as db:
        assert db.get_sample(1).notes is None
    assert path.with_name(f"{path.name}-journal").exists()
    writer.execute("COMMIT")
    writer.close()
    with sampledb.open(path) as db:
        assert db.get_sample(1).notes == "under way"
