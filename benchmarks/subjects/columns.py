"""Columns: all instructions of each report as Arrow, beside parsing its JSON.

`python -m benchmarks.subjects.columns` reads each report of the corpus in turn with what it is compared with.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import sampledb
from benchmarks import corpus
from benchmarks.measure import time_rounds
from benchmarks.report import figures
from benchmarks.report.figures import Columns

# Prints the peak before and after all instructions of a store were streamed.
_STREAM: Final = """
import sys
import sampledb
from benchmarks.measure import read_peak
with sampledb.open(sys.argv[1], readonly=True) as db:
    table = db.table("instructions")
    before = read_peak()
    for batch in table.iter_batches():
        pass
    print(before, read_peak())
"""


def measure(paths: Sequence[Path], folder: Path) -> Columns:
    """Add the reports to a store, and read the instructions of each from it and from its JSON."""
    contents = [path.read_bytes() for path in paths]
    file = folder / "columns.sampledb"
    with sampledb.open(file) as db:
        ids = [db.add_sample(content).sample_id for content in contents]
        numbers = range(len(ids))

        def stream(number: int, *columns: str) -> None:
            for _ in db.table("instructions", sample_id=ids[number], columns=columns or None).iter_batches():
                pass

        ours, parsing = time_rounds(stream, lambda number: json.loads(contents[number]), numbers)
        mnemonics, collecting = time_rounds(
            lambda number: stream(number, "mnemonic"), lambda number: _collect(json.loads(contents[number])), numbers
        )
    command = [sys.executable, "-c", _STREAM, str(file)]
    before, peak = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    with sampledb.open(file, readonly=True) as db:
        ((instructions,),) = (row.values() for row in db.query("SELECT sum(num_instructions) FROM functions"))
    return Columns(
        instructions=instructions,
        ours=ours.total,
        mnemonics=mnemonics.total,
        parsing=parsing.total,
        collecting=collecting.total,
        memory=peak - before,
    )


def _collect(report: dict[str, Any]) -> list[list[Any]]:
    """Return the four columns of all instructions, as somebody without a store would."""
    functions = report["xcfg"].values()
    rows = [each[:4] for function in functions for block in function["blocks"].values() for each in block]
    return [list(column) for column in zip(*rows, strict=True)]


def main() -> None:
    """Measure, print, and save the result with the other figures."""
    with corpus.new_folder() as folder:
        columns = measure(corpus.make_reports(280), folder)
    print(columns)
    figures.replace_figures(columns=columns)


if __name__ == "__main__":
    main()
