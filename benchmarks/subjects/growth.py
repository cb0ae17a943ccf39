"""Growth: times of a store of millions of functions beside one of a hundred thousand.

`python -m benchmarks.subjects.growth` takes an hour and 5 GB.
"""

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import sampledb
from benchmarks import corpus
from benchmarks.corpus import read_sha256, vary_report
from benchmarks.measure import time_pairs
from benchmarks.report.figures import Growth
from benchmarks.subjects import measure_and_save
from sampledb import Function, Sample, SampleDB

SMALL: Final = 100_000
PROBES: Final = 60
LOOKUPS: Final = 1000


def measure(folder: Path, functions: int) -> list[Growth]:
    """Grow a store to `functions` with varied real reports, and compare at each step."""
    contents = [path.read_bytes() for path in corpus.make_reports(280) if path.stat().st_size < 4_000_000]
    stream = (vary_report(content, number) for number in count(1) for content in contents)
    found = []
    with (
        sampledb.open(folder / "small.sampledb") as small,
        sampledb.open(folder / "large.sampledb") as large,
    ):
        _grow(small, stream, SMALL)
        small.update_signatures()
        for size in _steps(functions):
            adding = _grow(large, stream, size)
            large.update_signatures()
            ratios = _compare(small, large, list(islice(stream, PROBES)))
            stats = large.stats()
            found.append(Growth(stats.num_functions, stats.file_bytes, ratios, adding))
            print(f"grown to {size:,} functions: {ratios}", file=sys.stderr)
    return found


def _steps(functions: int) -> list[int]:
    """Return 100,000, 300,000, a million, … up to `functions`."""
    steps = [base * 10**exponent for exponent in range(5, 12) for base in (1, 3)]
    return [step for step in steps if step < functions] + [functions]


def _grow(db: SampleDB, stream: Iterator[bytes], functions: int) -> float:
    """Add reports up to `functions` functions, and a label to each; return how many functions were added per second."""
    before = now = db.stats().num_functions
    seconds = 0.0
    while now < functions:
        report = next(stream)
        start = perf_counter()
        sample = db.add_sample(report)
        seconds += perf_counter() - start
        now += sample.num_functions
        db.label_function(sample.sample_id, _middle_function(db, sample).offset, name=f"label_{now}")
    return (now - before) / seconds if seconds else 0.0


def _compare(small: SampleDB, large: SampleDB, reports: Sequence[bytes]) -> dict[str, float]:
    """Return the large store's time divided by the small one's, by call. Leaves both stores unchanged."""
    ratios: dict[str, float] = {}

    def compare(name: str, call: Callable[[SampleDB, Any], object], pairs: Sequence[tuple[Any, Any]]) -> None:
        ours, theirs = time_pairs(lambda pair: call(large, pair[0]), lambda pair: call(small, pair[1]), pairs)
        ratios[name] = round(ours.median / theirs.median, 3)

    samples = list(zip(_choose_samples(large), _choose_samples(small), strict=True))
    compare("get_sample", lambda db, sample: db.get_sample(sample.sample_id), samples)
    compare("get_sample_by_sha256", lambda db, sample: db.get_sample_by_sha256(sample.sha256), samples)
    functions = [(_middle_function(large, one), _middle_function(small, other)) for one, other in samples]
    compare("get_function", lambda db, each: db.get_function(each.sample_id, each.function_id), functions)
    compare("list_labels", lambda db, sample: db.list_labels(sample.sample_id), samples)
    compare("functions_with_pic_hash", lambda db, each: db.functions_with_pic_hash(each.pic_hash or 1), functions)
    compare("add_sample", lambda db, report: db.add_sample(report), [(report, report) for report in reports])
    hashes = [read_sha256(report) for report in reports]
    added = [
        (large.get_sample_by_sha256(sha256).sample_id, small.get_sample_by_sha256(sha256).sample_id)
        for sha256 in hashes
    ]
    compare("delete_sample", lambda db, sample_id: db.delete_sample(sample_id), added)
    return ratios


def _choose_samples(db: SampleDB) -> list[Sample]:
    """Return samples from anywhere in the store."""
    chance = random.Random(0)  # noqa: S311 - the same choice in every run
    ids = [row["sample_id"] for row in db.query("SELECT sample_id FROM samples")]
    return [db.get_sample(chance.choice(ids)) for _ in range(LOOKUPS)]


def _middle_function(db: SampleDB, sample: Sample) -> Function:
    ((function,),) = (db.list_functions(sample.sample_id, start=sample.num_functions // 2, limit=1).values(),)
    return function


if __name__ == "__main__":
    measure_and_save("growth", __doc__, measure, 10_000_000)
