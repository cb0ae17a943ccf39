"""Files that are not ours, or not whole, say so."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import sampledb
from sampledb import CorruptFileError, NewerFormatError, NotASampleDBError, ReadOnlyError
from sampledb.format import codec
from sampledb.store import schema
from tests.raw import raw


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


@pytest.mark.parametrize(
    "statement",
    [
        "DROP INDEX functions_by_pic_hash",
        "DROP TABLE disassembly",
        "ALTER TABLE samples RENAME COLUMN notes TO remarks",
        "DROP VIEW sample_list",
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


@pytest.mark.parametrize("statement", ["UPDATE disassembly SET frame = x''", "UPDATE reports SET report = x''"])
def test_an_empty_blob_is_damage(path: Path, statement: str) -> None:
    with raw(path) as connection:
        connection.execute(statement)
    with sampledb.open(path) as db:
        for call in (db.compact, lambda: db.get_report(1)):
            with pytest.raises(CorruptFileError):
                call()
        assert db.check(deep=True)


def test_a_frame_that_unfolds_to_millions_of_lists_is_damage(path: Path) -> None:
    # As MessagePack: 25 fields, the fifth of them 60 million empty lists, in a blob of a few kilobytes.
    lists = b"\xdd" + (60_000_000).to_bytes(4, "big") + b"\x90" * 60_000_000
    blob = codec.encode(codec.FRAME, b"\xdc\x00\x19\x00\x80\x90\xa0" + lists)
    assert len(blob) < 10_000
    with raw(path) as connection:
        connection.execute("UPDATE disassembly SET frame = ?, checksum = ?", (blob, codec.checksum(blob)))
    with sampledb.open(path) as db, pytest.raises(CorruptFileError, match="length"):
        db.get_function(1, 1)
