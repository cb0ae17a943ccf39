"""Reference sets: what it takes to add a folder of them, and to write them again for MCRIT.

`python -m benchmarks.subjects.sets FOLDER` takes `.mcrit` files, such as those of danielplohmann/mcrit-data, and SMDA
reports. It compares what was written with what was read.
"""

import argparse
import json
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import sampledb
from benchmarks import corpus
from benchmarks.measure import read_peak


def main() -> None:
    """Add, write again, compare, and print what it took."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.subjects.sets", description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder of .mcrit files and SMDA reports")
    files = [each for each in parser.parse_args().folder.rglob("*") if each.is_file()]
    print(f"{len(files)} files, {sum(each.stat().st_size for each in files) / 1e6:,.1f} MB")
    with corpus.new_folder() as folder, sampledb.open(folder / "sets.sampledb") as db:
        begun = _now()
        outcomes = list(db.add_samples(sampledb.find_reports(*files)))
        _print_spent("added", begun)
        for outcome in outcomes:
            if outcome.error:
                print(f"{outcome.source}: {outcome.error}")
        stats, labels = db.stats(), db.query("SELECT count(*) AS number FROM labels")[0]["number"]
        libraries = sum(family.num_libraries for family in db.describe_families())
        print(f"{stats.num_samples} samples, {libraries} of them libraries")
        print(f"{stats.num_functions:,} functions, {labels:,} labels")
        begun = _now()
        db.export_mcrit(folder / "sets.mcrit")
        _print_spent("written again", begun)
        size = (folder / "sets.mcrit").stat().st_size
        print(f"{stats.file_bytes / 1e6:,.1f} MB in the file, {size / 1e6:,.1f} MB written")
        written = dict(_read([folder / "sets.mcrit"]))
        different = [sha256 for sha256, report in _read(files) if sha256 in written and written[sha256] != report]
        print(f"{len(different)} samples are not as they were read: {different}")
        sys.exit(bool(different) or any(outcome.error for outcome in outcomes))


def _now() -> tuple[float, float]:
    """Return seconds by the clock, and of the processors."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return perf_counter(), sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _print_spent(what: str, begun: tuple[float, float]) -> None:
    seconds, cpu_seconds = (now - before for now, before in zip(_now(), begun, strict=True))
    print(f"{what} in {seconds:.1f} s, {cpu_seconds:.1f} s of CPU; the process took {read_peak() / 1e6:,.1f} MB so far")


def _read(files: list[Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the SHA-256 and the report of each sample of `.mcrit` files, but for what belongs to a whole file."""
    for found in sampledb.find_reports(*(each for each in files if each.suffix == ".mcrit")):
        with found.open() as file:
            report = json.load(file)
        report["mcrit"].pop("config")
        report["mcrit"].get("labels", []).sort()
        yield report["sha256"], report


if __name__ == "__main__":
    main()
