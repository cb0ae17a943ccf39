"""What a user adds with other tools is named, with the SQL that removes it, and is not called damage."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlite_utils import Database

import sampledb
from sampledb import CorruptFileError, StorageError
from sampledb.errors import MAX_MESSAGE
from tests.raw import raw

Add = Callable[[Database], object]


def add_counters(database: Database) -> None:
    for name in ("samples", "functions", "jobs", "reports"):
        database.table(name).enable_counts()


# How somebody adds it, what it is, and the first statement that removes it.
ADDITIONS: dict[str, tuple[Add, str, str]] = {
    "a full-text index": (
        lambda database: database.table("samples").enable_fts(["name", "notes"]),
        "table samples_fts",
        'DROP TABLE "samples_fts";',
    ),
    "a full-text index with triggers": (
        lambda database: database.table("samples").enable_fts(["name"], create_triggers=True),
        "trigger samples_ai, trigger samples_ad, trigger samples_au, table samples_fts",
        'DROP TRIGGER "samples_ai";',
    ),
    "counters": (add_counters, "trigger samples_counts_insert", 'DROP TRIGGER "samples_counts_insert";'),
    "an index of an expression": (
        lambda database: database.execute("CREATE INDEX mine ON samples (lower(name))"),
        "index mine",
        'DROP INDEX "mine";',
    ),
    "a column": (
        lambda database: database.table("samples").add_column('my "remarks"', str),
        'column samples.my "remarks"',
        'ALTER TABLE samples DROP COLUMN "my ""remarks""";',
    ),
    "a generated column": (
        lambda database: database.execute("ALTER TABLE samples ADD COLUMN label TEXT AS (family || version)"),
        "column samples.label",
        'ALTER TABLE samples DROP COLUMN "label";',
    ),
    "a table with a constraint, and an index of it": (
        lambda database: database.executescript(
            "CREATE TABLE mine (a CHECK (a > 1)); CREATE INDEX b ON mine (a) WHERE a < 9"
        ),
        "index b, table mine",
        'DROP INDEX "b";',
    ),
}


def add(path: Path, what: str) -> None:
    with contextlib.closing(Database(path)) as database, database.conn:
        ADDITIONS[what][0](database)


@pytest.mark.parametrize("what", ADDITIONS)
def test_an_addition_that_could_run_sql_is_named_with_what_removes_it(path: Path, what: str) -> None:
    add(path, what)
    _, names, removal = ADDITIONS[what]
    with pytest.raises(StorageError) as raised:
        sampledb.open(path)
    error = raised.value
    assert type(error) is StorageError
    assert "damage" not in error.message
    assert "for safety" in error.message
    assert removal in error.message
    assert len(error.message) < MAX_MESSAGE
    assert error.details["path"] == str(path)
    assert error.details["what"].startswith(names)
    assert names in error.details["reason"]
    with raw(path) as connection:
        for statement in error.details["remove"]:
            connection.execute(statement)
    with sampledb.open(path) as db:
        assert db.check(deep=True) == []
        assert db.tag_sample(1, "opened").tags == ("opened",)


@pytest.mark.parametrize("what", ADDITIONS)
def test_a_readonly_handle_takes_triggers_which_it_cannot_fire_and_nothing_else(path: Path, what: str) -> None:
    add(path, what)
    before = path.read_bytes()
    if what == "counters":
        with sampledb.open(path, readonly=True) as db:
            assert db.get_sample(1).num_functions == 1
            assert db.check(deep=True) == []
        with pytest.raises(StorageError, match="readonly=True opens it"):
            sampledb.open(path)
    else:
        with pytest.raises(StorageError) as raised:
            sampledb.open(path, readonly=True)
        assert type(raised.value) is StorageError
    assert path.read_bytes() == before


def test_of_many_additions_the_message_names_some_and_the_details_all(path: Path) -> None:
    add(path, "counters")
    with pytest.raises(StorageError, match=r"\(open it again for the other \d\)") as raised:
        sampledb.open(path)
    assert len(raised.value.details["remove"]) == 8


def test_an_own_statement_that_was_altered_in_another_way_is_damage(path: Path) -> None:
    with raw(path) as connection:
        connection.execute("ALTER TABLE samples ADD COLUMN mine TEXT")
        connection.execute("ALTER TABLE samples RENAME COLUMN statistics TO counts")
    with pytest.raises(CorruptFileError, match="samples is missing or altered"):
        sampledb.open(path)
