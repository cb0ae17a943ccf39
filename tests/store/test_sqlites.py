"""Each SQLite is a promise: pysqlite3's, Python's own, and what is said where neither will do."""

import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import sampledb
from sampledb import BusyError
from sampledb.intake import files
from sampledb.store import schema
from sampledb.store.connection import Connections
from sampledb.store.sqlite import Connection
from tests import own_sqlite

ENVIRONMENTS = [dict(os.environ), own_sqlite.environment()]
in_both = pytest.mark.parametrize("environment", ENVIRONMENTS, ids=["as installed", "Python's own"])


def run(program: str, *arguments: object, environment: dict[str, str], before: tuple[str, ...] = ()) -> str:
    """Return what a program prints in a process that takes any warning for an error."""
    command = [*before, sys.executable, "-W", "error", "-c", program, *map(str, arguments)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=60)
    return done.stdout


def test_a_child_without_pysqlite3_uses_pythons_own() -> None:
    program = "import sqlite3, sampledb.store.sqlite as used; print(used.sqlite3 is sqlite3)"
    assert run(program, environment=own_sqlite.environment()) == "True\n"
    children = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {program!r}], check=True)"
    assert run(children, environment=own_sqlite.environment()) == "True\n"


# Queries

QUERIES = [
    "SELECT rowid FROM sample_search WHERE sample_search MATCH '\"abc\"'",
    "SELECT name FROM samples WHERE sample_id IN (SELECT rowid FROM sample_search('\"abc\"'))",
    "SELECT value FROM json_each('[1]')",
    "SELECT type FROM json_tree('[1]')",
    "SELECT count(*) FROM samples, json_each(samples.media_info)",
    "SELECT name FROM pragma_table_info('samples')",
    "SELECT name FROM pragma_table_list",
    "SELECT user_version FROM pragma_user_version",
]
REFUSED = [
    "CREATE TABLE more (a)",
    "CREATE TEMP TABLE more (a)",
    "CREATE VIRTUAL TABLE temp.more USING fts5(a)",
    "CREATE VIRTUAL TABLE more USING json_each",
    "ALTER TABLE samples ADD COLUMN more",
    "ALTER TABLE samples RENAME TO more",
    "UPDATE sqlite_master SET sql = ''",
    "DELETE FROM sqlite_master",
    "INSERT INTO sqlite_master VALUES ('table', 'more', 'more', 0, '')",
    "INSERT INTO sample_search (sample_search) VALUES ('delete-all')",
    "DROP TABLE samples",
    "REINDEX",
    "ANALYZE",
]
QUERY = """
import sys, sampledb
with sampledb.open(sys.argv[1]) as db:
    try:
        print(len(db.query(sys.argv[2])) > 0)
    except sampledb.InvalidInputError as error:
        print(error.details["field"])
"""


@in_both
@pytest.mark.parametrize("sql", QUERIES + REFUSED)
def test_the_first_query_of_a_connection_may_use_every_table_that_only_reads(
    tmp_path: Path, sql: str, environment: dict[str, str]
) -> None:
    path = tmp_path / "test.sampledb"
    with sampledb.open(path) as db:
        db.add_media(sha256="a" * 64, name="xabcx", media_info={"tracks": []})
    before = path.read_bytes()
    assert run(QUERY, path, sql, environment=environment) == ("True\n" if sql in QUERIES else "sql\n")
    assert path.read_bytes() == before


# Result codes

CODES = """
import sys
from sampledb.store import sqlite
connection = sqlite.sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0)
other = sqlite.sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0)
other.execute("PRAGMA query_only = ON")
connection.execute("BEGIN EXCLUSIVE")
for user, sql in (
    (connection, "INSERT INTO samples SELECT * FROM samples"),
    (connection, "UPDATE functions SET sample_id = NULL"),
    (connection, "INSERT INTO sample_search (rowid, rank) VALUES ('x', 1)"),
    (other, "SELECT * FROM samples"),
    (other, "UPDATE samples SET name = ''"),
):
    try:
        user.execute(sql)
    except sqlite.sqlite3.Error as error:
        print(sqlite.result_code(error), sqlite.is_operational(error), sqlite.is_failure(error),
              sqlite.may_be_read_only(error), sqlite.is_out_of_step(error),
              type(sqlite.translate(error, "file", 1.0)).__name__)
"""


def test_primary_and_extended_result_codes_mean_the_same(path: Path) -> None:
    said = [run(CODES, path, environment=each) for each in ENVIRONMENTS]
    assert said[0] == said[1]
    assert [line.split()[0] for line in said[0].splitlines()] == ["19", "19", "20", "5", "5"]


