"""What every peer is asked, and how it is timed. Needs no more than the peer itself and msgspec."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from benchmarks.measure import timed
from benchmarks.report.figures import Peer

QUESTIONS: Final = 200


class Report(msgspec.Struct, frozen=True):
    """One report, and how to ask for it."""

    sha256: str
    json: bytes  # compact
    offsets: list[int]  # of its functions


class Store(Protocol):
    """A peer, filled and asked. What the calls return is not looked at."""

    name: str

    def add(self, report: Report) -> object:
        """Store it, as durably as the peer can."""

    def prepare(self, reports: Sequence[Report]) -> None:
        """Find out the ids under which it can be asked. Not timed."""

    def sample(self, sha256: str) -> object:
        """What is known of the sample, without its functions."""

    def functions(self, sha256: str) -> object:
        """Its functions, without disassembly where the peer can leave it out."""

    def function(self, sha256: str, offset: int) -> object:
        """One function with its disassembly."""

    def report(self, sha256: str) -> object:
        """The whole report again; NotImplementedError where it is not kept."""

    def close(self) -> int | None:
        """Close it; the bytes it takes on disk."""


def read(paths: Sequence[Path]) -> list[Report]:
    """The reports of these files."""
    found = []
    for path in paths:
        content = msgspec.json.format(path.read_bytes(), indent=-1)
        report = msgspec.json.decode(content, type=_Report)
        found.append(Report(report.sha256, content, sorted(map(int, report.xcfg))))
    return found


class _Report(msgspec.Struct):
    sha256: str
    xcfg: dict[str, msgspec.Raw]


def ask(store: Store, reports: Sequence[Report]) -> Peer:
    """Fill a store and ask it."""
    chance = random.Random(0)  # noqa: S311 - the same questions for all
    some = chance.choices(reports, k=QUESTIONS)
    adding = timed(store.add, reports)
    store.prepare(reports)
    sample = timed(lambda report: store.sample(report.sha256), some)
    functions = timed(lambda report: store.functions(report.sha256), some)
    one = timed(lambda pair: store.function(*pair), [(each.sha256, chance.choice(each.offsets)) for each in some])
    try:
        whole = timed(lambda report: store.report(report.sha256), some).median
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
