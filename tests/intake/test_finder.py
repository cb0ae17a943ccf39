"""Reports are found where users have them, and what is broken among them is found as an error of its own."""

import gzip
import io
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampledb import FoundReport, InvalidInputError, SampleDB, find_reports, read_stream
from tests.intake import packed
from tests.intake.packed import PACKERS, SMALL, read, sources, written
from tests.workers.processes import HANGS


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, with reports at every depth and much else."""
    monkeypatch.chdir(tmp_path)
    for name in ("b.smda", "a.JSON", "c/d/e.smda.gz", "c/a.json.zst", "c.smda.xz", "notes.txt", "c/a.smda.bak", "x.gz"):
        written(tmp_path / name)
    for hidden in (".git/a.json", "c/.a.json", ".smda"):
        written(tmp_path / hidden)
    return tmp_path


def test_real_reports_are_found_in_a_folder_however_they_are_packed(
    db: SampleDB, reports: dict[str, Path], parsed: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    for number, (kind, path) in enumerate(reports.items()):
        suffix = list(PACKERS)[number % len(PACKERS)]
        written(tmp_path / "found" / f"{kind}.smda.{suffix}", PACKERS[suffix](path.read_bytes()))
    assert [outcome.status for outcome in db.add_samples(find_reports(tmp_path / "found"))] == ["added"] * len(reports)
    for expected in parsed.values():
        assert db.get_report(db.get_sample_by_sha256(str(expected["sha256"])).sample_id) == expected


@pytest.mark.usefixtures("folder")
def test_a_folder_gives_what_is_named_as_reports_sorted_and_not_hidden() -> None:
    expected = ["a.JSON", "b.smda", "c/a.json.zst", "c/d/e.smda.gz", "c.smda.xz"]
    assert sorted(sources(".")) == sorted(f"./{name}" for name in expected)
    assert sources("c", "c/") == ["c/a.json.zst", "c/d/e.smda.gz"] * 2


@pytest.mark.usefixtures("folder")
def test_a_file_that_is_named_is_taken_whatever_its_name() -> None:
    assert sources("notes.txt", "c/.a.json") == ["notes.txt", "c/.a.json"]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.smda", ["b.smda"]),
        ("**/*.smda.gz", ["c/d/e.smda.gz"]),
        ("c/**/*.gz", ["c/d/e.smda.gz"]),
        ("c/**", ["c/a.json.zst", "c/a.smda.bak", "c/d/e.smda.gz"]),
        ("**/**/e.*", ["c/d/e.smda.gz"]),
        ("**/?/**/e.*", ["c/d/e.smda.gz"]),
        ("**/c/**/[!.]*.gz", ["c/d/e.smda.gz"]),
        ("?/[ab].json.*", ["c/a.json.zst"]),
        ("*/../b.*", ["c/../b.smda"]),
        ("*", ["a.JSON", "b.smda", "c.smda.xz", "notes.txt", "x.gz"]),
    ],
)
def test_a_pattern_gives_the_files_that_match(pattern: str, expected: list[str]) -> None:
    assert sources(pattern) == expected
    assert sorted(sources(str(Path.cwd() / pattern))) == sorted(str(Path.cwd() / name) for name in expected)


@pytest.mark.usefixtures("folder")
def test_a_path_that_exists_is_no_pattern() -> None:
    written(Path("[ab].json.smda"))
    assert sources("[ab].json.smda") == ["[ab].json.smda"]
    (Path("[c]") / "f").mkdir(parents=True)
    written(Path("[c]/f/g.json"))
    assert sources("[c]") == ["[c]/f/g.json"]


@pytest.mark.parametrize("path", ["missing.smda", "missing/", "*.missing", "a\0b", "a\0*", "", "x" * 5000, "*/" * 2000])
def test_what_is_missing_is_found_and_cannot_be_opened(db: SampleDB, path: str) -> None:
    (found,) = find_reports(path)
    with pytest.raises((OSError, InvalidInputError)):
        found.open("rb")
    (outcome,) = db.add_samples([found])
    assert isinstance(outcome.error, InvalidInputError)
    assert outcome.error.message.startswith(path[:100])


@pytest.mark.skipif(sys.platform == "win32", reason="links need privileges")
def test_links_to_folders_are_not_followed_and_loops_end(tmp_path: Path) -> None:
    written(tmp_path / "a/b.smda")
    for link, target in (("a/loop", tmp_path), ("a/again", tmp_path / "a"), ("linked", tmp_path / "a")):
        (tmp_path / link).symlink_to(target)
    (tmp_path / "self.smda").symlink_to("self.smda")
    (tmp_path / "gone.smda").symlink_to("nowhere")
    (tmp_path / "kept.smda").symlink_to(tmp_path / "a/b.smda")
    expected = [str(tmp_path / name) for name in ("a/b.smda", "gone.smda", "kept.smda", "self.smda")]
    assert sources(tmp_path) == expected
    assert sorted(sources(tmp_path / "**/*.smda")) == expected
    assert sources(tmp_path / "linked") == [str(tmp_path / "linked/b.smda")]
    for name in ("gone.smda", "self.smda"):
        with pytest.raises(InvalidInputError, match="cannot be read"):
            read(next(find_reports(tmp_path / name)))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_pipe_in_a_folder_is_not_waited_for_and_one_that_is_named_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.smda")
    assert sources(tmp_path) == []
    (found,) = find_reports(tmp_path / "pipe.smda")
    writer = subprocess.Popen([sys.executable, "-c", f"open({found.source!r}, 'wb').write({gzip.compress(SMALL)!r})"])
    assert read(found) == SMALL
    assert writer.wait(HANGS) == 0


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_found_as_an_error(tmp_path: Path) -> None:
    written(tmp_path / "a.smda")
    (tmp_path / "b").mkdir(mode=0)
    _, found = find_reports(tmp_path)
    with pytest.raises(InvalidInputError, match="Permission denied"):
        found.open()


@pytest.fixture
def deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Yield how many folders `d` are nested in the current one; they are removed one by one, as rmtree() recurses."""
    depth = sys.getrecursionlimit() + 100
    monkeypatch.chdir(tmp_path)
    for level in range(1, depth + 1):
        Path("d/" * level).mkdir()
    yield depth
    os.chdir("d/" * depth)
    for _ in range(depth):
        os.chdir("..")
        Path("d").rmdir()


