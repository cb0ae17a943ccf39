"""Disassemble the binaries by SMDA, one after the other: `python -m benchmarks.similarity.disassemble`.

Those to learn from come first.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from smda.Disassembler import Disassembler

from benchmarks.similarity import programs
from benchmarks.similarity.build import BINARIES
from benchmarks.similarity.fetch import CACHE
from benchmarks.similarity.programs import Build
from sampledb.format.zstd import zstd

REPORTS: Final = CACHE / "reports"


def main() -> None:
    """Make the reports that are missing."""
    logging.disable(logging.CRITICAL)
    REPORTS.mkdir(exist_ok=True)
    for binary in list_binaries():
        report = report_of(binary.name)
        if not report.exists():
            started = time.monotonic()
            functions = disassemble(binary, report)
            print(f"{binary.name}: {functions} functions, {time.monotonic() - started:.0f} s", flush=True)


def list_binaries() -> Iterator[Path]:
    """Yield the binaries that are used, those to learn from first."""
    base, arm64, older, newer, i386 = (
        f"@{place.suite}@{place.arch}"
        for place in (programs.BASE, programs.ARM64, programs.OLDER, programs.NEWER, programs.I386)
    )
    wanted = [
        *_name(programs.LEARN, (base, arm64)),
        *_name(programs.LEARN_SOURCES, list_builds(programs.LEARN_BUILDS)),
        *_name(programs.LEARN_EVERYWHERE, (older, i386)),
        *_name(programs.EVALUATE, (base,)),
        *_name(programs.EVALUATE_SOURCES, list_builds(programs.EVALUATE_BUILDS)),
        *_name(programs.QUERIES, (arm64, older, i386, f"{older}-stripped", f"{arm64}-stripped", newer)),
    ]
    yield from (path for name in wanted if (path := BINARIES / name).exists())


def list_builds(builds: Mapping[str, Build]) -> list[str]:
    """Return how the binaries of builds are named."""
    return [f"@{programs.BASE.suite}@{build.place.arch}-{how}" for how, build in builds.items()]


def _name(names: Iterable[str], places: Iterable[str]) -> Iterator[str]:
    return (f"{name}{place}" for place in places for name in names)


def report_of(name: str) -> Path:
    """Return where the report of a binary is."""
    return REPORTS / f"{name}.smda.zst"


def disassemble(binary: Path, report: Path) -> int:
    """Write the report of a binary, and return how many functions it has."""
    found = Disassembler().disassembleFile(str(binary))
    partial = report.with_suffix(".partial")
    found.toFile(str(partial))
    report.write_bytes(zstd.compress(partial.read_bytes(), 3))
    partial.unlink()
    return int(found.num_functions)


if __name__ == "__main__":
    main()
