"""Adding, listing, changing and deleting samples."""

import datetime as dt
import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sampledb
from sampledb import ConflictError, InvalidInputError, NotFoundError, Outcome, SampleDB
from sampledb.store.schema import PAGE_BYTES
from tests import strategies
from tests.strategies import function, report

SHA256 = report()["sha256"]


@pytest.fixture
def nine(db: SampleDB) -> SampleDB:
    """Nine samples: family and tag by the remainder of three."""
    for number in range(9):
        db.add_sample(
            report(seed=str(number)), family=f"family{number % 3}", is_library=number > 6, name=f"{number}.exe"
        )
        db.update_sample(number + 1, tags=["all", f"tag{number % 3}"])
    return db


def test_a_new_sample_says_all_that_its_report_says(db: SampleDB) -> None:
    before = dt.datetime.now(dt.UTC)
    metadata = {
        "family": "win.emotet", "version": "2020-01", "component": "loader", "is_library": False,
        "filename": "Evil.EXE", "binweight": 12.5,
    }  # fmt: skip
    given = report(
        function(4096), metadata=metadata, statistics={"num_functions": 1}, base_addr=2**64 - 4096, binary_size=2**63
    )
    sample = db.add_sample(given, username="ana")
    assert sample.to_dict() == {
        "sample_id": 1, "sha256": SHA256, "name": "Evil.EXE", "extension": "exe", "tags": [], "media_info": {},
        "notes": None, "family": "win.emotet", "version": "2020-01", "component": "loader", "is_library": False,
        "architecture": "intel", "bitness": 64, "base_addr": 2**64 - 4096, "binary_size": 2**63, "binweight": 12.5,
        "num_functions": 1, "statistics": {"num_functions": 1}, "smda_version": "5.0.1", "md5": "", "sha1": "",
        "username": "ana", "added_at": sample.added_at.isoformat().replace("+00:00", "Z"),
    }  # fmt: skip
    assert before <= sample.added_at <= dt.datetime.now(dt.UTC)
    assert db.get_sample(1) == db.get_sample_by_sha256(SHA256.upper()) == db.list_samples()[1] == sample


def test_a_second_analysis_is_a_conflict_that_names_the_first(db: SampleDB) -> None:
    sample = db.add_sample(report())
    with pytest.raises(ConflictError) as raised:
        db.add_sample(report(sha256=SHA256.upper()))
    assert raised.value.details == {"resource": "sample", "id": 1, "sample_id": 1, "sha256": SHA256}
    assert db.list_samples() == {1: sample}


def test_exist_ok_returns_the_stored_sample_unchanged(db: SampleDB) -> None:
    sample = db.add_sample(report(function(1)), family="first")
    assert db.add_sample(report(function(2)), family="second", exist_ok=True) == sample
    assert db.get_report(1) == report(function(1))


def test_replace_keeps_identity_and_notes_and_gives_new_function_ids(db: SampleDB) -> None:
    first = db.add_sample(report(function(1), function(2)), name="first.exe", username="ana")
    kept = db.update_sample(1, tags=["b", "a"], notes="mine", media_info={"a": 1})
    replaced = db.add_sample(report(function(3)), family="new", replace=True, username="bob")
    assert (replaced.sample_id, replaced.tags, replaced.notes, replaced.media_info) == (1, ("b", "a"), "mine", {"a": 1})
    assert (replaced.name, replaced.username, replaced.added_at) == ("first.exe", "ana", first.added_at)
    assert (replaced.family, replaced.num_functions) == ("new", 1)
    assert kept.num_functions == 2
    assert [function.function_id for function in db.list_functions(1).values()] == [3]
    assert db.get_report(1) == report(function(3))
    with pytest.raises(NotFoundError):
        db.get_function(1, 1)
    assert db.check(deep=True) == []


def test_replace_of_what_is_not_there_adds_it(db: SampleDB) -> None:
    assert db.add_sample(report(), replace=True).sample_id == 1


def test_ids_are_never_used_again(db: SampleDB) -> None:
    db.add_sample(report(function(1), function(2), seed="a"))
    db.add_sample(report(function(1), seed="b"))
    assert db.delete_sample(2)
    assert db.delete_sample(1)
    sample = db.add_sample(report(function(1), seed="c"))
    assert sample.sample_id == 3
    assert list(db.list_functions(3)) == [4]


def test_a_failed_call_consumes_no_ids(db: SampleDB) -> None:
    db.add_sample(report(function(1)))
    with pytest.raises(ConflictError):
        db.add_sample(report(function(2), function(3)))
    with pytest.raises(InvalidInputError):
        db.add_sample(report(function(2), seed="b", bitness=1))
    sample = db.add_sample(report(function(4), seed="c"))
    assert sample.sample_id == 2
    assert list(db.list_functions(2)) == [2]


def test_deleting_says_whether_there_was_something(db: SampleDB) -> None:
    db.add_sample(report(function(1), function(2)))
    db.update_sample(1, tags=["a"])
    assert db.delete_sample(1) is True
    assert db.delete_sample(1) is False
    for call in (db.get_sample, db.get_report, db.list_functions):
        with pytest.raises(NotFoundError) as raised:
            call(1)
        assert raised.value.details == {"resource": "sample", "id": 1}
    for table in ("samples", "sample_tags", "reports", "functions", "disassembly"):
        assert db.query(f"SELECT count(*) AS n FROM {table}") == [{"n": 0}]  # noqa: S608
    assert db.check(deep=True) == []


