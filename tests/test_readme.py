"""The READMEs are true: their programs and commands run, their lists are complete, their links lead somewhere."""

import os
import re
import shlex
import sys
import tomllib
from pathlib import Path

import click
import pytest

import sampledb
from benchmarks.report.figures import PICTURE
from benchmarks.report.readme import FORMS, insert_figures
from sampledb import SampleDB
from sampledb.cli import main
from tests.cli.tour import mask_varying
from tests.map import insert_map

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "sampledb"
NAMES = ("benchmarks", "sampledb", "sampledb/cli", "sampledb/format", "tests", "tests/torture")
FOLDERS = [ROOT, *(ROOT / name for name in NAMES)]
READMES = {
    str(folder.relative_to(ROOT) / "README.md"): (folder / "README.md").read_text("utf-8")
    for folder in FOLDERS
    if (folder / "README.md").exists()
}
README, INSIDE, COMMAND_LINE = (READMES[name] for name in ("README.md", "sampledb/README.md", "sampledb/cli/README.md"))
# What the first command of the README, which installs one extra, does not install.
NOT_INSTALLED = ("arro3", "distributed", "duckdb", "fast_sugiyama", "pandas", "polars", "pymediainfo")

needs_programs = pytest.mark.skipif(not os.access("/bin/ls", os.R_OK), reason="the programs disassemble /bin/ls")


def blocks(readme: str, language: str) -> list[str]:
    """Return the blocks of code in one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", readme, flags=re.MULTILINE | re.DOTALL)


def section(readme: str, title: str) -> str:
    """Return the text from a heading to the next one."""
    return readme.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def run_blocks(readme: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Run all programs of a README in order, and compare what they print with the comments behind `print()`."""
    namespace: dict[str, object] = {}
    printed = []
    for block in blocks(readme, "python"):
        exec(compile(block, "README.md", "exec"), namespace)  # noqa: S102 - this project's examples
        printed.append(capsys.readouterr().out)
        said = re.findall(r"print\(.*\)  # (.*)$", block, flags=re.MULTILINE)
        assert not said or mask_varying(printed[-1]) == mask_varying("\n".join(said))
    return printed


# The programs


@needs_programs
def test_the_programs_run_with_what_the_first_command_installs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for library in NOT_INSTALLED:
        monkeypatch.setitem(sys.modules, library, None)
    first, *_ = run_blocks(README, capsys)
    shown = blocks(README, "text")[0]
    assert first.splitlines()
    for line in (first + shown).splitlines():
        assert re.fullmatch(r"\w+ (has \d+ functions of ls|calls \S*malloc at 0x[0-9a-f]+)", line)


@needs_programs
@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Dask warns of ports in use and of slow disks
def test_the_programs_for_every_extra_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run_blocks(INSIDE, capsys)


# The commands


def test_ci_runs_the_command_that_the_readme_gives() -> None:
    (command,) = [block for block in blocks(README, "sh") if "pytest" in block]
    assert command.strip() in (ROOT / ".ci" / "run").read_text("utf-8")


def test_the_list_of_commands_is_complete_and_has_their_own_words() -> None:
    listed = re.findall(r"^\| `([a-z-]+ FILE.*?)` \| (.+) \|$", COMMAND_LINE, flags=re.MULTILINE)
    assert listed == [(_usage(each), (each.help or "").splitlines()[0]) for each in main.commands.values()]


def _usage(command: click.Command) -> str:
    pieces = command.collect_usage_pieces(click.Context(command))
    return " ".join([command.name or "", *(piece for piece in pieces if piece != "[OPTIONS]")])


@pytest.mark.parametrize("line", re.findall(r"^sampledb .*", "\n".join(blocks(COMMAND_LINE, "sh")), flags=re.MULTILINE))
def test_a_command_in_the_readme_is_valid(line: str) -> None:
    words = shlex.split(line.partition(" > ")[0])[1:]
    main.make_context("sampledb", words)
    name, command, arguments = main.resolve_command(click.Context(main), words)
    assert command
    command.make_context(name, arguments)


# The lists


def test_the_list_of_calls_is_complete() -> None:
    listed = re.findall(r"`(\w+)`", "".join(re.findall(r"^- .*\n(?:  .*\n)*", section(README, "Calls"), re.MULTILINE)))
    assert sorted(listed) == [
        name for name in dir(SampleDB) if not name.startswith("_") and callable(getattr(SampleDB, name))
    ]


def test_every_public_name_is_in_a_readme() -> None:
    text = README + INSIDE
    assert [name for name in sampledb.__all__ if not re.search(rf"\b{name}\b", text)] == []


def test_the_list_of_errors_is_complete() -> None:
    listed = dict(re.findall(r"^\| `(\w+Error)` \| (?:`(\w+)` )?\|", INSIDE, flags=re.MULTILINE))
    errors = {name: getattr(sampledb, name) for name in sampledb.__all__ if name.endswith("Error")}
    assert listed.keys() == errors.keys()
    assert all(errors[name].code == code for name, code in listed.items() if code)


def test_the_change_log_begins_with_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    heading = re.search(r"^## (\S+)", (PACKAGE / "CHANGELOG.md").read_text("utf-8"), flags=re.MULTILINE)
    assert heading
    assert heading[1] in {project["version"], "Unreleased"}


def test_the_map_has_every_module() -> None:
    assert insert_map(INSIDE) == INSIDE, "`python -m tests.map` writes it anew"


def test_the_places_of_changes_exist() -> None:
    places = re.findall(r"`([\w/]+(?:\.py|\.md|/))`", section(INSIDE, "Where does a change belong?"))
    assert len(places) > 30
    assert [place for place in places if not any((folder / place).exists() for folder in (ROOT, PACKAGE))] == []


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.parent.name)
def test_the_figures_are_those_of_the_run_that_was_kept(path: Path) -> None:
    assert insert_figures(path) == path.read_text("utf-8"), "`python -m benchmarks.report.readme`"
    assert PICTURE.exists()


def test_the_table_of_similar_code_is_that_of_the_evaluation() -> None:
    figures = (ROOT / "benchmarks" / "similarity" / "README.md").read_text("utf-8")
    lines = README.split("#what-a-score-means):\n\n")[1].splitlines()[:5]
    titles, _, *rows = (re.split(r" *\| *", line)[1:-1] for line in lines)
    for number, task in enumerate(titles[1:], 1):
        measured = re.search(rf"^{task} +(\d+ / .*)$", figures, flags=re.MULTILINE)
        assert measured
        pic_hash, mcrit, _, ours = (ranks.split(" / ")[1] for ranks in re.split(r"  +", measured[1]))
        assert [row[number] for row in rows] == [pic_hash, mcrit, ours]


# The pages


def test_the_readme_is_one_page_with_code_near_the_top() -> None:
    lines = README.splitlines()
    assert "```python" in lines[:14]
    assert len(lines) <= 150


@pytest.mark.parametrize("name", READMES)
def test_every_link_leads_to_a_file_or_a_heading(name: str) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", READMES[name]):
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text("utf-8")), link


def anchors(readme: str) -> set[str]:
    """Return the names that GitHub gives to headings."""
    without_code = re.sub(r"^```.*?^```$", "", readme, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", without_code, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
