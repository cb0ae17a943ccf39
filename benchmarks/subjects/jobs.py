"""Jobs: binaries per minute, beside SMDA's own batch tool, which writes the same reports into a folder.

`python -m benchmarks.subjects.jobs` uses binaries of the corpus and all cores.
"""

import argparse
import os
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Final

from smda.utility.BatchProcessor import disassembleParallel

import sampledb
from benchmarks import corpus
from benchmarks.report import figures
from benchmarks.report.figures import Batch

ROUNDS: Final = 3


def measure(count: int, folder: Path) -> Batch:
    """Run both in turn, and return the best round of each."""
    binaries = folder / "binaries"
    binaries.mkdir()
    for number, (name, content) in enumerate(islice(corpus.find_binaries(), count)):
        (binaries / f"{number:03}_{name}").write_bytes(content)
    paths = sorted(binaries.iterdir())
    rounds = [
        (_run_jobs(paths, folder / f"{each}.sampledb"), _run_smda(paths, folder / str(each))) for each in range(ROUNDS)
    ]
    ours, theirs = (min(seconds) for seconds in zip(*rounds, strict=True))
    return Batch(binaries=count, ours=ours, smda=theirs)


def _run_jobs(paths: list[Path], store: Path) -> float:
    start = perf_counter()
    with sampledb.open(store) as db:
        for path in paths:
            # SMDA's tool collects none.
            db.submit_binary(path, strings=False)
        db.run_jobs()
    return perf_counter() - start


def _run_smda(paths: list[Path], folder: Path) -> float:
    start = perf_counter()
    for _ in disassembleParallel([str(path) for path in paths], str(folder), workers=os.cpu_count() or 1, timeout=300):
        pass
    return perf_counter() - start


def main() -> None:
    """Measure, print, and save the result with the other figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.subjects.jobs", description=__doc__)
    parser.add_argument("--binaries", type=int, default=80, help="number of binaries (default: 80)")
    arguments = parser.parse_args()
    with corpus.new_folder() as folder:
        batch = measure(arguments.binaries, folder)
    print(batch)
    figures.replace_figures(batch=batch)


if __name__ == "__main__":
    main()