def test_an_update_changes_what_is_given_and_nothing_else(db: SampleDB) -> None:
    before = db.add_sample(report(function(1)), family="first", version="1", component="c", name="a.exe")
    changes: dict[str, Any] = {
        "family_name": "second", "version": "2", "component": "", "is_library": True, "name": "b", "extension": "bin",
        "tags": ["x", "y"], "media_info": {"Format": "PE"}, "notes": "text",
    }  # fmt: skip
    for field, value in changes.items():
        after = db.update_sample(1, **{field: value})
        name = field.removesuffix("_name")
        differing = {each for each in before.__struct_fields__ if getattr(before, each) != getattr(after, each)}
        assert differing == {name}
        assert getattr(after, name) == (tuple(value) if name == "tags" else value)
        before = after
    assert db.get_sample(1) == before
    assert db.update_sample(1) == before
    assert db.update_sample(1, notes=None, tags=[]).notes is None


def test_a_family_renamed_to_its_own_name_stays(db: SampleDB) -> None:
    db.add_sample(report(), family="same")
    assert db.update_sample(1, family_name="same").family == "same"
    assert db.list_families() == {"same": 1}


def test_an_update_of_what_is_not_there_is_an_error(db: SampleDB) -> None:
    with pytest.raises(NotFoundError, match=r"Sample 9317 not found\."):
        db.update_sample(9317, notes="x")


def test_filters_select_and_combine(nine: SampleDB) -> None:
    assert list(nine.list_samples(family="family1")) == [2, 5, 8]
    assert list(nine.list_samples(tag="tag2")) == [3, 6, 9]
    assert list(nine.list_samples(tag="tag")) == []
    assert list(nine.list_samples(is_library=True)) == [8, 9]
    assert list(nine.list_samples(is_library=False, family="family1")) == [2, 5]
    assert list(nine.list_samples(name="3.exe", extension="exe", tag="all")) == [4]
    assert list(nine.list_samples(1, 1, family="family1")) == [5]
    assert [sample.sample_id for sample in nine.iter_samples(family="family1", tag="all")] == [2, 5, 8]
    assert list(nine.list_samples(family="")) == []
    assert nine.list_families() == {"family0": 3, "family1": 3, "family2": 3}


@given(st.integers(0, 12) | st.just(2**70), st.integers(0, 12) | st.just(2**70))
def test_pages_are_slices(start: int, limit: int) -> None:
    with sampledb.open(":memory:") as db:
        for number in range(5):
            db.add_media(sha256=f"{number:064x}")
        expected = [1, 2, 3, 4, 5][start:][: limit or None]
        assert list(db.list_samples(start, limit)) == expected


def test_tags_are_found_through_an_index(nine: SampleDB) -> None:
    plan = nine.query("EXPLAIN QUERY PLAN SELECT sample_id FROM sample_tags WHERE tag = 'a'")
    assert "sample_tags_by_tag" in plan[0]["detail"]


def test_iterating_holds_no_lock_and_sees_what_is_added_behind(nine: SampleDB) -> None:
    samples = nine.iter_samples()
    assert next(samples).sample_id == 1
    with sampledb.open(nine.path, timeout=0) as other:
        assert other.delete_sample(9)
    assert [sample.sample_id for sample in samples][:7] == [2, 3, 4, 5, 6, 7, 8]


def test_many_are_added_and_a_bad_one_stops_nothing(db: SampleDB) -> None:
    given = [report(seed="a"), b"no report", report(seed="a"), report(seed="b")]
    seen: list[tuple[int, int | None, Outcome]] = []
    outcomes = list(db.add_samples(given, progress=lambda *progress: seen.append(progress)))
    assert [outcome.status for outcome in outcomes] == ["added", "failed", "existed", "added"]
    assert [outcome.sample and outcome.sample.sample_id for outcome in outcomes] == [1, None, 1, 2]
    assert outcomes[1].error is not None
    assert outcomes[1].to_dict()["error"]["code"] == "invalid_input"
    assert [(done, total) for done, total, _ in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    again = list(db.add_samples(iter(given), exist_ok=False))
    assert [outcome.error and outcome.error.code for outcome in again] == [
        "conflict", "invalid_input", "conflict", "conflict",
    ]  # fmt: skip


def test_stats_count_what_is_there(nine: SampleDB) -> None:
    nine.add_sample(report(function(1), function(2), seed="more"))
    nine.add_media(sha256="0" * 64, tags=["media"])
    stats = nine.stats()
    assert (stats.num_samples, stats.num_analyzed, stats.num_media, stats.num_functions) == (11, 10, 1, 2)
    assert (stats.num_families, stats.num_tags) == (3, 5)
    assert stats.disassembly_bytes > 0
    assert stats.file_bytes % PAGE_BYTES == 0


@given(st.lists(strategies.digests, unique=True, max_size=6), st.data())
def test_samples_are_found_by_hash_in_any_case(digests: list[str], data: st.DataObject) -> None:
    with sampledb.open(":memory:") as db:
        ids = {digest: db.add_media(sha256=digest).sample_id for digest in digests}
        for digest, sample_id in ids.items():
            spelled = "".join(data.draw(st.sampled_from([each, each.upper()])) for each in digest)
            assert db.get_sample_by_sha256(spelled).sample_id == sample_id
        with pytest.raises(NotFoundError):
            db.get_sample_by_sha256(hashlib.sha256(b"another").hexdigest())
