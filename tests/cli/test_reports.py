"""The commands about SMDA reports."""

import json
from pathlib import Path

import pytest

import sampledb
from sampledb import SampleDB
from tests.cli.consoles import answered, dicts, run, run_here
from tests.strategies import function, report


def test_reports_of_a_folder_are_added_once(reports: dict[str, Path], tmp_path: Path) -> None:
    path, folder = tmp_path / "new.sampledb", next(iter(reports.values())).parent
    shown = run_here("add", path, folder)
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
    shown = run_here("add", tmp_path / "new.sampledb", bad, good)
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
    shown = run_here("add", "-q", tmp_path / "new.sampledb", reports["pe-x86"], bad)
    assert (shown.code, shown.output, shown.errors.count("\n")) == (3, "", 1)


@pytest.mark.slow
def test_stdin_gives_paths_or_reports(reports: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "new.sampledb"
    (added,) = answered("add", path, "-", stdin=f"{reports['pe-x86']}\n")
    assert (added["status"], added["sample"]["name"]) == ("added", "t32.exe")
    assert [each["status"] for each in answered("add", path, "-", stdin=json.dumps(report(function(1))))] == ["added"]


def test_samples_go_to_mcrit_and_come_from_it(filled_path: Path, filled: SampleDB, tmp_path: Path) -> None:
    first, second, *_ = filled.list_samples().values()
    path = tmp_path / "two.mcrit"
    shown = run_here("export", filled_path, path, str(second.sample_id), first.sha256[:12])
    assert (shown.code, shown.output.startswith(f"Wrote {path}, ")) == (0, True)
    outcomes = answered("add", tmp_path / "new.sampledb", path)
    assert {each["sample"]["sha256"] for each in outcomes} == {first.sha256, second.sha256}
    everything = answered("export", filled_path, tmp_path / "all.mcrit")
    assert everything["bytes"] == (tmp_path / "all.mcrit").stat().st_size > path.stat().st_size
    assert run_here("export", filled_path, path).code == 1


def test_a_report_comes_out_as_it_went_in(filled_path: Path, filled: SampleDB, tmp_path: Path) -> None:
    assert json.loads(run_here("report", filled_path, 1).output) == filled.get_report(1)
    path = tmp_path / "1.smda"
    assert answered("report", filled_path, 1, "-o", path) == {"path": str(path), "bytes": path.stat().st_size}
    assert json.loads(path.read_bytes()) == filled.get_report(1)
    shown = run_here("report", filled_path, 1, "-o", tmp_path / "none" / "1.smda")
    assert (shown.code, shown.output, shown.errors.count("\n")) == (1, "", 1)


def test_many_reports_go_to_a_folder_or_to_another_file(copy: Path, filled: SampleDB, tmp_path: Path) -> None:
    with sampledb.open(copy) as db:
        db.add_media(sha256=64 * "e", name="media")
        samples = [each for each in db.iter_samples() if each.architecture]
    folder = tmp_path / "out"
    written = answered("report", copy, "*", "-o", folder)
    assert [each["path"] for each in written] == [str(folder / f"{each.sha256}.smda") for each in samples]
    for each in written:
        assert json.loads(Path(each["path"]).read_bytes()) == filled.get_report(each["sample_id"])
    Path(written[0]["path"]).write_text("mine")
    assert [each["status"] for each in answered("report", copy, 1, 2, "-o", folder)] == ["existed", "existed"]
    assert Path(written[0]["path"]).read_text() == "mine"
    lines = run_here("report", copy, "*").output
    assert [json.loads(line) for line in lines.splitlines()] == [filled.get_report(each.sample_id) for each in samples]
    other = tmp_path / "other.sampledb"
    assert run("add", other, "-", stdin=lines).output.splitlines()[-1].startswith(f"{len(samples)} added in ")


def test_what_is_added_is_marked_and_what_was_stored_stays_as_it_is(reports: dict[str, Path], tmp_path: Path) -> None:
    path, folder = tmp_path / "new.sampledb", next(iter(reports.values())).parent
    assert run_here("add", path, reports["pe-x86"], "--family", "not valid").code == 1
    assert run_here("add", path, reports["pe-x86"], "--tag", "x" * 51).code == 1
    assert answered("add", path, reports["pe-x86"])[0]["sample"]["tags"] == []
    marks = ("--family", "distlib", "--version", "2", "--library", "--tag", "a", "--tag", "b")
    shown = run_here("add", path, folder, *marks)
    assert shown.errors == "Note: 1 existed and were not changed; `update` and `tag` change them.\n"
    with sampledb.open(path, readonly=True) as db:
        first, *others = db.iter_samples()
    assert (first.family, first.tags) == ("", ())
    assert {(each.family, each.version, each.is_library, each.tags) for each in others} == {
        ("distlib", "2", True, ("a", "b"))
    }
