"""Whatever stands beside a name is looked at before SQLite does, and never believed, deleted or replaced."""

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import sampledb
from sampledb import InvalidInputError, SampleDB, StorageError
from sampledb.intake.files import BESIDE, new_file
from sampledb.store import sqlite
from tests.store.programs import crash, list_folder, list_names, run

ROOT = Path(__file__).parent.parent.parent


def forge_journal(victim: Path) -> bytes:
    """Return a rollback journal without a valid header, after which SQLite would delete `victim`."""
    name = os.fsencode(victim)
    return bytes(512) + struct.pack(">I", 1 << 30) + name + struct.pack(">II", len(name), sum(name)) + SUPER_JOURNAL


SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")
CALLS = {
    "open": "sampledb.open(sys.argv[1])",
    "open readonly": "sampledb.open(sys.argv[1], readonly=True)",
    "salvage": "sampledb.salvage(sys.argv[1], sys.argv[1] + '.new')",
}


@pytest.mark.parametrize("own_sqlite", [False, True])
@pytest.mark.parametrize("call", CALLS)
def test_a_forged_journal_deletes_no_file(path: Path, tmp_path: Path, call: str, own_sqlite: bool) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    # SQLite looks at the journal's first byte only to see whether it is in use.
    Path(f"{path}-journal").write_bytes(b"x" + forge_journal(victim)[1:])
    done = run(f"import sys, sampledb\nprint({CALLS[call]})", path, own_sqlite=own_sqlite)
    assert victim.read_text() == "precious"
    assert "it would have SQLite delete another file" in done.stderr or "belongs to another file" in done.stdout


def open_store(path: Path) -> object:
    return sampledb.open(path)


def open_readonly(path: Path) -> object:
    return sampledb.open(path, readonly=True)


