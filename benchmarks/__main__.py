"""Measures the store beside bare `sqlite3` and beside its peers: `python -m benchmarks`.

One run measures everything on one machine; the store and what it is compared with take turns. Files are warm (just
written, in the page cache); commits are durable where the peer can do that. Writes `benchmarks/report/figures.json`,
without the figures of the subjects that are measured by themselves: run these afterwards.
"""

import argparse
import datetime as dt
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Final

import sampledb.store.sqlite
from benchmarks import corpus
from benchmarks.peers import stores
from benchmarks.report import figures, tables
from benchmarks.subjects import memory, store
from sampledb.format.zstd import zstd

_VERSIONS: Final = ("sampledb", "msgspec", "xxhash", "duckdb", "sqlite-utils", "smda")


def main() -> None:
    """Measure; print, save and draw the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--reports", type=int, default=280, help="reports of the corpus (default: 280)")
    parser.add_argument("--json", type=Path, default=figures.PATH, help="the file to write the figures to")
    arguments = parser.parse_args()
    paths = corpus.make_reports(arguments.reports)
    with corpus.new_folder() as folder:
        result = measure(paths, folder)
    print(tables.format_figures(result))
    figures.save_figures(result, arguments.json)


def measure(paths: list[Path], folder: Path) -> figures.Figures:
    """Return all figures of one run."""
    measured = store.measure(paths, folder)
    json_bytes = measured.sizes.curve[-1][0]
    return figures.Figures(
        day=dt.datetime.now(dt.UTC).date().isoformat(),
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        versions={
            "Python": platform.python_version(),
            "SQLite": sampledb.store.sqlite.VERSION,
            "zstd": zstd.zstd_version,
            **{name: version(name) for name in _VERSIONS},
        },
        corpus=figures.Corpus(len(paths), measured.functions, json_bytes),
        rows=measured.rows,
        sizes=measured.sizes,
        adding=measured.adding,
        peers=stores.measure(paths, folder),
        memory=memory.measure(paths, folder),
    )


if __name__ == "__main__":
    main()
