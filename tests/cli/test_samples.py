"""The commands about samples: add media, list, show, change, delete."""

import os
import sys
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sampledb
from sampledb import Sample, SampleDB
from tests.cli.consoles import answered, dicts, run, run_here
from tests.strategies import function, report

MEDIA = {
    "tracks": [{"@type": "General", "Format": "MPEG-4"}, {"Format": "AVC"}, {"Format": "AAC"}, {"Format": "AAC"}, 7]
}
ORDERS: dict[str, Callable[[Sample], Any]] = {
    "id": lambda sample: sample.sample_id,
    "name": lambda sample: sample.name.lower(),
    "family": lambda sample: sample.family,
    "functions": lambda sample: -sample.num_functions,
    "size": lambda sample: -sample.binary_size,
    "added": lambda sample: -sample.added_at.timestamp(),
}


def test_a_sample_is_named_by_its_id_its_hashes_or_their_first_digits(filled_path: Path, filled: SampleDB) -> None:
    sample = filled.get_sample(2)
    for name in (sample.sha256.upper(), sample.md5, sample.sha1, sample.sha256[:8]):
        assert answered("show", filled_path, name) == sample.to_dict()


@pytest.mark.slow
def test_eight_digits_are_an_id_or_the_beginning_of_a_hash(tmp_path: Path) -> None:
    path = tmp_path / "test.sampledb"
    with sampledb.open(path) as db:
        sample = db.add_media(sha256="12345678" + 56 * "0", name="digits")
    assert answered("show", path, "12345678") == answered("show", path, "00000001") == sample.to_dict()
    assert answered("show", path, sample.sha256) == sample.to_dict()


def test_a_name_that_could_be_several_is_an_error_that_lists_them(tmp_path: Path) -> None:
    path = tmp_path / "test.sampledb"
    with sampledb.open(path) as db:
        for number, name in enumerate(("same.exe", "same.exe", "1", "12345678", "x" * 300 + "*")):
            db.add_sample(report(function(1), seed=str(number)), name=name[:255])
        sample = db.get_sample(2)
    shown = run_here("show", path, "same.exe")
    expected = "Error: same.exe is the name of several samples; give an id: 1 same.exe, 2 same.exe.\n"
    assert (shown.code, shown.output, shown.errors) == (1, "", expected)
    assert answered("show", path, "1")["sample_id"] == 1
    assert answered("show", path, "12345678")["sample_id"] == 4
    assert answered("show", path, f"{sample.sha256[:8]}…") == sample.to_dict()
    assert [each["sample_id"] for each in answered("show", path, "SAME.*", 3, "2")] == [1, 2, 3]
    assert [each["sample_id"] for each in answered("show", path, "1*")] == [3, 4]
    for name in ("0", "nope", "9" * 70, "*.dll", "12345679"):
        assert f"Sample {name} not found." in run_here("show", path, name).errors


@pytest.mark.slow
def test_media_are_added_with_tags_and_notes(tmp_path: Path) -> None:
    path, media = tmp_path / "new.sampledb", tmp_path / "tone.wav"
    with wave.open(str(media), "wb") as tone:
        tone.setparams((1, 2, 8000, 0, "NONE", ""))
        tone.writeframes(bytes(1600))
    (added,) = answered("add-media", path, media, "--tag", "a", "--tag", "b", "--notes", "silent", "--name", "x.wav")
    with sampledb.open(path, readonly=True) as db:
        assert (added["status"], added["sample"]) == ("added", db.get_sample(1).to_dict())
    given = {"tags": ["a", "b"], "notes": "silent", "name": "x.wav"}
    assert {field: added["sample"][field] for field in given} == given
    shown = run_here("add-media", path, media, tmp_path / "missing.wav")
    assert shown.code == 3
    assert shown.output.startswith(f"existed 1 {media}\n0 added, 1 existed, 1 failed in ")
    assert shown.errors.startswith(f"Error: {tmp_path / 'missing.wav'}: ")
    assert run_here("add-media", path, media, media, "--name", "x").code == 2
    assert "track 2" in run_here("show", path, 1).output


