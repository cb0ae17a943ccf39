"""What people typed, as text: the same for the same content, and back again."""

import json
from pathlib import Path
from typing import Any

import pytest

import sampledb
from sampledb import InvalidInputError, NewerFormatError, NotFoundError, SampleDB
from tests.strategies import KERNEL, function, report

HEAD = '{"sampledb": "annotations", "version": 1}\n'
MEDIA = "c" * 64
REPORTS = [report(function(0x1000), function(KERNEL), seed=seed) for seed in "ab"]


def fill(db: SampleDB, order: int = 1) -> SampleDB:
    for each in REPORTS[::order]:
        db.add_sample(each)
    db.add_media(sha256=MEDIA, name="clip.mp4", tags=["tv"])
    return db


def annotate(db: SampleDB) -> None:
    first, second = (db.get_sample_by_sha256(each["sha256"]).sample_id for each in REPORTS)
    db.update_sample(first, family_name="win.a", notes="two\nlines \u202e \x9b31m \U0001f600", tags=["b", "a"])
    db.update_sample(second, is_library=True, component="core", version="2", name="b.dll", extension="dll")
    for offset, name in ((KERNEL, "first"), (KERNEL, "second"), (0x1000, "gone")):
        db.label_function(first, offset, name=name, comment="\u00fc" * 10_000, username="alice")
    db.delete_label(first, 0x1000)


def exported(db: SampleDB, path: Path) -> bytes:
    count = db.export_annotations(path)
    content = path.read_bytes()
    assert content.count(b"\n") == count
    return content


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "notes.jsonl"
    with sampledb.open(":memory:") as db:
        annotate(fill(db))
        exported(db, path)
        db.export_mcrit(tmp_path / "notes.mcrit")
    return path


def test_the_same_content_gives_the_same_bytes_and_comes_back(tmp_path: Path, text: Path) -> None:
    with sampledb.open(tmp_path / "ours") as ours:
        fill(ours, order=-1)
        outcomes = list(ours.merge(text))
        assert [outcome.status for outcome in outcomes] == ["updated"] * 2 + ["existed"]
        assert exported(ours, tmp_path / "again.jsonl") == text.read_bytes()
        ours.export_mcrit(tmp_path / "again.mcrit")
        mcrit = (tmp_path / "again.mcrit").read_bytes()
        assert mcrit == text.with_suffix(".mcrit").read_bytes()
        # These reports have no date, and when they were added says nothing about them.
        assert mcrit.count(b'"timestamp":"1970-01-01T00-00-00"') == len(REPORTS)
        assert [outcome.status for outcome in ours.merge(text, policy="theirs")] == ["existed"] * 3
        assert ours.find_sample(REPORTS[0]["sha256"]).notes == "two\nlines \u202e \x9b31m \U0001f600"
        assert ours.check(deep=True) == []
        with pytest.raises(InvalidInputError, match="exists already"):
            ours.export_annotations(text)


def test_lines_are_sorted_and_plain(text: Path) -> None:
    content = text.read_bytes()
    assert content.isascii()
    head, *lines = map(json.loads, content.splitlines())
    assert head == json.loads(HEAD)
    keys = [(line["sha256"], line["kind"], int(line.get("offset", "0x0"), 16)) for line in lines]
    assert keys == sorted(keys)
    assert {line["kind"] for line in lines} == {
        *("component", "extension", "family", "is_library", "label", "name", "notes", "tags", "version"),
    }
    labels = [(line["name"], line["username"], line["is_current"]) for line in lines if line["kind"] == "label"]
    said = [("gone", "alice", False), ("", "anonymous", False), ("first", "alice", False), ("second", "alice", True)]
    assert labels == said


def test_what_is_here_stays_unless_theirs_is_wanted(tmp_path: Path, text: Path) -> None:
    with sampledb.open(tmp_path / "ours") as ours:
        fill(ours)
        ours.update_sample(1, family_name="win.ours", tags=["mine"])
        ours.label_function(1, KERNEL, name="mine")
        for policy, label in (("keep", "mine"), ("newest", "mine"), ("theirs", "second")):
            (outcome,) = [each for each in ours.merge(text, policy=policy) if each.differences]  # type: ignore[arg-type]
            assert [each.field for each in outcome.differences] == ["family", "label"]
            assert ours.list_labels(1)[0].name == label
        assert (ours.get_sample(1).family, ours.get_sample(1).tags) == ("win.a", ("mine", "b", "a"))


def line(**values: Any) -> str:
    return json.dumps({"sha256": REPORTS[0]["sha256"], **values}) + "\n"


LABEL = {"kind": "label", "name": "x", "username": "u", "offset": "0x1000", "updated_at": "2026-01-01T00:00:00Z"}
BROKEN = {
    "no JSON": "{\n",
    "another kind": line(kind="password", value="x"),
    "a field that is unknown": line(kind="family", value="x", more=1),
    "a family": line(kind="family", value="a b"),
    "a family that is a number": line(kind="family", value=5),
    "a flag": line(kind="is_library", value="yes"),
    "tags": line(kind="tags", value=["a", "a"]),
    "tags that are text": line(kind="tags", value="ab"),
    "no value": line(kind="tags"),
    "notes": line(kind="notes", value="x" * 1001),
    "a name with a zero byte": line(kind="name", value="\0"),
    "an offset": line(**LABEL | {"offset": "0x10000000000000000"}),
    "a label": line(**LABEL | {"name": "x" * 10_001}),
    "a user": line(**LABEL | {"username": ""}),
    "a date without a zone": line(**LABEL | {"updated_at": "2026-01-01T00:00:00"}),
    "no date": line(**{key: value for key, value in LABEL.items() if key != "updated_at"}),
    "a date before all others": line(**LABEL | {"updated_at": "0001-01-01T00:00:00+14:00"}),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_line_changes_nothing_and_is_named(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "broken.jsonl"
    good = line(kind="notes", value="good").replace(REPORTS[0]["sha256"], REPORTS[1]["sha256"])
    path.write_text(HEAD + line(kind="version", value="9") + "\n" + BROKEN[broken] + good)
    with sampledb.open(":memory:") as db:
        fill(db)
        *_, failed, last = db.merge(path)
        assert isinstance(failed.error, InvalidInputError)
        assert "line 4" in failed.error.message
        assert (last.status, db.get_sample(2).notes) == ("updated", "good")
        assert db.list_labels() == []
        assert db.get_sample(1).version == ("9" if broken == "no JSON" else "")


def test_a_text_says_nothing_about_what_is_not_here_and_has_a_version(text: Path, db: SampleDB) -> None:
    assert {type(outcome.error) for outcome in db.merge(text)} == {NotFoundError}
    assert db.list_samples() == {}
    for head, error in (('"version": 2}', NewerFormatError), ('"version": "1"}', InvalidInputError)):
        text.write_text('{"sampledb": "annotations", ' + head)
        with pytest.raises(error):
            db.merge(text)
    text.write_text(HEAD + " " * (1 << 19))
    with pytest.raises(InvalidInputError, match="longer"):
        list(db.merge(text))
