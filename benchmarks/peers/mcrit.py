"""MCRIT's MemoryStorage as a peer. `stores` runs it in a virtual environment of its own; nothing imports it.

It keeps everything in the memory of one process and nothing on disk.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from mcrit.config.McritConfig import McritConfig
from mcrit.storage.MemoryStorage import MemoryStorage
from smda.common.SmdaReport import SmdaReport

from benchmarks.peers.questions import Report, ask_store, read_reports


class Mcrit:
    """The calls behind the server's API, without the server."""

    name = "MCRIT MemoryStorage"

    def __init__(self) -> None:
        self._storage = MemoryStorage(McritConfig())
        self._ids: dict[tuple[str, int], int] = {}

    def add(self, report: Report) -> object:
        """Store the JSON that the server would receive."""
        return self._storage.addSmdaReport(SmdaReport.fromDict(json.loads(report.json)))

    def sample(self, sha256: str) -> object:
        """Return its entry."""
        return self._storage.getSampleBySha256(sha256)

    def functions(self, sha256: str) -> object:
        """Return all entries; they include the disassembly."""
        return self._storage.getFunctionsBySampleId(self._storage.getSampleBySha256(sha256).sample_id)

    def function(self, sha256: str, offset: int) -> object:
        """Return it by id."""
        return self._storage.getFunctionById(self._ids[sha256, offset], with_xcfg=True)

    def report(self, sha256: str) -> object:
        """Raise NotImplementedError: MCRIT drops most of a report."""
        raise NotImplementedError

    def prepare(self, reports: Sequence[Report]) -> None:
        """Look up the id of each function."""
        for report in reports:
            sample_id = self._storage.getSampleBySha256(report.sha256).sample_id
            for entry in self._storage.getFunctionsBySampleId(sample_id):
                self._ids[report.sha256, entry.offset] = entry.function_id

    def close(self) -> int | None:
        """Return None: nothing is on disk."""
        return None


if __name__ == "__main__":
    reports = read_reports([Path(line) for line in sys.stdin.read().splitlines()])
    sys.stdout.buffer.write(msgspec.json.encode(ask_store(Mcrit(), reports)))