@pytest.mark.slow
def test_folders_may_be_nested_deeper_than_python_calls(deep: int) -> None:
    bottom = Path("d/" * deep, "a.smda")
    bottom.write_bytes(SMALL)
    assert sources("d") == sources("**/*.smda") == [str(bottom)]
    bottom.unlink()


def test_folders_are_read_as_they_are_reached(tmp_path: Path) -> None:
    written(tmp_path / "a/1.smda")
    found = find_reports(tmp_path)
    assert next(found).source == str(tmp_path / "a/1.smda")
    written(tmp_path / "a/2.smda")  # too late
    assert list(found) == []


@pytest.mark.parametrize("paths", [[None], [5], [["a", "b"]], [{"a": 1}]])
def test_what_is_no_path_is_refused_at_once(paths: list[Any]) -> None:
    with pytest.raises(InvalidInputError, match="paths must be"):
        find_reports(*paths)


def test_only_files_have_a_path_that_others_can_open(tmp_path: Path) -> None:
    file = written(tmp_path / "a.smda.gz", gzip.compress(SMALL))
    archive = written(tmp_path / "b.zip", packed.zipped({"../c.smda": SMALL}))
    alone, member = find_reports(file, archive)
    assert (alone.path, member.path) == (str(file), None)
    assert (str(member), repr(alone)) == (f"{archive}/../c.smda", f"FoundReport({str(file)!r})")
    with pytest.raises(InvalidInputError, match="mode"):
        alone.open("w")


