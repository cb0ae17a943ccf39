"""A process that runs operations under faults, and judges what is left; one case a line, as JSON, in and out.

Started afresh for each kind of journal, it loads all modules once, and forks for each case: that takes milliseconds.
"""

import json
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import sampledb
import sampledb.store.journal
from sampledb import ReadOnlyError, SampleDB, SampleDBError, StorageError
from sampledb.workers import packer as packing
from tests.torture import strace
from tests.torture.operations import ALL, COPY, PROBE, STORE, Operation, contents, copied
from tests.torture.powercut import Disk
from tests.torture.strace import Fault

JOURNALS = ("wal", "rollback")

Contents = dict[str, Any]


class Course(NamedTuple):
    """An operation that nothing disturbed: the folder before it, and what the file says after each acknowledgement."""

    before: Path
    states: list[Contents]

    def allowed(self, said: list[str]) -> list[Contents]:
        """What a process leaves that said so: what it acknowledged, and what was under way wholly or not at all."""
        acknowledged = sum(each in {"opened", "done"} for each in said)
        return self.states[acknowledged : acknowledged + 2]

    def is_new(self, said: list[str]) -> bool:
        """Whether a process that said so need not have created the file yet."""
        return not (self.before / STORE).exists() and "opened" not in said


# The operation, in a process of its own


def perform(operation: Operation, path: Path, say: Callable[[str], object]) -> None:
    """Open, run and close, saying what has returned and what was raised."""
    try:
        db = sampledb.open(path)
    except SampleDBError as error:
        say(_described(error))
        return
    say("opened")
    try:
        for _ in operation.run(db):
            say("done")
    except SampleDBError as error:
        say(_described(error))
        say(_probed(db))
    try:
        db.close()
        say("closed")
    except SampleDBError as error:
        say(_described(error))
    db.close()
    assert db.closed


def _described(error: SampleDBError) -> str:
    return f"{type(error).__name__} {error}"


def _probed(db: SampleDB) -> str:
    """Whether a handle that met an error still reads and writes."""
    try:
        db.list_samples()
        db.add_media(sha256=PROBE, exist_ok=True)
    except SampleDBError as error:
        return f"unusable: {_described(error)}"
    return "usable"


def run(operation: Operation, folder: Path, log: Path, fault: Fault | None, *, content: bool = False) -> list[str]:
    """What a process said that did the operation under a fault; in the end how it ended, if it was killed."""
    (hears, says), (waits, starts) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(starts)
        _be_run(operation, folder / STORE, waits, says)
    os.close(waits)
    os.close(says)
    try:
        with open(hears) as said, strace.attached(child, log, fault, content=content):  # noqa: PTH123 - a pipe
            os.write(starts, b"x")
            lines = said.read().splitlines()
    finally:
        os.close(starts)
        _, status = os.waitpid(child, 0)
    return [*lines, "killed"] if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL else lines


def _be_run(operation: Operation, path: Path, waits: int, says: int) -> None:
    strace.allow()
    try:
        if os.read(waits, 1):
            perform(operation, path, lambda what: os.write(says, f"{what}\n".encode()))
    except BaseException as error:  # noqa: BLE001 - whatever it is, it should not have left the package
        os.write(says, f"leaked {error!r}\n".encode())
    finally:
        os._exit(0)


# What is left of it


def problems(folder: Path, allowed: list[Contents], *, is_new: bool, may_stay: tuple[str, ...] = ()) -> Iterator[str]:
    """What is wrong with a folder that a process left, which perhaps had not created the file yet.

    Files whose names begin with what `may_stay` may be there too.
    """
    try:
        with sampledb.open(folder / STORE, readonly=True) as db:
            yield from _differences(db, allowed)
    except ReadOnlyError:
        # It has a journal: it must be opened for writing first.
        pass
    except StorageError as error:
        if not is_new:
            yield f"cannot be read: {_described(error)}"
    try:
        with sampledb.open(folder / STORE) as db:
            yield from map(str, db.check(deep=True))
            yield from _differences(db, allowed)
        if (folder / COPY).exists():
            with sampledb.open(folder / COPY, readonly=True) as copy:
                yield from map(str, copy.check(deep=True))
                yield from _differences(copy, allowed)
    except SampleDBError as error:
        yield f"cannot be opened: {_described(error)}"
    for name in sorted({each.name for each in folder.iterdir()} - {STORE, COPY}):
        if not name.startswith(may_stay):
            yield f"{name} was left behind"


def _differences(db: SampleDB, allowed: list[Contents]) -> Iterator[str]:
    if contents(db) not in allowed:
        yield "it is neither as it was nor as it should be"


# Of a copy that is not complete only its process knows, and can remove it only as long as it lives.
_OF_THE_DEAD = (f".{COPY}.",)
# Where files cannot be removed, they stay.
_OF_UNLINK = (f".{COPY}.", f"{STORE}-")


