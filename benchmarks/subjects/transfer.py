"""Merging: a store into an empty one, beside adding its reports again.

`python -m benchmarks.subjects.transfer` varies real reports until there are enough of them. CPU seconds, those of child
processes included, say what the work costs; adding uses all cores, and merging one.
"""

import argparse
import resource
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from time import perf_counter
from typing import Final, NamedTuple

import sampledb
from benchmarks import corpus
from sampledb.model import Outcome

# Bytes of JSON; larger ones would be most of the work.
_LARGEST: Final = 4_000_000


class Spent(NamedTuple):
    """What some work took."""

    seconds: float
    cpu_seconds: float


def measure(folder: Path, number: int, largest: int) -> dict[str, Spent]:
    """Add so many reports to a store, merge that into others, and add the reports to another."""
    spent: dict[str, Spent] = {}
    source, target, again = (folder / f"{name}.sampledb" for name in ("source", "target", "again"))
    with sampledb.open(source) as db:
        spent["add_samples"] = _time(lambda: db.add_samples(_list_reports(number, largest)), number, "added")
        stats = db.stats()
    print(f"{number:,} samples, {stats.num_functions:,} functions, {stats.file_bytes / 1e6:,.1f} MB")
    with sampledb.open(target) as db:
        spent["merge"] = _time(lambda: db.merge(source), number, "added")
        spent["merge, once more"] = _time(lambda: db.merge(source), number, "existed")
    with sampledb.open(again) as db:
        spent["add_samples, once more"] = _time(lambda: db.add_samples(_list_reports(number, largest)), number, "added")
    return spent


def _list_reports(number: int, largest: int) -> Iterator[bytes]:
    contents = [content for path in corpus.make_reports(280) if len(content := path.read_bytes()) < largest]
    return islice((corpus.vary_report(content, each) for each in count(1) for content in contents), number)


def _time(call: Callable[[], Iterator[Outcome]], number: int, status: str) -> Spent:
    begun, before = perf_counter(), _read_cpu_seconds()
    statuses = [outcome.status for outcome in call()]
    spent = Spent(perf_counter() - begun, _read_cpu_seconds() - before)
    assert statuses == [status] * number
    return spent


def _read_cpu_seconds() -> float:
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.subjects.transfer", description=__doc__)
    parser.add_argument("--samples", type=int, default=1000, help="number of samples (default: 1,000)")
    parser.add_argument("--largest", type=int, default=_LARGEST, help="bytes of the largest report (default: 4 MB)")
    arguments = parser.parse_args()
    with corpus.new_folder() as folder:
        spent = measure(folder, arguments.samples, arguments.largest)
    adding = spent["add_samples"]
    for name, (seconds, cpu_seconds) in spent.items():
        ratios = f"{adding.seconds / seconds:6.1f} and {adding.cpu_seconds / cpu_seconds:6.1f} times as fast"
        print(f"{name:24} {seconds:8.1f} s {cpu_seconds:8.1f} s CPU {ratios}")


if __name__ == "__main__":
    main()
