"""Labels: what a million of them cost, and times of what shows or finds them.

`python -m benchmarks.subjects.labels` makes functions of two instructions, and gives every one a name and every tenth a
comment, made of words from Python's standard library. It takes about five minutes.
"""

import json
import random
import re
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from itertools import count, islice
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import sampledb
from benchmarks.measure import time_calls
from benchmarks.report.figures import Labelling, Timing
from benchmarks.subjects import measure_and_save
from sampledb import SampleDB

#: Functions of each sample.
SIZE: Final = 1000
CALLS: Final = 300
# What SMDA requires of each report.
_REPORT: Final = {
    **dict.fromkeys(("code_areas", "confidence_threshold", "disassembly_errors", "execution_time", "message")),
    **dict.fromkeys(("base_addr", "binary_size", "identified_alignment", "smda_version", "status")),
    "architecture": "intel",
}
_WORD: Final = re.compile(r"[A-Z]?[a-z]{3,13}")


def measure(folder: Path, number: int) -> Labelling:
    """Make a store of so many functions with labels, and ask it for them."""
    words = sorted({word for path in _list_sources() for word in _WORD.findall(path.read_text("utf-8", "replace"))})
    text = folder / "labels.txt"
    with sampledb.open(folder / "labelled.sampledb") as db:
        for outcome in db.add_samples(map(_make_report, range(number // SIZE))):
            assert outcome.status == "added", outcome.error
        bare = db.stats().file_bytes
        _write_labels(text, number, words)
        begun = perf_counter()
        assert [outcome.status for outcome in db.merge(text)] == ["updated"] * (number // SIZE)
        merging = number / (perf_counter() - begun)
        lookups = _time_lookups(db, words)
        size = db.query("SELECT count(*) AS number FROM labels")[0]["number"]
        lookups["list_labels, all"] = time_calls(lambda _: db.list_labels(), [None])
        writing = _time_writing(db)
    with sampledb.open(folder / "labelled.sampledb", readonly=True) as db:
        return Labelling(size, merging, (db.stats().file_bytes - bare) / size, lookups | writing)


def _list_sources() -> list[Path]:
    return sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))


def _make_report(number: int) -> dict[str, Any]:
    """Return a report of functions of two instructions, each with a hash of its own."""
    metadata = {"characteristics": "", "confidence": 1.0, "strongly_connected_components": [], "tfidf": 0.0}
    empty: dict[str, Any] = {"apirefs": {}, "blockrefs": {}, "inrefs": [], "outrefs": {}}
    xcfg = {
        str(offset): {
            **empty,
            "offset": offset,
            "blocks": {str(offset): [[offset, "6a01", "push", "1"], [offset + 2, "c3", "ret", ""]]},
            "metadata": metadata | {"function_name": "", "pic_hash": number << 32 | offset, "binweight": 3.0},
        }
        for offset in range(0x1000, 0x1000 + 16 * SIZE, 16)
    }
    metadata = {"filename": f"program{number}", "family": f"family{number % 50}"}
    return {**_REPORT, "sha256": _hash(number), "bitness": 32, "metadata": metadata, "xcfg": xcfg}


def _hash(number: int) -> str:
    return sha256(b"%d" % number).hexdigest()


def _write_labels(path: Path, number: int, words: Sequence[str]) -> None:
    """Write a text that gives every function a name of its own."""
    names = _make_names(words)
    with path.open("w", encoding="ascii") as text:
        text.write(json.dumps({"sampledb": "annotations", "version": 1}) + "\n")
        for sample in range(number // SIZE):
            line = {"sha256": _hash(sample), "kind": "label", "username": "alice", "updated_at": "2026-01-01T00:00:00Z"}
            for position in range(SIZE):
                comment = "" if position % 10 else f"seen in {next(names)}, calls {next(names)}"
                said = {"offset": hex(0x1000 + 16 * position), "name": next(names), "comment": comment}
                text.write(json.dumps(line | said) + "\n")


def _make_names(words: Sequence[str]) -> Iterator[str]:
    """Yield different names without end."""
    chance = random.Random(1)  # noqa: S311 - the same names in every run
    for number in count():
        yield "_".join([*chance.choices(words, k=chance.choice((1, 2, 3))), f"{number:x}"])


def _time_lookups(db: SampleDB, words: Sequence[str]) -> dict[str, Timing]:
    chance = random.Random(2)  # noqa: S311
    sample_ids = [*db.list_samples()]
    chosen = chance.choices(sample_ids, k=CALLS)
    functions = [(each, next(iter(db.list_functions(each, start=500, limit=1)))) for each in chosen]
    asked = chance.choices([word for word in words if len(word) > 4], k=CALLS)
    calls: dict[str, tuple[Callable[[Any], object], Sequence[Any]]] = {
        "get_function": (lambda each: db.get_function(*each), functions),
        f"list_functions, {SIZE:,} functions": (db.list_functions, chosen),
        f"list_labels of a sample, {SIZE:,} labels": (db.list_labels, chosen),
        "search, a word": (db.search, asked),
        "search, two words": (db.search, [f"{word} {chance.choice(words)}" for word in asked]),
        "find_functions(label=...), the first 20": (lambda word: _find(db, word, 20), asked),
        "find_functions(label=...), all": (lambda word: _find(db, word), asked),
    }
    return {name: time_calls(call, arguments) for name, (call, arguments) in calls.items()}


def _find(db: SampleDB, word: str, number: int | None = None) -> list[object]:
    return list(islice(db.find_functions(label=f"*{word}*"), number))


def _time_writing(db: SampleDB) -> dict[str, Timing]:
    places = [(each, 0x1000 + 16 * (each % SIZE)) for each in islice(db.list_samples(), CALLS)]
    return {
        "label_function, durable": time_calls(lambda each: db.label_function(*each, name="renamed_here"), places),
        "delete_label, durable": time_calls(lambda each: db.delete_label(*each), places),
    }


if __name__ == "__main__":
    measure_and_save("labelling", __doc__, measure, 1_000_000)
