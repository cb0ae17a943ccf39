"""Memory: peaks of processes that only add reports, and the time of the largest report."""

import subprocess
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.report.figures import Memory

LARGEST_FUNCTIONS: Final = 80_000
MANY: Final = 1000

_ADD = """
import sys
from pathlib import Path
from time import perf_counter
from benchmarks.corpus import vary_report
from benchmarks.measure import read_peak
store, folder, wanted = sys.argv[1:]
paths = sys.stdin.read().splitlines()
if store == "sampledb":
    import sampledb
    add = sampledb.open(folder + "/peak.sampledb").add_sample
else:
    from benchmarks.floor import Floor
    floor = Floor(Path(folder + "/peak.db"))
    floor.create()
    add = floor.add
seconds = 0.0
for number in range(int(wanted)):
    round, place = divmod(number, len(paths))
    content = Path(paths[place]).read_bytes()
    report = vary_report(content, round) if round else content
    begun = perf_counter()
    add(report)
    seconds += perf_counter() - begun
print(read_peak(), seconds)
"""


def measure(paths: Sequence[Path], folder: Path) -> Memory:
    """Measure each peak in its own process."""
    largest = folder / "largest.smda"
    functions = _write_largest(paths, largest)
    peak, seconds = _add_all("sampledb", [largest], 1, folder)
    small = sorted(paths, key=lambda path: path.stat().st_size)[: len(paths) // 2]
    return Memory(
        ours=_add_all("sampledb", paths, len(paths), folder)[0],
        floor=_add_all("floor", paths, len(paths), folder)[0],
        largest_functions=functions,
        largest_json=largest.stat().st_size,
        largest=peak,
        after_100=_add_all("sampledb", small, MANY // 10, folder)[0],
        after_1000=_add_all("sampledb", small, MANY, folder)[0],
        largest_seconds=(seconds, _add_all("floor", [largest], 1, folder)[1]),
    )


def _add_all(store: str, paths: Sequence[Path], count: int, folder: Path) -> tuple[int, float]:
    """Return the peak of a process that adds so many reports, in bytes, and the seconds of the calls."""
    for left in folder.glob("peak.*"):
        left.unlink()
    command = [sys.executable, "-c", _ADD, store, str(folder), str(count)]
    done = subprocess.run(command, input="\n".join(map(str, paths)), capture_output=True, text=True, check=True)
    peak, seconds = done.stdout.split()
    return int(peak), float(seconds)


def _write_largest(paths: Sequence[Path], target: Path) -> int:
    """Write one report with the functions of many, and return their number.

    Each program is moved to its own range of addresses.
    """
    xcfg: dict[str, Any] = {}
    for number in count():
        report = msgspec.json.decode(paths[number % len(paths)].read_bytes())
        for function in report["xcfg"].values():
            moved = _move_function(function, number << 32)
            xcfg[str(moved["offset"])] = moved
        if len(xcfg) >= LARGEST_FUNCTIONS:
            break
    target.write_bytes(msgspec.json.encode({**report, "xcfg": xcfg}))
    return len(xcfg)


def _move_function(function: dict[str, Any], by: int) -> dict[str, Any]:
    """Return the function with `by` added to its own addresses."""
    components = function["metadata"]["strongly_connected_components"]
    return {
        **function,
        "offset": function["offset"] + by,
        "blocks": {
            str(int(key) + by): [[address + by, *texts] for address, *texts in block]
            for key, block in function["blocks"].items()
        },
        "blockrefs": {str(int(key) + by): [to + by for to in refs] for key, refs in function["blockrefs"].items()},
        "metadata": {
            **function["metadata"],
            "strongly_connected_components": [[start + by for start in component] for component in components],
        },
        "inrefs": [address + by for address in function["inrefs"]],
        "outrefs": {str(int(key) + by): [to + by for to in refs] for key, refs in function["outrefs"].items()},
        "apirefs": {str(int(key) + by): name for key, name in function["apirefs"].items()},
    }
