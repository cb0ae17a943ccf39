"""Merging another store: all that it knows comes here once, and nothing that is here is lost."""

import hashlib
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import sampledb
from sampledb import Difference, InvalidInputError, NewerFormatError, NotASampleDBError, Outcome, SampleDB
from sampledb.format import codec
from sampledb.model import Label
from tests.markers import mostly_slow
from tests.raw import NEXT_FORMAT, raw
from tests.store.programs import run_and_kill
from tests.strategies import KERNEL, function, report

MEDIA = "c" * 64
BINARY = b"the binary of the first sample"


def functions(seed: str, count: int) -> list[dict[str, Any]]:
    """Functions on both sides of 2**63, some of which refer to APIs and strings, one with keys of its own."""
    found = [
        function(offset, function_name=f"{seed}_{each}")
        | {"apirefs": {str(offset): f"kernel32.dll!{seed}{each % 3}"}, "stringrefs": {str(offset): f"text {each % 2}"}}
        for each in range(count)
        for offset in (0x1000 + 64 * each, KERNEL + 64 * each)
    ]
    return [*found, function(0x9000, function_name="odd") | {"own_key": [None, 2**70]}]


def fill(db: SampleDB) -> SampleDB:
    """A sample with everything, one that is media, and one of another analysis; ids begin at 2."""
    db.add_sample(report(function(1), seed="deleted"))
    db.delete_sample(1)
    first = report(*functions("first", 20), sha256=hashlib.sha256(BINARY).hexdigest())
    db.add_sample(first, family="win.first", version="1", component="loader", name="first.exe", username="alice")
    db.update_sample(2, notes="seen", tags=["red", "green"], is_library=True, extension="bin")
    db.label_function(2, 0x1000, name="main", username="bob")
    db.label_function(2, 0x1000, name="entry", comment="starts here")
    db.label_function(2, KERNEL, comment="to go")
    db.delete_label(2, KERNEL, username="bob")
    db.add_media(sha256=MEDIA, name="clip.mp4", media_info={"tracks": [{"Format": "AVC"}]}, notes="a clip", tags=["tv"])
    db.add_sample(report(*functions("third", 2), seed="third"))
    with db._connections.writing() as connection:  # as a finished job leaves it
        blob = codec.encode(codec.BINARY, BINARY)
        row = (hashlib.sha256(BINARY).hexdigest(), codec.checksum(blob), blob)
        connection.execute("INSERT INTO binaries (sha256, is_kept, checksum, binary) VALUES (?, 1, ?, ?)", row)
    return db


@pytest.fixture
def other(tmp_path: Path) -> Path:
    path = tmp_path / "other.sampledb"
    with sampledb.open(path) as db:
        fill(db)
    return path


def known(db: SampleDB) -> dict[str, Any]:
    """All that a file says of each sample, but for its ids."""
    return {sample.sha256: _known(db, sample) for sample in db.iter_samples()}


def _known(db: SampleDB, sample: sampledb.Sample) -> dict[str, Any]:
    number = sample.sample_id
    first = next(iter(db.list_functions(number)), 0)
    return {
        "sample": msgspec.structs.replace(sample, sample_id=0),
        "functions": [
            msgspec.structs.replace(each, sample_id=0, function_id=each.function_id - first)
            for each in db.list_functions(number).values()
        ],
        "report": db.get_report(number) if sample.smda_version else None,
        "labels": [_anonymous(each) for each in db.list_labels(number, history=True)],
        "binary": db.get_binary(number) if sample.family == "win.first" else None,
        "names": (db.list_apis(number), db.list_strings(number)),
        "is media": db.query("SELECT has_media FROM samples WHERE sample_id = ?", [number]),
    }


def _anonymous(label: Label) -> Label:
    return msgspec.structs.replace(label, sample_id=0, function_id=None)


def merged(db: SampleDB, other: Path | SampleDB, **options: Any) -> list[Outcome]:
    outcomes = list(db.merge(other, **options))
    assert [outcome.error for outcome in outcomes] == [None] * len(outcomes)
    return outcomes


def statuses(outcomes: list[Outcome]) -> list[str]:
    return [outcome.status for outcome in outcomes]


