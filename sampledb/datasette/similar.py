"""Similar code on the pages, by the signatures that a store has.

None are made, because a page answers at once.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from sampledb.errors import MissingExtraError, SampleDBError
from sampledb.model import Function, FunctionMatch, SampleMatch
from sampledb.store.sqlite import Connection

if TYPE_CHECKING:
    from sampledb.database.engine.matcher import Matcher, State
    from sampledb.database.engine.resemblance import Resemblance

_THRESHOLD: Final = 60
_MOST: Final = 20
# Those with the same code are best, and the page has them already.
_WITH_EQUAL: Final = 200
# Functions whose signs a page looks through, 36 bytes each; and pairs of them and functions of a sample, so many that a
# page takes half of 200 ms.
_MOST_FUNCTIONS: Final = 1_000_000
_MOST_PAIRS: Final = 10_000_000


class SimilarFunctions(NamedTuple):
    """Functions that are like one but not equal, best first; and a note, `""` for none."""

    found: Sequence[FunctionMatch]
    note: str


class SimilarSamples(NamedTuple):
    """Samples that are like one, best first; by how many of its functions; and a note, `""` for none."""

    found: Sequence[SampleMatch]
    num_asked: int
    note: str


class _UnavailableError(Exception):
    """Nothing similar can be found at once; the message says why."""


class SimilarCode:
    """Finds similar code in one database, and keeps the signs that it has read for the next page."""

    def __init__(self) -> None:
        self._state: State | None = None
        # Now, as Datasette starts, and not when the first page waits.
        with suppress(MissingExtraError):
            _load()

    def find_functions(self, connection: Connection, function: Function) -> SimilarFunctions:
        """Return the functions that are like one."""
        try:
            resemblance, state = self._open(connection, function.sample_id)
            found = resemblance.find_functions(function, _THRESHOLD, _WITH_EQUAL, among=None, exclude_libraries=False)
        except (_UnavailableError, SampleDBError, ValueError) as error:
            return SimilarFunctions((), str(error))
        unequal = [each for each in found if not each.exact]
        return SimilarFunctions(unequal[:_MOST], _describe_missing(state, function.sample_id))

    def find_samples(self, connection: Connection, sample_id: int) -> SimilarSamples:
        """Return the samples that are like one, by as many of its largest functions as the time allows."""
        try:
            resemblance, state = self._open(connection, sample_id)
            asked, _ = resemblance.ask_sample(sample_id)
            asked = asked.keep_largest(_MOST_PAIRS // max(len(state.signs.positions), 1))
            found = resemblance.find_samples(asked, _THRESHOLD, _MOST, exclude_libraries=False)
        except (_UnavailableError, SampleDBError, ValueError) as error:
            return SimilarSamples((), 0, str(error))
        return SimilarSamples(found, sum(map(bool, asked.weights)), _describe_missing(state, sample_id))

    def _open(self, connection: Connection, sample_id: int) -> "tuple[Resemblance, State]":
        """Return what answers questions about a sample."""
        matcher_class, resemblance_class = _load()
        ((count,),) = connection.execute("SELECT total(num_functions) FROM samples")
        if count > _MOST_FUNCTIONS:
            raise _UnavailableError(f"Finding similar code among {count:,.0f} functions takes longer than a page may.")
        lender = _Lender(connection)
        matcher = matcher_class(lender, self._state)
        state = self._state = matcher.refresh()
        if any(each.sample_id == sample_id and each.checksum is None for each in state.sources):
            raise _UnavailableError(_describe_missing(state, sample_id))
        return resemblance_class(lender, matcher), state


class _Lender:
    """Lends the connection that Datasette has, which is in one transaction for all of a page."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def reading(self) -> AbstractContextManager[Connection]:
        """Return a block with the connection."""
        return nullcontext(self._connection)

    snapshot = reading


def _load() -> "tuple[type[Matcher], type[Resemblance]]":
    try:
        from sampledb.database.engine.matcher import Matcher  # noqa: PLC0415 - an extra
        from sampledb.database.engine.resemblance import Resemblance  # noqa: PLC0415 - as above
    except ImportError as error:
        raise MissingExtraError.of("similarity", "Finding similar code") from error
    return Matcher, Resemblance


def _describe_missing(state: "State", sample_id: int) -> str:
    missing = sum(source.checksum is None for source in state.sources)
    what = f"{missing:,} of {len(state.sources):,} samples have no signatures, by which similar code is found"
    return f"{what}. `sampledb related FILE {sample_id}` makes them." if missing else ""
