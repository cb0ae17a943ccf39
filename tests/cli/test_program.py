"""All commands: errors, exit codes, pipes, interrupts, help, completion."""

import json
import shlex
import shutil
import signal
import sqlite3
import subprocess
from contextlib import AbstractContextManager, closing
from pathlib import Path

import click
import pytest

import sampledb
from sampledb.cli import main
from tests import binaries
from tests.cli.consoles import answered, command, environment, run
from tests.markers import mostly_slow
from tests.strategies import function, report
from tests.workers.processes import killed_at_last, until

posix = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the platform has no signals")


# The habits of a shell


def test_errors_are_one_line_or_json_and_exit_with_1(path: Path) -> None:
    shown = run("show", path, 9317)
    assert shown == (1, "", "Error: Sample 9317 not found. Run `sampledb list FILE` to see which there are.\n")
    shown = run("show", path, 9317, "--json")
    assert (shown.code, shown.output) == (1, "")
    assert json.loads(shown.errors) == {
        "code": "not_found",
        "message": "Sample 9317 not found.",
        "details": {"resource": "sample", "id": 9317},
    }


COMMANDS = [["list"], ["run"], ["delete", "1"], ["update", "1", "--family", "x"]]


@pytest.mark.parametrize("arguments", mostly_slow(COMMANDS, COMMANDS[:2]))
def test_a_name_that_was_mistyped_creates_no_file(tmp_path: Path, arguments: list[str]) -> None:
    path = tmp_path / "missing.sampledb"
    shown = run(arguments[0], path, *arguments[1:])
    assert (shown.code, shown.errors) == (1, f"Error: {path}: there is no such file; `sampledb add` creates one.\n")
    assert list(tmp_path.iterdir()) == []


MISUSES = [["nope"], ["list"], ["add", "x"], ["show", "x"], ["list", "x", "--limit", "y"]]


@pytest.mark.parametrize("arguments", mostly_slow(MISUSES, [["nope"], ["list", "x", "--limit", "y"]]))
def test_usage_errors_exit_with_2(arguments: list[str]) -> None:
    assert run(*arguments).code == 2


@posix
@pytest.mark.parametrize(
    "arguments", mostly_slow([["functions", 1], ["report", 1], ["list", "--json"]], [["report", 1]])
)
def test_a_reader_that_goes_away_is_no_error(filled_path: Path, arguments: list[object]) -> None:
    name, *rest = arguments
    # Larger than a pipe holds, or there would be nothing to notice.
    line = f"{shlex.join(command(name, filled_path, *rest))} | head -c 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, timeout=60, check=False, env=environment())  # noqa: S607
    assert done.stderr == b""
    assert done.returncode in {0, 141}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the platform has no full device")
def test_a_full_disk_is_an_error_in_one_line(filled_path: Path) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            command("list", filled_path), stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert (done.returncode, done.stderr) == (1, "Error: stdout: No space left on device.\n")


@pytest.mark.slow
@posix
def test_an_interrupted_run_ends_quietly_and_queues_its_job_again(tmp_path: Path) -> None:
    path = tmp_path / "new.sampledb"
    with sampledb.open(path) as db:
        job_id = db.submit_binary(binaries.large())
        with started("run", path) as process:
            until(lambda: db.get_job(job_id).state == "running")
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=60)
        assert (process.returncode, output) == (130, "")
        assert errors == "Error: Interrupted; what was done until now is kept.\n"
        assert db.get_job(job_id).state == "queued"


@posix
def test_what_was_added_before_an_interrupt_stays(reports: dict[str, Path], tmp_path: Path) -> None:
    with started("add", tmp_path / "new.sampledb", "-") as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(f"{reports['pe-x86']}\n")
        process.stdin.flush()
        assert process.stdout.readline() == "added 1 t32.exe\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert process.stderr
        assert process.stderr.read().count("\n") == 1
    assert len(answered("list", tmp_path / "new.sampledb")) == 1


