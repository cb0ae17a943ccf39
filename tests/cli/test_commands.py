"""The command line, as real processes in pipes: what each command does."""

import contextlib
import json
import shutil
import sqlite3
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sampledb
from sampledb import SampleDB
from tests import binaries
from tests.cli.consoles import answered, dicts, run
from tests.markers import mostly_slow
from tests.strategies import function, report

SMALL = binaries.launcher("t32")


@pytest.fixture
def copy(filled_path: Path, tmp_path: Path) -> Path:
    """A file with all reports that may be changed."""
    return Path(shutil.copy(filled_path, tmp_path / "copy.sampledb"))


# What is in the file


READS: dict[str, tuple[list[object], Callable[[SampleDB], Any]]] = {
    "all samples": (["list"], lambda db: dicts(db.list_samples().values())),
    "a page": (["list", "--start", 1, "--limit", 1], lambda db: dicts(db.list_samples(1, 1).values())),
    "by name": (["list", "--name", "t32.exe"], lambda db: dicts(db.list_samples(name="t32.exe").values())),
    "by extension": (["list", "--extension", "exe"], lambda db: dicts(db.list_samples(extension="exe").values())),
    "no libraries": (["list", "--no-library"], lambda db: dicts(db.list_samples(is_library=False).values())),
    "no tag": (["list", "--tag", "x", "--family", "y", "--library"], lambda _: []),
    "a sample": (["show", 1], lambda db: db.get_sample(1).to_dict()),
    "functions": (["functions", 1], lambda db: dicts(db.list_functions(1).values())),
    "some functions": (
        ["functions", 1, "--start", 2, "--limit", 3],
        lambda db: dicts(db.list_functions(1, start=2, limit=3).values()),
    ),
    "a function": (["function", 1, 5], lambda db: db.get_function(1, 5).to_dict()),
    "families": (["families"], lambda db: db.list_families()),
    "a report": (["report", 1], lambda db: db.get_report(1)),
    "a query": (
        ["query", "SELECT name FROM samples LIMIT ?", 2],
        lambda db: db.query("SELECT name FROM samples LIMIT ?", [2]),
    ),
    "a blob": (["query", "SELECT x'00ff' AS blob"], lambda _: [{"blob": "00ff"}]),
    "statistics": (["stats"], lambda db: db.stats().to_dict()),
    "damage": (["check", "--deep"], lambda db: dicts(db.check(deep=True))),
    "jobs": (["jobs", "--state", "queued"], lambda db: dicts(db.list_jobs("queued"))),
    "a search": (["search", "t32", "--limit", 3], lambda db: dicts(db.search("t32", limit=3))),
}


@pytest.mark.parametrize("read", mostly_slow(READS, {"all samples", "a function", "a query", "damage"}))
def test_json_is_what_the_call_returns(filled_path: Path, read: str) -> None:
    (name, *arguments), call = READS[read]
    with sampledb.open(filled_path, readonly=True) as db:
        expected = call(db)
    assert answered(name, filled_path, *arguments) == expected


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


def test_a_function_is_found_by_an_address_in_it(filled_path: Path, filled: SampleDB) -> None:
    function = filled.get_function(1, 5)
    last = max(each[0] for block in (function.disassembly or {})["blocks"].values() for each in block)
    assert answered("function", filled_path, 1, hex(last)) == filled.find_function(1, last).to_dict()


def test_a_control_flow_graph_goes_to_graphviz(filled_path: Path) -> None:
    printed = run("function", filled_path, 1, 5, "--dot").output
    assert printed.startswith("digraph")
    assert answered("function", filled_path, 1, 5, "--dot").strip() == printed.strip()


def test_in_a_pipe_everything_is_shown_whole_and_plain(filled_path: Path, filled: SampleDB) -> None:
    sample, function = filled.get_sample(1), filled.get_function(1, 5)
    assert sample.sha256 in run("list", filled_path).output
    assert f"{sample.binary_size:,} bytes" in run("show", filled_path, 1).output
    assert hex(sample.base_addr) in run("show", filled_path, 1).output
    assert len(run("functions", filled_path, 1).output.splitlines()) == 1 + sample.num_functions
    listing = run("function", filled_path, 1, 5).output
    assert listing.startswith(f"Function 5 at {function.offset:#x}\n")
    for block in (function.disassembly or {})["blocks"].values():
        assert all(f"{address:#x}  {code}" in listing for address, code, *_ in block)
    assert "\x1b" not in listing


