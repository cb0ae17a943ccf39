"""Merge what another store, or a text, says about samples, several in a transaction."""

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any, BinaryIO, Final, Literal, NamedTuple, Protocol

import msgspec

from sampledb.database.engine.paging import paged, require_growth
from sampledb.database.handle import Handle
from sampledb.database.transfer.decision import Plan, Policy, decide
from sampledb.database.transfer.side import Side, read_side
from sampledb.errors import CorruptFileError, InvalidInputError, NotFoundError, StorageError
from sampledb.format import codec
from sampledb.format.references import References
from sampledb.model import Outcome, SampleId
from sampledb.store.connection import Connections
from sampledb.store.sqlite import Connection
from sampledb.store.tables import jobs, labels, references, samples, values
from sampledb.store.tables.reports import add_report, read_report

# In one transaction at most: some tenths of a second of work, and one wait for the disk. One sample may have more
# functions and labels.
_SAMPLES: Final = 256
_ROWS: Final = 10_000
# In memory until a transaction ends; one sample may have more in its references.
_CHARACTERS: Final = 1 << 24
# Ids of the other store that are read at once.
_PAGE: Final = 500

# Fields whose values win over those of a report.
_OVERRIDES: Final = ("family", "version", "component", "is_library", "name")
# What a report sets, where nobody knows better.
_UNKNOWN: Final[dict[str, Any]] = {**dict.fromkeys((*_OVERRIDES, "extension"), ""), "is_library": False}


class Item(Protocol):
    """A sample to merge, which is read when its turn comes."""

    sha256: str

    def plan(self, ours: Side | None, policy: Policy) -> Plan:
        """Return what to do with it; raise an error if it cannot be merged."""


class StoreItem(msgspec.Struct):
    """A sample of another store."""

    store: Connections
    sample_id: int
    sha256: str

    def plan(self, ours: Side | None, policy: Policy) -> Plan:
        """Read the sample in one transaction; of its report and its binary, what will be stored here."""
        with self.store.snapshot() as connection:
            theirs = read_side(connection, self.sample_id)
            if theirs.sha256 != self.sha256:
                raise CorruptFileError.of("its hash is another one now", f"samples, sample_id {self.sample_id}")
            plan = decide(ours or Side(theirs.sha256, {}, (), []), theirs, policy)
            if plan.takes_analysis:
                self._add_report(connection, ours, theirs, plan)
            if plan.takes_binary:
                plan.binary = jobs.read_kept(connection, self.sha256)
        if ours is None:
            plan.changes |= {"username": theirs.username, "added_at": theirs.added_at}
        return plan

    def _add_report(self, connection: Connection, ours: Side | None, theirs: Side, plan: Plan) -> None:
        """Read their report for the values that the sample will have, which are set again where it sets them."""
        values_here, of_file = (ours.values, ours.file) if ours else ({}, {})
        known = {field: values_here.get(field, unknown) for field, unknown in _UNKNOWN.items()}
        plan.changes = {**known, **of_file, **plan.changes}
        overrides = {field: plan.changes[field] for field in _OVERRIDES}
        stored = samples.locate(connection, self.sample_id)
        plan.report = read_report(connection, stored, theirs.rows or [], overrides)
        if plan.report.sha256 != self.sha256:
            raise CorruptFileError.of("the report is that of another file", f"reports, sample_id {self.sample_id}")
        # The report knows its file better than the row beside it, but not better than what is here.
        for field in theirs.file.keys() - of_file.keys():
            if getattr(plan.report, field):
                del plan.changes[field]


class Source(NamedTuple):
    """What is merged: another store, or a text.

    Attributes:
        items: Its samples.
        total: How many there are; `None` if unknown.
        owner: The store or file that must stay open until they are read.
        is_own: Whether it was opened for this merge, and is to be closed.
    """

    items: Iterator[Item]
    total: int | None
    owner: Handle | BinaryIO
    is_own: bool = True


