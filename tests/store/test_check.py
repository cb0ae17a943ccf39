"""check() finds what was planted, and says where."""

import shutil
import sqlite3 as python_sqlite
from pathlib import Path

import pytest

import sampledb
from sampledb.store.schema import PAGE_BYTES
from tests.markers import mostly_slow
from tests.raw import raw
from tests.strategies import function, report

# What is done to a whole file, where check() must point, and whether only a deep check can see it.
FAULTS = {
    "a function that went missing": (
        "DELETE FROM functions WHERE function_id = 5",
        "samples, sample_id 1", False,
    ),
    "a count that lies": (
        "UPDATE samples SET num_functions = num_functions + 1 WHERE sample_id = 2",
        "samples, sample_id 2", False,
    ),
    "a sample that went missing": (
        "DELETE FROM samples WHERE sample_id = 3",
        "functions, row", False,
    ),
    "a report that went missing": (
        "DELETE FROM reports WHERE sample_id = 1",
        "reports, sample_id 1", False,
    ),
    "a frame that went missing": (
        "DELETE FROM disassembly WHERE first_function_id = 1",
        "disassembly, function_id 1", False,
    ),
    "an offset out of order": (
        'UPDATE functions SET "offset" = 0 WHERE function_id = 7',
        "functions, function_id 7", False,
    ),
    "an id counter set back": (
        "UPDATE sqlite_sequence SET seq = 1 WHERE name = 'functions'",
        "sqlite_sequence", False,
    ),
    "statistics that are no JSON": (
        "UPDATE samples SET statistics = '{' WHERE sample_id = 1",
        "samples, sample_id 1", False,
    ),
    "a flipped bit in a frame": (
        "UPDATE disassembly SET frame = CAST(substr(frame, 1, 99) || x'00' || substr(frame, 101) AS BLOB)"
        " WHERE first_function_id = 17",
        "disassembly, function_id 17", True,
    ),
    "a flipped bit in a report": (
        "UPDATE reports SET report = CAST(substr(report, 1, 99) || x'00' || substr(report, 101) AS BLOB)"
        " WHERE sample_id = 3",
        "reports, sample_id 3", True,
    ),
    "a later frame that went missing": (
        "DELETE FROM disassembly WHERE first_function_id = 17",
        "disassembly, function_id 33", True,
    ),
    "a hash that is not the function's": (
        "UPDATE functions SET pic_hash = 5 WHERE function_id = 3",
        "disassembly, function_id 1", True,
    ),
    "a name that is not the function's": (
        "UPDATE functions SET name = 'planted' WHERE function_id = 3",
        "disassembly, function_id 1", True,
    ),
    "a report of another file": (
        "UPDATE samples SET sha256 = printf('%064d', 0) WHERE sample_id = 2",
        "reports, sample_id 2", True,
    ),
    "an extra function": (
        'INSERT INTO functions SELECT 1000000, sample_id, "offset" + 1, name, num_blocks, num_instructions, binweight,'
        " pic_hash, bytes_before, bytes_after FROM functions WHERE function_id = 3",
        "samples, sample_id 1", False,
    ),
    "an extra frame": (
        "INSERT INTO disassembly SELECT 2, checksum, frame FROM disassembly WHERE first_function_id = 1",
        "disassembly, function_id", True,
    ),
    "a tag of no sample": (
        "INSERT INTO sample_tags VALUES (99, 0, 'orphan')",
        "sample_tags, row", False,
    ),
    "a job without its binary": (
        "INSERT INTO jobs (job_id, state, sha256, family, version, is_dump, base_addr, bitness, username, keep_binary,"
        " strings, attempts, submitted_at) VALUES ('j', 'queued', printf('%064d', 7), '', '', 0, 0, 32, 'me', 0, 0, 0,"
        " '2026-01-01T00:00:00+00:00')",
        "jobs, job_id j", False,
    ),
    "a flipped bit in a binary": (
        "INSERT INTO binaries (sha256, is_kept, checksum, binary) VALUES (printf('%064d', 0), 1, 5, x'0328')",
        "binaries, sha256 " + "0" * 64, True,
    ),
    "a name that search does not know": (
        "INSERT INTO function_search (function_search, rowid, name)"
        " SELECT 'delete', min(function_id), substr(name, 1, 1000) FROM functions WHERE name = 'original_entry_point'",
        "function_search, rowid", True,
    ),
    "a sample that search finds by what it is not": (
        "INSERT INTO sample_search (rowid, name) VALUES (3, 'planted')",
        "sample_search, rowid 3", True,
    ),
    "an API that a function does not refer to": (
        "UPDATE api_references SET functions = '[0,1]' WHERE (api_id, sample_id) ="
        " (SELECT api_id, sample_id FROM api_references WHERE functions <> '[0,1]' LIMIT 1)",
        "api_references, sample_id", True,
    ),
    "an API of no function": (
        "INSERT INTO apis (hash, api) VALUES (5, 'planted.dll!Api')",
        "apis, api_id", True,
    ),
    "a string of a function without any": (
        "INSERT INTO strings (hash, string) VALUES (5, 'planted')",
        "strings, string_id", True,
    ),
    "reports that changed places": (
        "UPDATE reports SET (checksum, report) = (SELECT checksum, report FROM reports WHERE sample_id = 1)"
        " WHERE sample_id = 2",
        "reports, sample_id 2", True,
    ),
}  # fmt: skip


