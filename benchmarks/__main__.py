"""`python -m benchmarks`: what the store costs beside the same work in bare `sqlite3`.

Every row is measured in one run on one machine, the store and the floor in turn. Files are warm (just written, in
the page cache) except where a row says cold; commits are durable in both.
"""

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

import sampledb
from benchmarks import corpus
from benchmarks.floor import Floor
from benchmarks.measure import Timing, alternated, timed
from sampledb import SampleDB
from sampledb.sqlite import sqlite3

ROUNDS = 3
POINT_READS = 2000
_IMPORTS = ["import sampledb"] * 15

_PEAK = """
import sys
from pathlib import Path
from benchmarks.measure import peak_bytes
paths = [Path(line) for line in sys.stdin.read().splitlines()]
if sys.argv[1] == "sampledb":
    import sampledb
    db = sampledb.open(sys.argv[2])
    add = db.add_sample
else:
    from benchmarks.floor import Floor
    floor = Floor(Path(sys.argv[2]))
    floor.create()
    add = floor.add
for path in paths:
    add(path.read_bytes())
print(peak_bytes())
"""


_Call = Callable[[Any], object]


class Row(msgspec.Struct, frozen=True):
    """One line of the table: times in seconds."""

    name: str
    ours: Timing
    floor: Timing | None

    @property
    def ratio(self) -> float | None:
        """How many times the floor's time ours is."""
        return self.ours.median / self.floor.median if self.floor else None