def list_store(connections: Connections) -> Iterator[Item]:
    """Yield the samples of another store."""

    def page_after(item: StoreItem | None) -> list[StoreItem]:
        after = item.sample_id if item else 0
        with connections.reading() as connection:
            page = samples.list_hashes(connection, after, _PAGE)
        require_growth(after, page[-1][0] if page else None)
        return [StoreItem(connections, sample_id, str(sha256)) for sample_id, sha256 in page]

    return paged(page_after)


class Merge:
    """Merges samples into one file."""

    def __init__(self, connections: Connections, policy: Policy) -> None:
        self._connections = connections
        self._policy = policy
        # Of the samples of one transaction, by their ids: names of many samples are looked up and inserted faster.
        self._references: dict[int, References] = {}

    def run(self, source: Source) -> Iterator[Outcome]:
        """Yield the outcome of each sample, in order, once it is on disk."""
        pending: deque[Item] = deque()
        index = 0
        try:
            while True:
                pending.extend(islice(source.items, _SAMPLES - len(pending)))
                if not pending:
                    return
                outcomes = self._merge_some(pending, index)
                index += len(outcomes)
                yield from outcomes
        finally:
            if source.is_own:
                source.owner.close()

    def _merge_some(self, pending: deque[Item], index: int) -> list[Outcome]:
        """Merge samples from the left in one transaction."""
        outcomes: list[Outcome] = []
        rows = characters = 0
        self._references = {}
        with self._connections.writing() as connection:
            while pending and rows < _ROWS and characters < _CHARACTERS:
                outcome, number = self._merge_one(connection, pending.popleft(), index + len(outcomes))
                outcomes.append(outcome)
                rows += number
                if outcome.sample and outcome.sample.sample_id in self._references:
                    characters += _count_characters(self._references[outcome.sample.sample_id])
            references.insert(connection, self._references)
        return outcomes

    def _merge_one(self, connection: Connection, item: Item, index: int) -> tuple[Outcome, int]:
        """Return the outcome, and how many rows of functions and labels were written."""
        # Nothing is written before all that will be is read and checked.
        try:
            stored = samples.find(connection, sha256=item.sha256)
            ours = read_side(connection, stored.sample_id) if stored else None
            plan = item.plan(ours, self._policy)
        except (CorruptFileError, InvalidInputError, NotFoundError, StorageError) as error:
            return Outcome(index, "failed", None, error, item.sha256), 0
        is_same = stored is not None and plan.is_empty
        sample_id = stored.sample_id if stored and is_same else _store(connection, item.sha256, plan, stored)
        status: Literal["existed", "updated", "added"] = "existed" if is_same else "updated" if stored else "added"
        if plan.report:
            self._references[sample_id] = plan.report.references
        sample = samples.get(connection, sample_id)
        rows = len(plan.labels) + len(plan.former) + (len(plan.report.functions) if plan.report else 0)
        return Outcome(index, status, sample, None, item.sha256, tuple(plan.differences)), rows


def _count_characters(names: References) -> int:
    return sum(map(len, names.apis)) + sum(map(len, names.strings))


def _store(connection: Connection, sha256: str, plan: Plan, stored: samples.Stored | None) -> SampleId:
    """Do what was planned, but for references, and return the id of the sample."""
    changes = dict(plan.changes)
    if "binary_size" in changes:
        changes["binary_size"] = codec.signed(changes["binary_size"])
    if "added_at" in changes:
        changes["added_at"] = values.format_time(changes["added_at"])
    if plan.report:
        overrides = {field: changes.pop(field) for field in _OVERRIDES}
        report = msgspec.structs.replace(plan.report, references=References())
        username = changes.pop("username", "")
        sample_id, _ = add_report(connection, report, overrides, username=username, replace=True, changes=changes)
    else:
        sample_id = (stored or samples.insert(connection, sha256, changes["username"])).sample_id
        samples.update(connection, sample_id, changes)
    for each in plan.labels:
        labels.put(
            connection,
            sample_id,
            each.offset,
            labels.Text(each.name, each.comment),
            username=each.username,
            updated_at=values.format_time(each.updated_at),
        )
    for each in plan.former:
        labels.add_former(connection, sample_id, each)
    if plan.binary is not None:
        jobs.keep(connection, sha256, plan.binary)
    return sample_id
