"""What happens to a program that is given a hostile file: every call made on it, in a process that may die of it.

`python -m tests.torture.attacked` is the server: it forks a child for each file, so that Python starts once. The child
works in the file's folder, with a bound on its memory and its time, and says of every call how it ended.
"""

import contextlib
import json
import os
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import sampledb
from sampledb import SampleDB, SampleDBError
from tests.strategies import function, report

# Seconds for all calls on one file. Most files take a thousandth of that, and the largest six seconds.
TIME: Final = 180.0
NAME: Final = "received.sampledb"
BYSTANDER: Final = "bystander"
_ROOT: Final = Path(__file__).parent.parent.parent
_COPY: Final = "copy.sampledb"
_EXPORT: Final = "copy.mcrit"
_TEXT: Final = "annotations.jsonl"
_READY: Final = b"\n"
#: What is added to every file, and searched for.
ADDED: Final = report(function(0x5000, function_name="added_function"), seed="added")


class Verdict(NamedTuple):
    """How the calls on a file ended."""

    calls: dict[str, str]  # by call: "answer", the code of our error, or what else it raised
    death: str  # "" for a process that ended by itself
    peak: int  # bytes of memory
    left: list[str]  # what is in the folder besides the file
    kept: str = ""  # where the file is, if it did harm

    @property
    def defects(self) -> list[str]:
        """What must not happen, whatever the file."""
        found = [f"{call}: {how}" for call, how in self.calls.items() if "\n" in how or how == "busy"]
        found += [self.death] if self.death else []
        strange = set(self.left) - {BYSTANDER, _COPY, _EXPORT}
        found += [f"left behind: {name}" for name in sorted(strange) if not self.death]
        return [*found, f"the file: {self.kept}"] if found else []


class Attacked:
    """The server, and the folder in which each file lies when its turn comes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.attacked"],
            cwd=Path(__file__).parent.parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=TIME)

    def remove(self) -> None:
        """Leave nothing of it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def open(self, content: bytes, *, calls: Sequence[str] = (), memory: int = 2 << 30) -> Verdict:
        """Make all calls, or some, on a file of this content, in a folder where nothing but a bystander is."""
        home = self.folder / "home"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        (home / NAME).write_bytes(content)
        (home / BYSTANDER).write_text("untouched")
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(home), calls, memory]) + "\n")
        self._process.stdin.flush()
        outcomes, death, peak = json.loads(self._process.stdout.readline())
        assert (home / BYSTANDER).read_text() == "untouched"
        assert os.listdir(self.folder) == ["home"]  # noqa: PTH208
        self.count += 1
        verdict = Verdict(outcomes, death, peak, sorted(set(os.listdir(home)) - {NAME}))  # noqa: PTH208
        return verdict._replace(kept=_kept(content)) if verdict.defects else verdict


def _kept(content: bytes) -> str:
    """Where a file that did harm can be found: times and ids in it are others the next time."""
    handle, name = tempfile.mkstemp(prefix="hostile-", suffix=".sampledb")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    return name


# In the server


def serve() -> None:
    """Fork a child for every line."""
    # What every child would otherwise make anew: imports, and contexts of zstd.
    with sampledb.open(":memory:") as db:
        db.add_sample(ADDED)
        for call in (*READS.values(), *WRITES.values()):
            with contextlib.suppress(SampleDBError):
                call(db)
    for copy in (_COPY, _EXPORT):
        Path(copy).unlink(missing_ok=True)
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_forked(*json.loads(line))) + "\n")
        sys.stdout.flush()


def _forked(home: str, calls: Sequence[str], memory: int) -> tuple[dict[str, str], str, int]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        with contextlib.suppress(BaseException):
            _attack(home, calls, memory, writing)
        os._exit(0)
    os.close(writing)
    said, is_late = _heard(reading)
    if is_late:
        os.kill(child, 9)
    _, status, usage = os.wait4(child, 0)
    os.close(reading)
    outcomes = dict(json.loads(line) for line in said.splitlines())
    last = next(reversed(outcomes), "nothing")
    death = f"hung for {TIME} s after {last}" if is_late else f"died with {status} after {last}" if status else ""
    return outcomes, death, usage.ru_maxrss * 1024


def _heard(pipe: int) -> tuple[bytes, bool]:
    """What the child said, and whether it had to be stopped."""
    said, end = b"", time.monotonic() + TIME
    while select.select([pipe], [], [], max(end - time.monotonic(), 0))[0]:
        some = os.read(pipe, 65536)
        if not some:
            return said, False
        said += some
    return said[: said.rfind(b"\n") + 1], True


# In the child


def _attack(home: str, names: Sequence[str], memory: int, out: int) -> None:
    os.chdir(home)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for readonly, each in ((True, READS), (False, WRITES)):
        calls = {name: call for name, call in each.items() if not names or name in names}
        for name, outcome in _outcomes(readonly, calls):
            os.write(out, json.dumps((name, outcome)).encode() + b"\n")


def _outcomes(readonly: bool, calls: "dict[str, Call]") -> Iterator[tuple[str, str]]:
    opened: list[SampleDB] = []
    yield f"open {readonly=}", _outcome(lambda: opened.append(sampledb.open(NAME, readonly=readonly, timeout=1)))
    for db in opened:
        for name, call in calls.items():
            yield name, _outcome(call, db)
        yield f"close {readonly=}", _outcome(db.close)


def _outcome(call: Callable[..., object], *arguments: SampleDB) -> str:
    try:
        call(*arguments)
    except SampleDBError as error:
        json.dumps(error.to_dict())
        return error.code
    except BaseException:  # noqa: BLE001 - whatever it is, it is the finding
        return traceback.format_exc()
    return "answer"


