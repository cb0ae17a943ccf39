"""Opening, closing, sharing: one file, recognised or refused."""

import contextlib
import os
import pickle
import shutil
import sqlite3 as python_sqlite
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import sampledb
from sampledb import (
    BusyError,
    ClosedError,
    ConflictError,
    CorruptFileError,
    InvalidInputError,
    NewerFormatError,
    NotASampleDBError,
    ReadOnlyError,
    StorageError,
    schema,
    sqlite,
)
from tests.strategies import function, report


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed file with one sample."""
    path = tmp_path / "one.sampledb"
    with sampledb.open(path) as db:
        db.add_sample(report(function(4096)))
    return path


@contextlib.contextmanager
def raw(path: Path) -> Iterator[python_sqlite.Connection]:
    """The file as any SQLite sees it, from a process that has no other connection to it."""
    connection = python_sqlite.connect(path)
    try:
        yield connection
        connection.commit()
    finally:
        connection.close()


def test_a_closed_store_is_exactly_one_file(path: Path) -> None:
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208


def test_a_file_says_what_it_is(path: Path) -> None:
    with raw(path) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (schema.APPLICATION_ID,)
        assert connection.execute("PRAGMA user_version").fetchone() == (schema.FORMAT_VERSION,)
        assert connection.execute("SELECT name, migration_set FROM _sqlite_migrations").fetchall() == [
            ("1_store", "sampledb")
        ]


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


def test_a_file_that_is_no_sqlite_is_refused_and_left_alone(tmp_path: Path) -> None:
    for content in (b"MZ" * 600, b"x", b"SQLite format 3\0" + b"\0" * 2000):
        path = tmp_path / "other"
        path.write_bytes(content)
        with pytest.raises(NotASampleDBError):
            sampledb.open(path)
        assert path.read_bytes() == content


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with raw(path) as connection:
        connection.execute("CREATE TABLE samples (id)")
    before = path.read_bytes()
    with pytest.raises(NotASampleDBError, match="another program"):
        sampledb.open(path)
    assert path.read_bytes() == before


def test_a_newer_format_is_refused_with_what_to_do(path: Path) -> None:
    with raw(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(NewerFormatError, match="Upgrade") as raised:
        sampledb.open(path)
    assert raised.value.details == {"path": str(path), "found": 99, "supported": schema.FORMAT_VERSION}


def test_an_older_format_is_upgraded_but_not_by_a_reader(path: Path) -> None:
    with raw(path) as connection:
        connection.execute("PRAGMA user_version = 0")
    with pytest.raises(ReadOnlyError, match="older format"):
        sampledb.open(path, readonly=True)
    with sampledb.open(path) as db:
        assert db.stats().format_version == schema.FORMAT_VERSION
        assert db.get_function(1, 1).offset == 4096


@pytest.mark.parametrize(
    "statement",
    [
        "DROP INDEX functions_by_pic_hash",
        "DROP TABLE disassembly",
        "ALTER TABLE samples ADD COLUMN planted INTEGER",
        "CREATE TRIGGER planted AFTER INSERT ON samples BEGIN DELETE FROM functions; END",
    ],
)
def test_a_schema_that_is_not_ours_is_refused(path: Path, statement: str) -> None:
    with raw(path) as connection:
        connection.execute(statement)
    with pytest.raises(CorruptFileError) as raised:
        sampledb.open(path)
    assert raised.value.details["where"] == "the file as a whole"
    assert raised.value.details["path"] == str(path)


def test_tables_and_views_of_others_do_no_harm(path: Path) -> None:
    with raw(path) as connection:
        connection.execute("CREATE TABLE mine (a)")
        connection.execute("CREATE VIEW mine_too AS SELECT * FROM samples")
    with sampledb.open(path) as db:
        assert db.get_sample(1).sample_id == 1
        assert db.check(deep=True) == []


def test_a_truncated_file_says_so(path: Path) -> None:
    whole = path.read_bytes()
    for size in range(512, len(whole), 4096):
        path.write_bytes(whole[:size])
        with pytest.raises((CorruptFileError, NotASampleDBError)) as raised, sampledb.open(path) as db:
            db.get_report(1)
        assert raised.value.details["path"] == str(path)


def test_a_damaged_blob_says_where(path: Path) -> None:
    with raw(path) as connection:
        connection.execute(
            "UPDATE disassembly"
            " SET frame = CAST(substr(frame, 1, 9) || substr(frame, 8, 4) || substr(frame, 14) AS BLOB)"
        )
    with sampledb.open(path) as db:
        with pytest.raises(CorruptFileError) as raised:
            db.get_function(1, 1)
        assert raised.value.details == {
            "what": "a blob does not match its checksum",
            "where": "disassembly, function_id 1",
            "path": str(path),
        }
        assert db.get_sample(1).num_functions == 1


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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform does not kill")
def test_readonly_never_looks_past_a_hot_journal(path: Path) -> None:
    program = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE samples SET version = 'uncommitted'")
connection.execute("CREATE TABLE filler (a)")
connection.executemany("INSERT INTO filler VALUES (?)", ((b"x" * 5000,) for _ in range(100)))
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", program, path], check=False, timeout=60)
    assert path.with_name(path.name + "-journal").stat().st_size
    with pytest.raises(ReadOnlyError):
        sampledb.open(path, readonly=True)
    with sampledb.open(path) as db:
        assert db.get_sample(1).version == ""
    with sampledb.open(path, readonly=True) as db:
        assert db.get_sample(1).version == ""


def test_a_view_that_plays_a_pragma_is_not_asked(path: Path) -> None:
    with raw(path) as connection:
        connection.execute(
            "CREATE VIEW pragma_user_version AS "
            "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) AS user_version FROM c"
        )
    with sampledb.open(path, readonly=True) as db:
        assert db.get_sample(1).sample_id == 1


# What somebody can write into a file with SQL alone, and what then says so.
TAMPERED = {
    "UPDATE samples SET first_function_id = 9223372036854775807": "0 functions are there of 1",
    "UPDATE samples SET num_functions = 9223372036854775807": "1 functions are there of 9223372036854775807",
    "UPDATE samples SET first_function_id = -1": "impossible function ids",
    "UPDATE samples SET added_at = '2020-01-01'": "without a zone",
    "UPDATE samples SET media_info = replace(printf('%.5000c', 'x'), 'x', '{\"a\":')": "cannot be read",
    "UPDATE samples SET statistics = '[]'": "cannot be read",
}


@pytest.mark.parametrize("statement", TAMPERED)
def test_values_that_cannot_be_ours_are_damage(path: Path, statement: str) -> None:
    with raw(path) as connection:
        connection.execute(statement)
    with sampledb.open(path) as db:
        call = db.get_report if "function" in statement else db.get_sample
        with pytest.raises(CorruptFileError, match=TAMPERED[statement]):
            call(1)
        db.check(deep=True)


@pytest.mark.parametrize("value", ["NULL", "'text'", "x'ff'", "1.5"])
@pytest.mark.parametrize("column", ["functions.offset", "functions.name", "samples.name", "samples.first_function_id"])
def test_cells_of_another_type_are_damage(path: Path, column: str, value: str) -> None:
    table, _, name = column.partition(".")
    with raw(path) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        (sql,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
        loose = sql.replace(") STRICT", ")").replace(" NOT NULL", " ")
        loose = loose.replace("INTEGER", "BLOB").replace("TEXT", "BLOB")
        loose = loose.replace("BLOB PRIMARY KEY", "INTEGER PRIMARY KEY")
        connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (loose, table))
    with raw(path) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(f'UPDATE {table} SET "{name}" = {value}')  # noqa: S608
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (sql, table))
    with sampledb.open(path) as db:
        assert db.check(deep=True) != [] or (value == "'text'" and name == "name")
        for call in (db.get_sample, db.list_functions, db.get_report, lambda each: db.find_function(each, 4096)):
            with contextlib.suppress(sampledb.SampleDBError):
                call(1)


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
    assert sqlite.wal_is_safe(version) is safe


@pytest.mark.skipif(not sqlite.WAL_IS_SAFE, reason="there is only one SQLite here")
def test_an_older_sqlite_works_with_a_rollback_journal(path: Path, tmp_path: Path) -> None:
    # The interpreter's own SQLite, as on platforms for which pysqlite3 has no wheels.
    program = f"""
import sys
sys.modules["pysqlite3"] = None
import sampledb
from sampledb import sqlite
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


def test_a_backup_is_whole_and_appears_at_once(path: Path, tmp_path: Path) -> None:
    with sampledb.open(path) as db:
        db.update_sample(1, notes="x")
        db.backup(tmp_path / "copy")
        with pytest.raises(InvalidInputError, match="no file is"):
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
        kept = next(iter(db.list_samples()))
        before = db.get_report(kept)
        for sample_id in list(db.list_samples())[1:]:
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
