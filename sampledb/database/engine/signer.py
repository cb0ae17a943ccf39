"""Make the signatures of samples, here or in child processes."""

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from time import monotonic
from typing import Final, TypeAlias

from sampledb.errors import CorruptFileError
from sampledb.format import codec
from sampledb.format.report import Report
from sampledb.similarity import Signer
from sampledb.store.connection import Connections
from sampledb.store.tables import frames, signatures
from sampledb.store.tables.signatures import Signed, Source
from sampledb.workers.pool import Ask, Pool
from sampledb.workers.process import DiedError, UnavailableError, can_start_python
from sampledb.workers.signer import Answer, Code, ask_to_sign, sign_code

# Seconds of work after which starting processes pays: each loads numpy, and has to see all texts once more.
_PATIENCE: Final = 0.7
_CORES: Final = os.cpu_count() or 1

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


def sign_report(report: Report) -> Signed:
    """Return the signatures of the functions of a report that is not stored."""
    frames = [(codec.checksum(blob), blob) for _, blob in report.frames]
    answer = sign_code(Signer(), Code(report.architecture, report.base_addr, report.binary_size, frames))
    return Signed(answer.functions, answer.signs, answer.details)
