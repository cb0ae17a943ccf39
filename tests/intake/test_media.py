"""Media samples: real files, MediaInfo's own words, and both kinds of knowledge about one file."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import sampledb
from sampledb import ConflictError, InvalidInputError, SampleDB
from tests import strategies
from tests.intake import media_files
from tests.strategies import function, report

FORMATS = {
    ".wav": ("Wave", "Audio"),
    ".mp4": ("MPEG-4", "Video"),
    ".mkv": ("Matroska", "Video"),
    ".ts": ("MPEG-TS", "Video"),
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    for suffix in FORMATS:
        media_files.write(folder / f"clip{suffix}")
    return folder


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_real_file_is_described_in_mediainfos_words(db: SampleDB, folder: Path, suffix: str) -> None:
    path = folder / f"clip{suffix}"
    content = path.read_bytes()
    sample = db.add_media(path, tags=["test", "small"], notes="made by us", username="ana")
    assert (sample.name, sample.extension) == (path.name, suffix[1:])
    assert sample.sha256 == hashlib.sha256(content).hexdigest()
    assert sample.md5 == hashlib.md5(content, usedforsecurity=False).hexdigest()
    assert sample.sha1 == hashlib.sha1(content, usedforsecurity=False).hexdigest()
    assert sample.binary_size == len(content)
    assert (sample.tags, sample.notes, sample.username) == (("test", "small"), "made by us", "ana")
    general, track = sample.media_info["tracks"]
    assert (general["@type"], general["Format"], track["@type"]) == ("General", *FORMATS[suffix])
    assert general["FileSize"] == str(len(content))
    if track["@type"] == "Video":
        assert (track["Width"], track["Height"]) == (str(media_files.WIDTH), str(media_files.HEIGHT))
    assert str(folder) not in str(sample.media_info)
    assert db.get_sample(sample.sample_id) == sample


def test_sqlite_queries_the_tracks(db: SampleDB, folder: Path) -> None:
    for suffix in FORMATS:
        db.add_media(folder / f"clip{suffix}")
    found = db.query(
        "SELECT name FROM samples, json_each(media_info, '$.tracks') AS track "
        "WHERE track.value ->> 'Width' = '64' ORDER BY name"
    )
    assert [row["name"] for row in found] == ["clip.mkv", "clip.mp4", "clip.ts"]


def test_without_the_extra_adding_works(folder: Path, tmp_path: Path) -> None:
    program = """
import sys
sys.modules["pymediainfo"] = None
import sampledb
with sampledb.open(sys.argv[1]) as db:
    sample = db.add_media(sys.argv[2])
    assert sample.media_info == {}, sample
    assert sample.name == "clip.wav"
