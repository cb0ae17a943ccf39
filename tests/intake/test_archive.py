"""Reports are read from zip archives, and an archive that deceives does no harm."""

import gzip
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from sampledb import InvalidInputError, SampleDB, find_reports, read_stream
from sampledb.intake.archive import MAX_DIRECTORY
from sampledb.intake.source import read_source
from tests.intake import packed
from tests.intake.packed import SMALL, read, sources, written


@pytest.mark.slow
def test_real_reports_are_found_in_an_archive_and_in_a_stream(
    db: SampleDB, parsed: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    texts = {kind: json.dumps(each).encode() for kind, each in parsed.items()}
    archive = written(tmp_path / "all.zip", packed.zipped({f"{kind}.smda": text for kind, text in texts.items()}))
    assert [outcome.status for outcome in db.add_samples(find_reports(archive))] == ["added"] * len(texts)
    stream = io.BytesIO(b"\n".join(texts.values()))
    assert [outcome.status for outcome in db.add_samples(read_stream(stream))] == ["existed"] * len(texts)


def test_members_whose_names_are_no_reports_are_left_out_unless_all_are_such(tmp_path: Path) -> None:
    names = ["README.md", "a.smda", "b/c.json.gz", "__MACOSX/._a.smda", ".git/x.json", "/etc/d.json", "../e.smda"]
    archive = written(tmp_path / "some.bin", packed.zipped(dict.fromkeys(names, SMALL)))
    expected = ["a.smda", "b/c.json.gz", "/etc/d.json", "../e.smda"]
    assert sources(archive) == [f"{archive}/{name}" for name in expected]
    assert all(read(found) == SMALL for found in find_reports(archive))
    written(archive, packed.zipped({"ab12": SMALL, "cd34": SMALL}))
    assert sources(archive) == [f"{archive}/ab12", f"{archive}/cd34"]


def broken_archives() -> dict[str, bytes]:
    """Return archives that cannot be read, by what the error says."""
    good = packed.zipped({"a.smda": SMALL})
    entry = good.index(b"PK\1\2")

    def claiming(position: int, value: bytes) -> bytes:
        return good[: entry + position] + value + good[entry + position + len(value) :]

    return {
        "is encrypted; extract it first": packed.encrypted(good),
        "is a damaged zip archive": good[: len(good) // 2],
        "method 14; extract it first": packed.zipped({"a.smda": SMALL}, zipfile.ZIP_LZMA),
        "is a zip archive where none is read; extract it first": packed.zipped({"a.smda": good}),
        "is damaged in its zip archive": claiming(16, b"\0\0\0\0"),
        "has something else before its zip archive": claiming(42, b"\1\0\0\0"),
        "members overlap": claiming(20, b"\xff\xff\xff\0"),
        "is damaged in its zip archive (Bad CRC": claiming(24, b"\5\0\0\0"),
        "is damaged in its zip archive (File name": claiming(46, b"b"),
    }


@pytest.mark.parametrize(("rule", "archive"), broken_archives().items())
def test_a_broken_archive_is_an_error_and_the_next_file_is_read(
    db: SampleDB, tmp_path: Path, rule: str, archive: bytes
) -> None:
    bad, good = written(tmp_path / "bad.zip", archive), written(tmp_path / "good.zip", packed.zipped({"a": SMALL}))
    failed, added = db.add_samples(find_reports(bad, good))
    assert (failed.status, added.status) == ("failed", "added")
    assert rule in str(failed.error)
    with pytest.raises(InvalidInputError, match=re.escape(rule)):
        read(bad)


def test_a_directory_that_claims_to_be_huge_is_refused(tmp_path: Path) -> None:
    archive = bytearray(packed.zipped({"a.smda": SMALL}))
    archive[:0] = bytes(MAX_DIRECTORY)
    archive[-10:-6] = (MAX_DIRECTORY + 1).to_bytes(4, "little")
    path = written(tmp_path / "a.zip", b"PK\3\4" + archive)
    with pytest.raises(InvalidInputError, match="are allowed"):
        read(next(find_reports(path)))


def test_the_members_of_an_archive_share_what_they_may_unpack_to_beyond_their_size(
    db: SampleDB, tmp_path: Path
) -> None:
    """Of 3 MiB of spaces each, which deflate packs a thousand times; also where all have one name."""
    blank = SMALL + b" " * 3 * 1024**2
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive = written(tmp_path / "a.zip", _same_name(blank, 5))
    for path in (archive, written(tmp_path / "b.zip", packed.zipped({f"{each}.smda": blank for each in range(5)}))):
        found = list(find_reports(path))
        # What is read again takes nothing more.
        assert [len(read_source(found[0])) for _ in range(9)] == [len(blank)] * 9
        outcomes = list(db.add_samples(found))
        assert [outcome.status == "failed" for outcome in outcomes] == [False, False, False, True, True]
        assert "unpacks to more than 250 times its size" in str(outcomes[-1].error)
        # Another look begins anew.
        assert len(read_source(next(find_reports(path)))) == len(blank)
    assert read(written(tmp_path / "one.zip", packed.zipped({"a": blank}))) == SMALL


def _same_name(content: bytes, count: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for _ in range(count):
            archive.writestr("a.smda", content)
    return file.getvalue()


def test_an_empty_archive_has_no_reports(tmp_path: Path) -> None:
    path = written(tmp_path / "a.zip", packed.zipped({}))
    assert sources(path) == []
    with pytest.raises(InvalidInputError, match="archive of 0 reports"):
        read(path)


def test_an_archive_of_many_is_no_report(tmp_path: Path) -> None:
    path = written(tmp_path / "a.zip", packed.zipped({"a.smda": SMALL, "b.smda": SMALL}))
    with pytest.raises(InvalidInputError, match=r"archive of 2 reports; read it with find_reports\(\)"):
        read(path)


def test_what_can_be_opened_as_a_path_can_is_read(tmp_path: Path) -> None:
    archive = written(tmp_path / "a.zip", packed.zipped({"a.smda": SMALL, "b.smda.gz": gzip.compress(SMALL)}))
    with zipfile.ZipFile(archive) as opened:
        for name in ("a.smda", "b.smda.gz"):
            assert read(zipfile.Path(opened, name)) == SMALL
        with pytest.raises(InvalidInputError, match=r"c\.smda: cannot be read"):
            read(zipfile.Path(opened, "c.smda"))


@pytest.mark.parametrize("given", [io, Path, zipfile.ZipFile, zipfile.ZipFile(io.BytesIO(packed.zipped({})))])
def test_what_cannot_be_opened_as_a_path_can_is_refused(given: Any) -> None:
    with pytest.raises(InvalidInputError):
        read(given)
