"""A call inside a call, an interrupt between any two steps, a fork in a handler: the outer call is whole or not at all.

Python runs signal handlers where it enters a function and where a C function returns. Tests interrupt calls at each of
these places in the code that lends connections, and in what that uses of the standard library.
"""

import contextlib
import ctypes
import gc
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

import pytest

import sampledb
import sampledb.intake.files
from sampledb import BusyError, ClosedError, SampleDB, SampleDBError
from sampledb.store import connection, file, forks, journal, loan, query, sqlite
from tests.store.programs import list_folder, run
from tests.strategies import function, report
from tests.workers.processes import HANGS

ROOT = Path(__file__).parent.parent.parent
WATCHED = {
    *(module.__file__ for module in (connection, file, forks, journal, loan, query, sqlite, sampledb.intake.files)),
    *(contextlib.__file__, threading.__file__),
}
signals = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="Windows has no such signals")
forking = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows does not fork")


def interrupt(
    call: Callable[[], object], place: int, action: Callable[[], object]
) -> tuple[bool, BaseException | None]:
    """Call `action` at one of the places where a signal handler may run in `call`; return whether there is such one."""
    passed = 0

    def watch(frame: FrameType, event: str, _: object) -> None:
        nonlocal passed
        if event in {"call", "c_return"} and frame.f_code.co_filename in WATCHED:
            passed += 1
            if passed == place:
                sys.setprofile(None)
                action()

    sys.setprofile(watch)
    try:
        call()
    except BaseException as error:  # noqa: BLE001 - the test judges it
        return passed >= place, error
    finally:
        sys.setprofile(None)
    return passed >= place, None


def stop() -> None:
    raise KeyboardInterrupt


CALLS: dict[str, Callable[[SampleDB, int], object]] = {
    "get_sample": lambda db, _: db.get_sample(1),
    "list_samples": lambda db, _: db.list_samples(limit=2),
    "add_media": lambda db, number: db.add_media(sha256=f"{number:064x}", tags=["a"]),
}


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SampleDB]:
    """A store with two samples; its file is in memory where it can be, because nothing here needs a real disk."""
    memory = Path("/dev/shm")  # noqa: S108 - a new folder in it
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        path = Path(folder) / "store"
        with sampledb.open(path if request.param == "file" else ":memory:") as db:
            for digit in "ef":
                db.add_media(sha256=digit * 64)
            yield db
        assert list_folder(path) == ([path.name] if request.param == "file" else [])


def require_whole(db: SampleDB, held: list[BaseException | None]) -> None:
    """Fail unless the next call, during which an older exception is forgotten, works; and that of another thread."""
    pool = db._connections
    notes = os.urandom(4).hex()
    with pool.writing() as connection:
        connection.execute("UPDATE samples SET username = ? WHERE sample_id = 2", (notes,))
        held.clear()
        gc.collect(1)
        assert connection.in_transaction
    assert pool._loans == []
    assert len(set(pool._idle)) == len(pool._idle) >= 1
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(db.get_sample, 2).result(timeout=60).username == notes


@pytest.mark.parametrize("call", CALLS)
def test_an_interrupt_anywhere_leaves_the_store_whole(store: SampleDB, call: str) -> None:
    is_there, place = True, 0
    while is_there:
        place += 1
        is_there, error = interrupt(lambda: CALLS[call](store, place), place, stop)  # noqa: B023 - called at once
        assert isinstance(error, KeyboardInterrupt) is is_there, error
        require_whole(store, [error])
        added = store.query("SELECT count(*) AS found FROM samples WHERE sha256 = ?", [f"{place:064x}"])
        assert added[0]["found"] in ({0, 1} if is_there and call == "add_media" else {int(call == "add_media")})
    assert place > 10
    assert store.check(deep=True) == []