OPEN = """
import sys, sampledb
try:
    sampledb.open(sys.argv[1], readonly="--readonly" in sys.argv, timeout=0.1).close()
    print("opened")
except sampledb.SampleDBError as error:
    print(type(error).__name__, error.details.get("reason") or error)
"""


@in_both
def test_a_hot_journal_is_named_by_a_readonly_opening(path: Path, environment: dict[str, str]) -> None:
    program = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("CREATE TABLE filler (a)")
connection.executemany("INSERT INTO filler VALUES (?)", ((b"x" * 5000,) for _ in range(100)))
os._exit(0)
"""
    run(program, path, environment=environment)
    assert "a crash left a journal" in run(OPEN, path, "--readonly", environment=environment)
    assert run(OPEN, path, environment=environment) == "opened\n"


# What a SQLite or a file system lacks

# SQLite calls this for each new connection, after FTS5 has been registered.
NO_FTS5 = """
import ctypes, _sqlite3
library = ctypes.CDLL(_sqlite3.__file__)
keep = (ctypes.c_char_p * 2)(b"json_each", None)
drop = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(
    lambda connection, *_: library.sqlite3_drop_modules(ctypes.c_void_p(connection), keep))
library.sqlite3_auto_extension(drop)
"""
WITHOUT_FTS5 = f"""{NO_FTS5}
import sys, sampledb
def calls():
    yield lambda: sampledb.open(sys.argv[2])
    with sampledb.open(sys.argv[1]) as db:
        assert db.get_sample(1).num_functions == 1
        yield lambda: db.search("abc")
        yield lambda: db.tag_sample(1, "x")
        yield lambda: db.update_sample(1, name="x")
        yield lambda: db.delete_sample(1)
for call in calls():
    try:
        call()
        print("answered")
    except sampledb.StorageError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Python's own SQLite is a shared library on Linux")
def test_without_fts5_the_error_says_what_to_do(path: Path, tmp_path: Path) -> None:
    said = run(WITHOUT_FTS5, path, tmp_path / "new", environment=own_sqlite.environment()).splitlines()
    assert len(said) == 5
    assert all("lacks full-text search (FTS5)" in line and "pip install pysqlite3" in line for line in said)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace, which makes system calls fail, is not here")
@in_both
@pytest.mark.parametrize("mode", ["--readonly", "--writing"])
def test_a_file_system_without_locks_is_not_called_busy(path: Path, environment: dict[str, str], mode: str) -> None:
    strace = ("strace", "-f", "-o", os.devnull, "-P", str(path), "-e", "inject=fcntl:error=ENOLCK")
    if subprocess.run([*strace, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine does not let one process trace another")
    said = run(OPEN, path, mode, environment=environment, before=strace)
    assert said.startswith("StorageError its file system has no locks")


# Locks of one process

TRY_TO_WRITE = """
import sqlite3, sys
try:
    sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0).execute("BEGIN IMMEDIATE")
    print("written")
except sqlite3.OperationalError as error:
    print(error)
"""


def test_a_thread_that_opens_a_file_keeps_the_locks_of_one_that_creates_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "new.sampledb"
    has_begun, may_end = threading.Event(), threading.Event()
    create = schema.create

    def create_slowly(connection: Connection) -> None:
        create(connection)
        has_begun.set()
        may_end.wait(60)

    monkeypatch.setattr(schema, "create", create_slowly)
    creator = threading.Thread(target=lambda: sampledb.open(path).close())
    creator.start()
    assert has_begun.wait(60)
    with pytest.raises(BusyError):
        sampledb.open(path, timeout=0)
    said = run(TRY_TO_WRITE, path, environment=dict(os.environ))
    may_end.set()
    creator.join(60)
    assert said == "database is locked\n"


# macOS


def test_a_commit_reaches_the_disk_of_a_mac_too(path: Path) -> None:
    connections = Connections(str(path), readonly=False, timeout=5.0)
    for _ in range(2):
        with connections.reading() as connection:
            for name in ("fullfsync", "checkpoint_fullfsync"):
                assert connection.execute(f"PRAGMA {name}").fetchone() == (1,)
    connections.close()


@pytest.mark.skipif(os.name == "nt", reason="Windows syncs no folders")
def test_a_new_name_reaches_the_disk_of_a_mac_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl  # noqa: PLC0415 - Windows has no such module

    asked: list[int] = []
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", lambda _, command: asked.append(command))
    with files.new_file(tmp_path / "new") as partial:
        partial.write_text("content")
    assert asked == [51]


def test_no_statement_numbers_its_placeholders() -> None:
    # Python 3.12.0 to 3.12.3 warn of each when it gets a sequence.
    store = Path(sampledb.__file__).parent / "store"
    assert not [each.name for each in store.rglob("*.py") if re.search(r"\?\d", each.read_text())]
