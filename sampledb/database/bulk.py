"""Adding many reports: read ahead, packed on all cores, stored in the order given, several to a transaction."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Final, Literal

from sampledb.errors import BusyError, ClosedError, ConflictError, CorruptFileError, InvalidInputError, SampleDBError
from sampledb.format.report import Report, peek_sha256
from sampledb.intake.source import read_source
from sampledb.model import Outcome, Sample
from sampledb.store.connection import Connections
from sampledb.store.sqlite import Connection
from sampledb.store.tables import reports as storing
from sampledb.store.tables import samples
from sampledb.workers.packer import Packers

# Stored in one transaction at most: some tenths of a second of work.
_BATCH: Final = 64


@dataclass(frozen=True, slots=True)
class _Pending:
    """One item on its way: a report that is being packed, or what is clear without storing anything."""

    index: int
    source: str
    result: "Future[Report] | Outcome"

    @property
    def is_ready(self) -> bool:
        return isinstance(self.result, Outcome) or self.result.done()

    def failed(self, error: SampleDBError) -> Outcome:
        """Its outcome when it cannot be stored."""
        return Outcome(self.index, "failed", None, error, self.source)


class Ingestion:
    """Stores reports in one file."""

    def __init__(self, connections: Connections, *, exist_ok: bool) -> None:
        self._connections = connections
        self._exist_ok = exist_ok
        self._owner = os.getpid()
        self._pending: deque[_Pending] = deque()

    def outcomes(self, items: Iterable[object]) -> Iterator[Outcome]:
        """What became of each, in order, when it is on disk."""
        with Packers() as packers:
            for index, item in enumerate(items):
                self._pending.append(self._begun(index, item, packers))
                while self._pending and (len(self._pending) >= packers.room or self._pending[0].is_ready):
                    yield from self._stored()
            while self._pending:
                yield from self._stored()

    def _begun(self, index: int, item: object, packers: Packers) -> _Pending:
        source = _source(item)
        try:
            content = read_source(item)
            known = self._known(content) if self._exist_ok else None
        except (InvalidInputError, BusyError, CorruptFileError) as error:
            return _Pending(index, source, Outcome(index, "failed", None, error, source))
        if known:
            return _Pending(index, source, Outcome(index, "existed", known, None, source))
        return _Pending(index, source, packers.pack(content))

    def _known(self, content: bytes) -> Sample | None:
        """The sample of a report that is stored already, found without reading more of it than its hash."""
        sha256 = peek_sha256(content)
        if sha256 is None:
            return None
        with self._connections.snapshot() as connection:
            stored = samples.find(connection, sha256=sha256)
            return samples.get(connection, stored.sample_id) if stored and stored.is_analyzed else None

    def _stored(self) -> list[Outcome]:
        """The outcomes of the first that is pending, for which this waits, and of those behind it that are ready."""
        if os.getpid() != self._owner:
            raise ClosedError("This add_samples() belongs to the process that was forked; begin another one here.")
        batch = [self._pending.popleft()]
        if isinstance(batch[0].result, Future):
            wait([batch[0].result])
        while self._pending and self._pending[0].is_ready and len(batch) < _BATCH:
            batch.append(self._pending.popleft())
        try:
            return self._store(batch)
        except BusyError as error:
            return [_unstored(each, error) for each in batch]
        except CorruptFileError:
            # One of them met a damaged place; by itself each has an outcome of its own.
            return [self._alone(each) for each in batch]

    def _alone(self, pending: _Pending) -> Outcome:
        try:
            return self._store([pending])[0]
        except (BusyError, CorruptFileError) as error:
            return _unstored(pending, error)

    def _store(self, batch: Sequence[_Pending]) -> list[Outcome]:
        results = [_packed(each) for each in batch]
        if not any(isinstance(result, Report) for result in results):
            return [result for result in results if isinstance(result, Outcome)]
        with self._connections.writing() as connection:
            return [
                result if isinstance(result, Outcome) else self._added(connection, pending, result)
                for pending, result in zip(batch, results, strict=True)
            ]

    def _added(self, connection: Connection, pending: _Pending, report: Report) -> Outcome:
        try:
            sample_id, is_new = storing.add(connection, report, {}, username="anonymous", exist_ok=self._exist_ok)
        except ConflictError as error:
            # Raised before anything was written.
            return pending.failed(error)
        status: Literal["added", "existed"] = "added" if is_new else "existed"
        return Outcome(pending.index, status, samples.get(connection, sample_id), None, pending.source)


def _unstored(pending: _Pending, error: SampleDBError) -> Outcome:
    """The outcome where a report could not be stored; that of one that was not to be stays."""
    packed = _packed(pending)
    return packed if isinstance(packed, Outcome) else pending.failed(error)


def _packed(pending: _Pending) -> Report | Outcome:
    """The report, or the outcome of one that breaks a rule or is stored already."""
    if isinstance(pending.result, Outcome):
        return pending.result
    try:
        return pending.result.result()
    except InvalidInputError as error:
        return pending.failed(error)


def _source(item: object) -> str:
    """What people know an item by: its path, or what it says itself."""
    if isinstance(item, str | os.PathLike):
        return os.fsdecode(item)
    return str(getattr(item, "source", ""))
