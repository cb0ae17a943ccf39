"""Binaries that are submitted become samples, once, whatever happens on the way."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

import sampledb
from sampledb import (
    AnalysisError,
    BusyError,
    ConflictError,
    CorruptFileError,
    InvalidInputError,
    Job,
    NotFoundError,
    ReadOnlyError,
    SampleDB,
)
from sampledb.store.connection import Connections
from sampledb.store.tables import jobs
from tests import binaries
from tests.markers import every_platform, mostly_slow
from tests.raw import raw
from tests.strategies import function, report
from tests.workers.processes import HANGS, become_program, children_of, killed_at_last, linux, until

Parsed = dict[str, dict[str, Any]]

SMALL = binaries.launcher("t32")
OTHERS = [binaries.launcher(name) for name in ("t64", "w32", "w64", "t64-arm", "w64-arm")]
posix = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the platform has no signals")


def changed(content: bytes, number: int) -> bytes:
    """The same program as another file."""
    return content + number.to_bytes(8, "little")


# Submitting


def test_what_is_submitted_is_in_the_file_when_the_call_returns(tmp_path: Path) -> None:
    path = tmp_path / "test.sampledb"
    script = f"import os, sampledb; print(sampledb.open({str(path)!r}).submit_binary({str(SMALL)!r})); os._exit(9)"
    done = subprocess.run(
        [sys.executable, "-u", "-c", script], stdout=subprocess.PIPE, text=True, timeout=HANGS, check=False
    )
    assert done.returncode == 9
    with sampledb.open(path) as db:
        (job,) = db.list_jobs()
        assert (job.job_id, job.state, job.attempts) == (done.stdout.strip(), "queued", 0)
        assert (job.filename, job.sample_id, job.error, job.started_at) == ("t32.exe", None, None, None)
        assert json.loads(json.dumps(job.to_dict()))["state"] == "queued"
        assert [each.state for each in db.run_jobs()] == ["finished"]


def test_a_binary_that_is_known_or_queued_is_a_conflict(db: SampleDB) -> None:
    job_id = db.submit_binary(SMALL)
    with pytest.raises(ConflictError) as raised:
        db.submit_binary(SMALL.read_bytes())
    assert raised.value.details["resource"] == "job"
    assert raised.value.details["id"] == job_id
    db.run_jobs()
    with pytest.raises(ConflictError) as raised:
        db.submit_binary(SMALL)
    assert raised.value.details["sample_id"] == db.get_job(job_id).sample_id
    assert raised.value.details["sha256"] == db.get_job(job_id).sha256


@pytest.mark.parametrize(
    "given",
    [
        {"binary": 5},
        {"binary": "missing.exe"},
        {"binary": "a\0b"},
        {"binary": b""},
        {"binary": b"MZ", "family": "a b"},
        {"binary": b"MZ", "version": "\n"},
        {"binary": b"MZ", "filename": "x" * 256},
        {"binary": b"MZ", "bitness": 16},
        {"binary": b"MZ", "bitness": "64"},
        {"binary": b"MZ", "base_addr": -1},
        {"binary": b"MZ", "base_addr": "4096"},
        {"binary": b"MZ", "is_dump": 1},
        {"binary": b"MZ", "keep_binary": None},
        {"binary": b"MZ", "strings": 1},
        {"binary": b"MZ", "username": ""},
    ],
)
def test_a_bad_request_stores_nothing(db: SampleDB, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        db.submit_binary(**given)
    assert db.list_jobs() == []
    assert db.check(deep=True) == []


def test_a_readonly_handle_looks_and_does_nothing(path: Path) -> None:
    with sampledb.open(path) as db:
        job_id = db.submit_binary(SMALL)
    with sampledb.open(path, readonly=True) as db:
        assert db.get_job(job_id) in db.list_jobs("queued")
        for call in (lambda: db.submit_binary(SMALL), db.run_jobs, lambda: db.cancel_job(job_id)):
            with pytest.raises(ReadOnlyError):
                call()


def test_unknown_jobs_and_states_are_errors(db: SampleDB) -> None:
    for call in (db.get_job, db.cancel_job, db.wait_job):
        with pytest.raises(NotFoundError) as raised:
            call("0" * 32)
        assert raised.value.details == {"resource": "job", "id": "0" * 32}
    with pytest.raises(InvalidInputError):
        db.list_jobs("done")  # type: ignore[arg-type]


# Running


@every_platform
def test_every_format_becomes_the_sample_that_smda_makes_of_it(
    db: SampleDB, sources: dict[str, Path], parsed: Parsed
) -> None:
    for kind, source in sources.items():
        db.submit_binary(source, family="family", version=kind, strings=kind != "pe-x86")
    ended = db.run_jobs()
    assert {job.state for job in ended} == {"finished"}
    assert len(ended) == len(sources)
    for kind, smda_report in parsed.items():
        sample = db.get_sample_by_sha256(smda_report["sha256"])
        assert (sample.family, sample.version, sample.name) == ("family", kind, sources[kind].name)
        assert (sample.architecture, sample.base_addr) == (smda_report["architecture"], smda_report["base_addr"])
        xcfg = db.get_report(sample.sample_id)["xcfg"]
        assert xcfg.keys() == smda_report["xcfg"].keys()
        references = [each["stringrefs"] for each in xcfg.values()]
        if kind == "pe-x86":
            assert not any(references)
            assert db.list_strings(sample.sample_id) == {}
        else:
            strings = {each["string"] for found in references for each in found}
            assert strings - {""} == db.list_strings(sample.sample_id).keys()
            assert strings or kind == "macho-x64"
    assert db.check(deep=True) == []


@pytest.mark.slow
def test_a_dump_is_disassembled_where_it_was_mapped(db: SampleDB) -> None:
    code = bytes.fromhex("5589e583ec10c745fc05000000e80a00000089ec5dc3909090909090" + "5589e5b8010000005dc3") * 20
    db.submit_binary(code, filename="dump.bin", is_dump=True, base_addr="0xffff800000001000", bitness=64)
    (job,) = db.run_jobs()
    assert job.state == "finished"
    assert job.sample_id is not None
    sample = db.get_sample(job.sample_id)
    assert (sample.base_addr, sample.bitness, sample.name) == (0xFFFF_8000_0000_1000, 64, "dump.bin")
    assert db.get_report(sample.sample_id)["metadata"]["is_buffer"] is True
    assert all(each.offset >= sample.base_addr for each in db.iter_functions(sample.sample_id))


NO_PROGRAMS = [b"garbage" * 999, SMALL.read_bytes()[:200], b"\x7fELF", bytes(5000)]


@pytest.mark.parametrize("binary", mostly_slow(NO_PROGRAMS, NO_PROGRAMS[:1]))
def test_what_smda_can_make_nothing_of_fails_and_leaves_no_sample(db: SampleDB, binary: bytes) -> None:
    job_id = db.submit_binary(binary)
    (job,) = db.run_jobs()
    assert (job.job_id, job.state, job.sample_id, job.attempts) == (job_id, "failed", None, 1)
    assert job.error is not None
    assert job.error["code"] == "analysis_failed"
    assert job.error["details"]["job_id"] == job_id
    assert job.error["details"]["reason"]
    assert db.list_samples() == {}
    assert db.query("SELECT count(*) AS n FROM binaries") == [{"n": 0}]
    # And may be tried again.
    assert db.submit_binary(binary) != job_id


@pytest.mark.slow
def test_a_limit_leaves_the_rest_in_the_queue(db: SampleDB) -> None:
    ids = [db.submit_binary(each) for each in OTHERS[:3]]
    told: list[tuple[int, int]] = []
    ended = db.run_jobs(limit=1, progress=lambda finished, total, _: told.append((finished, total)))
    assert [job.job_id for job in ended] == ids[:1]
    assert told == [(1, 1)]
    assert [job.job_id for job in db.list_jobs("queued")] == ids[1:]


@pytest.mark.slow
def test_analyze_gives_the_sample_or_the_reason(db: SampleDB) -> None:
    sample = db.analyze(SMALL, family="distlib", username="me")
    assert (sample.name, sample.family, sample.username) == ("t32.exe", "distlib", "me")
    with pytest.raises(ConflictError):
        db.analyze(SMALL)
    with pytest.raises(AnalysisError) as raised:
        db.analyze(b"garbage")
    assert raised.value.details["reason"] in str(raised.value)
    # What others have queued is left to them.
    job_id = db.submit_binary(OTHERS[0])
    db.analyze(OTHERS[1])
    assert db.get_job(job_id).state == "queued"


@pytest.mark.slow
def test_a_media_sample_gets_the_analysis_and_keeps_its_name(db: SampleDB, tmp_path: Path) -> None:
    copy = tmp_path / "installer.exe"
    copy.write_bytes(SMALL.read_bytes())
    media = db.add_media(copy, tags=["seen"])
    sample = db.analyze(SMALL)
    assert (sample.sample_id, sample.name, sample.tags) == (media.sample_id, "installer.exe", ("seen",))
    assert sample.num_functions


@pytest.mark.slow
def test_a_report_that_came_first_is_the_result(db: SampleDB, parsed: Parsed, sources: dict[str, Path]) -> None:
    db.submit_binary(sources["pe-x86"])
    sample = db.add_sample(parsed["pe-x86"])
    (job,) = db.run_jobs()
    assert (job.state, job.sample_id) == ("finished", sample.sample_id)
    assert db.get_sample(sample.sample_id) == sample


# Binaries


@pytest.mark.slow
def test_a_binary_is_kept_only_where_that_was_asked_for(db: SampleDB) -> None:
    kept, dropped = db.analyze(SMALL, keep_binary=True), db.analyze(OTHERS[0])
    assert db.get_binary(kept.sample_id) == SMALL.read_bytes()
    assert db.check(deep=True) == []
    for sample_id in (dropped.sample_id, 99):
        with pytest.raises(NotFoundError):
            db.get_binary(sample_id)
    db.delete_sample(kept.sample_id)
    assert db.query("SELECT count(*) AS n FROM binaries") == [{"n": 0}]
    assert [job.sample_id for job in db.list_jobs()] == [None, dropped.sample_id]


@pytest.mark.slow
def test_damage_to_a_queue_is_found(path: Path) -> None:
    with sampledb.open(path) as db:
        sample = db.analyze(SMALL, keep_binary=True)
        waiting = db.submit_binary(OTHERS[0])
    with raw(path) as connection:
        connection.execute("UPDATE binaries SET binary = zeroblob(50) WHERE is_kept")
        connection.execute("DELETE FROM binaries WHERE NOT is_kept")
        connection.execute("INSERT INTO binaries VALUES (9, 'nobody', 0, 0, x'')")
    with sampledb.open(path) as db:
        with pytest.raises(CorruptFileError):
            db.get_binary(sample.sample_id)
        found = {problem.where for problem in db.check(deep=True)}
        later = db.submit_binary(OTHERS[1])
        assert {job.job_id: job.state for job in db.run_jobs()} == {later: "finished"}
        error = db.get_job(waiting).error
        assert error is not None
        assert "missing" in error["details"]["reason"]
    assert found >= {f"binaries, sha256 {sample.sha256}", f"jobs, job_id {waiting}", "binaries, sha256 nobody"}


# Cancelling and waiting


@pytest.mark.slow
def test_a_cancelled_job_is_not_run(db: SampleDB) -> None:
    job_id = db.submit_binary(SMALL)
    assert db.cancel_job(job_id).state == "cancelled"
    assert db.cancel_job(job_id) == db.wait_job(job_id)
    assert db.run_jobs() == []
    assert db.list_samples() == {}
    assert db.check(deep=True) == []
    assert db.analyze(SMALL).num_functions
    finished = db.list_jobs("finished")[0]
    assert db.cancel_job(finished.job_id) == finished


def in_background(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


@pytest.mark.slow
def test_a_job_is_cancelled_while_it_runs(db: SampleDB) -> None:
    job_id = db.submit_binary(binaries.large())
    thread = in_background(db.run_jobs)
    until(lambda: db.get_job(job_id).state == "running")
    db.cancel_job(job_id)
    thread.join(HANGS)
    assert db.get_job(job_id).state == "cancelled"
    assert db.list_samples() == {}


@pytest.mark.slow
def test_waiting_ends_with_the_job_or_with_the_time(tmp_path: Path) -> None:
    path = tmp_path / "test.sampledb"
    with sampledb.open(path) as db:
        job_id = db.submit_binary(SMALL)
        with pytest.raises(BusyError) as raised:
            db.wait_job(job_id, timeout=0.05)
        assert raised.value.details["retry_after"] == 0.05
        script = f"import sampledb; print(sampledb.open({str(path)!r}).wait_job({job_id!r}).state)"
        waiting = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        db.run_jobs()
        assert waiting.communicate(timeout=HANGS)[0].strip() == "finished"


# Workers


@linux
@pytest.mark.slow
def test_a_worker_that_dies_each_time_fails_its_job_and_no_other(db: SampleDB, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    doomed = db.submit_binary(binaries.large())
    others = [db.submit_binary(each) for each in OTHERS]
    thread = in_background(db.run_jobs)
    killed: set[int] = set()
    for attempt in (1, 2, 3):
        until(lambda: db.get_job(doomed).attempts == attempt)  # noqa: B023 - called at once
        until(lambda: all(db.get_job(each).finished_at for each in others))
        # Those that have nothing to do are killed too.
        until(lambda: children_of(os.getpid(), "disassembler") - killed)
        for child in children_of(os.getpid(), "disassembler") - killed:
            os.kill(child, signal.SIGKILL)
            killed.add(child)
    thread.join(HANGS)
    job = db.get_job(doomed)
    assert (job.state, job.attempts) == ("failed", 3)
    assert job.error is not None
    assert "3 times" in job.error["details"]["reason"]
    assert {db.get_job(each).state for each in others} == {"finished"}
    assert {db.get_job(each).attempts for each in others} == {1}


@pytest.mark.slow
def test_smda_s_own_timeout_fails_the_job(db: SampleDB) -> None:
    job_id = db.submit_binary(binaries.large())
    with ThreadPoolExecutor(1) as threads:
        db.run_jobs(threads, timeout=0.2)
    job = db.get_job(job_id)
    assert job.state == "failed"
    assert job.error is not None
    assert "in time" in job.error["details"]["reason"]


@linux
@pytest.mark.slow
def test_no_worker_outlives_the_call(db: SampleDB) -> None:
    db.analyze(SMALL)
    assert children_of(os.getpid(), "disassembler") == set()


# Executors


@pytest.mark.slow
def test_any_executor_does(db: SampleDB) -> None:
    for number, executor in enumerate([ThreadPoolExecutor(2), ProcessPoolExecutor(2, get_context("spawn"))]):
        with executor:
            ids = [db.submit_binary(changed(SMALL.read_bytes(), 10 * number + each)) for each in range(3)]
            assert sorted(job.job_id for job in db.run_jobs(executor)) == sorted(ids)
            assert {db.get_job(each).state for each in ids} == {"finished"}


class Lying(Executor):
    """An executor whose results are made up, or which has none."""

    def __init__(self, answer: Callable[[], object]) -> None:
        self._answer = answer

    def submit(self, *_: Any, **__: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(self._answer())
        except BaseException as error:  # noqa: BLE001 - also those that nobody expects
            future.set_exception(error)
        return future


def raising(error: BaseException) -> Callable[[], object]:
    def answer() -> object:
        raise error

    return answer


@pytest.mark.parametrize(
    ("answer", "attempts"),
    [
        (lambda: None, 1),
        (lambda: b"", 1),
        (lambda: b"{}", 1),
        (lambda: json.dumps(report(function(4096))).encode(), 1),
        (raising(ValueError("cannot read \udcff")), 3),
        (raising(AnalysisError("no", {"reason": {1, 2}})), 1),
        (raising(MemoryError()), 3),
        (raising(CancelledError()), 3),
    ],
)
def test_what_an_executor_makes_up_fails_the_job(db: SampleDB, answer: Callable[[], object], attempts: int) -> None:
    job_id = db.submit_binary(SMALL)
    (job,) = db.run_jobs(Lying(answer))
    assert (job.job_id, job.state, job.attempts) == (job_id, "failed", attempts)
    assert json.dumps(job.to_dict()).encode()
    assert db.list_samples() == {}


@pytest.mark.parametrize("executor", [5, "pool", ThreadPoolExecutor])
def test_what_is_no_executor_is_refused(db: SampleDB, executor: Any) -> None:
    job_id = db.submit_binary(SMALL)
    with pytest.raises(InvalidInputError):
        db.run_jobs(executor)
    assert db.get_job(job_id).attempts == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("binary", "reason"),
    [
        (b"garbage", "it is no PE, ELF, Mach-O or DEX file; submit a memory dump as one, with its base address"),
        (SMALL.read_bytes()[:200], "its header is damaged, or names a processor that SMDA does not know"),
        (SMALL.read_bytes()[:256] + b"\xff" * 9999, "its header is damaged, or it is larger than SMDA loads"),
        (b"\x7fELF" + bytes(60), "its header is damaged"),
    ],
)
def test_a_reason_is_for_people_who_do_not_call_smda(db: SampleDB, binary: bytes, reason: str) -> None:
    db.submit_binary(binary)
    (job,) = db.run_jobs()
    assert job.error is not None
    assert job.error["details"]["reason"].startswith(reason)


def test_an_empty_file_and_the_store_itself_are_no_binaries(db: SampleDB, tmp_path: Path) -> None:
    empty = tmp_path / "empty.exe"
    empty.touch()
    for call in (db.submit_binary, db.analyze):
        with pytest.raises(InvalidInputError, match="from 1 to"):
            call(empty)
        with pytest.raises(InvalidInputError, match="is an open store"):
            call(db.path)
    assert db.list_jobs() == []


def test_a_conflict_advises_what_the_call_can_do(db: SampleDB) -> None:
    sample = db.add_sample({**report(function(4096)), "sha256": hashlib.sha256(b"MZ").hexdigest()})
    with pytest.raises(ConflictError, match=r"get_sample_by_sha256\(\) returns it") as raised:
        db.submit_binary(b"MZ")
    assert "exist_ok" not in str(raised.value)
    assert db.get_sample_by_sha256(raised.value.details["sha256"]) == sample


def test_an_error_names_a_path_as_people_write_it(db: SampleDB, tmp_path: Path) -> None:
    path = tmp_path / "it's" / "missing.exe"
    with pytest.raises(InvalidInputError) as raised:
        db.submit_binary(path)
    assert str(raised.value) == f"{path}: cannot be read: No such file or directory."
    assert raised.value.details["field"] == "binary"


@pytest.mark.parametrize(("name", "is_frozen"), [("app", True), ("python", True), ("ida64", False)])
def test_a_program_that_is_no_interpreter_starts_nothing_and_runs_jobs_in_a_thread(
    db: SampleDB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_frozen: bool
) -> None:
    was_started = become_program(monkeypatch, tmp_path / name, is_frozen=is_frozen)
    job_id = db.submit_binary(SMALL)
    for call in (db.run_jobs, lambda: db.analyze(OTHERS[0])):
        with pytest.raises(InvalidInputError, match=r"db\.run_jobs\(concurrent\.futures\.ThreadPoolExecutor\(1\)\)"):
            call()
    assert [(job.job_id, job.state, job.attempts) for job in db.list_jobs()] == [(job_id, "queued", 0)]
    with ThreadPoolExecutor(1) as thread:
        assert [job.state for job in db.run_jobs(thread)] == ["finished"]
    assert not was_started()


def test_where_no_worker_starts_nothing_is_lost(db: SampleDB, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = db.submit_binary(SMALL)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/nonexistent/python")
        with pytest.raises(AnalysisError, match="no workers"):
            db.run_jobs()
    assert (db.get_job(job_id).state, db.get_job(job_id).attempts) == ("queued", 0)


@pytest.mark.slow
def test_workers_find_what_the_caller_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the package is found through the current folder, and the path holds what is no text."""
    monkeypatch.chdir(Path(sampledb.__file__).parent.parent)
    script = f"""
import pathlib, sys
sys.path += [pathlib.Path("x"), *("y" * 1000 for _ in range(300))]
import sampledb
print(sampledb.open({str(tmp_path / "test.sampledb")!r}).analyze({str(SMALL)!r}).name)
"""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == "t32.exe"


