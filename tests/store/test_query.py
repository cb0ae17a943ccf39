"""query() reads this file and does nothing else."""

from pathlib import Path

import pytest

import sampledb
from sampledb import InvalidInputError, SampleDB
from sampledb.store.schema import FORMAT_VERSION
from tests.strategies import KERNEL, function, report


@pytest.fixture
def one(db: SampleDB) -> SampleDB:
    db.add_sample(report(function(4096)))
    return db


def test_rows_are_dicts_by_column(one: SampleDB) -> None:
    assert one.query("SELECT sample_id, family AS f FROM samples WHERE sample_id = ?", [1]) == [
        {"sample_id": 1, "f": ""}
    ]
    assert one.query("SELECT :a AS a, NULL AS n", {"a": "x"}) == [{"a": "x", "n": None}]
    assert one.query("WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 3) SELECT n FROM c") == [
        {"n": 1}, {"n": 2}, {"n": 3},
    ]  # fmt: skip
    assert one.query("SELECT 1 WHERE FALSE") == []


def test_json_of_media_info_can_be_queried(one: SampleDB) -> None:
    one.update_sample(1, media_info={"tracks": [{"@type": "General", "Format": "Wave"}]})
    found = one.query(
        "SELECT json_extract(track.value, '$.Format') AS format "
        "FROM samples, json_each(media_info, '$.tracks') AS track"
    )
    assert found == [{"format": "Wave"}]


def test_the_schema_can_be_read(one: SampleDB) -> None:
    assert one.query("PRAGMA table_info(samples)")[0]["name"] == "sample_id"
    assert one.query("PRAGMA user_version") == [{"user_version": FORMAT_VERSION}]


STATEMENTS = [
    "DELETE FROM samples",
    "INSERT INTO samples DEFAULT VALUES",
    "UPDATE samples SET notes = 'x'",
    "DROP TABLE samples",
    "CREATE TABLE x (a)",
    "CREATE TEMP TABLE x (a)",
    "PRAGMA user_version = 5",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA writable_schema = ON",
    "ATTACH 'other.db' AS other",
    "VACUUM INTO 'other.db'",
    "BEGIN",
    "SELECT load_extension('x')",
    "SELECT 1; SELECT 2",
    "SELECT",
    "SELECT nope FROM samples",
    "SELECT ?",
    "SELECT CAST(x'ff' AS TEXT)",
    "SELECT 1\0",
    "\ud800",
    "",
]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_what_is_no_reading_statement_is_refused(one: SampleDB, statement: str, tmp_path: Path) -> None:
    if statement == "":
        assert one.query(statement) == []
        return
    with pytest.raises(InvalidInputError) as raised:
        one.query(statement)
    assert raised.value.details["field"] == "sql"
    assert not (tmp_path / "other.db").exists()
    assert one.update_sample(1, notes="still works").notes == "still works"


@pytest.mark.parametrize("parameter", [2**64, -(2**63) - 1, object(), "\ud800"])
def test_parameters_that_sqlite_cannot_hold_are_refused(one: SampleDB, parameter: object) -> None:
    with pytest.raises(InvalidInputError):
        one.query("SELECT ?", [parameter])


def test_hashes_and_addresses_are_bound_as_they_lie_in_the_file() -> None:
    with sampledb.open(":memory:") as db:
        db.add_sample(report(function(KERNEL, pic_hash=2**64 - 1)))
        assert db.query('SELECT sample_id FROM functions WHERE pic_hash = ? AND "offset" = ?', [2**64 - 1, KERNEL])
        assert db.query("SELECT sample_id FROM functions WHERE pic_hash = :hash", {"hash": 2**64 - 1})
        assert db.query("SELECT ? AS n", [2**63]) == [{"n": -(2**63)}]


def test_parameters_may_come_from_the_store_itself() -> None:
    with sampledb.open(":memory:") as db:
        assert db.query("SELECT ? AS n", (len(db.list_samples()) for _ in "a")) == [{"n": 0}]
        with pytest.raises(InvalidInputError, match="params must be"):
            db.query("SELECT 1", 5)  # type: ignore[arg-type]


def test_sql_must_be_text(one: SampleDB) -> None:
    with pytest.raises(InvalidInputError, match="sql must be text"):
        one.query(None)  # type: ignore[arg-type]


def test_a_query_in_memory_is_as_safe() -> None:
    with sampledb.open(":memory:") as db:
        with pytest.raises(InvalidInputError):
            db.query("DELETE FROM samples")
        assert db.add_sample(report()).sample_id == 1


def test_columns_of_one_name_are_all_there(one: SampleDB) -> None:
    assert one.query("SELECT 1 AS a, 2 AS a, 3 AS b, 4 AS a") == [{"a": 1, "a:1": 2, "b": 3, "a:2": 4}]