"""
    subprocess.run([sys.executable, "-c", program, tmp_path / "db", folder / "clip.wav"], check=True, timeout=60)


def test_a_file_that_mediainfo_does_not_know_is_added(db: SampleDB, tmp_path: Path) -> None:
    path = tmp_path / "noise.bin"
    path.write_bytes(os.urandom(3000))
    tracks = db.add_media(path).media_info["tracks"]
    assert [track["@type"] for track in tracks] == ["General"]


def test_what_is_given_wins_over_what_is_found(db: SampleDB, folder: Path) -> None:
    given: dict[str, Any] = {"name": "Other", "extension": "BIN", "media_info": {"own": 1}}
    sample = db.add_media(folder / "clip.wav", **given)
    assert {field: getattr(sample, field) for field in given} == given


def test_without_a_file_a_hash_is_enough_and_required(db: SampleDB) -> None:
    sample = db.add_media(sha256="AB" * 32, name="lost.ts")
    assert (sample.sha256, sample.name, sample.binary_size, sample.media_info) == ("ab" * 32, "lost.ts", 0, {})
    with pytest.raises(InvalidInputError, match="sha256 must be"):
        db.add_media()


def test_a_hash_that_is_not_the_files_is_refused(db: SampleDB, folder: Path) -> None:
    content = (folder / "clip.wav").read_bytes()
    assert db.add_media(folder / "clip.wav", sha256=hashlib.sha256(content).hexdigest().upper()).sample_id == 1
    with pytest.raises(InvalidInputError, match="sha256 must be"):
        db.add_media(folder / "clip.ts", sha256="0" * 64)
    assert len(db.list_samples()) == 1


@pytest.mark.parametrize("file", ["missing.wav", ".", "a\0b", 5])
def test_a_file_that_cannot_be_read_is_refused(db: SampleDB, file: Any) -> None:
    with pytest.raises(InvalidInputError) as raised:
        db.add_media(file)
    assert raised.value.details["field"] == "file"


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="names are Unicode there")
def test_a_name_that_is_no_unicode_is_made_readable(db: SampleDB, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.wav"
    media_files.write(Path(os.fsdecode(path)))
    assert db.add_media(os.fsdecode(path)).name == "caf\ufffd.wav"


def test_a_second_time_is_a_conflict_or_the_same(db: SampleDB, folder: Path) -> None:
    sample = db.add_media(folder / "clip.wav", tags=["a"])
    with pytest.raises(ConflictError) as raised:
        db.add_media(folder / "clip.wav")
    assert raised.value.details["sample_id"] == 1
    assert db.add_media(folder / "clip.wav", tags=["b"], exist_ok=True) == sample


def test_media_metadata_joins_an_analysis(db: SampleDB) -> None:
    analyzed = db.add_sample(report(function(1), md5="ab" * 16), name="first.exe", family="f")
    db.update_sample(1, tags=["kept"])
    joined = db.add_media(sha256=analyzed.sha256, tags=["new", "kept"], notes="n", media_info={"a": 1})
    assert (joined.sample_id, joined.name, joined.tags, joined.notes) == (1, "first.exe", ("kept", "new"), "n")
    assert (joined.family, joined.num_functions, joined.md5) == ("f", 1, "ab" * 16)
    assert joined.media_info == {"a": 1}
    assert db.get_report(1)["xcfg"].keys() == {"1"}
    assert db.stats().num_media == db.stats().num_analyzed == 1


def test_an_analysis_joins_media_metadata(db: SampleDB) -> None:
    given = report(function(1), metadata={"filename": "other.exe"})
    media = db.add_media(sha256=given["sha256"], name="clip.ts", extension="ts", tags=["a"], notes="n", username="ana")
    joined = db.add_sample(given, family="f", username="bob")
    assert (joined.sample_id, joined.name, joined.extension, joined.tags) == (1, "clip.ts", "ts", ("a",))
    assert (joined.notes, joined.username, joined.added_at) == ("n", "ana", media.added_at)
    assert (joined.family, joined.num_functions) == ("f", 1)
    assert db.check(deep=True) == []


def test_tags_that_would_be_too_many_together_are_refused(db: SampleDB) -> None:
    sample = db.add_sample(report())
    db.update_sample(1, tags=[f"a{number}" for number in range(30)])
    with pytest.raises(InvalidInputError, match="at most 50"):
        db.add_media(sha256=sample.sha256, tags=[f"b{number}" for number in range(30)], notes="x")
    assert len(db.get_sample(1).tags) == 30
    assert db.get_sample(1).notes is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        each
        for each in strategies.BROKEN_VALUES
        if each[0] in {"name", "extension", "tags", "notes"} and each[1] is not None
    ],
)
def test_the_rules_hold_for_media_too(field: str, value: Any) -> None:
    with sampledb.open(":memory:") as db:
        with pytest.raises(InvalidInputError) as raised:
            db.add_media(sha256="0" * 64, **{field: value})
        assert raised.value.details["field"] == field
        assert db.list_samples() == {}


def test_joining_never_loses_what_is_known(db: SampleDB, folder: Path) -> None:
    media = db.add_media(folder / "clip.wav")
    db.update_sample(1, family_name="known", version="1", is_library=True, media_info={"own": 1})
    joined = db.add_sample(report(sha256=media.sha256, binary_size=None))
    assert (joined.md5, joined.sha1, joined.binary_size) == (media.md5, media.sha1, media.binary_size)
    assert (joined.family, joined.version, joined.is_library, joined.media_info) == ("known", "1", True, {"own": 1})


def test_a_file_fills_what_its_analysis_did_not_know(db: SampleDB, folder: Path) -> None:
    content = (folder / "clip.wav").read_bytes()
    db.add_sample(report(sha256=hashlib.sha256(content).hexdigest(), binary_size=None))
    db.update_sample(1, media_info={"own": 1})
    assert db.add_media(sha256=hashlib.sha256(content).hexdigest(), tags=["a"]).media_info == {"own": 1}
    db.delete_sample(1)
    db.add_sample(report(sha256=hashlib.sha256(content).hexdigest(), binary_size=None))
    joined = db.add_media(folder / "clip.wav")
    assert joined.md5 == hashlib.md5(content, usedforsecurity=False).hexdigest()
    assert joined.binary_size == len(content)


def test_a_given_name_gives_the_extension(db: SampleDB) -> None:
    assert db.add_media(sha256="0" * 64, name="lost.TS").extension == "ts"


def test_an_extension_somebody_gave_stays(db: SampleDB) -> None:
    given = report()
    db.add_media(sha256=given["sha256"], extension="mp4")
    assert db.add_sample(given, name="bar.exe").extension == "mp4"
    assert db.add_sample(given, replace=True).extension == "mp4"


def test_an_extension_that_follows_the_name_goes_on_following(db: SampleDB) -> None:
    given = report(metadata={"filename": "b.exe"})
    assert db.add_sample(given).extension == "exe"
    assert db.add_media(sha256=given["sha256"], name="clip.mp4").extension == "mp4"
    assert db.add_sample(given, replace=True, name="c.dll").extension == "dll"
