"""The commands about samples: add media, list, show, change, delete."""

import os
import sys
import wave
from pathlib import Path

import pytest

import sampledb
from sampledb import SampleDB
from tests.cli.consoles import answered, run


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
    shown = run("add-media", path, media, tmp_path / "missing.wav")
    assert shown.code == 3
    assert shown.output.startswith(f"existed 1 {media}\n0 added, 1 existed, 1 failed in ")
    assert shown.errors.startswith(f"Error: {tmp_path / 'missing.wav'}: ")
    assert run("add-media", path, media, media, "--name", "x").code == 2
    assert "track 2" in run("show", path, 1).output


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
    assert answered("update", copy, 1, "--no-notes", "--no-library") == after | {"notes": None, "is_library": False}
    assert [each["num_samples"] for each in answered("families", copy) if each["name"] == "upatre"] == [1]


@pytest.mark.parametrize("arguments", [[], ["--notes", "x", "--no-notes"], ["--media-info", "{"]])
def test_an_update_of_nothing_or_of_nonsense_is_wrong_usage(path: Path, arguments: list[str]) -> None:
    assert run("update", path, 1, *arguments).code == 2


@pytest.mark.slow
def test_tags_come_and_go(path: Path) -> None:
    assert answered("tag", path, 1, "a", "b")["tags"] == ["a", "b"]
    assert answered("tag", path, 1, "c", "--remove", "a")["tags"] == ["b", "c"]
    assert "tags          b\n" in run("tag", path, 1, "--remove", "c").output
    assert run("tag", path, 1).code == 2


@pytest.mark.slow
def test_samples_are_deleted_all_or_none(copy: Path) -> None:
    assert run("delete", copy, 1, 9317).code == 1
    first, second, third, *others = answered("list", copy)
    assert answered("delete", copy, 1, 2, 1) == [first, second]
    assert run("delete", copy, 3).output == f"deleted 3 {third['name']}\n"
    assert answered("list", copy) == others