@pytest.fixture
def copy(filled_path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(filled_path, tmp_path))


def test_a_whole_file_has_no_problems(copy: Path) -> None:
    with sampledb.open(copy) as db:
        assert db.check() == []
        assert db.check(deep=True) == []


@pytest.mark.parametrize("fault", mostly_slow(FAULTS, list(FAULTS)[::4]))
def test_a_planted_fault_is_found_where_it_is(copy: Path, fault: str) -> None:
    statement, where, needs_deep = FAULTS[fault]
    connection = python_sqlite.connect(copy)
    assert connection.execute(statement).rowcount == 1
    connection.commit()
    connection.close()
    with sampledb.open(copy, readonly=True) as db:
        shallow, deep = db.check(), db.check(deep=True)
    assert [problem for problem in deep if problem.where.startswith(where)]
    assert bool(shallow) is not needs_deep
    assert all(problem.to_dict().keys() == {"what", "where", "sample_id"} for problem in deep)


BLOBS = {"reports": "report", "disassembly": "frame", "binaries": "binary"}


@pytest.mark.parametrize("table", mostly_slow(BLOBS, {"disassembly"}))
def test_every_flipped_bit_of_a_blob_is_found(path: Path, table: str) -> None:
    column = BLOBS[table]
    with sampledb.open(path) as db:
        db.submit_binary(b"MZ waits")
    whole = path.read_bytes()
    with raw(path) as connection:
        (blob,) = connection.execute(f"SELECT {column} FROM {table}").fetchone()  # noqa: S608
    for bit in range(0, 8 * len(blob), 23):
        flipped = bytearray(blob)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(whole)
        with raw(path) as connection:
            connection.execute(f"UPDATE {table} SET {column} = ?", (bytes(flipped),))  # noqa: S608
        with sampledb.open(path, readonly=True) as db:
            assert db.check() == []
            assert [problem.where.split(",")[0] for problem in db.check(deep=True)] == [table]


@pytest.mark.slow
def test_a_flipped_bit_of_the_search_index_is_found_or_changes_no_answer(path: Path) -> None:
    with sampledb.open(path) as db:
        for number in range(3):
            functions = [function(4096 * each, function_name=f"name_{number}_{each}") for each in range(1, 20)]
            db.add_sample(report(*functions, seed=str(number)))
        expected = db.search("name_1")
    whole, found = path.read_bytes(), 0
    with raw(path) as connection:
        blocks = connection.execute("SELECT id, block FROM function_search_data").fetchall()
    for block_id, block in blocks:
        for bit in range(0, 8 * len(block), 61):
            flipped = bytearray(block)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(whole)
            with raw(path) as connection:
                connection.execute("UPDATE function_search_data SET block = ? WHERE id = ?", (bytes(flipped), block_id))
            with sampledb.open(path, readonly=True) as db:
                if db.check(deep=True):
                    found += 1
                else:
                    assert db.search("name_1") == expected
    assert found > 20


def test_an_index_that_disagrees_is_found(copy: Path) -> None:
    connection = python_sqlite.connect(copy)
    page_size, root = connection.execute(
        "SELECT page_size, rootpage FROM pragma_page_size, sqlite_schema WHERE name = 'functions_by_pic_hash'"
    ).fetchone()
    connection.close()
    content = bytearray(copy.read_bytes())
    # An empty index page where the root was.
    content[(root - 1) * page_size : root * page_size] = b"\x0a\0\0\0\0\x10\0\0".ljust(page_size, b"\0")
    copy.write_bytes(content)
    with sampledb.open(copy, readonly=True) as db:
        assert any("functions_by_pic_hash" in problem.what for problem in db.check())


def test_a_damaged_page_does_not_end_the_check(copy: Path) -> None:
    connection = python_sqlite.connect(copy)
    (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'disassembly'").fetchone()
    connection.close()
    content = bytearray(copy.read_bytes())
    content[(root - 1) * PAGE_BYTES : root * PAGE_BYTES] = b"\xff" * PAGE_BYTES
    copy.write_bytes(content)
    with sampledb.open(copy, readonly=True) as db:
        problems = db.check(deep=True)
        assert problems
        assert db.get_sample(1).sample_id == 1
        with pytest.raises(sampledb.CorruptFileError) as raised:
            db.get_function(1, 1)
        assert raised.value.details["path"] == str(copy)
