"""Real terminals: tables that fit, colours, bars, and no control sequences from malware."""

import re
import sys
from pathlib import Path

import pytest

import sampledb
from sampledb import SampleDB
from sampledb.cli.table import count_cells
from sampledb.cli.views import format_short_size
from tests import binaries
from tests.cli.consoles import Shown, run, run_on_terminal
from tests.markers import mostly_slow
from tests.strategies import function, report

on_terminal = pytest.mark.skipif(sys.platform == "win32", reason="the platform has no pseudo-terminals")
SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def lines(shown: Shown) -> list[str]:
    assert shown.code == 0
    return SEQUENCE.sub("", shown.output).splitlines()


@on_terminal
@pytest.mark.parametrize("columns", mostly_slow([60, 80, 200], {80}))
def test_tables_fit_the_terminal(filled_path: Path, filled: SampleDB, columns: int) -> None:
    shown = lines(run_on_terminal("list", filled_path, columns=columns))
    assert len(shown) == 1 + len(filled.list_samples())
    assert max(map(count_cells, shown)) <= columns
    assert ("…" in shown[1]) == (columns < 200)
    listing = lines(run_on_terminal("function", filled_path, 1, 5, columns=columns))
    assert max(map(count_cells, listing)) <= columns


@on_terminal
def test_a_long_name_is_cut_on_a_terminal_and_whole_in_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "long.sampledb"
    with sampledb.open(path) as db:
        db.add_sample(report(function(4096, function_name="x" * 300)))
    assert lines(run_on_terminal("functions", path, 1))[1].endswith("xxx…")
    assert "x" * 300 in run("functions", path, 1).output


@pytest.mark.slow
@on_terminal
def test_a_card_fits_the_terminal_and_says_sizes_twice(filled_path: Path, filled: SampleDB) -> None:
    shown = lines(run_on_terminal("show", filled_path, 1, columns=60))
    assert all(len(line) <= 60 for line in shown if "sha256" not in line)
    count = filled.get_sample(1).binary_size
    assert any(f"{count:,} bytes ({format_short_size(count)})" in line for line in shown)


@pytest.mark.slow
@on_terminal
def test_colours_are_for_terminals_that_want_them(filled_path: Path) -> None:
    arguments = ("function", filled_path, 1, 5)
    assert "\x1b[" in run_on_terminal(*arguments).output
    assert "\x1b" not in run_on_terminal(*arguments, variables={"NO_COLOR": "1"}).output
    assert "\x1b" not in run_on_terminal(*arguments, variables={"TERM": "dumb"}).output
    assert "\x1b" not in run(*arguments).output
    assert "\x1b[" in run(*arguments, variables={"FORCE_COLOR": "1"}).output


@on_terminal
def test_the_only_control_sequences_on_a_terminal_are_our_own(tmp_path: Path) -> None:
    path = tmp_path / "evil.sampledb"
    with sampledb.open(path) as db:
        evil = function(4096, {"4096": [[4096, "90", "\x1b[2J", "\x07"]]}, function_name="\x1b]0;owned\x07[red]")
        db.add_sample(report(evil), name="\x1b[31mred\r\u202e[bold]")
    for arguments in (["list", path], ["show", path, 1], ["functions", path, 1], ["function", path, 1, 1]):
        shown = "".join(lines(run_on_terminal(*arguments, columns=200)))
        assert shown.isprintable()
        assert "\\x1b" in shown
        assert "[bold]" in shown or "[red]" in shown or arguments[0] == "function"


@on_terminal
def test_a_bar_shows_how_far_it_is_and_goes_away(reports: dict[str, Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad.smda"
    bad.write_text("MZ")
    shown = run_on_terminal("add", tmp_path / "new.sampledb", *reports.values(), bad)
    count = len(reports) + 1
    assert shown.code == 3
    assert f"{count}/{count}" in SEQUENCE.sub("", shown.output)
    assert f"Error: {bad}"[:60] in SEQUENCE.sub("", shown.output)
    assert "added 1 " not in shown.output
    # Erased, so that the sum stands where the bar was.
    assert f"\r\x1b[K{len(reports)} added" in shown.output
    assert SEQUENCE.sub("", shown.output).splitlines()[-1].startswith(f"{len(reports)} added, 1 failed in ")


@pytest.mark.slow
@on_terminal
def test_work_whose_end_is_unknown_shows_a_wheel_until_it_ends(filled_path: Path) -> None:
    shown = run_on_terminal("check", filled_path, variables={"NO_COLOR": "1"})
    assert " checking\r\x1b[K" in shown.output
    assert shown.output.endswith("\r\x1b[KThe file is whole.\n")
    assert "checking" not in run_on_terminal("check", filled_path, variables={"TERM": "dumb"}).output
    assert "\x1b" not in run("check", filled_path, variables={"FORCE_COLOR": "1", "NO_COLOR": "1"}).errors


@on_terminal
def test_a_bar_needs_no_unicode_and_little_room(reports: dict[str, Path], tmp_path: Path) -> None:
    variables = {"PYTHONIOENCODING": "ascii", "NO_COLOR": "1"}
    shown = run_on_terminal("add", tmp_path / "new.sampledb", *reports.values(), columns=30, variables=variables)
    assert shown.output.isascii()
    drawn = shown.output.split("\r\x1b[K")[1:-1]
    assert any("#" in line for line in drawn)
    assert max(map(len, drawn)) < 30


@on_terminal
@pytest.mark.slow
def test_quiet_and_dumb_terminals_show_no_bar(reports: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "new.sampledb"
    assert run_on_terminal("add", "-q", path, reports["pe-x86"]) == Shown(0, "")
    shown = run_on_terminal("add", path, reports["pe-x86"], variables={"TERM": "dumb"})
    assert shown.output.startswith("existed 1 t32.exe\n0 added, 1 existed in ")


@pytest.mark.slow
@on_terminal
def test_jobs_that_are_submitted_are_named_even_where_a_bar_is(tmp_path: Path) -> None:
    path = tmp_path / "new.sampledb"
    shown = run_on_terminal("submit", path, binaries.launcher("t32"), columns=200)
    with sampledb.open(path, readonly=True) as db:
        (job,) = db.list_jobs()
    assert f"queued {job.job_id} " in SEQUENCE.sub("", shown.output)
    shown = run_on_terminal("run", path)
    assert SEQUENCE.sub("", shown.output).splitlines()[-1].startswith("1 finished in ")


@pytest.mark.slow
@on_terminal
def test_errors_are_one_line_on_a_terminal_too(filled_path: Path) -> None:
    shown = run_on_terminal("show", filled_path, 9317)
    assert (shown.code, SEQUENCE.sub("", shown.output).count("\n")) == (1, 1)
    assert run_on_terminal("check", filled_path, "--deep").output.endswith("The file is whole.\x1b[0m\n")


@pytest.mark.slow
@on_terminal
def test_a_look_through_code_shows_a_bar_and_csv_is_escaped_where_a_terminal_would_obey_it(tmp_path: Path) -> None:
    path = tmp_path / "evil.sampledb"
    with sampledb.open(path) as db:
        db.add_sample(report(function(4096, function_name="\x1b]0;owned\x07")))
    shown = run_on_terminal("find", path, "--text", "nop|ret")
    assert "\r\x1b[K" in shown.output
    assert lines(shown)[-1].startswith("     1")
    assert "\\x1b]0;owned\\x07" in run_on_terminal("functions", path, 1, "--csv").output