INNER: dict[str, Callable[[SampleDB], object]] = {
    "reads": lambda db: db.list_families(),
    "writes": lambda db: db.update_sample(1, notes="inner"),
    "queries": lambda db: db.query("SELECT count(*) FROM samples"),
}


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("call", CALLS)
def test_a_call_inside_a_call_harms_neither(store: SampleDB, call: str, inner: str) -> None:
    def nest() -> None:
        try:
            INNER[inner](store)
        except BusyError as error:
            refused.append(error)

    refused: list[BusyError] = []
    is_there, place = True, 0
    while is_there:
        place += 1
        is_there, error = interrupt(lambda: CALLS[call](store, place), place, nest)  # noqa: B023 - called at once
        assert error is None
        require_whole(store, [])
    assert all("inside another call" in str(each) or "using it" in str(each) for each in refused)
    assert (store.check(deep=True), store.query("SELECT 1 AS one")) == ([], [{"one": 1}])


def test_an_interrupt_of_a_query_leaves_its_thread_its_connection(store: SampleDB) -> None:
    is_there, place = True, 0
    while is_there:
        place += 1
        is_there, error = interrupt(lambda: store.query("SELECT 1"), place, stop)
        assert isinstance(error, KeyboardInterrupt) is is_there, error
        while store._connections._loans:  # until its thread has ended
            store.get_sample(1)
        require_whole(store, [error])


def leave(db: SampleDB) -> None:
    """Begin a transaction that nothing will end."""
    db._connections.writing().__enter__().execute("UPDATE samples SET extension = 'left'")


def test_a_thread_that_dies_in_a_call_leaves_no_lock(store: SampleDB) -> None:
    thread = threading.Thread(target=leave, args=[store])
    thread.start()
    thread.join(HANGS)
    assert store.update_sample(1, notes="next").extension == ""
    assert store._connections._loans == []


def test_a_thread_that_is_stopped_from_outside_leaves_no_lock(store: SampleDB) -> None:
    begun = threading.Event()

    def work() -> None:
        with contextlib.suppress(SystemExit), store._connections.writing():
            begun.set()
            while True:
                time.sleep(0.001)

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(HANGS)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))
    thread.join(HANGS)
    assert store.update_sample(1, notes="next").notes == "next"


def test_a_handle_may_be_closed_inside_a_call(path: Path) -> None:
    db = sampledb.open(path)
    with db._connections.writing() as connection:
        connection.execute("UPDATE samples SET extension = 'whole'")
        db.close()
    with pytest.raises(ClosedError):
        db.get_sample(1)
    assert list_folder(path) == [path.name]
    with sampledb.open(path) as db:
        assert db.get_sample(1).extension == "whole"


def test_what_is_called_inside_a_call_waits_for_no_lock_of_it(path: Path) -> None:
    with sampledb.open(path, timeout=1000) as db:
        with db._connections.reading() as connection:
            rows = connection.execute("SELECT 1 UNION SELECT 2")
            rows.fetchone()
            with contextlib.suppress(BusyError):
                db.update_sample(1, notes="inner")
            rows.close()
        with db._connections.writing() as connection:
            connection.execute("UPDATE samples SET extension = 'outer'")
            for call in (db.list_samples, lambda: db.query("SELECT 1")):
                with contextlib.suppress(BusyError):
                    call()
            with pytest.raises(BusyError, match="inside another call"):
                db.update_sample(1, notes="inner")
        assert db.get_sample(1).extension == "outer"


def test_memory_refuses_a_call_inside_a_call_at_once() -> None:
    with sampledb.open(":memory:", timeout=1000) as db, db._connections.reading():
        for call in (db.list_samples, lambda: db.query("SELECT 1"), lambda: db.delete_sample(1)):
            with pytest.raises(BusyError, match="inside another call"):
                call()


def test_an_error_that_was_handled_before_keeps_its_variables(db: SampleDB) -> None:
    try:
        _fail("precious")
    except ValueError as error:
        with pytest.raises(sampledb.NotFoundError):
            db.get_sample(5)
        trace = error.__traceback__
        assert trace is not None
        assert trace.tb_next is not None
        assert trace.tb_next.tb_frame.f_locals == {"variable": "precious"}


def _fail(variable: str) -> None:
    raise ValueError(variable)