def test_what_was_found_goes_to_other_processes_and_may_be_read_again(tmp_path: Path) -> None:
    archive = written(tmp_path / "b.zip", packed.zipped({"c.smda": SMALL}))
    found = [*find_reports(archive, "missing"), *read_stream(io.BytesIO(SMALL))]
    member, missing, line = pickle.loads(pickle.dumps(found))  # noqa: S301 - our own
    assert read(member) == read(member) == read(line) == SMALL
    with pytest.raises(InvalidInputError, match="missing"):
        read(missing)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no such device")
def test_a_device_without_end_is_refused() -> None:
    (found,) = find_reports("/dev/zero")
    with pytest.raises(InvalidInputError, match="may have no end"):
        found.open()


def test_lines_are_reports_or_paths(folder: Path) -> None:
    written(folder / "all.zip", packed.zipped({"x.smda": SMALL}))
    lines = [b"", b"b.smda\r", b"  \t ", b" \t" + SMALL + b" ", b"c", b"*.smda", b"all.zip", b"missing", b"b.smda"]
    found = list(read_stream(io.BytesIO(b"\n".join(lines))))
    expected = ["b.smda", "line 4", "c/a.json.zst", "c/d/e.smda.gz", "b.smda", "all.zip/x.smda", "missing", "b.smda"]
    assert [each.source for each in found] == expected
    assert read(found[1]) == SMALL
    assert found[1].path is None


def test_lines_that_are_no_utf_8_are_paths(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.smda")
    try:
        written(tmp_path / name)
    except OSError:
        pytest.skip("names here are UTF-8")
    (found,) = read_stream(io.BytesIO(os.fsencode(tmp_path / name) + b"\n"))
    assert read(found) == SMALL


def test_a_line_that_is_too_long_is_an_error_and_the_next_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sampledb.intake.finder.MAX_REPORT", len(SMALL) + 1)
    monkeypatch.setattr("sampledb.intake.finder._PIECE", 7)
    long, short = read_stream(io.BytesIO(SMALL + b"  \n" + SMALL + b"\n"))
    with pytest.raises(InvalidInputError, match="line 1: is longer than"):
        long.open()
    assert read(short) == SMALL


def test_a_stream_of_text_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"sys\.stdin\.buffer"):
        list(read_stream(io.StringIO("a")))  # type: ignore[arg-type]


@given(st.lists(st.binary(max_size=40)))
def test_no_line_makes_reading_fail(lines: list[bytes]) -> None:
    for found in read_stream(io.BytesIO(b"\n".join(lines))):
        assert isinstance(found, FoundReport)


def test_a_byte_order_mark_is_passed_over(db: SampleDB, tmp_path: Path) -> None:
    (added,) = db.add_samples(read_stream(io.BytesIO(b"\xef\xbb\xbf" + SMALL + b"\n")))
    (existed,) = db.add_samples(find_reports(written(tmp_path / "marked.smda", b"\xef\xbb\xbf" + SMALL)))
    assert (added.status, existed.status) == ("added", "existed")


def test_a_stream_may_be_one_report_over_many_lines(db: SampleDB) -> None:
    pretty = json.dumps(json.loads(SMALL), indent=1).encode()
    (added,) = db.add_samples(read_stream(io.BytesIO(pretty)))
    assert added.status == "added"


@pytest.mark.parametrize("line", [b"x" * 40_000, b"a\0b"])
def test_a_line_that_can_be_no_path_is_no_label(line: bytes) -> None:
    (found,) = read_stream(io.BytesIO(line))
    assert found.source == "line 1"


def test_a_compressed_stream_is_refused_once(db: SampleDB) -> None:
    (failed,) = db.add_samples(read_stream(io.BytesIO(gzip.compress(SMALL * 100))))
    assert "compressed" in str(failed.error)
