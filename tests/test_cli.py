"""The command line, as real processes."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import sampledb
from tests.strategies import function, report


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "sampledb", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, reports: dict[str, Path]) -> Path:
    path = tmp_path_factory.mktemp("cli") / "cli.sampledb"
    result = run("add", path, *reports.values())
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("added") == len(reports)
    return path


def data(*arguments: object) -> object:
    result = run(*arguments, "--json")
    assert (result.returncode, result.stderr) == (0, "")
    answer = json.loads(result.stdout)
    assert answer["status"] == "successful"
    return answer["data"]


def test_json_is_what_the_calls_return(path: Path) -> None:
    with sampledb.open(path, readonly=True) as db:
        sample, functions = db.get_sample(1), db.list_functions(1, start=2, limit=3)
        assert data("list", path) == [each.to_dict() for each in db.list_samples().values()]
        assert data("list", path, "--start", 1, "--limit", 1) == [db.get_sample(2).to_dict()]
        assert data("show", path, 1) == data("show", path, sample.sha256) == sample.to_dict()
        assert data("functions", path, 1, "--start", 2, "--limit", 3) == [each.to_dict() for each in functions.values()]
        assert data("function", path, 1, 5) == db.get_function(1, 5).to_dict()


def test_people_get_tables(path: Path) -> None:
    with sampledb.open(path, readonly=True) as db:
        sample, function = db.get_sample(1), db.get_function(1, 5)
    assert sample.sha256 in run("list", path).stdout
    assert hex(sample.base_addr) in run("show", path, 1).stdout
    assert hex(function.offset) in run("functions", path, 1).stdout
    lines = run("function", path, 1, 5).stdout.splitlines()
    assert len(lines) == 1 + function.num_instructions
    assert hex(function.offset) in lines[0]


def test_the_schema_documents_itself(path: Path) -> None:
    printed = run("schema", path).stdout
    assert "-- One row a sample" in printed
    assert "CREATE VIEW function_list" in printed


def test_adding_again_leaves_what_is_known(path: Path, reports: dict[str, Path]) -> None:
    outcomes = data("add", path, *reports.values())
    assert isinstance(outcomes, list)
    assert {outcome["status"] for outcome in outcomes} == {"existed"}


def test_a_report_that_fails_is_named_and_the_others_are_added(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.smda", tmp_path / "bad.smda"
    good.write_text(json.dumps(report(function(4096))))
    bad.write_text("MZ")
    result = run("add", tmp_path / "new.sampledb", bad, good)
    assert result.returncode == 1
    assert [line.split()[1] for line in result.stdout.splitlines()[1:]] == ["failed", "added"]
    assert "is not JSON" in result.stdout


def test_errors_are_one_line_or_json_and_exit_with_1(path: Path, tmp_path: Path) -> None:
    result = run("show", path, 9317)
    assert (result.returncode, result.stdout, result.stderr) == (1, "", "Error: Sample 9317 not found.\n")
    result = run("show", path, 9317, "--json")
    assert json.loads(result.stderr) == {
        "code": "not_found",
        "message": "Sample 9317 not found.",
        "details": {"resource": "sample", "id": 9317},
    }
    result = run("list", tmp_path / "missing.sampledb")
    assert result.returncode == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["nope"], ["list"], ["add", "x"], ["show", "x"], ["list", "x", "--limit", "y"]])
def test_usage_errors_exit_with_2(arguments: list[str]) -> None:
    assert run(*arguments).returncode == 2


def test_control_sequences_in_the_schema_do_not_reach_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "evil.sampledb"
    sampledb.open(path).close()
    connection = sqlite3.connect(path)
    connection.execute('CREATE VIEW "\x1b]0;owned\x07" AS SELECT 1')
    connection.close()
    assert "\x1b" not in run("schema", path).stdout


def test_control_sequences_in_names_do_not_reach_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "evil.sampledb"
    with sampledb.open(path) as db:
        evil = function(4096, {"4096": [[4096, "90", "\x1b[2J", "\x07"]]}, function_name="\x1b]0;owned\x07")
        db.add_sample(report(evil), name="\x1b[31mred\r")
    for arguments in (["list", path], ["show", path, 1], ["functions", path, 1], ["function", path, 1, 1]):
        printed = run(*arguments).stdout
        assert "\\x1b" in printed
        assert printed.replace("\n", "").isprintable()
