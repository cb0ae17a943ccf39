"""The store beside the floor: the time of every operation, and the sizes of the files."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

import sampledb
from benchmarks.floor import Floor
from benchmarks.measure import time_calls, time_pairs, time_rounds
from benchmarks.report.figures import Row, Sizes
from sampledb import Sample, SampleDB
from sampledb.format.zstd import zstd
from sampledb.store.sqlite import sqlite3

POINT_READS: Final = 2000
OPENINGS: Final = 100
_IMPORTS: Final = ["import sampledb"] * 15


class Measured(NamedTuple):
    """The figures of the store and the floor."""

    rows: list[Row]
    sizes: Sizes
    functions: int
    adding: tuple[float, float]


def measure(paths: Sequence[Path], folder: Path) -> Measured:
    """Fill a store and a floor with reports, and time their calls."""
    contents = [path.read_bytes() for path in paths]
    compact = [msgspec.json.format(content, indent=-1) for content in contents]
    ours, theirs = folder / "ours.sampledb", folder / "floor.db"
    floor = Floor(theirs)
    floor.create()
    with sampledb.open(ours) as db:
        add, curve = _measure_adding(db, floor, contents, [len(content) for content in compact])
        # The bare query of a sample reads the same row of the same file, without SampleDB.
        with closing(sqlite3.connect(db.path)) as bare:
            rows = [add, _measure_batch(contents, folder), *_measure_reading(db, floor, bare, compact)]
        functions = db.stats().num_functions
    floor.connection.close()
    file_bytes = ours.stat().st_size
    with sampledb.open(ours) as db:
        compaction = time_calls(lambda _: db.compact(), [None])
    files = [ours] * OPENINGS
    rows.append(Row("open and close", *time_rounds(_open_store, _open_bare, files)))
    rows.append(
        Row("a process that imports it", *time_rounds(_run_python, lambda _: _run_python("pass"), _IMPORTS, rounds=1))
    )
    sizes = Sizes(
        file=file_bytes,
        compact_file=ours.stat().st_size,
        compact_seconds=compaction.total,
        floor_file=theirs.stat().st_size,
        zstd_19=sum(len(zstd.compress(content, 19)) for content in compact),
        curve=curve,
    )
    return Measured(rows, sizes, functions, (functions / add.ours.total, functions / add.floor.total))


def _measure_adding(
    db: SampleDB, floor: Floor, contents: Sequence[bytes], json_bytes: Sequence[int]
) -> tuple[Row, list[tuple[int, int, int]]]:
    """Time adding, report by report in turn, and note the sizes of both files after each."""
    curve: list[tuple[int, int, int]] = []

    def note_sizes(_: bytes) -> None:
        ((pages, page_bytes),) = floor.connection.execute(
            "SELECT page_count, page_size FROM pragma_page_count, pragma_page_size"
        )
        curve.append((sum(json_bytes[: len(curve) + 1]), db.stats().file_bytes, pages * page_bytes))

    times = time_pairs(db.add_sample, floor.add, contents, after=note_sizes)
    return Row("add_sample, durable", *times, target=2.0), curve


def _measure_batch(contents: Sequence[bytes], folder: Path) -> Row:
    """Time adding all reports in one call, which uses all cores, and by the floor on one."""
    floor = Floor(folder / "batch-floor.db")
    floor.create()

    def add_by_floor(contents: Sequence[bytes]) -> None:
        for content in contents:
            floor.add(content)

    with sampledb.open(folder / "batch.sampledb") as db:
        ours = time_calls(lambda reports: list(db.add_samples(reports)), [contents])
    theirs = time_calls(add_by_floor, [contents])
    floor.connection.close()
    return Row("add_samples, all cores", ours, theirs, target=1 / 0.85)


def _measure_reading(db: SampleDB, floor: Floor, bare: sqlite3.Connection, compact: Sequence[bytes]) -> list[Row]:
    """Time each read in turn with the floor's."""
    samples = list(db.list_samples().values())
    by_size = sorted(samples, key=lambda sample: sample.num_functions)
    ids = {sample.sample_id: list(db.list_functions(sample.sample_id)) for sample in samples}
    chance = random.Random(0)  # noqa: S311 - the same choice in every run
    some = chance.choices(samples, k=POINT_READS)
    functions = [(sample.sample_id, chance.choice(ids[sample.sample_id])) for sample in some]
    whole = list(zip(samples, compact, strict=True))
    execute = bare.execute

    def bounds(sample: Sample) -> tuple[int, int]:
        return ids[sample.sample_id][0], ids[sample.sample_id][-1]

    def row(
        name: str,
        ours: Callable[[Any], object],
        theirs: Callable[[Any], object],
        arguments: Sequence[Any],
        target: float | None = None,
    ) -> Row:
        return Row(name, *time_rounds(ours, theirs, arguments), target)

    return [
        row(
            "get_sample", lambda sample: db.get_sample(sample.sample_id),
            lambda sample: execute("SELECT * FROM samples WHERE sample_id = ?", (sample.sample_id,)).fetchone(),
            some, 3.0,
        ),
        row(
            "get_sample_by_sha256", lambda sample: db.get_sample_by_sha256(sample.sha256),
            lambda sample: execute("SELECT * FROM samples WHERE sha256 = ?", (sample.sha256,)).fetchone(),
            some, 3.0,
        ),
        row(
            "get_function", lambda pair: db.get_function(*pair), lambda pair: floor.get_function(pair[1]), functions,
            3.0,
        ),
        row(
            "list_functions, median sample", lambda sample: db.list_functions(sample.sample_id),
            lambda sample: floor.list_functions(*bounds(sample)), [by_size[len(by_size) // 2]] * 200, 1 / 0.6,
        ),
        row(
            "list_functions, largest sample", lambda sample: db.list_functions(sample.sample_id),
            lambda sample: floor.list_functions(*bounds(sample)), [by_size[-1]] * 20, 1 / 0.6,
        ),
        row(
            "... with disassembly : json.loads",
            lambda pair: db.list_functions(pair[0].sample_id, disassembly=True),
            lambda pair: json.loads(pair[1]), whole, 1.1,
        ),
        row(
            "get_report : msgspec.json.decode", lambda pair: db.get_report(pair[0].sample_id),
            lambda pair: msgspec.json.decode(pair[1]), whole, 1.5,
        ),
        row(
            "a scan of all disassembly",
            lambda text: sum(1 for _ in db.find_functions(mnemonics=[text])), floor.count_text, ["cpuid"],
        ),
    ]  # fmt: skip


def _run_python(statement: str) -> None:
    # Bytecode is kept, as after an installation by pip.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, "-c", statement], check=True, env=environment)


def _open_store(path: Path) -> None:
    sampledb.open(path).close()


def _open_bare(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("SELECT count(*) FROM samples").fetchone()
