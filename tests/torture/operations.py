"""Each operation that changes a file, small enough to be interrupted at every one of its system calls."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

import sampledb
from sampledb import SampleDB
from tests.strategies import function, report

STORE = "one.sampledb"
COPY = "copy.sampledb"

# What a probe adds after an error, to see whether the handle still works; no operation has it.
PROBE = "f" * 64
_BINARY = b"the binary of a queued job"
_OTHER_BINARY = b"another binary"

# These differ between two runs of the same operation.
_CHANGING = {"added_at", "job_id", "submitted_at", "started_at", "finished_at", "attempts", "updated_at"}

Run = Callable[[SampleDB], Iterator[object]]
Prepare = Callable[[Path], None]


class Operation(NamedTuple):
    """A file as it was, and calls on it; `run` yields after each that has returned."""

    run: Run
    prepare: Prepare


class _AtOnce(Executor):
    """What SMDA would say, without SMDA."""

    def submit(self, *_: Any) -> "Future[bytes]":  # type: ignore[override]
        future: Future[bytes] = Future()
        future.set_result(msgspec.json.encode(_report("job", 3, sha256=hashlib.sha256(_BINARY).hexdigest())))
        return future


def _report(seed: str, count: int, **fields: Any) -> dict[str, Any]:
    """A report whose functions, and so their rows and frames, are those of no other seed."""
    functions = [function(64 * each, function_name=f"{seed}_{each}_function") for each in range(count)]
    return report(*functions, seed=seed, **fields)


# The files


def _nothing(folder: Path) -> None:
    """The file is missing."""


def store(folder: Path) -> None:
    """A file with one of everything: analyses, tags, media, jobs, a binary, and pages that nobody uses any more."""
    with sampledb.open(folder / STORE) as db:
        db.add_sample(_report("deleted", 40))
        db.add_sample(_report("first", 6), family="win.first")
        db.add_sample(_report("second", 3))
        db.tag_sample(2, "red", "green")
        db.label_function(2, 64, name="named")
        db.label_function(2, 0, comment="to go")
        db.add_media(sha256="a" * 64, name="clip.mp4", notes="a clip")
        db.submit_binary(_BINARY, filename="queued.exe", keep_binary=True)
        db.delete_sample(1)


def _left_behind(folder: Path) -> None:
    """A file whose last process died in a transaction larger than its cache, whose half is in it or in its WAL."""
    store(folder)
    child = os.fork()
    if child == 0:
        db = sampledb.open(folder / STORE)
        db.update_sample(2, notes="acknowledged")
        _shrink_cache(db)
        with db._connections.writing() as connection:
            connection.execute("UPDATE samples SET notes = 'uncommitted'")
            connection.execute("CREATE TABLE filler AS SELECT zeroblob(3000) AS a FROM functions, functions AS more")
            os._exit(0)
    os.waitpid(child, 0)


# The calls


def _shrink_cache(db: SampleDB) -> None:
    """Have SQLite write pages before the commit, as it does for reports of megabytes."""
    with db._connections.reading() as connection:
        connection.execute("PRAGMA cache_size = 5")


def _open_only(_: SampleDB) -> Iterator[object]:
    yield from ()


def _add(db: SampleDB) -> Iterator[object]:
    yield db.add_sample(_report("new", 3), family="win.new")


def _add_more_than_fits_the_cache(db: SampleDB) -> Iterator[object]:
    _shrink_cache(db)
    yield db.add_sample(_report("large", 150))


def _add_many(db: SampleDB) -> Iterator[object]:
    for outcome in db.add_samples([_report(f"many{each}", 2) for each in range(3)]):
        if outcome.error:
            raise outcome.error
        yield outcome


def _replace(db: SampleDB) -> Iterator[object]:
    yield db.add_sample(_report("first", 9), replace=True)


def _attach(db: SampleDB) -> Iterator[object]:
    yield db.add_sample(_report("clip", 2, sha256="a" * 64))


def _update(db: SampleDB) -> Iterator[object]:
    yield db.update_sample(2, family_name="win.other", tags=["blue"], notes="n" * 1000)


def _tag(db: SampleDB) -> Iterator[object]:
    yield db.tag_sample(2, "blue", remove=["red"])


def _label(db: SampleDB) -> Iterator[object]:
    yield db.label_function(2, 64, name="renamed")
    yield db.delete_label(2, 0)


def _merge(db: SampleDB) -> Iterator[object]:
    with sampledb.open(":memory:") as other:
        other.add_sample(_report("theirs", 3), family="win.theirs")
        other.label_function(1, 64, name="said there")
        other.add_sample(_report("clip", 2, sha256="a" * 64))
        other.add_sample(_report("second", 3))
        other.update_sample(3, tags=["merged"], notes="of theirs")
        for outcome in db.merge(other):
            if outcome.error:
                raise outcome.error
        yield None


def _delete(db: SampleDB) -> Iterator[object]:
    yield db.delete_sample(2)


def _add_media(db: SampleDB) -> Iterator[object]:
    yield db.add_media(sha256="b" * 64, name="new.mkv", tags=["a", "b"])


def _submit(db: SampleDB) -> Iterator[object]:
    yield db.submit_binary(_OTHER_BINARY * 500, filename="other.exe")


def _cancel(db: SampleDB) -> Iterator[object]:
    yield db.cancel_job(db.list_jobs("queued")[0].job_id)


def _run_job(db: SampleDB) -> Iterator[object]:
    yield db.run_jobs(_AtOnce())


def _compact(db: SampleDB) -> Iterator[object]:
    db.compact()
    yield None


def _backup(db: SampleDB) -> Iterator[object]:
    db.backup(Path(db.path).with_name(COPY))
    yield None


def _with_checkpoints(db: SampleDB) -> Iterator[object]:
    """Several calls, so that the WAL is written back and begun anew between them."""
    with db._connections.reading() as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 8")
    yield db.update_sample(2, notes="one")
    yield db.add_sample(_report("new", 3))
    yield db.delete_sample(3)
    yield db.update_sample(2, notes="two")


def _update_unsafely(db: SampleDB) -> Iterator[object]:
    """What no call of ours does."""
    for number in range(3):
        with db._connections.reading() as connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA wal_autocheckpoint = 2")
        yield db.update_sample(2, notes=str(number) * 1000, tags=[f"tag{each}" for each in range(50)])


OPERATIONS = {
    "create": Operation(_open_only, _nothing),
    "create and add": Operation(_add, _nothing),
    "add": Operation(_add, store),
    "add more than fits the cache": Operation(_add_more_than_fits_the_cache, store),
    "add many": Operation(_add_many, store),
    "replace": Operation(_replace, store),
    "attach": Operation(_attach, store),
    "update": Operation(_update, store),
    "tag": Operation(_tag, store),
    "label": Operation(_label, store),
    "merge": Operation(_merge, store),
    "delete": Operation(_delete, store),
    "add media": Operation(_add_media, store),
    "submit a binary": Operation(_submit, store),
    "cancel a job": Operation(_cancel, store),
    "run a job": Operation(_run_job, store),
    "compact": Operation(_compact, store),
    "back up": Operation(_backup, store),
    "several with checkpoints": Operation(_with_checkpoints, store),
    "recover": Operation(_open_only, _left_behind),
    "recover and add": Operation(_add, _left_behind),
}

# Not among them, because it must fail.
UNSAFE = "update unsafely"
ALL = OPERATIONS | {UNSAFE: Operation(_update_unsafely, store)}


# What came of them


def contents(db: SampleDB) -> dict[str, Any]:
    """All that a file says, but for what no two runs say alike, and the probe."""
    samples = [sample for sample in db.list_samples().values() if sample.sha256 != PROBE]
    return {
        "samples": [_lasting(sample.to_dict()) for sample in samples],
        "functions": [each.to_dict() for each in db.iter_functions(disassembly=True)],
        "reports": [db.get_report(sample.sample_id) for sample in samples if sample.smda_version],
        "jobs": [_lasting(job.to_dict()) for job in db.list_jobs()],
        "binaries": db.query("SELECT sha256, is_kept FROM binaries ORDER BY sha256"),
        "is_copied": Path(db.path).with_name(COPY).exists(),
    }


def _lasting(record: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in record.items() if key not in _CHANGING}
    # A job whose runner died is queued again, by the next runner.
    return kept | {"state": "queued"} if kept.get("state") == "running" else kept


def copied(source: Path, target: Path) -> Path:
    """A folder, afresh."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return target