# Real signals and finalizers


@contextlib.contextmanager
def handling(handler: Callable[..., object], first: float, every: float = 0.0) -> Iterator[None]:
    """Have a handler called by real signals, after so many seconds."""
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, first, every)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@signals
@pytest.mark.parametrize("seconds", [0.5, pytest.param(20.0, marks=pytest.mark.sweep)])
def test_signal_handlers_that_call_the_handle_tear_no_call(path: Path, seconds: float) -> None:
    inner: list[str] = []

    def look(*_: object) -> None:
        try:
            db.list_families()
            inner.append("answer")
        except SampleDBError as error:
            inner.append(error.code)

    def change(number: int) -> None:
        added = db.add_sample(report(*(function(16 * each) for each in range(30)), seed=f"new {number}"))
        db.update_sample(added.sample_id, notes=str(number), tags=[f"tag {number}"])
        if number % 3 == 0:
            db.delete_sample(added.sample_id)

    with sampledb.open(path) as db:
        end, number = time.monotonic() + seconds, 0
        with handling(look, 0.001, 0.0031):
            while time.monotonic() < end or not inner:
                number += 1
                change(number)
        assert set(inner) <= {"answer", "busy"}
        found = {sample.sha256: sample.notes for sample in db.list_samples().values()}
        for each in range(1, number + 1):
            sha256 = hashlib.sha256(f"new {each}".encode()).hexdigest()
            assert found.get(sha256) == (None if each % 3 == 0 else str(each))
        assert db.check(deep=True) == []


class _Session:
    """Part of a cycle, so that the garbage collector ends it at its own moment: that is when it reads the store."""

    def __init__(self, db: SampleDB, seen: list[int]) -> None:
        self.db, self.seen, self.me = db, seen, self

    def __del__(self) -> None:
        self.seen.append(self.db.get_sample(1).sample_id)


def test_finalizers_that_call_the_handle_tear_no_call(path: Path) -> None:
    before, seen = gc.get_threshold(), list[int]()
    with sampledb.open(path) as db:
        try:
            for number in range(60):
                made = report(*(function(16 * each) for each in range(30)), seed=f"new {number}")
                gc.set_threshold(20 + number * 7, 10, 10)
                _Session(db, seen)
                db.add_sample(made)
        finally:
            gc.set_threshold(*before)
        gc.collect()
        assert seen == [1] * 60
        assert len(db.list_samples()) == 61
        assert db.check(deep=True) == []


ENDLESS = "WITH RECURSIVE endless(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM endless) SELECT count(*) FROM endless"


@signals
def test_what_a_handler_raises_ends_a_statement_and_is_raised(db: SampleDB) -> None:
    def give_up(*_: object) -> None:
        raise TimeoutError("this took too long")

    for _ in range(2):  # the connection is watched again
        with db._connections.reading() as connection, handling(give_up, 0.05):
            with pytest.raises(TimeoutError, match="took too long"), db._connections.reading() as inner:
                inner.execute(ENDLESS).fetchall()
            assert connection.execute("SELECT 1").fetchone() == (1,)
        with handling(give_up, 0.05), pytest.raises(TimeoutError, match="took too long"):
            db.query(ENDLESS)
    assert db.list_samples() == {}


# One step of SQLite's machine, which would take hours.
LONG = "SELECT instr(hex(zeroblob(50000000)), hex(zeroblob(10000000)) || '1')"
INTERRUPTED = """
import os, signal, sys, threading, sampledb
with sampledb.open(sys.argv[1]) as db:
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        db.query(sys.argv[2])
    except KeyboardInterrupt:
        print(db.get_sample(1).sample_id)
"""


@signals
@pytest.mark.parametrize("own_sqlite", [False, True])
@pytest.mark.parametrize("sql", [LONG, ENDLESS])
def test_ctrl_c_ends_a_query_even_in_one_long_step(path: Path, sql: str, own_sqlite: bool) -> None:
    done = run(INTERRUPTED, path, sql, own_sqlite=own_sqlite)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


# Forks


