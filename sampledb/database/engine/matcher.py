"""Find similar code: keep the signs of all samples while asked, and read what else scores need."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from sampledb.similarity import ALGORITHM
from sampledb.similarity.index import Index, Part, make_part
from sampledb.similarity.scan import Found, Query, find_best, scan, split
from sampledb.store.tables import signatures
from sampledb.store.tables.signatures import Signed, Source

if TYPE_CHECKING:
    from sampledb.store.connection import Lender
    from sampledb.store.sqlite import Connection

# Functions that get an exact score when a few are asked for: the nearest by their signs.
_CANDIDATES: Final = 128
# So many times as many as are asked for.
_MORE: Final = 4


# A connection, how often others have changed the file, how often it has, and how many signatures are held here.
_Moment: TypeAlias = tuple[object, int, int, int]


class State(NamedTuple):
    """All samples at a moment.

    Attributes:
        sources: What is known of them.
        signs: Their signs, in the same order.
        is_whole: Whether all have signatures.
    """

    sources: list[Source]
    signs: Index
    is_whole: bool


class Matcher:
    """Answers questions about similar code by the signatures that there are, and makes none.

    What it holds is replaced, never changed, so that threads may share it.
    """

    def __init__(self, connections: "Lender", state: State | None = None) -> None:
        """`state` is what another matcher of the same file held, so that less need be read."""
        self._connections = connections
        # The last state, and the moment when it was read.
        self._known: tuple[_Moment | None, State] = None, state or State([], Index(), is_whole=True)
        # Those that cannot be stored, by the sample and its first function.
        self._made: dict[tuple[int, int], Signed] = {}

    # Reading

    def get(self, sample_id: int) -> Signed | None:
        """Return the signatures of a sample; `None` if there are none."""
        with self._connections.snapshot() as connection:
            for source in signatures.select_sources(connection, ALGORITHM, sample_id):
                if not self._is_missing(source):
                    return self._made.get(source[:2]) or signatures.read(connection, source, ALGORITHM)
        return None

    def refresh(self) -> State:
        """Return the present state."""
        with self._connections.snapshot() as connection:
            ((version,),) = connection.execute("PRAGMA data_version")
            moment = connection, version, connection.total_changes, len(self._made)
            before, state = self._known
            if moment != before:
                sources = signatures.select_sources(connection, ALGORITHM)
                keys = [(*source[:2], source.checksum or self._made.get(source[:2])) for source in sources]
                signs = state.signs.update(keys, lambda number: self._read_part(connection, sources[number]))
                state = State(sources, signs, not any(map(self._is_missing, sources)))
                # At once, for other threads.
                self._known = moment, state
        return state

    def _is_missing(self, source: Source) -> bool:
        return source.checksum is None and source[:2] not in self._made

    def _read_part(self, connection: "Connection", source: Source) -> Part:
        made = self._made.get(source[:2], Signed(b"", b"", b""))
        return make_part(
            *(made[:2] if source.checksum is None else signatures.read_signs(connection, source, ALGORITHM))
        )

    def _read_details(self, connection: "Connection", state: State, number: int) -> bytes | None:
        source = state.sources[number]
        made = self._made.get(source[:2])
        return made.details if made else signatures.read_details(connection, source, ALGORITHM)

    # Asking

    def find_best(self, state: State, samples: Sequence[int], query: Query, threshold: int, limit: int) -> Found:
        """Return functions of some samples that are like one function: enough to choose the best `limit`, 0 for all."""
        with self._connections.snapshot() as connection:
            read = partial(self._read_details, connection, state)
            count = limit and max(_CANDIDATES, _MORE * limit)
            return find_best(state.signs.choose(samples), query, threshold, count, read)

    def scan(self, state: State, samples: Sequence[int], query: Query, threshold: int) -> Iterator[Found]:
        """Yield the best functions of some samples for each function asked for, a few samples at a time."""
        for block in split(state.signs, samples):
            with self._connections.snapshot() as connection:
                read = partial(self._read_details, connection, state)
                found = scan(state.signs.choose(block), query, threshold, read)
            yield found
