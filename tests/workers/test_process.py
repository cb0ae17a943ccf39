"""A child process answers in bytes, loads no store, and ends in time: by its limit, by the caller, with its parent."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import msgspec
import pytest

from sampledb.format.report import Report, parse_report
from sampledb.intake.binary import Request
from sampledb.workers.disassembler import ask_for_report
from sampledb.workers.process import DiedError, Process, UnavailableError
from tests import binaries
from tests.strategies import function, report
from tests.workers.processes import HANGS, become_program, children_of, environment_of, is_alive, linux, until

REPORT = msgspec.json.encode(report(function(4096)))


@pytest.fixture
def process() -> Iterator[Process]:
    """A process that parses reports."""
    process = Process("packer")
    process.start()
    yield process
    process.end()


def packed(answer: bytes) -> Report:
    return msgspec.convert(msgspec.msgpack.decode(answer)["report"], Report)


def pid_of(process: Process) -> int:
    return process._process.pid


def test_each_question_has_its_answer(process: Process) -> None:
    for number in range(5):
        given = msgspec.json.encode(report(function(4096), seed=str(number)))
        assert packed(process.ask(given)) == parse_report(given)


def test_messages_may_be_large(process: Process) -> None:
    large = msgspec.json.encode(report(function(4096), unknown=os.urandom(8 * 2**20).hex()))
    answer = process.ask(large)
    assert len(answer) > 5 * 2**20
    assert packed(answer) == parse_report(large)


@pytest.mark.parametrize("module", ["packer", "disassembler"])
def test_a_child_loads_no_store(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python reads `sitecustomize` as it starts; this one notes what is imported after it."""
    noted = tmp_path / "imported"
    (tmp_path / "sitecustomize.py").write_text(f"""
import sys
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        with open({str(noted)!r}, "a") as notes:
            print(name, file=notes)
sys.meta_path.insert(0, Finder)
""")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process = Process(module)
    process.start()
    if module == "packer":
        process.ask(REPORT)
    else:
        request = Request("", "t32.exe", "", "", is_dump=False, base_addr=0, bitness=32, strings=False, timeout=HANGS)
        ask_for_report(binaries.launcher("t32").read_bytes(), request, process.ask)
    process.end()
    imported = {name for name in noted.read_text().split() if name.startswith("sampledb.")}
    assert f"sampledb.workers.{module}" in imported
    assert {name.split(".")[1] for name in imported} <= {"workers", "format", "intake", "errors", "files", "limits"}


def test_what_python_prints_is_no_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("import atexit; print('welcome' * 1000, flush=True)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process = Process("packer")
    process.start()
    assert packed(process.ask(REPORT)) == parse_report(REPORT)
    process.end()


@pytest.mark.parametrize("executable", ["", None, "/nonexistent/python", "/bin/false"])
def test_where_python_does_not_start_there_is_no_process(
    monkeypatch: pytest.MonkeyPatch, executable: str | None
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.raises(UnavailableError):
        Process("packer").start()


@pytest.mark.parametrize(
    ("name", "is_frozen"), [("ida64", False), ("blender", False), ("app", True), ("python3", True)]
)
def test_what_is_no_interpreter_is_not_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, is_frozen: bool
) -> None:
    was_started = become_program(monkeypatch, tmp_path / name, is_frozen=is_frozen)
    with pytest.raises(UnavailableError, match="no Python interpreter"):
        Process("packer")
    assert not was_started()


def test_an_interpreter_that_ends_at_once_is_no_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    was_started = become_program(monkeypatch, tmp_path / "python3.11", is_frozen=False)
    with pytest.raises(UnavailableError):
        Process("packer").start()
    assert was_started()


@linux
def test_a_child_gets_what_python_needs_and_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "PYTHON_TOKEN", "SSH_AUTH_SOCK", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "secret")
    # With these, a child would end with an error, or take more memory.
    for name in ("PYTHONWARNINGS", "PYTHONTRACEMALLOC"):
        monkeypatch.setenv(name, "error")
    monkeypatch.setenv("LC_TIME", "C")
    process = Process("packer")
    process.start()
    environment = environment_of(pid_of(process))
    process.end()
    assert "secret" not in environment.values()
    assert "error" not in environment.values()
    assert environment["LC_TIME"] == "C"
    assert environment["PATH"] == os.environ["PATH"]
    assert environment["OPENBLAS_NUM_THREADS"] == "1"


def test_a_module_that_is_missing_blames_no_input() -> None:
    with pytest.raises(UnavailableError, match="ended with 1"):
        Process("nothing").start()


# The end


@linux
def test_a_process_that_answers_nothing_is_killed_by_the_clock(process: Process) -> None:
    """A stopped process looks at no clock, like one that is stuck in C."""
    os.kill(pid_of(process), signal.SIGSTOP)
    with pytest.raises(TimeoutError, match=r"longer than 0.1 seconds"):
        process.ask(REPORT, 0.1)
    assert not process.is_well
    assert not is_alive(pid_of(process))


@linux
def test_the_clock_strikes_in_the_middle_of_a_message_too(process: Process) -> None:
    """More than a pipe holds cannot be sent to a stopped process."""
    os.kill(pid_of(process), signal.SIGSTOP)
    with pytest.raises(TimeoutError):
        process.ask(bytes(2**24), 0.1)


@linux
def test_whoever_waits_for_a_cancelled_process_is_told_so(process: Process) -> None:
    os.kill(pid_of(process), signal.SIGSTOP)
    threading.Timer(0.1, process.cancel).start()
    with pytest.raises(CancelledError):
        process.ask(REPORT)


def test_a_process_that_was_killed_has_died(process: Process) -> None:
    process._process.kill()
    with pytest.raises(DiedError):
        process.ask(REPORT)
    assert not process.is_well


PARENT = """
import os, signal, sys, time
from sampledb.workers.process import Process
process = Process("packer")
process.start()
"""
# A child that the parent forks has the parent's ends of the pipes too.
FORKED = """
if os.fork() == 0:
    os.close(1)
    time.sleep(10_000)
print(process._process.pid, flush=True)
time.sleep(10_000)
"""
INTERRUPTED = """
try:
    print(process._process.pid, flush=True)
    time.sleep(10_000)
except KeyboardInterrupt:
    print(len(process.ask(sys.stdin.buffer.read())), flush=True)
process.end()
"""


@linux
def test_a_child_ends_with_its_parent_though_others_hold_the_pipe() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT + FORKED], stdout=subprocess.PIPE, start_new_session=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    try:
        assert children_of(parent.pid, "packer") == {child}
        parent.kill()
        until(lambda: not is_alive(child))
    finally:
        os.killpg(parent.pid, signal.SIGKILL)
        parent.communicate()


@linux
def test_ctrl_c_is_for_the_parent_alone() -> None:
    """In a terminal it reaches all processes of the foreground group."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT + INTERRUPTED],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    os.killpg(parent.pid, signal.SIGINT)
    length, _ = parent.communicate(REPORT, timeout=HANGS)
    assert int(length) > 100
    assert (parent.returncode, is_alive(child)) == (0, False)
