"""Asking what is in the code: what the index of APIs and strings costs, and times of questions in a large store.

`python -m benchmarks.subjects.asking` fills a store with real reports under other hashes; what it finds in one of them
is in all of them.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import count, islice
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import sampledb
from benchmarks import corpus
from benchmarks.corpus import vary_report
from benchmarks.measure import time_calls, time_pairs
from benchmarks.report.figures import Asking, Timing
from benchmarks.subjects import measure_and_save
from sampledb import SampleDB
from sampledb.store.tables import references

PROBES: Final = 100
#: Conditions for which the text of frames is looked through; the last has no word that each match contains.
SCANS: Final[dict[str, dict[str, Any]]] = {
    "constant=0x67452301": {"constant": 0x67452301},
    'mnemonics=["xor", "rol"]': {"mnemonics": ["xor", "rol"]},
    'code="6a40 68??"': {"code": "6a40 68??"},
    'text="mov.*0x67452301"': {"text": "mov.*0x67452301"},
    'text="(xor|rol) e[abcd]x"': {"text": "(xor|rol) e[abcd]x"},
    r'text="^\w+ \w+$"': {"text": r"^\w+ \w+$"},
}
_SIGNATURE_BYTES: Final = "SELECT sum(length(functions) + length(signs) + length(details)) AS bytes FROM signatures"


def measure(folder: Path, functions: int) -> Asking:
    """Fill a store, ask it everything, and take its index of names away."""
    contents = [path.read_bytes() for path in corpus.make_reports(280) if path.stat().st_size < 4_000_000]
    stream = (vary_report(content, number) for number in count(1) for content in contents)
    path = folder / "asked.sampledb"
    with sampledb.open(path) as db:
        for outcome in db.add_samples(stream):
            if not outcome.index % 20 and db.stats().num_functions >= functions:
                break
    with sampledb.open(path) as db:
        size = db.stats().num_functions
        signing = size / time_calls(lambda _: db.update_signatures(), [None]).total
        lookups = _time_lookups(db) | _time_similar(db)
        scans = {name: size / _time_scan(db, conditions) for name, conditions in SCANS.items()}
        share = db.query(_SIGNATURE_BYTES)[0]["bytes"] / db.stats().file_bytes
    adding = _measure_adding(folder, [vary_report(content, 7) for content in contents])
    return Asking(size, _weigh_index(path), adding, lookups, scans, signing, share)


def _time_lookups(db: SampleDB) -> dict[str, Timing]:
    """Time questions that indexes answer, each about different samples or names."""
    apis = list(db.list_apis())[::-1][:PROBES]
    rows = db.query("SELECT sample_id FROM samples WHERE num_functions > 9 LIMIT ?", [PROBES])
    sample_ids = [row["sample_id"] for row in rows]
    functions = [next(iter(db.list_functions(each, start=9, limit=1).values())) for each in sample_ids]

    def find(**conditions: Any) -> list[object]:  # noqa: ANN401 - of find_functions
        return list(islice(db.find_functions(**conditions), 20))

    calls: dict[str, tuple[Callable[[Any], object], Sequence[Any]]] = {
        "20 functions that refer to a rare API": (lambda api: find(api=api), apis),
        "20 functions with a pic_hash": (lambda each: find(pic_hash=each.pic_hash or 1), functions),
        "twins": (lambda each: db.twins(each.sample_id, each.function_id), functions),
        "callers": (lambda each: db.callers(each.sample_id, each.function_id), functions),
        "list_apis of a sample": (db.list_apis, sample_ids),
        "known": (db.known, sample_ids),
        "stats": (lambda _: db.stats(), range(5)),
    }
    return {name: time_calls(call, arguments) for name, (call, arguments) in calls.items()}


def _time_similar(db: SampleDB) -> dict[str, Timing]:
    """Time questions about similar code, once the signs are held in memory."""
    (largest,) = db.query("SELECT sample_id FROM samples ORDER BY abs(num_functions - 600), sample_id LIMIT 1")
    sample_id = largest["sample_id"]
    functions = [each for each in db.list_functions(sample_id).values() if each.num_instructions > 30][:PROBES]
    db.similar_functions(sample_id, functions[0].function_id)
    return {
        "similar_functions": time_calls(lambda each: db.similar_functions(sample_id, each.function_id), functions),
        "similar_samples, of 600 functions": time_calls(lambda _: db.similar_samples(sample_id), range(3)),
        "suggest_labels, of 600 functions": time_calls(lambda _: db.suggest_labels(sample_id), range(3)),
        "compare, 600 functions with as many": time_calls(lambda _: db.compare(sample_id, sample_id), range(5)),
    }


def _time_scan(db: SampleDB, conditions: dict[str, Any]) -> float:
    """Return the seconds of one scan of all functions, on all cores."""
    return time_calls(lambda _: sum(1 for _ in db.find_functions(**conditions)), [None]).total


def _weigh_index(path: Path) -> float:
    """Return the share of the file that the index of names takes; takes it away from the file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("VACUUM")
        whole = path.stat().st_size
        for statement in (
            *("VIEW function_apis", "VIEW function_strings", "TABLE api_references", "TABLE string_references"),
            *("TABLE apis", "TABLE strings", "TABLE string_search"),
        ):
            connection.execute(f"DROP {statement}")
        connection.execute("VACUUM")
        return 1 - path.stat().st_size / whole


def _measure_adding(folder: Path, reports: Sequence[bytes]) -> float:
    """Return the rate of adding, divided by the rate without the index."""
    with sampledb.open(folder / "with.sampledb") as db, sampledb.open(folder / "without.sampledb") as bare:

        def add_without(report: bytes) -> None:
            with patch.object(references, "insert", lambda *_: None):
                bare.add_sample(report)

        ours, theirs = time_pairs(db.add_sample, add_without, reports)
    return theirs.total / ours.total


if __name__ == "__main__":
    measure_and_save("asking", __doc__, measure, 1_000_000)
