"""A pool keeps the limits of its processes, replaces those that die, and leaves none behind."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from functools import partial
from pathlib import Path

import msgspec
import pytest

from sampledb import AnalysisError
from sampledb.intake.binary import Request
from sampledb.workers.disassembler import ask_for_report
from sampledb.workers.pool import Ask, Pool
from sampledb.workers.process import DiedError
from tests import binaries
from tests.strategies import function, report
from tests.workers.processes import HANGS, children_of, linux, until

REPORT = msgspec.json.encode(report(function(4096)))
SMALL = binaries.launcher("t32")


def parse(ask: Ask) -> bytes:
    return ask(REPORT, None)


def disassembling(binary: bytes | Path, timeout: float = HANGS) -> partial[bytes]:
    """The work of disassembling a binary; by default no machine is too slow for it."""
    content = binary.read_bytes() if isinstance(binary, Path) else binary
    request = Request("job", "name", "", "", is_dump=False, base_addr=0, bitness=32, strings=False, timeout=timeout)
    return partial(ask_for_report, content, request)


@pytest.fixture
def pool() -> Iterator[Pool]:
    with Pool("packer", 1) as pool:
        yield pool
    assert children_of(os.getpid(), "packer") == set()


def child() -> int:
    (child,) = children_of(os.getpid(), "packer")
    return child


@linux
def test_no_process_starts_before_it_is_needed(pool: Pool) -> None:
    assert children_of(os.getpid()) == set()
    assert pool.submit(lambda _: 5).result() == 5
    assert children_of(os.getpid()) == set()


def test_what_work_raises_is_raised_where_the_result_is_asked_for(pool: Pool) -> None:
    with pytest.raises(ZeroDivisionError):
        pool.submit(lambda _: 1 // 0).result()
    assert pool.submit(parse).result()


@linux
def test_a_process_that_died_is_replaced(pool: Pool) -> None:
    first = pool.submit(parse).result()
    killed = child()
    os.kill(killed, signal.SIGKILL)
    # Whether the death is noticed before or after the question is sent.
    again = pool.submit(parse)
    assert isinstance(again.exception(), DiedError | None)
    assert pool.submit(parse).result() == first
    assert child() != killed


@linux
def test_work_that_has_begun_is_cancelled_with_its_process(pool: Pool) -> None:
    """A stopped process never answers: without the cancelling this would not end."""
    first = pool.submit(parse).result()
    os.kill(child(), signal.SIGSTOP)
    has_begun = threading.Event()

    def wait(ask: Ask) -> bytes:
        threading.Timer(0.1, has_begun.set).start()
        return ask(REPORT, None)

    stuck, waiting = pool.submit(wait), pool.submit(parse)
    assert has_begun.wait(HANGS)
    pool.cancel(waiting)
    assert waiting.cancelled()
    while not stuck.done():
        pool.cancel(stuck)
    assert isinstance(stuck.exception(), CancelledError)
    assert pool.submit(parse).result() == first


@linux
def test_a_shutdown_does_not_wait_for_stuck_processes() -> None:
    pool = Pool("packer", 1)
    pool.submit(parse).result()
    os.kill(child(), signal.SIGSTOP)
    stuck, waiting = pool.submit(parse), pool.submit(parse)
    pool.shutdown()
    for each in (stuck, waiting):
        with pytest.raises(CancelledError):
            each.result()
    assert children_of(os.getpid(), "packer") == set()


@linux
def test_a_shutdown_does_not_wait_for_a_future_that_an_interrupt_left_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sampledb.workers.pool._PATIENCE", 0.05)
    pool = Pool("packer", 1)
    pool.submit(parse).result()
    with pool.submit(lambda _: None)._condition:
        pool.shutdown()
        until(lambda: not children_of(os.getpid(), "packer"))


@linux
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_leaves_the_pool_to_its_parent(pool: Pool) -> None:
    first = pool.submit(parse).result()
    process = child()
    forked = os.fork()
    if forked == 0:
        pool.shutdown()
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == 7
    assert (pool.submit(parse).result(), child()) == (first, process)


# With SMDA


@linux
@pytest.mark.slow
def test_a_binary_that_takes_too_much_memory_fails_and_its_process_goes_on() -> None:
    with Pool("disassembler", 1, memory_limit=350 * 2**20) as pool:
        greedy = pool.submit(disassembling(binaries.large()))
        with pytest.raises(AnalysisError, match=r"more than 0.4 GB of memory"):
            greedy.result()
        process = children_of(os.getpid(), "disassembler")
        assert pool.submit(disassembling(SMALL)).result().startswith(b"{")
        assert children_of(os.getpid(), "disassembler") == process


@linux
@pytest.mark.slow
def test_a_stuck_process_fails_its_binary_by_the_clock() -> None:
    with Pool("disassembler", 1) as pool:
        assert pool.submit(disassembling(SMALL)).result()
        (process,) = children_of(os.getpid(), "disassembler")
        os.kill(process, signal.SIGSTOP)
        with pytest.raises(AnalysisError, match=r"longer than 0.1 seconds"):
            pool.submit(disassembling(SMALL, timeout=0.1)).result()
        with pytest.raises(AnalysisError) as raised:
            pool.submit(disassembling(b"garbage")).result()
    assert raised.value.details["job_id"] == "job"