Call = Callable[[SampleDB], Any]


def _of_each(call: Callable[[SampleDB, int], object]) -> Call:
    """The call on a few samples that a file says it has, and on one that it need not have."""

    def calls(db: SampleDB) -> None:
        failed = None
        for sample_id in _some_ids(db):
            try:
                call(db, sample_id)
            except SampleDBError as error:
                failed = error
        if failed:
            raise failed

    return calls


def _some_ids(db: SampleDB) -> list[int]:
    try:
        rows = db.query("SELECT sample_id FROM samples LIMIT 4")
    except SampleDBError:
        rows = []
    ids = [row["sample_id"] for row in rows if isinstance(row["sample_id"], int)]
    return [each for each in dict.fromkeys([*ids, 1]) if each > 0]


def _each_function(db: SampleDB, sample_id: int) -> None:
    for function_id in db.list_functions(sample_id, limit=3):
        if function_id > 0:
            db.get_function(sample_id, function_id)


def _export(db: SampleDB) -> None:
    Path(_TEXT).unlink(missing_ok=True)
    try:
        db.export_annotations(_TEXT)
    finally:
        Path(_TEXT).unlink(missing_ok=True)


def _merge(db: SampleDB) -> None:
    """Merge some of it into a store, which must be whole after that."""
    with sampledb.open(":memory:") as other:
        list(islice(other.merge(db), 100))
        problems = other.check()
        assert problems == [], problems


READS: Final[dict[str, Call]] = {
    "list_samples": lambda db: db.list_samples(),
    "iter_samples": lambda db: list(islice(db.iter_samples(tag="reviewed"), 1000)),
    "get_sample": _of_each(lambda db, each: db.get_sample(each)),
    "get_sample_by_sha256": lambda db: db.get_sample_by_sha256("0" * 64),
    "find_sample": lambda db: db.find_sample("00000000"),
    "list_families": lambda db: db.list_families(),
    "get_report": _of_each(lambda db, each: db.get_report(each)),
    "list_functions": _of_each(lambda db, each: db.list_functions(each)),
    "disassembly": _of_each(lambda db, each: db.list_functions(each, disassembly=True)),
    "iter_functions": lambda db: list(islice(db.iter_functions(disassembly=True), 1000)),
    "get_function": _of_each(_each_function),
    "find_function": _of_each(lambda db, each: db.find_function(each, 0x1001)),
    "functions_with_pic_hash": lambda db: db.functions_with_pic_hash(0x1000),
    "callers": _of_each(lambda db, each: db.callers(each, next(iter(db.list_functions(each)), 1))),
    "twins": _of_each(lambda db, each: db.twins(each, next(iter(db.list_functions(each)), 1), min_instructions=0)),
    "similar_functions": _of_each(
        lambda db, each: db.similar_functions(each, next(iter(db.list_functions(each)), 1), threshold=1)
    ),
    "similar_samples": _of_each(lambda db, each: db.similar_samples(each, threshold=1)),
    "compare": _of_each(lambda db, each: db.compare(1, each, threshold=1)),
    "explain": _of_each(lambda db, each: db.explain(1, 1, each, next(iter(db.list_functions(each)), 1))),
    "suggest_labels": _of_each(lambda db, each: db.suggest_labels(each)),
    "find_functions": lambda db: list(db.find_functions(mnemonics=["nop", "nop"], label="*", limit=100)),
    "list_apis": lambda db: (db.list_apis(), db.list_strings()),
    "list_labels": lambda db: db.list_labels(history=True),
    "search": lambda db: db.search("sub_1"),
    "search shortly": lambda db: db.search("s", limit=0),
    "search by fields": lambda db: db.search("family:* api:* string:* sub", limit=0),
    "search functions": lambda db: db.search("string:* kind:function", limit=0),
    "get_binary": _of_each(lambda db, each: db.get_binary(each)),
    "list_jobs": lambda db: db.list_jobs(),
    "stats": lambda db: db.stats(),
    "query": lambda db: db.query("SELECT * FROM function_list JOIN sample_list USING (sample_id) LIMIT 100"),
    "export_annotations": _export,
    "merge": _merge,
    "check": lambda db: db.check(),
    "check deep": lambda db: db.check(deep=True),
    "export_mcrit": lambda db: db.export_mcrit(_EXPORT),
}
WRITES: Final[dict[str, Call]] = {
    "backup": lambda db: db.backup(_COPY),
    "tag_sample": _of_each(lambda db, each: db.tag_sample(each, "added")),
    "update_sample": _of_each(lambda db, each: db.update_sample(each, notes="added", name="added.exe")),
    "label_function": _of_each(lambda db, each: db.label_function(each, 0x1000, name="added")),
    "delete_label": _of_each(lambda db, each: db.delete_label(each, 0x2000)),
    "update_signatures": lambda db: db.update_signatures(),
    "add_sample": lambda db: db.add_sample(ADDED, exist_ok=True),
    "search added": lambda db: db.search("added_function"),
    "submit_binary": lambda db: db.submit_binary(b"MZ added"),
    "add_media": lambda db: db.add_media(sha256="0" * 64, exist_ok=True),
    "similar to what was added": _of_each(lambda db, each: db.similar_samples(each)),
    "delete_sample": _of_each(lambda db, each: db.delete_sample(each)),
    "compact": lambda db: db.compact(),
    "check what was written": lambda db: db.check(deep=True),
}

if __name__ == "__main__":
    serve()
