"""The commands about labels, and where labels are shown."""

from pathlib import Path

import pytest

import sampledb
from tests.cli.consoles import answered, run_here
from tests.strategies import function, report


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "labels.sampledb"
    caller = function(0x1000, function_name="main") | {"outrefs": {"4096": [0x2000]}}
    with sampledb.open(path) as db:
        db.add_sample(report(caller, function(0x2000, function_name="sub_2000")), name="setup.exe")
    return path


def test_a_function_is_named_commented_on_and_found_by_its_name(file: Path) -> None:
    (label,) = answered("label", file, "setup.exe", "0x2000", "--name", "rc4_init", "--user", "alice")
    assert (label["name"], label["username"], label["function_id"]) == ("rc4_init", "alice", 2)
    answered("label", file, 1, "rc4_init", "--comment", "key\nin ecx")
    assert answered("function", file, 1, "rc4_init")["comment"] == "key\nin ecx"
    shown = run_here("function", file, 1, 2).output
    assert "label      rc4_init" in shown
    assert "in ecx" in shown
    assert "; rc4_init (sub_2000)" in run_here("function", file, 1, 1).output
    assert "rc4_init (sub_2000)" in run_here("functions", file, 1).output
    assert "rc4_init (sub_2000)" in run_here("find", file, "--label", "RC4*").output
    assert [hit["field"] for hit in answered("search", file, "ecx")] == ["comment"]
    assert "rc4_init" in run_here("labels", file).output.splitlines()[1]


def test_a_removed_label_stays_in_the_history(file: Path) -> None:
    answered("label", file, 1, 1, "--name", "first")
    assert answered("label", file, 1, "first", "--remove") == []
    assert answered("labels", file) == []
    history = answered("labels", file, "setup.exe", "--history")
    assert [(each["name"], each["is_current"]) for each in history] == [("first", False), ("", False)]
    assert "(removed)" in run_here("labels", file, "--history").output


def test_what_is_not_clear_is_a_usage_error(file: Path) -> None:
    for options in ([], ["--remove", "--name", "x"]):
        shown = run_here("label", file, 1, 1, *options)
        assert (shown.code, shown.output) == (2, "")
        assert "Give --name" in shown.errors
