"""All commands: the JSON that each prints, and what people read."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sampledb
from sampledb import SampleDB
from tests.cli.consoles import answered, dicts, run, run_here
from tests.markers import mostly_slow

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
    "families": (["families"], lambda db: db.describe_families().to_dicts()),
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


def test_in_a_pipe_everything_is_shown_whole_and_plain(filled_path: Path, filled: SampleDB) -> None:
    sample, function = filled.get_sample(1), filled.get_function(1, 5)
    assert sample.sha256 in run("list", filled_path).output
    assert f"{sample.binary_size:,} bytes" in run_here("show", filled_path, 1).output
    assert hex(sample.base_addr) in run_here("show", filled_path, 1).output
    assert len(run_here("functions", filled_path, 1).output.splitlines()) == 1 + sample.num_functions
    listing = run_here("function", filled_path, 1, 5).output
    assert listing.startswith(f"Function 5 at {function.offset:#x}\n")
    for block in (function.disassembly or {})["blocks"].values():
        assert all(f"{address:#x}  {code}" in listing for address, code, *_ in block)
    assert "\x1b" not in listing


@pytest.mark.slow
def test_the_other_answers_are_for_people_too(filled_path: Path, filled: SampleDB) -> None:
    assert re.search(rf"functions +{filled.stats().num_functions:,}\n", run_here("stats", filled_path).output)
    assert run_here("check", filled_path).output == "The file is whole.\n"
    assert run_here("query", filled_path, "SELECT 1 AS one, 'a' AS name").output == "one  name\n  1  a\n"
    assert run_here("query", filled_path, "SELECT 1 WHERE 0").output == ""
    assert str(len(filled.list_samples())) in run_here("families", filled_path).output