def dump(db: SampleDB) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table."""
    names = db.query("SELECT name FROM sqlite_schema WHERE type = 'table' AND sql LIKE '%STRICT%'")
    return {row["name"]: db.query(f"SELECT * FROM {row['name']}") for row in names}  # noqa: S608


# All that is there comes here


def test_all_that_a_store_knows_comes_here_and_twice_is_once(db: SampleDB, other: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    before = other.read_bytes()
    outcomes = merged(db, other, progress=lambda done, total, _: seen.append((done, total)))
    assert (statuses(outcomes), seen) == (["added"] * 3, [(1, 3), (2, 3), (3, 3)])
    with sampledb.open(other, readonly=True) as theirs:
        assert known(db) == known(theirs)
    for word in ("first_7", "win.first", "text 1", "a clip"):
        assert db.search(word), word
    assert [each.label for each in db.find_functions(label="ent*")] == ["entry"]
    assert db.check(deep=True) == []
    once = dump(db)
    with sampledb.open(other) as theirs:  # by a handle, as by its path
        assert statuses(merged(db, theirs)) == ["existed"] * 3
        assert statuses(merged(db, other, policy="theirs")) == ["existed"] * 3
    assert dump(db) == once
    assert other.read_bytes() == before
    with sampledb.open(":memory:") as memory:
        assert statuses(merged(memory, db)) == ["added"] * 3
        assert known(memory) == known(db)


def test_real_reports_come_whole_and_their_blobs_as_they_are(db: SampleDB, filled_path: Path, tmp_path: Path) -> None:
    compacted = tmp_path / "compacted.sampledb"
    compacted.write_bytes(filled_path.read_bytes())
    with sampledb.open(compacted) as theirs:
        theirs.compact()
        merged(db, theirs)
        for table, blob in (("disassembly", "frame"), ("reports", "report")):
            blobs = f"SELECT {blob} FROM {table} ORDER BY rowid"  # noqa: S608
            assert db.query(blobs) == theirs.query(blobs)
        assert known(db) == known(theirs)
    assert db.check(deep=True) == []


@pytest.mark.parametrize("is_media_here", [True, False])
def test_media_and_analysis_of_a_file_come_together(db: SampleDB, other: Path, *, is_media_here: bool) -> None:
    analysis, clip = report(*functions("clip", 3), sha256=MEDIA), {"name": "our.mp4", "tags": ["ours"], "notes": "own"}
    with sampledb.open(other) as theirs:
        for sample_id in (2, 4):
            theirs.delete_sample(sample_id)
        if is_media_here:
            theirs.delete_sample(3)
            theirs.add_sample(analysis, family="win.clip", is_library=True)
            db.add_media(sha256=MEDIA, **clip)  # type: ignore[arg-type]
        else:
            db.add_sample(analysis, family="win.clip", is_library=True)
            db.update_sample(1, **clip)  # type: ignore[arg-type]
    (outcome,) = merged(db, other)
    sample = outcome.sample
    assert sample is not None
    assert (outcome.status, sample.name, sample.notes, sample.family) == ("updated", "our.mp4", "own", "win.clip")
    assert (sample.is_library, sample.tags) == (True, ("ours",) if is_media_here else ("ours", "tv"))
    assert db.get_report(1) == analysis
    assert db.stats().num_media == 1
    assert {each.field for each in outcome.differences} == (set() if is_media_here else {"name", "notes"})
    assert db.check(deep=True) == []


# What is different


def test_what_is_here_stays_and_each_difference_is_reported(db: SampleDB, other: Path) -> None:
    merged(db, other)
    with sampledb.open(other) as theirs:
        theirs.update_sample(2, family_name="win.other", notes=None, is_library=False, tags=["green", "new"])
        theirs.add_sample(report(*functions("changed", 4), seed="third"), replace=True)
    before = known(db)
    first, _, third = merged(db, other)
    assert first.differences == (Difference("family", "win.first", "win.other", "ours"),)
    ((field, ours, of_theirs, kept),) = [(each.field, each.ours, each.theirs, each.kept) for each in third.differences]
    assert (field, ours["num_functions"], of_theirs["num_functions"], kept) == ("analysis", 5, 9, "ours")
    assert (first.status, third.status) == ("updated", "existed")
    assert first.sample is not None
    assert first.sample.tags == ("red", "green", "new")
    sha256 = first.sample.sha256
    before[sha256]["sample"] = msgspec.structs.replace(before[sha256]["sample"], tags=("red", "green", "new"))
    assert known(db) == before
    assert first.to_dict()["differences"][0]["theirs"] == "win.other"

    first, _, third = merged(db, other, policy="theirs")
    assert {each.kept for each in (*first.differences, *third.differences)} == {"theirs"}
    with sampledb.open(other) as theirs:
        assert db.get_report(3) == theirs.get_report(4)
        assert (db.get_sample(1).family, db.get_sample(1).notes) == ("win.other", "seen")
        assert db.get_sample(3).sample_id == 3
    assert db.check(deep=True) == []


@pytest.mark.parametrize("ours_first", [True, False])
def test_the_newest_is_that_of_the_sample_that_was_added_later(tmp_path: Path, *, ours_first: bool) -> None:
    stores = [sampledb.open(tmp_path / name) for name in ("earlier", "later")]
    for db, family in zip(stores, ("win.earlier", "win.later"), strict=True):
        db.add_sample(report(function(1)), family=family)
    ours, theirs = stores if ours_first else stores[::-1]
    (outcome,) = merged(ours, theirs, policy="newest")
    assert ours.get_sample(1).family == "win.later"
    assert [each.kept for each in outcome.differences] == ["theirs" if ours_first else "ours"]
    for db in stores:
        db.close()


@pytest.mark.parametrize(("policy", "label"), [("keep", "ours"), ("theirs", "theirs"), ("newest", "theirs")])
def test_all_that_was_said_of_a_function_stays_in_its_history(tmp_path: Path, policy: str, label: str) -> None:
    with sampledb.open(tmp_path / "ours") as ours, sampledb.open(tmp_path / "theirs") as theirs:
        for db in (ours, theirs):
            db.add_sample(report(function(1), function(64), function(128)))
        ours.label_function(1, 1, name="ours", username="alice")
        ours.label_function(1, 64, name="same")
        ours.label_function(1, 128, name="removed here")
        ours.delete_label(1, 128)
        for offset, name in ((1, "before"), (1, "theirs"), (64, "same"), (128, "removed here")):
            theirs.label_function(1, offset, name=name, username="bob")
        (outcome,) = merged(ours, theirs, policy=policy)
        assert [(each.field, each.offset, each.kept) for each in outcome.differences] == [
            ("label", 1, "ours" if policy == "keep" else "theirs"),
            ("label", 128, "ours" if policy == "keep" else "theirs"),
        ]
        assert ours.get_function(1, 1).label == label
        assert ours.get_function(1, 3).label == ("" if policy == "keep" else "removed here")
        said = ours.list_labels(1, history=True)
        assert {each.name for each in said if each.offset == 1} == {"ours", "before", "theirs"}
        assert [each.username for each in said if each.name == "theirs"] == ["bob"]
        assert set(map(_anonymous, theirs.list_labels(1, history=True))) <= {
            msgspec.structs.replace(_anonymous(each), is_current=True) for each in said
        } | set(map(_anonymous, said))
        assert bool(list(ours.find_functions(label="theirs"))) == (label == "theirs")
        once = dump(ours)
        assert statuses(merged(ours, theirs, policy=policy)) == ["existed"]
        assert dump(ours) == once
        assert ours.check(deep=True) == []


def test_a_label_that_is_taken_again_stands_once(db: SampleDB) -> None:
    with sampledb.open(":memory:") as theirs:
        for each in (db, theirs):
            each.add_sample(report(function(1)))
        theirs.label_function(1, 1, name="theirs")
        for _ in range(2):
            assert merged(db, theirs, policy="theirs")[0].status == "updated"
            said = [(each.name, each.is_current) for each in db.list_labels(history=True) if each.name]
            assert said == [("theirs", True)]
            db.delete_label(1, 1)


def test_tags_that_do_not_fit_are_a_difference(tmp_path: Path) -> None:
    with sampledb.open(tmp_path / "ours") as ours, sampledb.open(tmp_path / "theirs") as theirs:
        for name, db in (("a", ours), ("b", theirs)):
            db.add_sample(report(function(1)))
            db.update_sample(1, tags=[f"{name}{each}" for each in range(30)])
        for status in ("updated", "existed"):
            (outcome,) = merged(ours, theirs)
            assert [each.field for each in outcome.differences] == ["tags"]
            assert (outcome.status, len(ours.get_sample(1).tags)) == (status, 50)
        # Capitals make no other tag.
        theirs.update_sample(1, tags=["A0", "a1"])
        assert merged(ours, theirs)[0].status == "existed"


# What is no store, and what was forged


def test_a_store_is_not_merged_into_itself_nor_with_what_is_none(db: SampleDB, path: Path, tmp_path: Path) -> None:
    for same in (db, db.path, sampledb.open(db.path, readonly=True)):
        with pytest.raises(InvalidInputError, match="this store itself"):
            db.merge(same)
    with pytest.raises(InvalidInputError, match="policy"):
        db.merge(path, policy="mine")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="No such file"):
        db.merge(tmp_path / "missing")
    (tmp_path / "text").write_text("nothing of ours")
    with pytest.raises(NotASampleDBError):
        db.merge(tmp_path / "text")
    with raw(path) as connection:
        connection.execute(f"PRAGMA user_version = {NEXT_FORMAT}")
    with pytest.raises(NewerFormatError):
        db.merge(path)


SET = "UPDATE {} SET {} WHERE {}".format
FRAME = "SELECT frame FROM disassembly WHERE first_function_id = 2"


def _reseal(connection: sqlite3.Connection, change: Callable[[list[Any]], None]) -> None:
    """Change the columns of the first frame, and give it a checksum that fits."""
    ((checksum, blob),) = connection.execute("SELECT checksum, frame FROM disassembly WHERE first_function_id = 2")
    columns = msgspec.msgpack.decode(codec.decode(codec.FRAME, blob, checksum))
    change(columns)
    blob = codec.encode(codec.FRAME, msgspec.msgpack.encode(columns))
    row = (codec.checksum(blob), blob)
    connection.execute("UPDATE disassembly SET checksum = ?, frame = ? WHERE first_function_id = 2", row)


def _shorten(place: int) -> Callable[[list[Any]], None]:
    """Return what takes the last value from a column."""
    return lambda columns: columns.__setitem__(place, columns[place][:-1])


#: What somebody made of the first sample of a store, whose checksums fit.
FORGED: dict[str, str | Callable[[sqlite3.Connection], object]] = {
    "a name of a function": SET("functions", "name = 'forged'", "function_id = 5"),
    "a name with a zero byte": SET("functions", "name = 'a' || char(0)", "function_id = 5"),
    "a number of blocks": SET("functions", "num_blocks = 7", "function_id = 5"),
    "a number of instructions": SET("functions", "num_instructions = 0", "function_id = 5"),
    "a negative number": SET("functions", "bytes_after = -1", "function_id = 5"),
    "a hash": SET("functions", "pic_hash = 5", "function_id = 5"),
    "a weight without end": SET("functions", "binweight = 9e999", "function_id = 5"),
    "an order": SET("functions", '"offset" = 1', "function_id = 5"),
    "an owner": SET("functions", "sample_id = 4", "function_id = 5"),
    "a function that is missing": "DELETE FROM functions WHERE function_id = 5",
    "a number of functions": SET("samples", "num_functions = 1 << 60", "sample_id = 2"),
    "a frame that is missing": "DELETE FROM disassembly WHERE first_function_id = 2",
    "a frame of others": SET("disassembly", f"frame = ({FRAME})", "first_function_id > 2"),
    "a frame without a function": lambda connection: _reseal(connection, _shorten(4)),
    "a frame of something else": lambda connection: _reseal(connection, lambda columns: columns.__setitem__(4, "text")),
    "a frame with a function kept whole": lambda connection: _reseal(
        connection, lambda columns: columns.__setitem__(1, {0: b"{}"})
    ),
    "a report of another file": SET(
        "reports", "report = (SELECT report FROM reports WHERE sample_id = 4)", "sample_id = 2"
    ),
    "a hash of its file": SET("samples", "md5 = 'abc'", "sample_id = 2"),
    "a family": SET("samples", "family = 'a b'", "sample_id = 2"),
    "a version": SET("samples", "version = char(27)", "sample_id = 2"),
    "notes": SET("samples", "notes = printf('%.2000c', 'x')", "sample_id = 2"),
    "a user": SET("samples", "username = ''", "sample_id = 2"),
    "a date": SET("samples", "added_at = '2026-01-01'", "sample_id = 2"),
    "media info": SET("samples", "media_info = '[]'", "sample_id = 2"),
    "a tag": SET("sample_tags", "tag = printf('%.51c', 'x')", "sample_id = 2 AND position = 0"),
    "a label": SET("labels", "name = printf('%.10001c', 'x')", "sample_id = 2"),
    "a user of a label": SET("label_history", "username = char(10)", "sample_id = 2"),
    "a date of a label": SET("label_history", "updated_at = 'today'", "sample_id = 2"),
    "a reference to no function": SET("api_references", "functions = '[0, 100]'", "sample_id = 2"),
    "a reference out of order": SET("api_references", "functions = '[3, 2]'", "sample_id = 2"),
    "a reference of nothing": SET("api_references", "functions = '[]'", "sample_id = 2"),
    "a binary": SET("binaries", "checksum = checksum + 1", "TRUE"),
}


FORGED_AT_ONCE = {
    *("a name of a function", "a number of blocks", "a number of functions", "a frame of something else"),
    *("a report of another file", "a label", "a reference to no function", "a binary"),
}


@pytest.mark.parametrize("forged", mostly_slow(FORGED, FORGED_AT_ONCE))
def test_a_forged_sample_fails_alone(other: Path, forged: str) -> None:
    change = FORGED[forged]
    with raw(other) as connection:
        assert connection.execute(change).rowcount if isinstance(change, str) else change(connection) is None
    with sampledb.open(":memory:") as db:
        outcomes = list(db.merge(other))
        assert statuses(outcomes) == ["failed", "added", "failed" if forged == "a frame of others" else "added"]
        assert outcomes[0].error is not None
        assert outcomes[0].error.code in {"corrupt", "invalid_input"}
        assert db.check(deep=True) == []


def test_what_only_decoding_shows_is_found_by_a_check(db: SampleDB, other: Path) -> None:
    with raw(other) as connection:
        _reseal(connection, _shorten(11))
        connection.execute(SET("functions", "bytes_after = 9999", 'sample_id = 4 AND "offset" = 0x1000'))
        connection.execute("UPDATE apis SET api = 'forged.dll!forged' WHERE api LIKE '%third0'")
    assert statuses(merged(db, other)) == ["added"] * 3
    assert db.check() == []
    found = {problem.where.partition(",")[0] for problem in db.check(deep=True)}
    assert found >= {"disassembly", "functions", "api_references"}
    with pytest.raises(sampledb.CorruptFileError):
        db.get_report(1)
    db.compact()


def test_no_sql_of_the_other_store_runs(db: SampleDB, other: Path) -> None:
    with raw(other) as connection:
        connection.execute("CREATE TRIGGER planted AFTER INSERT ON samples BEGIN DELETE FROM functions; END")
    assert statuses(merged(db, other)) == ["added"] * 3
    with raw(other) as connection:
        connection.execute("CREATE INDEX planted_too ON samples (name || family)")
    with pytest.raises(sampledb.StorageError, match="planted_too"):
        db.merge(other)


# What ends early

# In many transactions, so that some are still to come.
MERGER = """
import sys
import sampledb
from sampledb.database.transfer import merge

merge._SAMPLES = 16
with sampledb.open(sys.argv[1]) as db:
    for outcome in db.merge(sys.argv[2]):
        print(outcome.sample.sample_id, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the platform has no SIGKILL")
def test_a_merge_that_is_killed_goes_on_when_it_is_begun_again(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.sampledb", tmp_path / "theirs.sampledb"
    with sampledb.open(theirs) as db:
        reports = [report(*functions(str(each), 2), seed=str(each)) for each in range(200)]
        assert all(outcome.sample for outcome in db.add_samples(reports))
        db.label_function(200, 0x1000, name="last")
    acknowledged = run_and_kill(MERGER, ours, theirs)
    with sampledb.open(ours) as db, sampledb.open(theirs, readonly=True) as other:
        assert set(acknowledged) <= db.list_samples().keys()
        before = db.stats().num_samples
        outcomes = merged(db, theirs)
        assert statuses(outcomes) == ["existed"] * before + ["added"] * (200 - before)
        assert [_anonymous(each) for each in db.list_labels()] == [_anonymous(each) for each in other.list_labels()]
        assert db.stats().num_functions == other.stats().num_functions
        assert db.check(deep=True) == []