def test_what_a_function_calls_stands_beside_the_call(filled_path: Path, filled: SampleDB) -> None:
    sample = next(each for each in filled.iter_samples() if each.name == "t32.exe")
    functions = filled.iter_functions(sample.sample_id, disassembly=True)
    function = next(each for each in functions if (each.disassembly or {})["apirefs"])
    listing = run("function", filled_path, sample.sample_id, function.function_id).output
    assert all(f"; {name}" in listing for name in (function.disassembly or {})["apirefs"].values())


@pytest.mark.slow
def test_the_other_answers_are_for_people_too(filled_path: Path, filled: SampleDB) -> None:
    assert f"functions    {filled.stats().num_functions:,}" in run("stats", filled_path).output
    assert run("check", filled_path).output == "The file is whole.\n"
    assert run("query", filled_path, "SELECT 1 AS one, 'a' AS name").output == "one  name\n  1  a\n"
    assert run("query", filled_path, "SELECT 1 WHERE 0").output == ""
    assert str(len(filled.list_samples())) in run("families", filled_path).output


def test_parameters_are_numbers_where_they_look_like_it(filled_path: Path) -> None:
    types = "SELECT typeof(?) AS a, typeof(?) AS b, typeof(?) AS c"
    expected = {"a": "integer", "b": "text", "c": "text"}
    assert answered("query", filled_path, types, "12", "012", str(2**63)) == [expected]


def test_the_schema_documents_itself(filled_path: Path) -> None:
    printed = run("schema", filled_path).output
    assert "-- One row a sample" in printed
    assert "CREATE VIEW function_list" in printed
    assert "\n\n".join(f"{each};" for each in answered("schema", filled_path)) == printed.rstrip("\n")


def test_a_report_comes_out_as_it_went_in(filled_path: Path, filled: SampleDB, tmp_path: Path) -> None:
    assert json.loads(run("report", filled_path, 1).output) == filled.get_report(1)
    path = tmp_path / "1.smda"
    assert answered("report", filled_path, 1, "-o", path) == {"path": str(path), "bytes": path.stat().st_size}
    assert json.loads(path.read_bytes()) == filled.get_report(1)
    shown = run("report", filled_path, 1, "-o", tmp_path / "none" / "1.smda")
    assert (shown.code, shown.output, shown.errors.count("\n")) == (1, "", 1)


# Adding


def test_reports_of_a_folder_are_added_once(reports: dict[str, Path], tmp_path: Path) -> None:
    path, folder = tmp_path / "new.sampledb", next(iter(reports.values())).parent
    shown = run("add", path, folder)
    assert (shown.code, shown.errors) == (0, "")
    *lines, summary = shown.output.splitlines()
    assert [line.split()[0] for line in lines] == ["added"] * len(reports)
    assert summary.startswith(f"{len(reports)} added in ")
    outcomes = answered("add", path, folder)
    with sampledb.open(path, readonly=True) as db:
        assert [outcome["sample"] for outcome in outcomes] == dicts(db.list_samples().values())
    assert {outcome["status"] for outcome in outcomes} == {"existed"}
    assert {Path(outcome["source"]).name for outcome in outcomes} == {each.name for each in reports.values()}


