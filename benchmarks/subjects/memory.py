"""Memory: peaks of processes that do nothing but add reports."""

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
from benchmarks.corpus import renewed
from benchmarks.measure import peak_bytes
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
for number in range(int(wanted)):
    round, place = divmod(number, len(paths))
    content = Path(paths[place]).read_bytes()
    add(renewed(content, round) if round else content)
print(peak_bytes())
"""


def measure(paths: Sequence[Path], folder: Path) -> Memory:
    """The peaks, each of its own process."""
    largest = folder / "largest.smda"
    functions = _make_largest(paths, largest)
    small = sorted(paths, key=lambda path: path.stat().st_size)[: len(paths) // 2]
    return Memory(
        ours=_peak("sampledb", paths, len(paths), folder),
        floor=_peak("floor", paths, len(paths), folder),
        largest_functions=functions,
        largest_json=largest.stat().st_size,
        largest=_peak("sampledb", [largest], 1, folder),
        after_100=_peak("sampledb", small, MANY // 10, folder),
        after_1000=_peak("sampledb", small, MANY, folder),
    )


def _peak(store: str, paths: Sequence[Path], count: int, folder: Path) -> int:
    for left in folder.glob("peak.*"):
        left.unlink()
    command = [sys.executable, "-c", _ADD, store, str(folder), str(count)]
    done = subprocess.run(command, input="\n".join(map(str, paths)), capture_output=True, text=True, check=True)
    return int(done.stdout)


def _make_largest(paths: Sequence[Path], target: Path) -> int:
    """Write one report with the functions of many, each program moved to addresses of its own."""
    xcfg: dict[str, Any] = {}
    for number in count():
        report = msgspec.json.decode(paths[number % len(paths)].read_bytes())
        for function in report["xcfg"].values():
            moved = _moved(function, number << 32)
            xcfg[str(moved["offset"])] = moved
        if len(xcfg) >= LARGEST_FUNCTIONS:
            break
    target.write_bytes(msgspec.json.encode({**report, "xcfg": xcfg}))
    return len(xcfg)


def _moved(function: dict[str, Any], by: int) -> dict[str, Any]:
    """A function whose own addresses are larger."""
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
