"""check() finds what was planted, and says where."""

import shutil
import sqlite3 as python_sqlite
from pathlib import Path

import pytest

import sampledb

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
        " WHERE sample_id = 4",
        "reports, sample_id 4", True,
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


@pytest.mark.parametrize("fault", FAULTS)
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
    content[(root - 1) * 4096 : root * 4096] = b"\xff" * 4096
    copy.write_bytes(content)
    with sampledb.open(copy, readonly=True) as db:
        problems = db.check(deep=True)
        assert problems
        assert db.get_sample(1).sample_id == 1
        with pytest.raises(sampledb.CorruptFileError) as raised:
            db.get_function(1, 1)
        assert raised.value.details["path"] == str(copy)
