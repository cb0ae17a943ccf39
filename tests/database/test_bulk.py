"""Adding many reports: parsed by several processes, stored in order, whatever happens to the processes."""

import os
import signal
import sys
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import msgspec
import pytest

import sampledb
from sampledb import SampleDB
from sampledb.workers import packer
from tests.store.programs import run_and_kill
from tests.strategies import function, report
from tests.workers.processes import become_program, children_of, linux


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes from the first report on, two of them on any machine."""
    monkeypatch.setattr(packer, "_PATIENCE", -1)
    monkeypatch.setattr(packer.Packer, "_is_starting", lambda _: False)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)


def many(number: int) -> Iterator[dict[str, Any]]:
    """Reports of different files."""
    return (report(function(4096 + each, function_name=f"f{each}"), seed=str(each)) for each in range(number))


@pytest.mark.usefixtures("at_once")
def test_processes_parse_as_this_one_does(db: SampleDB, parsed: dict[str, dict[str, Any]]) -> None:
    given = [*parsed.values(), *many(40)]
    outcomes = list(db.add_samples(given))
    assert [outcome.sample and outcome.sample.sample_id for outcome in outcomes] == list(range(1, len(given) + 1))
    assert [outcome.index for outcome in outcomes] == list(range(len(given)))
    with sampledb.open(":memory:") as other:
        for number, each in enumerate(given, 1):
            assert db.get_report(number) == each
            other.add_sample(each)
        assert other.query("SELECT * FROM functions") == db.query("SELECT * FROM functions")
        assert other.query("SELECT * FROM disassembly") == db.query("SELECT * FROM disassembly")
    assert db.check(deep=True) == []


@pytest.mark.usefixtures("at_once")
def test_errors_come_from_processes_as_they_are(db: SampleDB) -> None:
    bad = {**report(function(4096)), "bitness": 7}
    with pytest.raises(sampledb.InvalidInputError) as raised:
        db.add_sample(bad)
    (outcome,) = db.add_samples([bad])
    assert outcome.error is not None
    assert outcome.error.to_dict() == raised.value.to_dict()


@pytest.mark.usefixtures("at_once")
def test_what_does_not_fit_a_message_is_parsed_here(db: SampleDB) -> None:
    large = report(function(4096), statistics={"num_instructions": 2**100})
    (outcome,) = db.add_samples([large])
    assert outcome.status == "added"
    assert db.get_report(1) == large


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("executable", ["", "/usr/bin/false-python", "ida64", "/bin/false"])
def test_where_no_process_can_be_started_nothing_is_lost(
    db: SampleDB, monkeypatch: pytest.MonkeyPatch, executable: str
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    assert {outcome.status for outcome in db.add_samples(many(10))} == {"added"}
    assert len(db.list_samples()) == 10


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(("name", "is_frozen"), [("app", True), ("python", True), ("ida64", False)])
def test_a_program_that_is_no_interpreter_parses_by_itself(
    db: SampleDB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_frozen: bool
) -> None:
    was_started = become_program(monkeypatch, tmp_path / name, is_frozen=is_frozen)
    assert {outcome.status for outcome in db.add_samples(many(10))} == {"added"}
    assert not was_started()


@linux
@pytest.mark.usefixtures("at_once")
def test_processes_that_are_killed_cost_no_report(db: SampleDB) -> None:
    outcomes = db.add_samples(many(200))
    first = next(outcomes)
    for child in children_of(os.getpid(), "packer"):
        os.kill(child, signal.SIGKILL)
    assert [first.status, *(outcome.status for outcome in outcomes)] == ["added"] * 200
    assert db.check(deep=True) == []


@pytest.mark.usefixtures("at_once")
def test_a_current_folder_that_is_gone_is_no_hindrance(
    db: SampleDB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    folder.rmdir()
    assert {outcome.status for outcome in db.add_samples(many(10))} == {"added"}
    monkeypatch.chdir(tmp_path)


@linux
@pytest.mark.usefixtures("at_once")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_that_was_forked_meanwhile_ends_and_the_parent_goes_on(db: SampleDB) -> None:
    outcomes = db.add_samples(many(50))
    first = next(outcomes)
    child = os.fork()
    if child == 0:
        try:
            list(outcomes)
        except sampledb.ClosedError:
            os._exit(7)
        os._exit(1)
    assert [first.status, *(outcome.status for outcome in outcomes)] == ["added"] * 50
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@linux
@pytest.mark.usefixtures("at_once")
def test_whoever_stops_asking_leaves_no_process(db: SampleDB) -> None:
    outcomes = db.add_samples(many(100))
    next(outcomes)
    assert children_of(os.getpid(), "packer")
    outcomes.close()  # type: ignore[attr-defined]
    assert children_of(os.getpid(), "packer") == set()
    assert 1 <= len(db.list_samples()) < 100


def test_reports_are_read_as_they_are_asked_for(db: SampleDB) -> None:
    """The stream has no end."""
    endless = (report(seed=str(number)) for number in count())
    assert [outcome.index for outcome in islice(db.add_samples(endless), 20)] == list(range(20))


def test_what_is_known_is_skipped_unread(db: SampleDB) -> None:
    known = report(function(4096))
    sample = db.add_sample(known)
    (outcome,) = db.add_samples([msgspec.json.encode({**known, "xcfg": {"nonsense": []}})])
    assert (outcome.status, outcome.sample) == ("existed", sample)


def test_an_outcome_names_what_was_given(db: SampleDB, reports: dict[str, Path], tmp_path: Path) -> None:
    given = [*reports.values(), tmp_path / "missing.smda", report()]
    sources = [outcome.source for outcome in db.add_samples(given)]
    assert sources == [*map(str, reports.values()), str(tmp_path / "missing.smda"), ""]


def test_a_store_that_cannot_be_written_fails_each_by_itself(db: SampleDB) -> None:
    with sampledb.open(db.path, timeout=0) as impatient, db._connections.writing():
        outcomes = list(impatient.add_samples(many(3)))
    assert [outcome.error and outcome.error.code for outcome in outcomes] == ["busy"] * 3


_ADD_MANY = """
import sys, sampledb
from sampledb.workers import packer
from tests.database.test_bulk import many
packer._PATIENCE = 0.1
with sampledb.open(sys.argv[1]) as db:
    for outcome in db.add_samples(many(100_000)):
        print(outcome.sample.sample_id, flush=True)
"""


def test_a_disk_that_is_full_ends_it(db: SampleDB) -> None:
    next(db.add_samples(many(1)))
    with db._connections.reading() as connection:
        connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(sampledb.StorageError, match="full"):
        list(db.add_samples(report(*(function(16 * each) for each in range(3000)), seed=str(n)) for n in range(9)))


@pytest.mark.slow
def test_a_crash_takes_nothing_that_was_reported(tmp_path: Path) -> None:
    path = tmp_path / "crash.sampledb"
    last = run_and_kill(_ADD_MANY, path, lines=500)[-1]
    with sampledb.open(path) as db:
        samples = db.list_samples()
        assert list(samples) == list(range(1, len(samples) + 1))
        assert len(samples) >= last
        assert db.check(deep=True) == []
