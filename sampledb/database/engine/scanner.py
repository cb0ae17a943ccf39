"""Find functions: candidates by the indexes, then their frames, here or in child processes."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from time import monotonic
from typing import Final, NamedTuple, TypeAlias

import msgspec

from sampledb.errors import CorruptFileError, InvalidInputError
from sampledb.format.columns import Place
from sampledb.format.scan.scanner import Scan, Scanner
from sampledb.model import FunctionHit, FunctionId, SampleId
from sampledb.store.connection import Connections
from sampledb.store.tables import frames, labels
from sampledb.store.tables.lookup.candidates import Candidate, Candidates, Conditions
from sampledb.workers.pool import Ask, Pool
from sampledb.workers.process import DiedError, UnavailableError
from sampledb.workers.scanner import Answer, Stored, ask_to_scan, scan_frames

# Functions that are read in one transaction and looked through at once, and their instructions, which one function
# can have more of: some hundredths of a second of work.
_AT_ONCE: Final = 1024
# The first time: a user who wants a few hits should not wait for many.
_AT_FIRST: Final = 32
_INSTRUCTIONS_AT_ONCE: Final = 100_000
# Seconds of work on frames after which processes are started.
_PATIENCE: Final = 0.3
# Seconds to look through that, and instructions for each further second: a hundred times what they take.
_LEAST_LIMIT: Final = 10.0
_INSTRUCTIONS_A_SECOND: Final = 20_000
_CORES: Final = os.cpu_count() or 1

#: Called with the number of functions looked at so far, and the number of all.
ScanProgress: TypeAlias = Callable[[int, int], object]


class _Work(NamedTuple):
    """Candidates on their way, the ids of those that each frame holds, and what will be found in the frames."""

    candidates: list[Candidate]
    held: list[list[int]]
    answer: Future[Answer] | None


class FunctionSearch:
    """Finds the functions that meet all conditions."""

    def __init__(self, connections: Connections, conditions: Conditions, scan: Scan) -> None:
        """Prepare a search.

        Raises:
            InvalidInputError: The scan's pattern is no regular expression.
        """
        self._connections = connections
        self._conditions = conditions
        self._scan = scan
        self._scanner = Scanner(scan)
        self._pool: Pool | None = None
        self._spent = 0.0
        self._at_once = min(_AT_FIRST, _AT_ONCE)

    def run(self, progress: ScanProgress | None = None) -> Iterator[FunctionHit]:
        """Yield a hit for each function, in the order of samples and offsets."""
        with self._connections.snapshot() as connection:
            candidates = Candidates(connection, self._conditions)
            total = candidates.count_functions(connection) if progress else 0
        pending: deque[_Work] = deque()
        done = 0
        try:
            while pending or not candidates.is_done:
                while not candidates.is_done and len(pending) < self._capacity:
                    pending.append(self._begin(candidates))
                work = pending.popleft()
                yield from self._finish(work)
                done += len(work.candidates)
                if progress:
                    progress(min(done, total), total)
        finally:
            if self._pool:
                self._pool.shutdown()

    @property
    def _capacity(self) -> int:
        return 2 * _CORES if self._pool else 1

    def _begin(self, candidates: Candidates) -> _Work:
        """Read the next candidates and their frames, and have these looked through."""
        with self._connections.snapshot() as connection:
            found = candidates.read(connection, self._at_once, _INSTRUCTIONS_AT_ONCE)
            self._at_once = min(2 * self._at_once, _AT_ONCE)
            if self._scan == Scan() or not found:
                return _Work(found, [], None)
            offsets = {candidate.function_id: candidate.offset for candidate in found}
            held = frames.select_of(connection, sorted(offsets))
        stored = [
            Stored(frame.blob, frame.checksum, [Place(each - frame.first, offsets[each]) for each in ids])
            for frame, ids in held
        ]
        answer = self._look_through(stored, sum(candidate.num_instructions for candidate in found))
        return _Work(found, [ids for _, ids in held], answer)

    def _look_through(self, stored: list[Stored], instructions: int) -> Future[Answer]:
        if self._pool is None and self._needs_processes():
            self._pool = Pool("scanner", _CORES)
        if self._pool:
            limit = _LEAST_LIMIT + instructions / _INSTRUCTIONS_A_SECOND
            return self._pool.submit(partial(self._ask, stored, limit))
        answer: Future[Answer] = Future()
        begun = monotonic()
        answer.set_result(scan_frames(self._scanner, stored))
        self._spent += monotonic() - begun
        return answer

    def _needs_processes(self) -> bool:
        """Tell whether processes pay; a pattern of the user's may never end, and only a process can be ended then."""
        return self._scan.text is not None or (self._spent > _PATIENCE and _CORES > 1)

    def _ask(self, stored: list[Stored], limit: float, ask: Ask) -> Answer:
        try:
            return ask_to_scan(self._scan, stored, limit, ask)
        except UnavailableError as error:
            if self._scan.text is None:
                return scan_frames(self._scanner, stored)
            rule = f"None where it cannot be searched for in a process of its own ({error})"
            raise InvalidInputError.of("text", rule, self._scan.text) from error
        except TimeoutError as error:
            if self._scan.text is None:
                return Answer([], "a frame takes too long to read")
            rule = f"a regular expression that takes less than {limit:g} seconds for a few functions; make it simpler"
            raise InvalidInputError.of("text", rule, self._scan.text) from error
        except DiedError as error:
            return Answer([], f"{error} as it read a frame, perhaps because memory ran out")

    def _finish(self, work: _Work) -> Iterator[FunctionHit]:
        """Yield the hits among candidates, in their order."""
        if work.answer is None:
            for hit in self._add_labels(_make_hit(each, None, "") for each in work.candidates):
                yield msgspec.structs.replace(hit, match=self._tell_match(hit))
            return
        answer = work.answer.result()
        found = {
            ids[each.number]: each
            for ids, each_frame in zip(work.held, answer.found, strict=False)
            for each in each_frame
        }
        yield from self._add_labels(
            _make_hit(each, found[each.function_id].address, found[each.function_id].match)
            for each in work.candidates
            if each.function_id in found
        )
        if answer.fault:
            first = work.held[min(len(answer.found), len(work.held) - 1)][0]
            raise CorruptFileError.of(answer.fault, f"disassembly, function_id {first}", self._connections.path)

    def _add_labels(self, hits: Iterable[FunctionHit]) -> list[FunctionHit]:
        with self._connections.snapshot() as connection:
            return labels.add_labels(connection, list(hits))

    def _tell_match(self, hit: FunctionHit) -> str:
        """Return what a function matches by its row and its label alone."""
        if self._conditions.pic_hash is not None:
            return f"0x{self._conditions.pic_hash:016x}"
        return hit.name if self._conditions.name else hit.label if self._conditions.label else ""


def _make_hit(candidate: Candidate, address: int | None, match: str) -> FunctionHit:
    sample_id, function_id, offset, name, num_instructions = candidate
    return FunctionHit(SampleId(sample_id), FunctionId(function_id), offset, name, num_instructions, address, match)