def test_a_report_that_fails_is_named_and_the_others_are_added(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.smda", tmp_path / "bad.smda"
    good.write_text(json.dumps(report(function(4096))))
    bad.write_text("MZ")
    shown = run("add", tmp_path / "new.sampledb", bad, good)
    assert shown.code == 3
    assert shown.errors.startswith(f"Error: {bad}: ")
    assert "is not JSON" in shown.errors
    assert "1 added, 1 failed in " in shown.output
    data = answered("add", tmp_path / "new.sampledb", bad, good, code=3)
    assert [(each["status"], bool(each["error"])) for each in data] == [("failed", True), ("existed", False)]


@pytest.mark.slow
def test_quiet_prints_only_errors(reports: dict[str, Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad.smda"
    bad.write_text("MZ")
    shown = run("add", "-q", tmp_path / "new.sampledb", reports["pe-x86"], bad)
    assert (shown.code, shown.output, shown.errors.count("\n")) == (3, "", 1)


@pytest.mark.slow
def test_stdin_gives_paths_or_reports(reports: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "new.sampledb"
    (added,) = answered("add", path, "-", stdin=f"{reports['pe-x86']}\n")
    assert (added["status"], added["sample"]["name"]) == ("added", "t32.exe")
    assert [each["status"] for each in answered("add", path, "-", stdin=json.dumps(report(function(1))))] == ["added"]


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


# Changing


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
    assert answered("families", copy)["upatre"] == 1


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


# Disassembling


@pytest.mark.slow
def test_binaries_are_queued_run_and_listed(tmp_path: Path) -> None:
    path, bad = tmp_path / "new.sampledb", tmp_path / "bad.exe"
    bad.write_bytes(b"no program")
    queued = answered("submit", path, SMALL, bad, "--family", "distlib", "--keep-binary")
    with sampledb.open(path, readonly=True) as db:
        assert [each["job"] for each in queued] == dicts(db.list_jobs())
    assert run("submit", path, SMALL).output.startswith(f"existed {queued[0]['job']['job_id']} {SMALL}\n")

    shown = run("run", path, "--timeout", 60)
    assert shown.code == 3
    assert "finished 1 t32.exe\n" in shown.output
    assert shown.output.splitlines()[-1].startswith("1 finished, 1 failed in ")
    assert "bad.exe: The binary could not be disassembled" in shown.errors
    with sampledb.open(path, readonly=True) as db:
        assert answered("jobs", path, "--state", "failed") == dicts(db.list_jobs("failed"))
        assert (db.get_sample(1).family, db.get_binary(1)) == ("distlib", SMALL.read_bytes())
    assert "could not be disassembled" in run("jobs", path).output
    assert answered("submit", path, SMALL)[0]["sample"]["sample_id"] == 1
    assert answered("run", path) == []


@pytest.mark.slow
def test_a_job_is_cancelled(tmp_path: Path) -> None:
    path = tmp_path / "new.sampledb"
    (queued,) = answered("submit", path, SMALL)
    (cancelled,) = answered("jobs", path, "--cancel", queued["job"]["job_id"])
    assert cancelled["state"] == "cancelled"
    assert run("jobs", path, "--cancel", "nope").code == 1


@pytest.mark.slow
def test_a_binary_is_analyzed_in_one_go(tmp_path: Path) -> None:
    path = tmp_path / "new.sampledb"
    (added,) = answered("analyze", path, SMALL, "--family", "distlib")
    with sampledb.open(path, readonly=True) as db:
        assert (added["status"], added["sample"]) == ("added", db.get_sample(1).to_dict())
    shown = run("analyze", path, SMALL, tmp_path / "missing.exe")
    assert (shown.code, shown.output.splitlines()[0]) == (3, f"existed 1 {SMALL}")
    assert "missing.exe" in shown.errors


# The file


@pytest.mark.slow
def test_a_copy_is_whole_and_replaces_nothing(copy: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.sampledb"
    assert run("backup", copy, other).output.startswith(f"Wrote {other}, ")
    assert answered("check", other) == []
    assert run("backup", copy, other).code == 1


@pytest.mark.slow
def test_a_damaged_file_is_salvaged_and_what_was_lost_is_listed(copy: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copy(copy, tmp_path / "damaged.sampledb"))
    assert "nothing was lost" in run("salvage", damaged, tmp_path / "whole.sampledb").output
    content = damaged.read_bytes()
    damaged.write_bytes(content[: len(content) * 3 // 4])
    assert run("list", damaged).code == 1
    lost = answered("salvage", damaged, tmp_path / "new.sampledb", code=3)
    assert lost
    assert run("check", tmp_path / "new.sampledb", "--deep").output == "The file is whole.\n"
    shown = run("salvage", damaged, tmp_path / "shown.sampledb")
    assert (shown.code, f"{len(lost):,} things were lost" in shown.output) == (3, True)


@pytest.mark.slow
def test_compacting_says_what_it_brings(copy: Path) -> None:
    before = copy.stat().st_size
    assert answered("compact", copy) == {"bytes_before": before, "bytes_after": copy.stat().st_size}
    assert copy.stat().st_size < before
    assert "saved" in run("compact", copy).output


def test_damage_is_told_by_the_exit_code(copy: Path) -> None:
    with contextlib.closing(sqlite3.connect(copy)) as connection, connection:
        connection.execute("UPDATE samples SET num_functions = num_functions + 1 WHERE sample_id = 1")
    assert answered("check", copy, code=3)[0]["sample_id"] == 1
    assert run("check", copy).code == 3
