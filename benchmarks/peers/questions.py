"""The questions that every peer is asked, and their timing. Imports nothing but msgspec, for MCRIT's environment."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from benchmarks.measure import time_calls
from benchmarks.report.figures import Peer

QUESTIONS: Final = 200


class Report(msgspec.Struct, frozen=True):
    """One report, and the keys to ask for it."""

    sha256: str
    json: bytes  # compact
    offsets: list[int]  # of its functions


class Store(Protocol):
    """A peer that is filled and asked. The results of its calls are not checked."""

    name: str

    def add(self, report: Report) -> object:
        """Store a report as durably as the peer can."""

    def prepare(self, reports: Sequence[Report]) -> None:
        """Look up the ids that its calls need. Not timed."""

    def sample(self, sha256: str) -> object:
        """Return a sample without its functions."""

    def functions(self, sha256: str) -> object:
        """Return the functions, without disassembly where the peer can leave it out."""

    def function(self, sha256: str, offset: int) -> object:
        """Return one function with its disassembly."""

    def report(self, sha256: str) -> object:
        """Return the whole report, or raise NotImplementedError where it is not kept."""

    def close(self) -> int | None:
        """Close the peer, and return its bytes on disk; None where there are none."""


def read_reports(paths: Sequence[Path]) -> list[Report]:
    """Read the reports from their files."""
    reports = []
    for path in paths:
        content = msgspec.json.format(path.read_bytes(), indent=-1)
        report = msgspec.json.decode(content, type=_Report)
        reports.append(Report(report.sha256, content, sorted(map(int, report.xcfg))))
    return reports


class _Report(msgspec.Struct):
    sha256: str
    xcfg: dict[str, msgspec.Raw]


def ask_store(store: Store, reports: Sequence[Report]) -> Peer:
    """Fill a store, ask it, and return the times."""
    chance = random.Random(0)  # noqa: S311 - the same questions for all
    some = chance.choices(reports, k=QUESTIONS)
    adding = time_calls(store.add, reports)
    store.prepare(reports)
    sample = time_calls(lambda report: store.sample(report.sha256), some)
    functions = time_calls(lambda report: store.functions(report.sha256), some)
    one = time_calls(lambda pair: store.function(*pair), [(each.sha256, chance.choice(each.offsets)) for each in some])
    try:
        whole = time_calls(lambda report: store.report(report.sha256), some).median
    except NotImplementedError:
        whole = None
    return Peer(
        name=store.name,
        functions_per_second=sum(len(report.offsets) for report in reports) / adding.total,
        sample=sample.median,
        functions=functions.median,
        function=one.median,
        report=whole,
        file=store.close(),
    )
