"""Search: times over a million different function names, and the cost of keeping the index.

`python -m benchmarks.subjects.search` gives every function its own name, made of words from real names. Real names
repeat, and the index holds each name once, so they would make search look faster than it is.
"""

import random
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final

import sampledb
from benchmarks import corpus
from benchmarks.corpus import vary_report
from benchmarks.measure import time_calls, time_pairs
from benchmarks.report.figures import Searching
from benchmarks.subjects import measure_and_save
from sampledb.store.tables import trigrams

QUERIES: Final = 300
_NAME: Final = re.compile(rb'("function_name": ?)"(?:[^"\\]|\\.)*"')
_WORD: Final = re.compile(r"[A-Z]?[a-z]{2,13}|[A-Z]{2,}")


def measure(folder: Path, functions: int) -> Searching:
    """Search in a large store; then add reports to stores with and without the index."""
    contents = [path.read_bytes() for path in corpus.make_reports(280) if path.stat().st_size < 4_000_000]
    words = _collect_words(contents)
    names = _make_names(words)
    stream = (_name_functions(vary_report(content, number), names) for number in count(1) for content in contents)
    with sampledb.open(folder / "large.sampledb") as db:
        for outcome in db.add_samples(stream):
            if not outcome.index % 20 and db.stats().num_functions >= functions:
                break
        size = db.stats().num_functions
        asking = time_calls(db.search, _make_queries(words))
    real = _measure_adding(folder / "real", [vary_report(content, 7) for content in contents])
    named = _measure_adding(folder / "named", [_name_functions(vary_report(content, 8), names) for content in contents])
    return Searching(functions=size, asking=asking, adding=real, adding_named=named)


def _collect_words(contents: Sequence[bytes]) -> list[str]:
    with sampledb.open(":memory:") as db:
        for content in contents:
            db.add_sample(content, exist_ok=True)
        texts = [row["name"] for row in db.query("SELECT DISTINCT name FROM functions")]
    return sorted({word for text in texts for word in _WORD.findall(text)})


def _make_names(words: Sequence[str]) -> Iterator[bytes]:
    """Yield different names without end, in the styles of C, C++ and Java."""
    chance = random.Random(1)  # noqa: S311 - the same names in every run
    for number in count():
        chosen = chance.choices(words, k=chance.choice((1, 2, 2, 3)))
        style = chance.choice(("_".join, "::".join, lambda parts: "".join(map(str.capitalize, parts))))
        yield f"{style(chosen)}_{number:x}".encode()


def _name_functions(report: bytes, names: Iterator[bytes]) -> bytes:
    return _NAME.sub(lambda found: b'%b"%b"' % (found[1], next(names)), report)


def _make_queries(words: Sequence[str]) -> list[str]:
    """Return words, parts of words, and pairs of words."""
    chance = random.Random(2)  # noqa: S311
    chosen = chance.choices([word for word in words if len(word) > 4], k=QUERIES)
    kinds = (str, lambda word: word[1:5], lambda word: f"{word} {chance.choice(words)}")
    return [kinds[number % 3](word) for number, word in enumerate(chosen)]


def _measure_adding(path: Path, reports: Sequence[bytes]) -> float:
    """Return the rate of adding, divided by the rate without the index."""
    with sampledb.open(path.with_suffix(".with")) as db, sampledb.open(path.with_suffix(".without")) as bare:
        with bare._connections.writing() as connection:  # noqa: SLF001 - no public call drops the index
            for statement in ("TABLE sample_search", "TABLE function_search", "INDEX functions_by_name"):
                connection.execute(f"DROP {statement}")

        def add_without(report: bytes) -> None:
            with _without_index():
                bare.add_sample(report)

        ours, theirs = time_pairs(db.add_sample, add_without, reports)
    return theirs.total / ours.total


@contextmanager
def _without_index() -> Iterator[None]:
    changing = ("add_sample", "remove_sample", "add_functions", "remove_functions")
    kept = {name: getattr(trigrams, name) for name in changing}
    try:
        for name in changing:
            setattr(trigrams, name, lambda *_: None)
        yield
    finally:
        for name, function in kept.items():
            setattr(trigrams, name, function)


if __name__ == "__main__":
    measure_and_save("searching", __doc__, measure, 1_000_000)
