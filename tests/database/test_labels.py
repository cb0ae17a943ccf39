"""Names and comments of functions: what was said last counts, nothing is forgotten, and they are seen everywhere."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sampledb
from sampledb import Function, FunctionHit, InvalidInputError, Label, NotFoundError, SampleDB
from tests import strategies
from tests.raw import raw
from tests.strategies import KERNEL, function, report

OFFSETS = (0, 0x1000, 2**63 - 64, 2**63, KERNEL)


def labelled(**fields: Any) -> dict[str, Any]:
    return report(*map(function, OFFSETS), **fields)


texts = st.none() | st.sampled_from(["", "rc4_init"]) | strategies.notes
changes = st.tuples(st.sampled_from(OFFSETS), texts, texts)


@given(st.lists(changes, max_size=8))
def test_what_was_said_last_counts_and_nothing_is_forgotten(said: list[tuple[int, str | None, str | None]]) -> None:
    current: dict[int, tuple[str, str]] = {}
    history: list[tuple[int, str, str]] = []
    with sampledb.open(":memory:") as db:
        db.add_sample(labelled())
        for offset, name, comment in said:
            before = current.get(offset, ("", ""))
            after = before[0] if name is None else name, before[1] if comment is None else comment
            if name is None and comment is None:
                assert db.delete_label(1, offset) is (offset in current)
                after = "", ""
            else:
                found = db.label_function(1, offset, name=name, comment=comment)
                assert (found and (found.name, found.comment)) == (after if any(after) else None)
            if after != before:
                history.append((offset, *after))
                current[offset] = after
            current = {offset: text for offset, text in current.items() if any(text)}
        now = db.list_labels(1)
        assert [(each.offset, each.name, each.comment) for each in now] == [(k, *current[k]) for k in sorted(current)]
        assert all(each.is_current for each in now)
        told = [(each.offset, each.name, each.comment) for each in db.list_labels(history=True)]
        assert told == sorted(history, key=lambda each: each[0])
        for each in db.iter_functions():
            assert (each.label, each.comment) == current.get(each.offset, ("", ""))
        assert db.check(deep=True) == []


def test_a_label_stays_when_the_sample_is_analyzed_again_and_goes_with_it(db: SampleDB) -> None:
    db.add_sample(labelled())
    db.label_function(1, hex(KERNEL), name="first", username="alice")
    label = db.label_function(1, KERNEL, name="second", username="bob")
    assert label is not None
    assert (label.username, label.function_id) == ("bob", 5)
    db.add_sample(labelled(), replace=True)
    (now,) = db.list_labels()
    assert (now.name, now.function_id) == ("second", 10)
    db.add_sample(report(function(0)), replace=True)
    assert [each.function_id for each in db.list_labels()] == [None]
    db.delete_sample(1)
    assert db.list_labels(history=True) == []
    db.close()
    with raw(Path(db.path)) as connection:
        assert connection.execute("SELECT * FROM labels, label_history").fetchall() == []


def test_a_label_is_seen_wherever_its_function_is(db: SampleDB) -> None:
    db.add_sample(labelled())
    db.add_sample(labelled(seed="other"))
    db.label_function(1, 0x1000, name="RC4_Init", comment="the key schedule")
    seen: list[Function | FunctionHit] = [
        db.get_function(1, 2),
        db.find_function(1, 0x1001),
        db.list_functions(1)[2],
        db.functions_with_pic_hash(0x1000)[0],
        db.twins(2, 7, min_instructions=0)[0],
        *(each for each in db.iter_functions(disassembly=True) if each.function_id == 2),
        *db.find_functions(label="rc4*"),
        *db.find_functions(label="*_init", mnemonics=["nop", "ret"], limit=1),
    ]
    assert [(each.function_id, each.label, each.comment) for each in seen] == [(2, "RC4_Init", "the key schedule")] * 8
    labelled_function = db.get_function(1, 2)
    shown = [labelled_function.to_dot(), labelled_function.to_svg(), labelled_function._repr_html_()]
    assert all("RC4_Init" in each for each in shown)
    assert list(db.find_functions(label="*init", sample_id=2)) == []
    (found,) = db.find_functions(label="rc4_*", sample_id=1)
    assert (found.match, found.address) == ("RC4_Init", None)
    assert list(db.find_functions(label="nothing*")) == []


def test_labels_are_columns(db: SampleDB) -> None:
    for seed in ("first", "second", "third"):
        db.add_sample(labelled(seed=seed))
    db.label_function(3, KERNEL, name="last")
    db.label_function(1, 2**63, name="high", comment="é")
    db.label_function(1, 0, comment="low")
    expected = [
        {field: getattr(each, field) for field in Label.__struct_fields__ if field != "is_current"}
        for each in db.list_labels()
    ]
    assert [each["offset"] for each in expected] == [0, 2**63, KERNEL]
    assert pl.DataFrame(db.table("labels")).to_dicts() == expected
    assert pl.DataFrame(db.table("labels", sample_id=3)).to_dicts() == expected[2:]
    functions = pl.DataFrame(db.table("functions", columns=["function_id", "label"]))
    assert functions.filter(pl.col("label") != "").rows() == [(4, "high"), (15, "last")]


def test_what_cannot_be_labelled_says_why_and_changes_nothing(db: SampleDB) -> None:
    db.add_sample(labelled())
    for offset, text, error in [
        (0x1000, {}, InvalidInputError),
        (0x1000, {"name": "x" * 10_001}, InvalidInputError),
        (0x1000, {"comment": "a\0b"}, InvalidInputError),
        (0x1000, {"name": "a", "username": ""}, InvalidInputError),
        (0x1001, {"name": "a"}, NotFoundError),
    ]:
        with pytest.raises(error):
            db.label_function(1, offset, **text)
    with pytest.raises(NotFoundError):
        db.label_function(2, 0x1000, name="a")
    with pytest.raises(NotFoundError):
        db.delete_label(2, 0x1000)
    with pytest.raises(NotFoundError):
        db.list_labels(2)
    assert db.list_labels(history=True) == []


def test_salvage_keeps_labels_of_whole_and_of_damaged_samples(db: SampleDB, tmp_path: Path) -> None:
    for seed in ("whole", "damaged"):
        sample = db.add_sample(labelled(seed=seed))
        db.label_function(sample.sample_id, KERNEL, name="before")
        db.label_function(sample.sample_id, KERNEL, name="now")
    before = db.list_labels(history=True)
    db.close()
    with raw(Path(db.path)) as connection:
        connection.execute("UPDATE disassembly SET frame = x'00' WHERE first_function_id = 6")
    sampledb.salvage(db.path, tmp_path / "salvaged.sampledb")
    with sampledb.open(tmp_path / "salvaged.sampledb") as salvaged:
        after = salvaged.list_labels(history=True)
        assert [each.name for each in after] == [each.name for each in before]
        assert [each.function_id for each in after] == [5, 5, None, None]
        assert salvaged.check(deep=True) == []
