"""Opening and closing: one file, created, read or refused."""

import contextlib
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlite_utils import Database

import sampledb
from sampledb import (
    BusyError,
    ClosedError,
    ConflictError,
    InvalidInputError,
    NotASampleDBError,
    ReadOnlyError,
    StorageError,
)
from sampledb.store import schema, sqlite
from tests.raw import NEXT_FORMAT, raw, register_next_format
from tests.strategies import report


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    """The folder where nothing can be written: root needs a read-only mount for that."""
    if not hasattr(os, "geteuid") or sys.platform != "linux":
        pytest.skip("made with Linux's means")
    if os.geteuid() != 0:
        folder.chmod(0o500)
        yield folder
        folder.chmod(0o700)
        return
    mounted = folder.parent / "mounted"
    mounted.mkdir()
    options = [["--bind", str(folder), str(mounted)], ["-o", "remount,ro,bind", str(mounted)]]
    if any(subprocess.run(["mount", *each], check=False, capture_output=True).returncode for each in options):  # noqa: S607
        pytest.skip("this container may not mount")
    yield mounted
    subprocess.run(["umount", mounted], check=True)  # noqa: S607


def test_a_closed_store_is_exactly_one_file(path: Path) -> None:
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208


def test_a_file_says_what_it_is(path: Path) -> None:
    with raw(path) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (schema.APPLICATION_ID,)
        assert connection.execute("PRAGMA user_version").fetchone() == (schema.FORMAT_VERSION,)


def test_any_sqlite_shows_something_readable(path: Path) -> None:
    with raw(path) as connection:
        assert connection.execute('SELECT sample_id, "offset" FROM function_list').fetchall() == [(1, "0x1000")]
        assert connection.execute("SELECT base_addr, num_functions FROM sample_list").fetchall() == [("0x400000", 1)]


@pytest.mark.parametrize("readonly", [False, True])
def test_opening_and_reading_write_nothing(path: Path, readonly: bool) -> None:
    before = path.read_bytes(), path.stat().st_mtime_ns
    with sampledb.open(path, readonly=readonly) as db:
        assert db.get_function(1, 1).offset == 4096
        assert db.check(deep=True) == []
        assert os.listdir(path.parent) == [path.name]  # noqa: PTH208
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_readonly_refuses_every_change(path: Path) -> None:
    with sampledb.open(path, readonly=True) as db:
        for call in (
            lambda: db.add_sample(report(seed="b")),
            lambda: db.add_samples([]),
            lambda: db.add_media(sha256="0" * 64),
            lambda: db.update_sample(1, notes="x"),
            lambda: db.delete_sample(1),
            db.compact,
        ):
            with pytest.raises(ReadOnlyError) as raised:
                call()
            assert raised.value.details == {"path": str(path)}


def test_readonly_does_not_create(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as raised:
        sampledb.open(tmp_path / "missing", readonly=True)
    assert raised.value.details["path"] == str(tmp_path / "missing")
    assert not list(tmp_path.iterdir())
    (tmp_path / "empty").touch()
    with pytest.raises(NotASampleDBError, match="empty"):
        sampledb.open(tmp_path / "empty", readonly=True)


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_readonly_works_on_read_only_media(path: Path, tmp_path: Path, journal_mode: str) -> None:
    with raw(path) as connection:
        assert connection.execute(f"PRAGMA journal_mode = {journal_mode}").fetchone() == (journal_mode,)
    folder = tmp_path / "media"
    folder.mkdir()
    path.rename(folder / path.name)
    with read_only(folder) as media, sampledb.open(media / path.name, readonly=True) as db:
        assert db.get_function(1, 1).offset == 4096
        assert db.check(deep=True) == []


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path / "no" / "folder", tmp_path):
        with pytest.raises(StorageError) as raised:
            sampledb.open(path)
        assert raised.value.details["path"] == str(path)


@pytest.mark.parametrize("path", [None, 5, b"bytes", "", "a\0b", "x" * 5000])
def test_a_path_is_text(path: object) -> None:
    with pytest.raises(InvalidInputError, match="path must be"):
        sampledb.open(path)  # type: ignore[arg-type]


def test_odd_names_are_just_names(tmp_path: Path) -> None:
    for name in ("a b.db", "ä%20?mode=ro#x", "file:x", "'; DROP TABLE samples"):
        with sampledb.open(tmp_path / name) as db:
            db.add_sample(report())
        assert (tmp_path / name).is_file()


def test_a_closed_handle_says_so(path: Path) -> None:
    db = sampledb.open(path)
    samples = db.iter_samples()
    db.close()
    db.close()
    assert db.closed
    assert str(path) in repr(db)
    for call in (
        lambda: db.get_sample(1),
        lambda: db.add_sample(b"never read"),
        lambda: db.add_media("never read"),
        lambda: next(samples),
        db.list_samples,
        db.check,
        db.__enter__,
    ):
        with pytest.raises(ClosedError):
            call()


