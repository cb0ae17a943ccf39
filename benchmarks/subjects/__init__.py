"""The subjects of measurement: the store, its growth, its memory, jobs, search, labels, columns."""

import argparse
from collections.abc import Callable
from pathlib import Path

from benchmarks import corpus
from benchmarks.report import figures


def measure_and_save(field: str, what: str | None, measure: Callable[[Path, int], object], functions: int) -> None:
    """Measure one subject with as many functions as the command line says; print the result, and save it.

    It is saved as this field of the figures, with those of the last run.
    """
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--functions", type=int, default=functions, help=f"in the store (default: {functions:,})")
    with corpus.new_folder() as folder:
        result = measure(folder, parser.parse_args().functions)
    print(result)
    figures.replace_figures(**{field: result})