def salvage(path: Path) -> object:
    return sampledb.salvage(path, path.with_name("new"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
@pytest.mark.parametrize("suffix", BESIDE)
@pytest.mark.parametrize("call", [open_store, open_readonly, salvage])
def test_a_pipe_or_a_folder_beside_the_file_is_named(path: Path, suffix: str, call: Callable[[Path], object]) -> None:
    beside = Path(f"{path}{suffix}")
    for make, remove in ((os.mkfifo, os.unlink), (os.mkdir, os.rmdir)):
        make(beside)
        with pytest.raises(StorageError, match=r"no regular file.*remove it") as raised:
            call(path)
        assert raised.value.details["path"] == str(beside)
        remove(beside)
    assert list_folder(path) == [path.name]


@pytest.mark.parametrize("suffix", BESIDE)
def test_a_new_file_takes_no_name_beside_which_a_journal_is_left(db: SampleDB, tmp_path: Path, suffix: str) -> None:
    new, left = tmp_path / "new", tmp_path / f"new{suffix}"
    left.write_bytes(b"of the dead")
    refused: list[tuple[type[Exception], Callable[[], object]]] = [
        (InvalidInputError, lambda: db.backup(new)),
        (InvalidInputError, lambda: db.salvage(new)),
        (StorageError, lambda: sampledb.open(new)),
    ]
    for kind, call in refused:
        with pytest.raises(kind, match=r"move it back beside .*, or delete it") as raised:
            call()
        assert str(left) in str(raised.value)
    assert left.read_bytes() == b"of the dead"
    left.unlink()
    db.backup(new)


@pytest.mark.skipif(not sqlite.WAL_IS_SAFE, reason="this SQLite gets a rollback journal")
def test_an_older_copy_beside_the_wal_of_a_crash_is_refused(path: Path, tmp_path: Path) -> None:
    old = Path(shutil.copy(path, tmp_path / "old"))
    crash(path)
    shutil.copy(old, path)
    for readonly in (False, True):
        with pytest.raises(StorageError, match="belongs to another file that had this name"):
            sampledb.open(path, readonly=readonly)
    assert [(each.what, each.where) for each in sampledb.salvage(path, tmp_path / "salvaged")] == [
        ("it belongs to another file, and was left out", f"{path}-wal")
    ]
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink()
    assert list_names(path) == list_names(tmp_path / "salvaged")


def test_a_crash_leaves_what_belongs_to_the_file(path: Path) -> None:
    crash(path)
    assert len(list_names(path)) == 6
    assert list_folder(path) == [path.name]


@pytest.mark.parametrize("suffix", BESIDE)
def test_no_store_is_named_like_a_journal(path: Path, suffix: str) -> None:
    name = f"{path}{suffix}"
    with sampledb.open(path, readonly=True) as db:
        for call in (lambda: db.backup(name), lambda: db.salvage(name)):
            with pytest.raises(InvalidInputError, match="names that end in -wal, -shm, -journal"):
                call()
    with pytest.raises(StorageError, match="SQLite keeps journals under names"):
        sampledb.open(path.with_name(f"missing{suffix}"))
    assert list_folder(path) == [path.name]


def test_a_new_file_never_replaces_one_that_appeared_meanwhile(db: SampleDB, tmp_path: Path) -> None:
    target = tmp_path / "target"

    def write_second() -> None:
        with new_file(target) as partial:
            partial.write_text("second")
            target.write_text("first")  # by another process, at the last moment

    with pytest.raises(InvalidInputError, match="exists already"):
        write_second()
    assert target.read_text() == "first"
    assert list_folder(target) == ["target", Path(db.path).name]


def test_a_new_file_has_one_name_as_soon_as_it_has_one(db: SampleDB, tmp_path: Path) -> None:
    """With two, the first who writes to it would be refused."""
    db.backup(tmp_path / "copy")
    assert (tmp_path / "copy").stat().st_nlink == 1


def test_a_new_file_whose_rest_is_in_a_journal_does_not_appear(tmp_path: Path) -> None:
    target = tmp_path / "target"
    opened: list[sqlite.Connection] = []

    def write_part() -> None:
        with new_file(target) as partial:
            opened.append(sqlite.sqlite3.connect(partial))
            opened[0].execute("PRAGMA journal_mode = WAL")
            opened[0].execute("CREATE TABLE a (b)")

    with pytest.raises(StorageError, match="could not be completed"):
        write_part()
    assert list_folder(target) == []
    opened[0].close()


def test_a_folder_that_goes_meanwhile_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(StorageError, match="No such file"), new_file(folder / "target"):
        shutil.rmtree(folder)


@pytest.mark.skipif(not hasattr(os, "SEEK_DATA"), reason="this system does not tell where holes are")
def test_a_journal_larger_than_the_disk_costs_salvage_nothing(path: Path, tmp_path: Path) -> None:
    journal = Path(f"{path}-journal")
    with journal.open("wb") as file:
        try:
            file.truncate(1 << 42)
        except OSError:
            pytest.skip("this file system has no such files")
    assert sampledb.salvage(path, tmp_path / "new") == []
    assert list_names(tmp_path / "new") == [""]


RACERS = """
import sys, sampledb
path, first, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
for number in range(first, first + rounds):
    with sampledb.open(path, timeout=60) as db:
        db.add_media(sha256=f"{number:064x}")
"""


def race(path: Path, processes: int, rounds: int) -> None:
    """Have processes open, write and close a file again and again, from the moment at which it is created."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACERS, str(path), str(number * rounds), str(rounds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for number in range(processes)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    assert [racer.communicate(timeout=600)[1] for racer in racers] == [""] * processes
    assert len(list_names(path)) == processes * rounds


def test_processes_that_open_write_and_close_take_no_file_for_anothers(tmp_path: Path) -> None:
    race(tmp_path / "new", processes=2, rounds=20)
    assert list_folder(tmp_path / "new") == ["new"]


@pytest.mark.sweep
def test_thousands_of_openings_take_no_file_for_anothers(tmp_path: Path) -> None:
    for number in range(20):
        race(tmp_path / f"new{number}", processes=2, rounds=1)
    race(tmp_path / "one", processes=3, rounds=1500)
