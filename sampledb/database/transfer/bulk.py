"""Add many reports: read ahead, parse on all cores, store in order, several in a transaction."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, Literal, TypeGuard

from sampledb.database.handle import refuse_open_store
from sampledb.errors import BusyError, ConflictError, CorruptFileError, InvalidInputError, SampleDBError
from sampledb.format.report import Report, guess_sha256, peek_sha256
from sampledb.intake.finder import find_reports
from sampledb.intake.mcrit.reader import is_mcrit_name
from sampledb.intake.source import read_source
from sampledb.model import Outcome, Sample
from sampledb.store.connection import Connections
from sampledb.store.sqlite import Connection
from sampledb.store.tables import samples
from sampledb.store.tables.reports import add_report
from sampledb.workers.packer import Packer

# Reports in one transaction, and under way, at most: some tenths of a second of work.
_BATCH: Final = 64


@dataclass(frozen=True, slots=True)
class _Pending:
    """One item on its way: a report that is being parsed, or an outcome that needs nothing stored."""

    index: int
    source: str
    result: Future[Report] | Outcome
    size: int = 0  # bytes of JSON

    @property
    def is_ready(self) -> bool:
        return isinstance(self.result, Outcome) or self.result.done()

    def fail(self, error: SampleDBError) -> Outcome:
        """Return the outcome `failed`."""
        return Outcome(self.index, "failed", None, error, self.source)

    def resolve(self) -> Report | Outcome:
        """Wait, and return the parsed report, or the outcome of an item that has none to store."""
        if isinstance(self.result, Outcome):
            return self.result
        try:
            return self.result.result()
        except InvalidInputError as error:
            return self.fail(error)

    def fail_unstored(self, error: SampleDBError) -> Outcome:
        """Mark a report as failed; keep an outcome that is already settled."""
        result = self.resolve()
        return result if isinstance(result, Outcome) else self.fail(error)


class BulkAdd:
    """Stores many reports in one file."""

    def __init__(self, connections: Connections, *, exist_ok: bool) -> None:
        self._connections = connections
        self._exist_ok = exist_ok
        self._pending: deque[_Pending] = deque()
        self._size = 0

    def run(self, items: Iterable[object]) -> Iterator[Outcome]:
        """Yield the outcome of each item, in order, once it is on disk."""
        with Packer() as packer:
            for index, item in enumerate(_spread(items)):
                self._pending.append(self._begin(index, item, packer))
                self._size += self._pending[-1].size
                while self._pending and (self._pending[0].is_ready or not self._has_room(packer)):
                    yield from self._store_next()
            while self._pending:
                yield from self._store_next()

    def _has_room(self, packer: Packer) -> bool:
        return len(self._pending) < _BATCH and packer.has_room(len(self._pending), self._size)

    def _begin(self, index: int, item: object, packer: Packer) -> _Pending:
        # People know an item by its path, or by what it says itself.
        source = os.fsdecode(item) if isinstance(item, str | os.PathLike) else str(getattr(item, "source", ""))
        try:
            refuse_open_store(item, "smda_report")
            content = read_source(item)
            known = self._find_known(content) if self._exist_ok else None
        except (InvalidInputError, BusyError, CorruptFileError) as error:
            return _Pending(index, source, Outcome(index, "failed", None, error, source))
        if known:
            return _Pending(index, source, Outcome(index, "existed", known, None, source))
        return _Pending(index, source, packer.parse(content), len(content))

    def _find_known(self, content: bytes) -> Sample | None:
        """Return the sample whose analysis is stored already; reads nothing but the hash of the report."""
        guess = guess_sha256(content)
        if guess and self._find_analyzed(guess) is None:
            return None
        sha256 = peek_sha256(content)
        return self._find_analyzed(sha256) if sha256 else None

    def _find_analyzed(self, sha256: str) -> Sample | None:
        with self._connections.snapshot() as connection:
            stored = samples.find(connection, sha256=sha256)
            return samples.get(connection, stored.sample_id) if stored and stored.is_analyzed else None

    def _store_next(self) -> list[Outcome]:
        """Wait for the first pending item; store it with those behind it that are ready, and return their outcomes."""
        batch = [self._pending.popleft()]
        batch[0].resolve()
        while self._pending and self._pending[0].is_ready and len(batch) < _BATCH:
            batch.append(self._pending.popleft())
        self._size -= sum(each.size for each in batch)
        try:
            return self._store(batch)
        except BusyError as error:
            return [each.fail_unstored(error) for each in batch]
        except CorruptFileError:
            # One of them met a damaged place; alone, each gets its own outcome.
            return [self._store_alone(each) for each in batch]

    def _store_alone(self, pending: _Pending) -> Outcome:
        try:
            return self._store([pending])[0]
        except (BusyError, CorruptFileError) as error:
            return pending.fail_unstored(error)

    def _store(self, batch: Sequence[_Pending]) -> list[Outcome]:
        results = [each.resolve() for each in batch]
        if not any(isinstance(result, Report) for result in results):
            return [result for result in results if isinstance(result, Outcome)]
        with self._connections.writing() as connection:
            return [
                result if isinstance(result, Outcome) else self._add(connection, pending, result)
                for pending, result in zip(batch, results, strict=True)
            ]

    def _add(self, connection: Connection, pending: _Pending, report: Report) -> Outcome:
        try:
            sample_id, is_new = add_report(connection, report, {}, username="anonymous", exist_ok=self._exist_ok)
        except ConflictError as error:
            # Raised before anything was written.
            return pending.fail(error)
        status: Literal["added", "existed"] = "added" if is_new else "existed"
        return Outcome(pending.index, status, samples.get(connection, sample_id), None, pending.source)


def is_export(item: object) -> TypeGuard[str | os.PathLike[str]]:
    """Return whether an item is the path of a `.mcrit` file, which has many samples."""
    return isinstance(item, str | os.PathLike) and is_mcrit_name(os.fsdecode(item))


def _spread(items: Iterable[object]) -> Iterator[object]:
    """Yield the items, but the samples of `.mcrit` files instead of their paths."""
    for item in items:
        if not is_export(item):
            yield item
            continue
        try:
            refuse_open_store(item, "smda_report")
        except InvalidInputError:
            # Its turn comes, and it is refused once more.
            yield item
        else:
            yield from find_reports(item)