def wait_for(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@forking
def test_a_fork_inside_a_call_lets_only_the_parent_go_on(path: Path) -> None:
    """A handler may fork; where the child goes on, it has a connection whose locks only the parent holds."""
    child = -1
    outcome = 1
    db = sampledb.open(path)
    try:
        with db._connections.writing() as connection:
            connection.execute("UPDATE samples SET md5 = 'parent'")
            child = os.fork()
            connection.execute("UPDATE samples SET username = 'parent'")
    except ClosedError:
        outcome = 3
    if child == 0:
        try:
            db.get_sample(1)
        except ClosedError:
            outcome += 4
        os._exit(outcome)
    assert (outcome, wait_for(child)) == (1, 7)
    db.close()
    assert list_folder(path) == [path.name]
    with sampledb.open(path) as db:
        assert (db.get_sample(1).md5, db.get_sample(1).username) == ("parent", "parent")
        assert db.check(deep=True) == []


@forking
def test_a_fork_inside_a_fork_waits_for_nothing(path: Path) -> None:
    """A signal handler may fork while the fork that it interrupts waits for threads."""
    program = """
import os, signal, sys, threading, time, sampledb

def fork(*_):
    child = os.fork()
    if child == 0:
        os._exit(0)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

def work():
    with db._connections.reading():
        begun.set()
        ended.wait()

codes, begun, ended = [], threading.Event(), threading.Event()
db = sampledb.open(sys.argv[1])
signal.signal(signal.SIGALRM, lambda *_: (ended.set(), fork()))
threading.Thread(target=work).start()
begun.wait()
signal.setitimer(signal.ITIMER_REAL, 0.2)
fork()
print(codes, db.get_sample(1).sample_id)
"""
    done = run(program, path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[0, 0] 1\n", "")


@forking
def test_a_fork_waits_for_a_thread_that_opens_a_file() -> None:
    """A child would inherit the locks that the thread holds inside SQLite."""
    begun, ended = threading.Event(), threading.Event()

    def work() -> None:
        with forks.delay():  # as while a file is opened or closed
            begun.set()
            ended.wait(HANGS)
            ended.clear()

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(HANGS)
    threading.Timer(0.1, ended.set).start()
    child = os.fork()
    if child == 0:
        os._exit(0 if ended.is_set() else 5)
    assert wait_for(child) == 5
    thread.join(HANGS)


@forking
def test_a_child_asks_nothing_more_of_its_parents_threads() -> None:
    """A lock that such a thread has at the fork is never released in the child."""
    asked = iter("ab")
    items = forks.in_one_process(asked)
    assert next(items) == "a"
    child = os.fork()
    if child == 0:
        with contextlib.suppress(ClosedError):
            os._exit(int(next(items) == "b"))
        os._exit(5 if next(asked) == "b" else 2)
    assert (wait_for(child), next(items)) == (5, "b")


@forking
@pytest.mark.parametrize("times", [10, pytest.param(200, marks=pytest.mark.sweep)])
def test_children_open_a_file_that_threads_of_the_parent_open_and_close(path: Path, times: int) -> None:
    program = """
import os, sys, threading, sampledb
ended = threading.Event()
def work():
    while not ended.is_set():
        with sampledb.open(sys.argv[1]) as db:
            db.get_sample(1)
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
codes = []
for _ in range(int(sys.argv[2])):
    child = os.fork()
    if child == 0:
        with sampledb.open(sys.argv[1]) as db:
            os._exit(db.get_sample(1).sample_id)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
ended.set()
print(set(codes))
"""
    # Python 3.12 warns of what is tried here, a fork beside threads.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, str(path), str(times)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "{1}\n", "")


@pytest.mark.slow
def test_all_of_this_holds_for_pythons_own_sqlite() -> None:
    program = """
import sys, pytest
sys.exit(pytest.main(["-q", "-x", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""
    modules = [Path(__file__).with_name(f"test_{name}.py") for name in ("beside", "identity", "reentry")]
    done = run(program, *modules, own_sqlite=True)
    assert done.returncode == 0, done.stdout