def test_without_mediainfo_a_note_says_so_once(tmp_path: Path) -> None:
    path, media = tmp_path / "new.sampledb", [tmp_path / "a.bin", tmp_path / "b.bin"]
    for each in media:
        each.write_text(each.name)
    (tmp_path / "pymediainfo.py").write_text("raise ImportError")
    hidden = {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    shown = run("add-media", path, *media, variables=hidden)
    assert (shown.code, shown.output.splitlines()[-1].startswith("2 added in ")) == (0, True)
    assert shown.errors.splitlines() == [
        "Note: MediaInfo is not installed, so media_info stays empty; pip install 'sampledb[media]'"
    ]
    for quiet in ("--quiet", "--json"):
        assert run("add-media", path, *media, quiet, variables=hidden).errors == ""


def test_only_what_is_given_is_changed(copy: Path) -> None:
    before = answered("show", copy, 1)
    changes = ["--family", "upatre", "--version", "2", "--component", "c", "--library", "--name", "n.exe"]
    more = ["--extension", "dll", "--notes", "packed", "--media-info", '{"a": 1}']
    after = answered("update", copy, 1, *changes, *more)
    assert after == before | {
        "family": "upatre", "version": "2", "component": "c", "is_library": True, "name": "n.exe",
        "extension": "dll", "notes": "packed", "media_info": {"a": 1},
    }  # fmt: skip
    assert answered("update", copy, 1, "--no-notes", "--no-library") == after | {
        "notes": None,
        "is_library": False,
    }
    assert [each["num_samples"] for each in answered("families", copy) if each["name"] == "upatre"] == [1]


@pytest.mark.parametrize("arguments", [[], ["--notes", "x", "--no-notes"], ["--media-info", "{"]])
def test_an_update_of_nothing_or_of_nonsense_is_wrong_usage(path: Path, arguments: list[str]) -> None:
    assert run_here("update", path, 1, *arguments).code == 2


def test_tags_come_and_go_and_no_number_becomes_one(copy: Path) -> None:
    assert answered("tag", copy, 1, "--add", "a", "--add", "2")["tags"] == ["a", "2"]
    tagged = answered("tag", copy, 2, "T32.*", "--add", "c", "--remove", "a")
    assert {each["sample_id"]: each["tags"][-1] for each in tagged} == {2: "c", 1: "c"}
    assert run_here("tag", copy, 1, 2).code == 2
    shown = run_here("tag", copy, 1, "suspicious", "--add", "b")
    assert (shown.code, "Sample suspicious not found." in shown.errors) == (1, True)
    assert not answered("list", copy, "--tag", "b")


@pytest.mark.slow
def test_lists_are_filtered_sorted_and_cut(copy: Path) -> None:
    with sampledb.open(copy) as db:
        db.add_media(sha256=64 * "e", name="B[1].mp4", media_info=MEDIA)
        samples, functions = list(db.iter_samples()), list(db.iter_functions(1))
    assert answered("list", copy, "--name", "b[[]*.MP4") == [samples[-1].to_dict()]
    assert answered("show", copy, "B[1].mp4") == [samples[-1].to_dict()]
    assert "MPEG-4, AVC, AAC" in run_here("list", copy).output
    for order, key in ORDERS.items():
        ids = [each.sample_id for each in sorted(samples, key=key)]
        assert [each["sample_id"] for each in answered("list", copy, "--sort", order)] == ids
        reverse = answered("list", copy, "--sort", order, "--reverse", "--start", 1, "--limit", 2)
        assert [each["sample_id"] for each in reverse] == ids[::-1][1:3]
    large = sorted((each for each in functions if each.num_instructions >= 50), key=lambda each: -each.num_instructions)
    arguments = ("--min-instructions", 50, "--sort", "instructions", "--limit", 9)
    assert answered("functions", copy, 1, *arguments) == dicts(large[:9])
    assert f"{large[0].pic_hash:#018x}" in run_here("functions", copy, 1, *arguments).output


@pytest.mark.slow
def test_samples_are_deleted_all_or_none(copy: Path) -> None:
    assert run_here("delete", copy, 1, 9317).code == 1
    first, second, third, *others = answered("list", copy)
    assert answered("delete", copy, 1, 2, 1) == [first, second]
    assert run_here("delete", copy, 3).output == f"deleted 3 {third['name']}\n"
    assert answered("list", copy) == others