def main() -> None:
    """Make the corpus, measure, print a table, and write JSON when asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--reports", type=int, default=240, help="how many reports (default: 240)")
    parser.add_argument("--readme", action="store_true", help="put the table into the README")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    arguments = parser.parse_args()
    paths = corpus.reports(arguments.reports)
    with tempfile.TemporaryDirectory(dir=corpus.CACHE) as folder:
        result = measure(paths, Path(folder))
    print(table(result))
    if arguments.readme:
        _update_readme(table(result))
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1))


def measure(paths: Sequence[Path], folder: Path) -> dict[str, Any]:
    """All figures of one run."""
    contents = [path.read_bytes() for path in paths]
    compact = sum(len(msgspec.json.format(content, indent=-1)) for content in contents)
    floor = Floor(folder / "floor.db")
    floor.create()
    with sampledb.open(folder / "ours.sampledb") as db:
        rows = [Row("add_sample, each durable", timed(db.add_sample, contents), timed(floor.add, contents))]
        # The bare query of a sample is the same row of the same file, without SampleDB around it.
        with closing(sqlite3.connect(db.path)) as bare:
            rows += reading(db, floor, bare, paths)
        functions = db.stats().num_functions
    file_bytes = (folder / "ours.sampledb").stat().st_size
    floor.connection.close()
    with sampledb.open(folder / "ours.sampledb") as db:
        compaction = timed(lambda _: db.compact(), [None])
    files = [folder / "ours.sampledb"] * 50
    rows.append(Row("open + close an existing file", *alternated(_open_and_close, _bare_open_and_close, files, ROUNDS)))
    rows.append(Row("a process that imports sampledb", *alternated(_import, lambda _: _import("pass"), _IMPORTS, 1)))
    return {
        "machine": f"{platform.machine()}, Python {platform.python_version()}, SQLite {sampledb.sqlite.VERSION}",
        "reports": len(paths),
        "functions": functions,
        "json_bytes": compact,
        "file_bytes": file_bytes,
        "compact_bytes": (folder / "ours.sampledb").stat().st_size,
        "compact_seconds": compaction.total,
        "floor_bytes": (folder / "floor.db").stat().st_size,
        "peak_bytes": _peak("sampledb", paths, folder),
        "floor_peak_bytes": _peak("floor", paths, folder),
        "rows": rows,
    }


def reading(db: SampleDB, floor: Floor, bare: sqlite3.Connection, paths: Sequence[Path]) -> list[Row]:
    """The reads, each in turn with the floor's."""
    samples = list(db.list_samples().values())
    by_size = sorted(samples, key=lambda sample: sample.num_functions)
    ranges = {
        sample.sample_id: (min(ids), max(ids))
        for sample in samples
        if (ids := list(db.list_functions(sample.sample_id)))
    }
    chance = random.Random(0)  # noqa: S311 - the same choice in every run
    some = chance.choices(samples, k=POINT_READS)
    functions = [(sample.sample_id, chance.randint(*ranges[sample.sample_id])) for sample in some]
    reports = [(sample, path.read_bytes()) for sample, path in zip(samples, paths, strict=True)]
    execute = bare.execute

    def pair(
        name: str, ours: Callable[[Any], object], theirs: Callable[[Any], object], arguments: Sequence[Any]
    ) -> Row:
        return Row(name, *alternated(ours, theirs, arguments, ROUNDS))

    return [
        pair(
            "get_sample", lambda sample: db.get_sample(sample.sample_id),
            lambda sample: execute("SELECT * FROM samples WHERE sample_id = ?", (sample.sample_id,)).fetchone(), some,
        ),
        pair(
            "get_sample_by_sha256", lambda sample: db.get_sample_by_sha256(sample.sha256),
            lambda sample: execute("SELECT * FROM samples WHERE sha256 = ?", (sample.sha256,)).fetchone(), some,
        ),
        pair(
            "get_function", lambda ids: db.get_function(*ids), lambda ids: floor.get_function(ids[1]), functions,
        ),
        pair(
            "list_functions, median sample", lambda sample: db.list_functions(sample.sample_id),
            lambda sample: floor.list_functions(*ranges[sample.sample_id]), [by_size[len(by_size) // 2]] * 200,
        ),
        pair(
            "list_functions, largest sample", lambda sample: db.list_functions(sample.sample_id),
            lambda sample: floor.list_functions(*ranges[sample.sample_id]), [by_size[-1]] * 20,
        ),
        pair(
            "… with disassembly, against json.loads",
            lambda pair: db.list_functions(pair[0].sample_id, disassembly=True),
            lambda pair: json.loads(pair[1]), reports,
        ),
        pair(
            "get_report, against msgspec's decode", lambda pair: db.get_report(pair[0].sample_id),
            lambda pair: msgspec.json.decode(pair[1]), reports,
        ),
    ]  # fmt: skip


def table(result: dict[str, Any]) -> str:
    """The figures as text."""
    lines = [
        f"{result['reports']} reports, {result['functions']} functions, {_mb(result['json_bytes'])} of compact JSON",
        result["machine"],
        "",
        f"{'':40}{'median':>11}{'p90':>11}{'p99':>11}{'floor':>11}{'ratio':>8}",
    ]
    for row in result["rows"]:
        times = [row.ours.median, row.ours.p90, row.ours.p99, row.floor.median if row.floor else None]
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        lines.append(f"{row.name:40}{''.join(f'{_time(each):>11}' for each in times)}{ratio:>8}")
    add = result["rows"][0]
    rates = [result["functions"] / timing.total for timing in (add.ours, add.floor)]
    sizes = [result["file_bytes"], result["floor_bytes"]]
    peaks = [result["peak_bytes"], result["floor_peak_bytes"]]
    lines += [
        "",
        _line("functions added a second", rates, "{:,.0f}".format),
        _line("file, closed", sizes, _mb),
        _line("file to compact JSON", [size / result["json_bytes"] for size in sizes], "{:.3f}".format),
        _line("peak memory, adding all", peaks, _mb),
        "",
        f"after compact(), in {result['compact_seconds']:.0f} s: {result['compact_bytes'] / result['json_bytes']:.3f}",
    ]
    return "\n".join(lines)


def _update_readme(text: str) -> None:
    path = Path(__file__).parent.parent / "README.md"
    before, rest = path.read_text("utf-8").split("<!-- figures -->\n", 1)
    _, after = rest.split("<!-- end of figures -->\n", 1)
    figures = f"<!-- figures -->\n\n```text\n{text}\n```\n\n<!-- end of figures -->\n"
    path.write_text(before + figures + after, "utf-8")


def _open_and_close(path: Path) -> None:
    sampledb.open(path).close()


def _bare_open_and_close(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("SELECT count(*) FROM samples").fetchone()


def _import(statement: str) -> None:
    # With bytecode, as pip installs it.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, "-c", statement], check=True, env=environment)


def _peak(store: str, paths: Sequence[Path], folder: Path) -> int:
    """The peak memory, in bytes, of a process that adds all reports."""
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, store, str(folder / f"peak-{store}")],
        input="\n".join(map(str, paths)), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(json.loads(done.stdout))


def _line(name: str, figures: Sequence[float], shown: Callable[[float], str]) -> str:
    ours, floor = figures
    return f"{name:40}{shown(ours):>11}{'':22}{shown(floor):>11}{ours / floor:>8.2f}"


def _mb(size: float) -> str:
    return f"{size / 1e6:.1f} MB"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds * 1e6:.1f} µs" if seconds < 1e-3 else f"{seconds * 1e3:.2f} ms"


if __name__ == "__main__":
    main()