def started(*arguments: object) -> AbstractContextManager["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        command(*arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    return killed_at_last(process)


def test_no_character_stops_the_output_whatever_the_locale(path: Path) -> None:
    with sampledb.open(path) as db:
        db.update_sample(1, notes="Ω")
    shown = run("show", path, 1, variables={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
    assert (shown.code, shown.errors) == (0, "")
    assert "\\u03a9" in shown.output


@pytest.mark.slow
def test_control_sequences_do_not_reach_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "evil.sampledb"
    with sampledb.open(path) as db:
        evil = function(4096, {"4096": [[4096, "90", "\x1b[2J", "\x07"]]}, function_name="\x1b]0;owned\x07")
        evil["apirefs"] = {"4096": "\x1b[1m"}
        db.add_sample(report(evil), name="\x1b[31mred\r\u202e[bold]")
        db.update_sample(1, notes="a\n\x1b[2J", tags=["\x1b"], media_info={"\x1b": "\x1b"})
    with closing(sqlite3.connect(path)) as connection:
        connection.execute('CREATE VIEW "\x1b]0;owned\x07" AS SELECT 1')
    evil_name = "SELECT name AS '\x1b' FROM samples"
    arguments: dict[str, list[object]] = {
        "list": [], "show": [1], "functions": [1], "function": [1, 1], "report": [1], "schema": [],
        "query": [evil_name], "find": ["--api", "*"], "apis": [], "tag": [1, "--add", "x"], "delete": [1],
    }  # fmt: skip
    for name, rest in arguments.items():
        printed = run(name, path, *rest).output
        assert "x1b" in printed or "u001b" in printed
        assert printed.replace("\n", "").isprintable()


# Help and completion


def test_every_command_says_what_it_does_in_a_line_and_shows_an_example() -> None:
    for name, each in main.commands.items():
        assert each.help
        summary = each.help.splitlines()[0]
        assert summary.endswith(".")
        assert len(summary) <= 62
        assert each.epilog
        assert f"sampledb {name} " in each.epilog
        assert all(option.help for option in each.params if isinstance(option, click.Option))


def test_help_lists_all_commands_with_their_summaries() -> None:
    shown = run("--help")
    for name, each in main.commands.items():
        assert f"{name:9}  {(each.help or '').splitlines()[0]}\n" in shown.output
    assert "Examples:\n    sampledb add corpus.sampledb report.smda" in run("add", "--help").output


def test_commands_load_only_what_they_need(filled_path: Path) -> None:
    for arguments in (["--version"], ["list", filled_path], ["show", filled_path, 1, "--json"]):
        shown = run(*arguments, variables={"PYTHONPROFILEIMPORTTIME": "1"})
        assert "sampledb.cli" in shown.errors
        for library in ("smda", "sqlite_utils", "pymediainfo", "numpy", "arro3", "sampledb.render.html"):
            assert f" {library}\n" not in shown.errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shell", "words"),
    [
        ("bash", {"COMP_WORDS": "sampledb functio", "COMP_CWORD": "1"}),
        ("zsh", {"COMP_WORDS": "sampledb functio", "COMP_CWORD": "1"}),
        ("fish", {"COMP_WORDS": "sampledb functio", "COMP_CWORD": "functio"}),
    ],
)
def test_shells_complete_commands(shell: str, words: dict[str, str]) -> None:
    script = run(variables={"_SAMPLEDB_COMPLETE": f"{shell}_source"})
    assert (script.code, "_SAMPLEDB_COMPLETE" in script.output, "sampledb" in script.output) == (0, True, True)
    completed = run(variables={"_SAMPLEDB_COMPLETE": f"{shell}_complete", **words})
    assert "functions" in completed.output
    assert "families" not in completed.output


def test_bash_takes_the_script() -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    script = run(variables={"_SAMPLEDB_COMPLETE": "bash_source"}).output
    subprocess.run([bash, "-n"], input=script, text=True, check=True)
