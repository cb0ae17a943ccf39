"""Binaries a minute: jobs of a store beside SMDA's own batch tool, which writes the same reports into a folder.

`python -m benchmarks.subjects.jobs`, with binaries of the corpus, on all cores.
"""

import argparse
import os
import tempfile
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Final

import msgspec
from smda.utility.BatchProcessor import disassembleParallel

import sampledb
from benchmarks import corpus
from benchmarks.report import figures
from benchmarks.report.figures import Batch

ROUNDS: Final = 3


def measure(count: int, folder: Path) -> Batch:
    """The best of some rounds of each, in turn."""
    binaries = folder / "binaries"
    binaries.mkdir()
    for number, (name, content) in enumerate(islice(corpus.binaries(), count)):
        (binaries / f"{number:03}_{name}").write_bytes(content)
    paths = sorted(binaries.iterdir())
    rounds = [(_ours(paths, folder / f"{each}.sampledb"), _smda(paths, folder / str(each))) for each in range(ROUNDS)]
    ours, theirs = (min(seconds) for seconds in zip(*rounds, strict=True))
    return Batch(binaries=count, ours=ours, smda=theirs)


def _ours(paths: list[Path], store: Path) -> float:
    start = perf_counter()
    with sampledb.open(store) as db:
        for path in paths:
            db.submit_binary(path)
        db.run_jobs()
    return perf_counter() - start


def _smda(paths: list[Path], folder: Path) -> float:
    start = perf_counter()
    for _ in disassembleParallel([str(path) for path in paths], str(folder), workers=os.cpu_count() or 1, timeout=300):
        pass
    return perf_counter() - start


def main() -> None:
    """Measure, print, and put it beside the figures of the last run that was kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.subjects.jobs", description=__doc__)
    parser.add_argument("--binaries", type=int, default=80, help="how many (default: 80)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=corpus.CACHE) as folder:
        batch = measure(arguments.binaries, Path(folder))
    print(batch)
    figures.save(msgspec.structs.replace(figures.load(), batch=batch), figures.PATH)


if __name__ == "__main__":
    main()
