"""Make the signatures of samples, here or in child processes."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import closing
from functools import partial
from time import monotonic
from typing import Final, TypeAlias

from sampledb.database.engine.matcher import Matcher, State
from sampledb.errors import CorruptFileError
from sampledb.format import codec
from sampledb.format.report import Report
from sampledb.similarity import ALGORITHM, SIGN_BYTES, Signer
from sampledb.store.connection import Connections
from sampledb.store.tables import frames, signatures
from sampledb.store.tables.signatures import Signed, Source
from sampledb.workers.pool import Ask, Pool
from sampledb.workers.process import DiedError, UnavailableError, can_start_python
from sampledb.workers.signer import Answer, Code, ask_to_sign, sign_code

# Seconds of work after which starting processes pays: each loads numpy, and has to see all texts once more.
_PATIENCE: Final = 0.7
_CORES: Final = os.cpu_count() or 1

#: Called with the number of functions whose signatures were made, and the number of all that lacked one.
SigningProgress: TypeAlias = Callable[[int, int], object]
# Without an answer, the sample is gone.
_Pending: TypeAlias = tuple[Source, "Future[Answer] | None"]


class SampleSigner:
    """Makes signatures of samples, in child processes once that pays."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._signer = Signer()
        self._pool: Pool | None = None
        self._spent = 0.0

    def sign(self, sources: Iterable[Source]) -> Generator[tuple[Source, Signed], None, None]:
        """Yield the signatures of each sample, in order; those of a sample that is gone are left out.

        Raises:
            CorruptFileError: A frame cannot be read.
        """
        pending: deque[_Pending] = deque()
        try:
            for source in sources:
                pending.append(self._begin(source))
                while len(pending) > (2 * _CORES if self._pool else 0):
                    yield from self._finish(*pending.popleft())
            while pending:
                yield from self._finish(*pending.popleft())
        finally:
            if self._pool:
                self._pool.shutdown()

    def _begin(self, source: Source) -> _Pending:
        with self._connections.snapshot() as connection:
            if not signatures.is_current(connection, source):
                return source, None
            found = frames.select_all(connection, source.first, source.first + source.num_functions - 1)
        code = Code(source.architecture, source.base_addr, source.binary_size, found)
        if self._pool is None and self._spent > _PATIENCE and _CORES > 1 and can_start_python():
            self._pool = Pool("signer", _CORES)
        if self._pool:
            return source, self._pool.submit(partial(self._ask, code))
        answer: Future[Answer] = Future()
        begun = monotonic()
        answer.set_result(sign_code(self._signer, code))
        self._spent += monotonic() - begun
        return source, answer

    def _ask(self, code: Code, ask: Ask) -> Answer:
        try:
            return ask_to_sign(code, ask)
        except UnavailableError:
            # A signer is not for several threads.
            return sign_code(Signer(), code)
        except DiedError as error:
            return Answer(fault=f"{error} as it read a frame, perhaps because memory ran out")

    def _finish(self, source: Source, future: "Future[Answer] | None") -> Iterator[tuple[Source, Signed]]:
        if future is None:
            return
        answer = future.result()
        if answer.fault or int.from_bytes(answer.functions, "little").bit_length() > source.num_functions:
            what = answer.fault or "frames hold more functions than the sample has"
            raise CorruptFileError.of(what, f"disassembly, sample_id {source.sample_id}", self._connections.path)
        yield source, Signed(answer.functions, answer.signs, answer.details)


class SigningMatcher(Matcher):
    """A matcher that makes the signatures that are missing, and stores them, or keeps them if it may not write."""

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections)
        self._handle = connections

    def get(self, sample_id: int) -> Signed | None:
        """Return the signatures of a sample, made now if they are missing; `None` if it has no functions."""
        self.update(sample_id=sample_id)
        return super().get(sample_id)

    def refresh(self) -> State:
        """Return the present state; signatures that are missing are made."""
        state = super().refresh()
        if not state.is_whole:
            self.update()
            # What was added since then gets them with the next question.
            state = super().refresh()
        return state

    def update(self, progress: SigningProgress | None = None, sample_id: int | None = None) -> int:
        """Make the signatures that are missing, of one sample or of all; return the number of functions that got one.

        Raises:
            CorruptFileError: The disassembly of a sample cannot be read.
        """
        with self._handle.reading() as connection:
            sources = signatures.select_sources(connection, ALGORITHM, sample_id)
        missing = [source for source in sources if self._is_missing(source)]
        total, done, made = sum(source.num_functions for source in missing), 0, 0
        if not missing:
            return 0
        # Closed at once where this ends early: it may have started processes.
        with closing(SampleSigner(self._handle).sign(missing)) as found:
            for source, signed in found:
                self._keep(source, signed)
                made += len(signed.signs) // SIGN_BYTES
                done += source.num_functions
                if progress:
                    progress(done, total)
        return made

    def _keep(self, source: Source, signed: Signed) -> None:
        if self._handle.readonly:
            self._made[source[:2]] = signed
            return
        with self._handle.writing() as connection:
            signatures.insert(connection, source, ALGORITHM, signed)


def sign_report(report: Report) -> Signed:
    """Return the signatures of the functions of a report that is not stored."""
    frames = [(codec.checksum(blob), blob) for _, blob in report.frames]
    answer = sign_code(Signer(), Code(report.architecture, report.base_addr, report.binary_size, frames))
    return Signed(answer.functions, answer.signs, answer.details)