def test_a_forgotten_handle_leaves_one_file_too(path: Path) -> None:
    db = sampledb.open(path)
    db.update_sample(1, notes="x")
    del db
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208


def test_memory_holds_a_store_as_long_as_its_handle() -> None:
    db = sampledb.open(":memory:")
    assert db.add_sample(report()).sample_id == 1
    assert db.path == ":memory:"
    with pytest.raises(InvalidInputError):
        pickle.dumps(db)
    with sampledb.open(":memory:") as other:
        assert other.list_samples() == {}


def test_a_backup_is_whole_and_appears_at_once(path: Path, tmp_path: Path) -> None:
    with sampledb.open(path) as db:
        db.update_sample(1, notes="x")
        db.backup(tmp_path / "copy")
        with pytest.raises(InvalidInputError, match="exists already"):
            db.backup(tmp_path / "copy")
        with pytest.raises(StorageError, match="No such file") as raised:
            db.backup(tmp_path / "no" / "folder")
        assert raised.value.details["path"] == str(tmp_path / "no" / "folder")
        with sampledb.open(tmp_path / "copy", readonly=True) as copy:
            assert copy.get_sample(1) == db.get_sample(1)
            assert copy.check(deep=True) == []
    assert sorted(os.listdir(tmp_path)) == ["copy", path.name]  # noqa: PTH208


def test_a_backup_waits_no_longer_than_the_timeout(path: Path, tmp_path: Path) -> None:
    # With the library that the store uses: POSIX locks of another one in the same process would not count.
    connection = sqlite.sqlite3.connect(path)
    with sampledb.open(path, timeout=0.2) as db:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(BusyError):
            db.backup(tmp_path / "copy")
        connection.close()
    assert os.listdir(tmp_path) == [path.name]  # noqa: PTH208


def test_compact_gives_back_the_space_of_what_was_deleted(filled_path: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(filled_path, tmp_path))
    with sampledb.open(path) as db:
        *others, kept = db.list_samples()
        before = db.get_report(kept)
        for sample_id in others:
            db.delete_sample(sample_id)
        assert db.stats().free_bytes > 0
        bytes_before = db.stats().disassembly_bytes
        db.compact()
        assert db.stats().free_bytes == 0
        assert db.stats().disassembly_bytes < bytes_before
        assert db.check(deep=True) == []
        smallest = db.stats()
        db.compact()
        assert db.stats() == smallest
        assert db.get_report(kept) == before
        with pytest.raises(ConflictError):
            db.add_sample(before)
    assert path.stat().st_size < filled_path.stat().st_size / 2


# Formats


@pytest.mark.parametrize("version", range(schema.OLDEST_FORMAT))
def test_a_format_from_before_the_first_release_is_refused_with_what_to_do(path: Path, version: int) -> None:
    with raw(path) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    before = path.read_bytes()
    for readonly in (False, True):
        with pytest.raises(StorageError, match=f"format {version} is from before .* add its reports to a new file"):
            sampledb.open(path, readonly=readonly)
    assert path.read_bytes() == before


def with_reviews(database: Database) -> None:
    """What a later version might want: another column, which changes a CREATE statement, and another table."""
    database.table("samples").add_column("reviewed", int, not_null_default=0)
    database.table("reviews").create({"review_id": int, "sample_id": int, "text": str}, pk="review_id")
    database.table("reviews").insert({"sample_id": 1, "text": "upgraded"})


def test_an_older_format_is_upgraded_but_not_by_a_reader(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sampledb.open(path) as db:
        stored, samples = db.get_report(1), db.list_samples()
    register_next_format(monkeypatch, with_reviews)
    with pytest.raises(ReadOnlyError, match="older format"):
        sampledb.open(path, readonly=True)
    with sampledb.open(path) as db:
        assert db.stats().format_version == NEXT_FORMAT
        assert (db.get_report(1), db.list_samples()) == (stored, samples)
        assert db.query("SELECT text, reviewed FROM reviews JOIN samples USING (sample_id)") == [
            {"text": "upgraded", "reviewed": 0}
        ]
        assert db.add_sample(report(seed="new")).sample_id == 2
        assert db.check(deep=True) == []
    with sampledb.open(path, readonly=True) as db:
        assert len(db.list_samples()) == 2


def test_an_upgrade_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def fail(database: Database) -> None:
        if database["samples"].count:
            with_reviews(database)
            database.execute("INSERT INTO reviews (review_id) VALUES (1)")

    register_next_format(monkeypatch, fail)
    with pytest.raises(StorageError, match="UNIQUE"):
        sampledb.open(path)
    assert path.read_bytes() == before
    monkeypatch.undo()
    with sampledb.open(path) as db:
        assert db.get_sample(1).num_functions == 1


def test_a_new_file_needs_no_library_for_upgrades(tmp_path: Path) -> None:
    program = "import sys, sampledb; sampledb.open(sys.argv[1]).close(); print('sqlite_utils' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "new"], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"
