"""Prove that MCRIT imports what `export_mcrit` writes, and that `add_samples` imports what MCRIT writes.

`python -m benchmarks.peers.exchange [REPORT]...` takes `.mcrit` files and SMDA reports, without any the report of a
program of this machine. It stops at the first difference.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import sampledb
from benchmarks import corpus
from benchmarks.peers.environment import make_mcrit_environment

# What MCRIT gives to functions that have a name and no label.
_BY_IMPORT: Final = "mcrit-import"


def main(given: Sequence[str]) -> None:
    """Exchange the samples, and print what was exchanged."""
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs, again = (Path(folder, name) for name in ("ours.mcrit", "theirs.mcrit", "again.mcrit"))
        began = time.monotonic()
        with sampledb.open(Path(folder, "ours.sampledb")) as db:
            _fill(db, given)
            db.export_mcrit(ours)
            stats = db.stats()
        told = _exchange(ours, theirs)
        found = told["num_samples_imported"], told["num_functions_imported"]
        _require(found == (stats.num_samples, stats.num_functions), f"MCRIT has imported {found} of {stats}")
        with sampledb.open(Path(folder, "theirs.sampledb")) as db:
            failed = [outcome.error for outcome in db.add_samples([theirs]) if outcome.status != "added"]
            _require(not failed, f"{failed}")
            _require(db.check(deep=True) == [], "the file is damaged")
            db.export_mcrit(again)
        returned = _read(again)
        differences = [sha256 for sha256, report in _read(ours).items() if returned[sha256] != report]
        _require(not differences, f"{differences} differ")
        print(f"{found[0]} samples with {found[1]:,} functions went to MCRIT and came back equal")
        print(f"{ours.stat().st_size:,} bytes, {time.monotonic() - began:.0f} s in all")


def _fill(db: sampledb.SampleDB, given: Sequence[str]) -> None:
    if not given:
        db.analyze("/bin/true", family="coreutils", version="1.0")
    failed = [outcome.error for outcome in db.add_samples(sampledb.find_reports(*given)) if outcome.error]
    _require(not failed, f"{failed}")
    function = next(db.iter_functions())
    db.label_function(function.sample_id, function.offset, name="named_here", username="alice")


def _exchange(given: Path, written: Path) -> dict[str, int]:
    """Have MCRIT import a file and export it, and return what it says about the import."""
    command = [str(make_mcrit_environment()), "-m", "benchmarks.peers.importer", str(given), str(written)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=corpus.CACHE.parent.parent)
    told: dict[str, int] = json.loads(done.stdout)
    return told


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Return the report of each sample of a file, without what belongs to the MCRIT that has written it."""
    reports = {}
    for found in sampledb.find_reports(path):
        with found.open() as file:
            report = json.load(file)
        config = report["mcrit"].pop("config")
        labels = [label for label in report["mcrit"].pop("labels", []) if label[2] != _BY_IMPORT]
        reports[report["sha256"]] = {**report, "labels": labels, "pair": (config["shingler"], config["minhash"])}
    return reports


def _require(condition: object, failure: str) -> None:
    if not condition:
        sys.exit(failure)


if __name__ == "__main__":
    main(sys.argv[1:])