def test_an_interrupt_as_the_workers_start_does_not_wait_for_them(tmp_path: Path) -> None:
    path = tmp_path / "test.sampledb"
    with sampledb.open(path) as db:
        job_id = db.submit_binary(binaries.large())
        with killed_at_last(run_in_process(path)) as runner:
            until(lambda: db.get_job(job_id).state == "running")
            runner.send_signal(signal.SIGINT)
            runner.communicate(timeout=HANGS)
        assert (db.get_job(job_id).state, db.get_job(job_id).attempts) == ("queued", 0)


@pytest.mark.slow
def test_a_busy_file_makes_a_runner_wait(path: Path, parsed: Parsed, sources: dict[str, Path]) -> None:
    """The file is locked as soon as a worker has the job, and for many times as long as the runner waits for it."""
    is_locked = threading.Event()

    def hold() -> None:
        with sampledb.open(path) as other, other._connections.writing():
            is_locked.set()
            time.sleep(1)

    def work() -> bytes:
        in_background(hold)
        is_locked.wait(HANGS)
        return json.dumps(parsed["pe-x86"]).encode()

    with sampledb.open(path, timeout=0.05) as db:
        job_id = db.submit_binary(sources["pe-x86"])
        assert [job.job_id for job in db.run_jobs(Lying(work))] == [job_id]
        assert db.get_job(job_id).state == "finished"


