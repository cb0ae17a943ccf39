"""What people see on a terminal: tables that fit, colours, bars; and what they must never see."""

import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sampledb
from sampledb import SampleDB
from sampledb.cli import table as tables
from sampledb.cli import terminal, views
from sampledb.cli.table import Column
from sampledb.cli.terminal import Screen
from tests import binaries
from tests.cli.consoles import Shown, run, run_on_terminal
from tests.markers import mostly_slow
from tests.strategies import function, report

on_terminal = pytest.mark.skipif(sys.platform == "win32", reason="the platform has no pseudo-terminals")
SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
PLAIN = Screen(None, lambda text, _: text)


def lines(shown: Shown) -> list[str]:
    assert shown.code == 0
    return SEQUENCE.sub("", shown.output).splitlines()


# Without a process


@given(st.text())
def test_what_is_safe_is_printable_and_printable_text_is_as_it_was(text: str) -> None:
    assert terminal.safe(text).isprintable()
    assert terminal.safe(text) == text or not text.isprintable()


@given(st.lists(st.tuples(st.text(), st.text(), st.integers().map(str)), max_size=20), st.integers(1, 200))
def test_no_line_of_a_table_or_a_card_is_wider_than_the_screen(rows: list[tuple[str, ...]], width: int) -> None:
    screen = PLAIN._replace(width=width)
    columns = [Column("name", gives_way=True), Column("text", gives_way=True), Column("number", is_number=True)]
    for line in tables.table(screen, columns, rows):
        assert terminal.cells(line) <= width
        assert line.isprintable()
    fields = {"name": rows[0][0], "text": rows[0][1]} if rows else {}
    # A field's name is never cut, and its value keeps a few cells.
    for line in tables.card(screen, {"title": fields}):
        assert terminal.cells(line) <= max(width, 30)


@given(st.lists(st.tuples(st.text(), st.text()), max_size=20))
def test_without_a_width_nothing_is_cut(rows: list[tuple[str, str]]) -> None:
    shown = tables.table(PLAIN, [Column("a", gives_way=True), Column("b", gives_way=True)], rows)
    assert len(shown) == 1 + len(rows)
    for line, (first, second) in zip(shown[1:], rows, strict=True):
        assert line.startswith(terminal.safe(first).rstrip())
        assert line.endswith(terminal.safe(second).rstrip())


@given(st.text(), st.integers(1, 100))
def test_what_is_cut_ends_with_an_ellipsis(text: str, width: int) -> None:
    cut = terminal.fit(terminal.safe(text), width)
    assert terminal.cells(cut) <= width
    assert cut == terminal.safe(text) or cut.endswith("…")


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (2**20, "1.0 MiB"), (2**63, "8192.0 PiB")],
)
def test_sizes_are_for_people(count: int, shown: str) -> None:
    assert views.short_size(count) == shown


# On a terminal


@on_terminal
@pytest.mark.parametrize("columns", mostly_slow([60, 80, 200], {80}))
def test_tables_fit_the_terminal(filled_path: Path, filled: SampleDB, columns: int) -> None:
    shown = lines(run_on_terminal("list", filled_path, columns=columns))
    assert len(shown) == 1 + len(filled.list_samples())
    assert max(map(terminal.cells, shown)) <= columns
    assert ("…" in shown[1]) == (columns < 200)
    listing = lines(run_on_terminal("function", filled_path, 1, 5, columns=columns))
    assert max(map(terminal.cells, listing)) <= columns


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
    assert any(f"{count:,} bytes ({views.short_size(count)})" in line for line in shown)


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
    assert SEQUENCE.sub("", shown.output).splitlines()[-1].startswith(f"{len(reports)} added, 1 failed in ")


@pytest.mark.slow
@on_terminal
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