def complaints(said: list[str], fault: Fault) -> Iterator[str]:
    """What is wrong with what a process said, which met an error and not its end."""
    for each in said:
        word = each.partition(" ")[0]
        if word == "CorruptFileError" and fault.call in READING:
            # SQLite's word for a sector that cannot be read.
            continue
        if word not in {"opened", "done", "closed", "usable", "unusable:", *ERRORS}:
            yield each
        if word == "unusable:" and not fault.lasts:
            yield each


# What a disk that fails may be called.
ERRORS = ("StorageError", "ReadOnlyError", "BusyError")
READING = ("pread64", "newfstatat")


# The cases


class Bench:
    """Where the cases of one process are run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._courses: dict[str, Course] = {}

    def course(self, name: str) -> Course:
        """How an operation goes by itself. It is run in this process, so that those of the faults find all loaded."""
        if name not in self._courses:
            self._courses[name] = self._run_alone(name)
        return self._courses[name]

    def _run_alone(self, name: str) -> Course:
        before = self._folder / f"before {name}"
        before.mkdir()
        ALL[name].prepare(before)
        # Opening to look may change a file that is not whole.
        with sampledb.open(copied(before, self._folder / "look") / STORE) as db:
            states = [contents(db)]
        with sampledb.open(copied(before, self._folder / "alone") / STORE) as db:
            states.append(contents(db))
            states += [contents(db) for _ in ALL[name].run(db)]
        return Course(before, states)

    def count(self, operation: str) -> dict[str, int]:
        """How often each system call is made."""
        self._run(operation, None)
        return strace.counted(self._log)

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def _run(self, operation: str, fault: Fault | None, *, content: bool = False) -> tuple[Course, Path, list[str]]:
        course = self.course(operation)
        folder = copied(course.before, self._folder / "case")
        return course, folder, run(ALL[operation], folder, self._log, fault, content=content)

    def fail(self, operation: str, call: str, action: str, number: int, *, lasts: bool) -> dict[str, Any]:
        """What an operation says and leaves whose system call fails, or is its last."""
        fault = Fault(call, action, number, lasts)
        course, folder, said = self._run(operation, fault)
        is_dead = "killed" in said
        found = [] if is_dead else list(complaints(said, fault))
        may_stay = _OF_THE_DEAD if is_dead else _OF_UNLINK if call == "unlink" else ()
        found += problems(folder, course.allowed(said), is_new=course.is_new(said), may_stay=may_stay)
        return {"hit": is_dead or "(INJECTED)" in self._log.read_text(), "said": said, "problems": found}

    def cut(self, operation: str, cuts: int, every: int) -> dict[str, Any]:
        """What power cuts leave of an operation: at every so many events all, nothing, and some of what is unsynced."""
        course, folder, heard = self._run(operation, None, content=True)
        before, written = _files(course.before), _files(folder)
        events = list(strace.events(self._log, folder, before))
        disk = Disk(before)
        tried: set[int] = set()
        found: list[str] = []
        for number, said in enumerate(disk.play(events)):
            if number % every == 0:
                states = {hash((*files.items(), *said)): (name, files) for name, files in _cuts(disk, number, cuts)}
                new = [states[state] for state in states.keys() - tried]
                found += [f"event {name}: {each}" for name, files in new for each in self._cut(files, course, said)]
                tried.update(states)
        if (disk.written(), said) != (written, heard):
            found.append("strace's log is not what happened")
        return {"events": len(events), "states": len(tried), "problems": found}

    def _cut(self, files: dict[str, bytes], course: Course, said: list[str]) -> list[str]:
        folder = self._folder / "case"
        shutil.rmtree(folder)
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        return list(problems(folder, course.allowed(said), is_new=course.is_new(said), may_stay=_OF_THE_DEAD))


def _files(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


def _cuts(disk: Disk, number: int, cuts: int) -> Iterator[tuple[str, dict[str, bytes]]]:
    yield f"{number} written", disk.written()
    yield f"{number} synced", disk.synced()
    for each in range(cuts):
        seed = f"{number} cut {each}"
        yield seed, disk.cut(random.Random(seed))  # noqa: S311


def serve(journal: str, folder: Path) -> None:
    """Run cases until there are no more."""
    # A report that takes long to pack is packed by other processes, which would make each run another.
    vars(packing)["_PATIENCE"] = float("inf")
    vars(sampledb.store.journal)["WAL_IS_SAFE"] = journal == "wal"
    # What it imports would be among the system calls of a case.
    strace.allow()
    bench = Bench(folder)
    for line in sys.stdin:
        case = json.loads(line)
        try:
            answer: dict[str, Any] = getattr(bench, case.pop("do"))(**case)
        except strace.RefusedError as error:
            answer = {"refused": str(error)}
        print(json.dumps(answer), flush=True)  # noqa: T201
