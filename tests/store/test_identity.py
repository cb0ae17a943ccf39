"""A file is its device and inode, not its name: no call writes to another one, nor to one that nobody finds."""

import contextlib
import copy
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import sampledb
from sampledb import InvalidInputError, SampleDB, StorageError
from sampledb.intake.files import BESIDE
from sampledb.store import forks, sqlite
from tests.store.programs import crash, list_folder, list_names, run
from tests.workers.processes import HANGS, killed_at_last

ROOT = Path(__file__).parent.parent.parent
linux = pytest.mark.skipif(sys.platform != "linux", reason="made with Linux's means")
posix = pytest.mark.skipif(os.name == "nt", reason="Windows neither moves nor deletes a file that is open")


def test_a_link_is_salvaged_with_what_is_beside_its_target(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    path, link = tmp_path / "folder" / "real", tmp_path / "link"
    crash(path)
    link.symlink_to(path)
    assert sampledb.salvage(link, tmp_path / "new") == []
    assert len(list_names(tmp_path / "new")) == 5


def test_a_file_that_is_open_is_known_by_any_name(path: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "hard").hardlink_to(path)
    names = [path, tmp_path / "link", tmp_path / "hard", tmp_path / "folder" / path.name]
    with sampledb.open(path, readonly=True):
        for name in names:
            with pytest.raises(InvalidInputError, match="no handle has open"):
                sampledb.salvage(name, tmp_path / "new")
    assert not any(forks.is_open(str(name)) for name in names)


def test_a_link_and_its_target_are_one_store(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(path)
    with sampledb.open(path) as db, sampledb.open(tmp_path / "link") as linked:
        db.update_sample(1, notes="by name")
        assert linked.update_sample(1, tags=["by", "link"]).notes == "by name"
        assert db.get_sample(1).tags == ("by", "link")
    assert list_folder(path) == ["link", path.name]


@posix
def test_a_file_with_two_names_is_read_but_not_written(path: Path, tmp_path: Path) -> None:
    """With WAL, each name would have a log of its own."""
    alias = tmp_path / "alias"
    with sampledb.open(path) as db:
        db.update_sample(1, notes="before")
        alias.hardlink_to(path)
        with pytest.raises(StorageError, match=r"2 names .hard links; one is .*alias.*delete the other names"):
            db.update_sample(1, notes="lost")
        assert db.get_sample(1).notes == "before"
        alias.unlink()
        assert db.update_sample(1, notes="after").notes == "after"


def unlink(path: Path) -> None:
    path.unlink()


def rename(path: Path) -> None:
    path.rename(path.with_name("renamed"))


def replace(path: Path) -> None:
    path.with_name("other").replace(path)


def rename_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("renamed"))


def replace_folder(path: Path) -> None:
    rename_folder(path)
    other = path.parent.with_name("other")
    other.mkdir()
    shutil.copy(path.parent.with_name("renamed") / "other", other / path.name)
    path.parent.symlink_to(other)


@pytest.fixture
def apart(path: Path, tmp_path: Path) -> Path:
    """A store in a folder of its own, with another store."""
    folder = tmp_path / "folder"
    folder.mkdir()
    with sampledb.open(folder / "other") as other:
        other.add_media(sha256="f" * 64, name="other")
    return path.rename(folder / path.name)


@posix
@pytest.mark.parametrize("move", [unlink, rename, replace, rename_folder, replace_folder])
def test_no_write_is_acknowledged_that_nobody_would_find(apart: Path, move: Callable[[Path], None]) -> None:
    with sampledb.open(apart) as db:
        db.update_sample(1, notes="acknowledged")
        move(apart)
        for call in (lambda: db.update_sample(1, notes="lost"), db.compact):
            with pytest.raises(StorageError, match=r"moved, replaced or deleted.*close this handle and open it again"):
                call()
        assert db.get_sample(1).notes == "acknowledged"
    if move is replace:
        forget_journals(apart)
    if apart.exists():
        assert list_names(apart) == ["other"]
    for moved in (apart.with_name("renamed"), apart.parent.with_name("renamed") / apart.name):
        if moved.exists():
            with sampledb.open(moved) as db:
                assert db.get_sample(1).notes == "acknowledged"


def forget_journals(path: Path) -> None:
    """Do what the error says, if there is one: the file that had this name left its journal."""
    try:
        sampledb.open(path).close()
    except StorageError as error:
        assert "belongs to another file that had this name" in str(error)  # noqa: PT017 - there is none without WAL
        for suffix in BESIDE:
            Path(f"{path}{suffix}").unlink(missing_ok=True)


@posix
def test_a_write_that_is_under_way_when_the_file_goes_is_not_acknowledged(path: Path) -> None:
    with sampledb.open(path) as db:
        db.update_sample(1, notes="before")

        def write_late() -> None:
            with db._connections.writing() as connection:
                connection.execute("UPDATE samples SET notes = 'lost'")
                path.rename(path.with_name("renamed"))

        with pytest.raises(StorageError, match="moved, replaced or deleted"):
            write_late()


@posix
def test_no_thread_reads_the_file_that_took_the_name(apart: Path) -> None:
    with sampledb.open(apart) as db, ThreadPoolExecutor(1) as pool:
        db.update_sample(1, notes="x")
        replace(apart)
        # As if this thread were in a call, with the only connection.
        with db._connections.reading(), pytest.raises(StorageError, match="moved, replaced or deleted"):
            pool.submit(db.list_samples).result()
    forget_journals(apart)
    assert list_names(apart) == ["other"]


def test_a_relative_path_means_the_folder_of_its_opening(
    path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    with sampledb.open(path.name) as db:
        monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
        with ThreadPoolExecutor(1) as pool, db._connections.reading():
            assert pool.submit(db.get_sample, 1).result().sample_id == 1
        assert db.update_sample(1, notes="x").notes == "x"
        db.backup("copy")
        assert os.listdir() == ["copy"]  # noqa: PTH208


@linux
def test_a_descriptor_is_a_name_only_where_its_file_has_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    with contextlib.ExitStack() as opened:
        opened.callback(os.close, descriptor)
        with sampledb.open(f"/proc/self/fd/{descriptor}") as db:
            db.update_sample(1, notes="x")
        path.unlink()
        for call in (sampledb.open, lambda name: sampledb.salvage(name, path)):
            with pytest.raises(StorageError, match="no name in the file system"):
                call(f"/proc/self/fd/{descriptor}")
    assert list_folder(path) == []


@linux
def test_a_file_that_another_process_mounted_elsewhere_is_the_same(path: Path, tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "--bind", tmp_path, mounted], check=False).returncode:  # noqa: S607
        pytest.skip("this container may not mount")
    try:
        with sampledb.open(path) as db, sampledb.open(mounted / path.name) as other:
            db.update_sample(1, notes="by one")
            assert forks.is_open(str(mounted / path.name))
            assert other.update_sample(1, tags=["other"]).notes == "by one"
    finally:
        subprocess.run(["umount", mounted], check=True)  # noqa: S607
    with sampledb.open(path) as db:
        assert (db.get_sample(1).notes, db.get_sample(1).tags) == ("by one", ("other",))


@posix
@pytest.mark.parametrize("own_sqlite", [False, True])
def test_a_process_without_standard_descriptors_writes_into_the_file(path: Path, own_sqlite: bool) -> None:
    program = """
import os, sys
for descriptor in (0, 1, 2):
    os.close(descriptor)
import sampledb
with sampledb.open(sys.argv[1]) as db:
    db.update_sample(1, notes="low")
    db.backup(sys.argv[1] + ".copy")
"""
    assert run(program, path, own_sqlite=own_sqlite).returncode == 0
    assert list_names(path) == list_names(Path(f"{path}.copy")) == [""]


def test_a_copied_handle_is_another_one_of_the_same_file(path: Path) -> None:
    with sampledb.open(path) as db, copy.copy(db) as second, copy.deepcopy(db) as third:
        db.update_sample(1, notes="x")
        assert second.get_sample(1) == third.get_sample(1) == db.get_sample(1)
    assert list_folder(path) == [path.name]


WRITER = """
import sys, sampledb
db = sampledb.open(sys.argv[1], timeout=60)
print("ready", flush=True)
number = 0
while True:
    number += 1
    db.cancel_job(db.submit_binary(number.to_bytes(8, "little") + bytes(range(256)) * 40))
    sample = db.add_media(sha256=f"{10**6 + number:064x}", name=f"new {number}", notes="y" * 900)
    if number % 40:
        db.delete_sample(sample.sample_id)
"""


@contextlib.contextmanager
def written(path: Path) -> Iterator[None]:
    """Have a process write a file all the time."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    with killed_at_last(writer):
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        yield


@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.sweep)])
def test_a_file_that_is_written_meanwhile_is_salvaged_as_it_was_at_one_moment(
    db: SampleDB, tmp_path: Path, times: int
) -> None:
    for number in range(60):
        db.add_media(sha256=f"{number:064x}", name=f"old {number}", notes="x" * 900)
    db.submit_binary(bytes(range(256)) * (100_000 if times > 1 else 1_000))
    db.close()
    path = Path(db.path)
    with written(path):
        for number in range(times):
            with sampledb.open(path, readonly=True, timeout=60) as before:
                newest = max(before.list_samples())
            new = tmp_path / f"new{number}"
            assert sampledb.salvage(path, new) == []
            with sampledb.open(new) as copied:
                assert copied.check(deep=True) == []
                found = copied.list_samples()
            assert [found[number].name for number in range(1, 61)] == [f"old {number}" for number in range(60)]
            # The newest may have been deleted, and the next not yet added.
            assert max(found) >= newest - 40


# What a pool keeps and leaves


def count_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


@linux
@pytest.mark.parametrize("writes", [False, True])
def test_a_burst_of_threads_leaves_few_descriptors(path: Path, writes: bool) -> None:
    count = 50
    barrier = threading.Barrier(count, timeout=HANGS)

    def read(_: int) -> None:
        with db._connections.reading() as connection:
            barrier.wait()
            connection.execute("SELECT count(*) FROM samples").fetchone()

    with sampledb.open(path) as db:
        if writes:
            db.update_sample(1, notes="x")
        before = count_descriptors()
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(read, range(count)))
        db.get_sample(1)
        assert len(db._connections._idle) <= 8
        assert count_descriptors() <= before + 3 * 8


@posix
def test_closing_after_reading_needs_no_space(path: Path) -> None:
    program = """
import resource, signal, sys, sampledb
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with sampledb.open(sys.argv[1]) as db:
    print(len(db.list_samples()))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # as on a full disk
"""
    crash(path)
    done = run(program, path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "6\n", "")
    assert len(list_names(path)) == 6


@pytest.mark.skipif(not sqlite.WAL_IS_SAFE, reason="this SQLite gets a rollback journal")
def test_a_reader_sees_what_a_later_writer_changed(path: Path) -> None:
    with sampledb.open(path, readonly=True) as reader:
        assert reader.get_sample(1).notes is None
        with sampledb.open(path) as writer:
            writer.update_sample(1, notes="seen")
            assert reader.get_sample(1).notes == "seen"
        assert reader.get_sample(1).notes == "seen"
    assert list_folder(path) == [path.name]
