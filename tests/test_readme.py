"""The README's Python runs as it stands, its commands are those of CI."""

import os
import re
import shlex
from pathlib import Path

import click
import pytest

from benchmarks.report import figures, readme
from sampledb.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(not os.access("/bin/ls", os.R_OK), reason="the examples disassemble /bin/ls")
def test_the_examples_run_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), namespace)  # noqa: S102
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 3
    assert all(line.startswith("0x") for line in printed)


def test_code_comes_by_line_15() -> None:
    assert "```python" in README.splitlines()[:14]


def test_ci_runs_the_command_that_the_readme_gives() -> None:
    (command,) = [block for block in blocks("sh") if "pytest" in block]
    assert command.strip() in (ROOT / ".ci" / "run").read_text("utf-8")


def test_the_commands_in_the_readme_are_those_there_are() -> None:
    listed = re.findall(r"^\| `([a-z-]+ FILE.*?)` \| (.+) \|$", README, flags=re.MULTILINE)
    assert listed == [(_usage(each), (each.help or "").splitlines()[0]) for each in main.commands.values()]
    assert set(re.findall(r"^sampledb (\S+)", README, flags=re.MULTILINE)) <= set(main.commands)


def _usage(command: click.Command) -> str:
    pieces = command.collect_usage_pieces(click.Context(command))
    return " ".join([command.name or "", *(piece for piece in pieces if piece != "[OPTIONS]")])


@pytest.mark.parametrize("block", [block for block in blocks("sh") if block.startswith("sampledb")])
def test_the_commands_in_the_readme_are_spelt_as_they_are(block: str) -> None:
    for line in block.splitlines():
        words = shlex.split(line.partition(" > ")[0])[1:]
        main.make_context("sampledb", words)
        name, command, arguments = main.resolve_command(click.Context(main), words)
        assert command
        command.make_context(name, arguments)


def test_the_figures_are_those_of_the_run_that_was_kept() -> None:
    assert readme.updated(README) == README
    assert figures.PICTURE.exists()