@pytest.mark.slow
def test_progress_that_raises_leaves_no_job_behind(db: SampleDB) -> None:
    for each in OTHERS[:3]:
        db.submit_binary(each)

    def progress(*_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        db.run_jobs(progress=progress)
    assert db.list_jobs("running") == []
    db.run_jobs()
    assert {job.state for job in db.list_jobs()} == {"finished"}
    assert {job.attempts for job in db.list_jobs()} == {1}


@pytest.mark.parametrize("runner", ["x", "host/abc/1", "host/99999999999999999999/1", "", "/1/", None])
@pytest.mark.parametrize("lease", [0.0, 9e99, -1.0])
def test_a_forged_runner_does_not_hold_a_job_for_ever(path: Path, runner: str | None, lease: float) -> None:
    # None is a runner in this process.
    runner = jobs.runner_name() if runner is None else runner
    with sampledb.open(path) as db:
        job_id = db.submit_binary(b"garbage")
    with raw(path) as connection:
        forged = "UPDATE jobs SET state = 'running', runner = :runner, lease_until = :lease, lease_uptime = :lease"
        connection.execute(forged, {"runner": runner, "lease": lease})
    with sampledb.open(path) as db:
        assert [job.job_id for job in db.run_jobs(Lying(lambda: b""))] == [job_id]


def test_an_error_that_nobody_can_read_is_damage(path: Path) -> None:
    with sampledb.open(path) as db:
        job_id = db.submit_binary(b"garbage")
    with raw(path) as connection:
        connection.execute("UPDATE jobs SET error = ?", ("[" * 100_000,))
    with sampledb.open(path) as db:
        for call in (lambda: db.get_job(job_id), db.list_jobs):
            with pytest.raises(CorruptFileError):
                call()
        assert db.check(deep=True)


@posix
def test_what_is_no_regular_file_is_refused(db: SampleDB, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    released = memoryview(b"MZ")
    released.release()
    for binary in (tmp_path / "pipe", tmp_path, "/dev/zero", released):
        with pytest.raises(InvalidInputError):
            db.submit_binary(binary)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_broken_executor_is_an_error_and_its_jobs_wait_for_another(db: SampleDB) -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        with pytest.raises(Exception, match="terminated"):
            executor.submit(os._exit, 1).result()
        job_id = db.submit_binary(SMALL)
        with pytest.raises(AnalysisError, match="no more work"):
            db.run_jobs(executor)
    assert (db.get_job(job_id).state, db.get_job(job_id).attempts) == ("queued", 0)
    assert [job.state for job in db.run_jobs()] == ["finished"]


@pytest.mark.slow
def test_progress_is_told_after_each_job(db: SampleDB, capfd: pytest.CaptureFixture[str]) -> None:
    told: list[tuple[int, int, Job]] = []
    for each in OTHERS[:3]:
        db.submit_binary(each)
    ended = db.run_jobs(progress=lambda *told_now: told.append(told_now))
    assert [(finished, total) for finished, total, _ in told] == [(1, 3), (2, 3), (3, 3)]
    assert [job for *_, job in told] == ended
    db.submit_binary(SMALL)
    db.run_jobs(progress=True)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(InvalidInputError):
        db.run_jobs(progress=5)  # type: ignore[arg-type]


@pytest.mark.slow
@posix
def test_a_terminal_shows_a_bar(db: SampleDB) -> None:
    import pty  # noqa: PLC0415 - not everywhere

    db.submit_binary(b"garbage")
    db.submit_binary(b"rubbish")
    script = f"import sampledb; sampledb.open({db.path!r}).run_jobs(progress=True)"
    screen, terminal = pty.openpty()
    subprocess.run([sys.executable, "-c", script], stderr=terminal, env={**os.environ, "COLUMNS": "30"}, check=True)
    os.close(terminal)
    assert os.read(screen, 1000).decode() == f"\r{'#' * 10}{'.' * 10} 1/2 jobs\r{'#' * 20} 2/2 jobs\r\n"
    os.close(screen)


# Runners

RUN = """
import sys, sampledb
with sampledb.open(sys.argv[1], timeout=60) as db:
    db.run_jobs()
"""


def run_in_process(path: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", RUN, str(path)], stderr=subprocess.PIPE)


@pytest.mark.slow
def test_two_runners_do_every_job_once(tmp_path: Path) -> None:
    path = tmp_path / "test.sampledb"
    with sampledb.open(path) as db:
        ids = [db.submit_binary(changed(SMALL.read_bytes(), number)) for number in range(12)]
        runners = [run_in_process(path) for _ in range(2)]
        assert [runner.wait(HANGS) for runner in runners] == [0, 0]
        assert {db.get_job(each).state for each in ids} == {"finished"}
        assert {db.get_job(each).attempts for each in ids} == {1}
        assert len(db.list_samples()) == 12
        assert db.check(deep=True) == []
    for runner in runners:
        assert runner.stderr is not None
        runner.stderr.close()


@pytest.mark.slow
@posix
def test_a_runner_that_is_killed_again_and_again_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "test.sampledb"
    with sampledb.open(path) as db:
        ids = [db.submit_binary(changed(SMALL.read_bytes(), number)) for number in range(10)]
    for pause in (0.3, 1.2, 1.5, 1.8):
        runner = run_in_process(path)
        time.sleep(pause)
        runner.kill()
        runner.communicate(timeout=HANGS)
        with sampledb.open(path) as db:
            assert db.check(deep=True) == []
    with sampledb.open(path) as db:
        db.run_jobs()
        found = [db.get_job(each) for each in ids]
        # Three attempts are all that a job has: it cannot be told from one that kills its runner.
        assert {job.state for job in found} <= {"finished", "failed"}
        assert all(job.attempts == 3 for job in found if job.state == "failed")
        assert len(db.list_samples()) == sum(job.state == "finished" for job in found)
        assert db.check(deep=True) == []


@pytest.mark.slow
@posix
def test_an_interrupted_runner_stores_what_is_finished_and_queues_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "test.sampledb"
    with sampledb.open(path) as db:
        small, large = db.submit_binary(SMALL), db.submit_binary(binaries.large())
        runner = run_in_process(path)
        until(lambda: db.get_job(small).state == "finished")
        runner.send_signal(signal.SIGINT)
        _, errors = runner.communicate(timeout=HANGS)
        assert b"KeyboardInterrupt" in errors
        job = db.get_job(large)
        assert (job.state, job.attempts) == ("queued", 0)
        assert db.check(deep=True) == []


def test_a_lease_that_ran_out_is_taken_over_and_what_comes_late_is_thrown_away(db: SampleDB) -> None:
    job_id = db.submit_binary(SMALL)
    connections = Connections(db.path, readonly=False, timeout=5.0)
    with connections.writing() as connection:
        claim = jobs.claim(connection, "elsewhere/1/a")
        assert claim is not None
        assert claim.binary == SMALL.read_bytes()
        assert jobs.claim(connection, "elsewhere/1/b") is None
    assert db.run_jobs() == []
    with connections.writing() as connection:
        connection.execute("UPDATE jobs SET lease_until = 0")
    (job,) = db.run_jobs()
    assert (job.state, job.attempts) == ("finished", 2)
    with connections.writing() as connection:
        assert not jobs.is_held(connection, "elsewhere/1/a", job_id)
        jobs.fail(connection, "elsewhere/1/a", job_id, AnalysisError.of(job_id, "late"))
        jobs.give_back(connection, "elsewhere/1/a", job_id, "late")
    assert db.get_job(job_id) == job
    connections.close()


@pytest.mark.slow
def test_a_lease_is_renewed_while_the_work_goes_on(db: SampleDB, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sampledb.database.engine.runner.HEARTBEAT", 0.1)
    job_id = db.submit_binary(binaries.large())
    thread = in_background(db.run_jobs)
    lease = "SELECT lease_until AS lease FROM jobs"
    until(lambda: db.query(lease)[0]["lease"])
    first = db.query(lease)[0]["lease"]
    until(lambda: db.query(lease)[0]["lease"] > first)
    db.cancel_job(job_id)
    thread.join(HANGS)


CLAIM = """
import sys, time
real = time.time
time.time = lambda: real() + float(sys.argv[2])
import sampledb
from sampledb.store.tables import jobs
with sampledb.open(sys.argv[1]) as db, db._connections.writing() as connection:
    claim = jobs.claim(connection, sys.argv[3] if sys.argv[3:] else jobs.runner_name())
print("nothing" if claim is None else claim.request.job_id)
"""


def claim_elsewhere(path: Path, clock: int = 0, *runner: str) -> str:
    """Return what another process claims that ends at once, whose Unix time is wrong by so many seconds."""
    command = [sys.executable, "-c", CLAIM, str(path), str(clock), *runner]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=HANGS, check=True).stdout.strip()


def neighbour() -> str:
    """Return a runner of another container on this machine, whose process cannot be seen from here."""
    clock, _, _ = jobs.runner_name().partition("/")[0].rpartition(".")
    return f"{clock}.1/1/a"


@pytest.fixture
def queued(db: SampleDB) -> str:
    return db.submit_binary(SMALL)


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="hosts are known on Linux")


@on_linux
@pytest.mark.parametrize("clock", [-300, 300])
@pytest.mark.parametrize("runner", [jobs.runner_name(), neighbour()], ids=["this process", "another container"])
def test_a_clock_that_jumps_takes_no_job_from_a_living_runner(
    db: SampleDB, queued: str, runner: str, clock: int
) -> None:
    with db._connections.writing() as connection:
        assert jobs.claim(connection, runner)
    assert [claim_elsewhere(Path(db.path), clock) for _ in range(4)] == ["nothing"] * 4
    assert (db.get_job(queued).state, db.get_job(queued).attempts) == ("running", 1)
    # Nor does it if the clock of the runner jumped before it took the job.
    with db._connections.writing() as connection:
        connection.execute("UPDATE jobs SET lease_until = lease_until + ?", (clock,))
    assert claim_elsewhere(Path(db.path)) == "nothing"


@on_linux
@pytest.mark.parametrize("clock", [-300, 0, 300])
def test_a_runner_that_lives_but_is_stuck_loses_its_job(db: SampleDB, queued: str, clock: int) -> None:
    with db._connections.writing() as connection:
        assert jobs.claim(connection, jobs.runner_name())
        # It has been stuck for a little longer than a lease.
        connection.execute("UPDATE jobs SET lease_uptime = lease_uptime - ?", (jobs.LEASE + 1,))
    assert claim_elsewhere(Path(db.path), clock) == queued


@on_linux
@pytest.mark.parametrize("clock", [-300, 0, 300])
def test_the_death_of_a_runner_is_noticed_at_once(db: SampleDB, queued: str, clock: int) -> None:
    assert [claim_elsewhere(Path(db.path), clock) for _ in range(3)] == [queued] * 3
    assert db.get_job(queued).attempts == 3


def test_runners_of_different_machines_compare_unix_time(db: SampleDB, queued: str) -> None:
    with db._connections.writing() as connection:
        assert jobs.claim(connection, "elsewhere.1.1/1/a")
        connection.execute("UPDATE jobs SET lease_uptime = 0")
        assert jobs.claim(connection, jobs.runner_name()) is None
        connection.execute("UPDATE jobs SET lease_until = lease_until - ?", (jobs.LEASE + 1,))
        assert jobs.claim(connection, jobs.runner_name())
    assert db.get_job(queued).attempts == 2


# The file


def test_without_smda_binaries_are_queued_but_not_run(tmp_path: Path) -> None:
    script = """
import sys, sampledb
sys.modules["smda"] = None  # as if it were not installed
db = sampledb.open(sys.argv[1])
db.submit_binary(b"MZ")
for call in (db.run_jobs, lambda: db.analyze(b"MZ2")):
    try:
        call()
    except sampledb.MissingExtraError as error:
        print(error.details["extra"], len(db.list_jobs("queued")))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "test.sampledb")], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["analysis 1", "analysis 1"]
