"""Candidates: the functions that may meet conditions, as far as rows and indexes tell."""

import re
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, islice
from typing import Any, Final, NamedTuple

import msgspec

from sampledb import limits
from sampledb.errors import CorruptFileError
from sampledb.format import codec
from sampledb.store.sqlite import Connection
from sampledb.store.tables import labels, references, samples, trigrams
from sampledb.store.tables.labels import Text
from sampledb.store.tables.references import Kind

# Samples whose rows are read at a time.
_SAMPLES: Final = 64
# More names than these are not looked up one by one; the functions of all samples are read instead.
_MOST_NAMES: Final = 1000

_NEXT_SAMPLES: Final = """
SELECT sample_id, first_function_id, num_functions
FROM samples
WHERE num_functions > 0 AND {where}
ORDER BY sample_id
LIMIT :limit"""
_TOTAL: Final = "SELECT coalesce(sum(num_functions), 0) FROM samples WHERE num_functions > 0 AND {where}"
_AMONG: Final = "sample_id IN (SELECT value FROM json_each(:among))"

_WITH_HASH: Final = "SELECT DISTINCT sample_id FROM functions WHERE pic_hash = ?"
_NAMES: Final = """
SELECT name
FROM functions
WHERE function_id IN (SELECT rowid FROM function_search WHERE function_search MATCH ?)"""
_ALL_NAMES: Final = "SELECT DISTINCT name FROM functions WHERE name <> '' AND name LIKE ? ESCAPE '~'"
_WITH_NAME: Final = "SELECT DISTINCT sample_id FROM functions WHERE name = ? AND name <> ''"
# Word for word as in the index functions_by_long_name; the trigrams of these names are not all indexed.
_WITH_LONG_NAME: Final = "SELECT DISTINCT sample_id FROM functions WHERE length(name) > 1000"

# Not by the hash's index: a sample has few functions.
_FUNCTIONS: Final = """
SELECT function_id, "offset", name, num_instructions
FROM functions NOT INDEXED
WHERE function_id BETWEEN :begin AND :last AND num_instructions >= :least
  AND (:pic_hash IS NULL OR pic_hash = :pic_hash)
  AND name LIKE :like ESCAPE '~'
  AND (:ids IS NULL OR function_id IN (SELECT value FROM json_each(:ids)))
  AND (:offsets IS NULL OR "offset" IN (SELECT value FROM json_each(:offsets)))
ORDER BY function_id
LIMIT :limit"""

_encode = msgspec.json.Encoder().encode


class Candidate(NamedTuple):
    """A function that may meet the conditions, and its sample."""

    sample_id: int
    function_id: int
    offset: int  # unsigned
    name: str
    num_instructions: int


@dataclass(frozen=True, slots=True)
class Conditions:
    """What rows and indexes can tell; `None` for no condition.

    Attributes:
        filters: Of samples, as in `samples.FILTERS`.
        name: Tells whether a function's name matches.
        name_literals: Texts that every name that matches contains, in small letters.
        label: Tells whether a function's label matches.
        label_literals: Like `name_literals`, in its name or in its comment.
        names: For each name that a function must refer to, its kind, what tells whether one matches, and its literals.
        pic_hash: Unsigned.
        min_instructions: The least.
        among: Ids of samples.
    """

    filters: Mapping[str, Any] = field(default_factory=dict)
    name: Callable[[str], bool] | None = None
    name_literals: Sequence[str] = ()
    label: Callable[[Text], bool] | None = None
    label_literals: Sequence[str] = ()
    names: tuple[tuple[Kind, Callable[[str], bool], Sequence[str]], ...] = ()
    pic_hash: int | None = None
    min_instructions: int = 0
    among: frozenset[int] | None = None


class _Range(NamedTuple):
    """What is still to be read of a sample: its functions from the id `begin` on."""

    sample_id: int
    first: int
    last: int
    begin: int


def _require_growth(before: int, after: int) -> None:
    """Raise CorruptFileError unless ids grow: in a damaged tree, one may follow itself without end."""
    if after <= before:
        raise CorruptFileError.of(f"after the id {before} comes {after}", "the tables")


def _make_pattern(literals: Iterable[str]) -> str:
    """Return a pattern of LIKE that all names match which contain these texts in some capitals."""
    longest = max(filter(str.isascii, literals), key=len, default="")
    # To Python, these are the small letters of two letters that are not ASCII, and differ from theirs to LIKE.
    return "%" + re.sub("[ik]", "_", re.sub("[%_~]", r"~\g<0>", longest)) + "%"


class Candidates:
    """Reads the candidates in the order of samples and offsets, some at a time.

    What the indexes say is read once; samples that are stored or replaced later may be missed.

    Attributes:
        is_done: Whether there are no more.
        names: For each of the conditions' names, its kind and the ids of those that match.
    """

    def __init__(self, connection: Connection, conditions: Conditions) -> None:
        self.is_done = False
        self._conditions = conditions
        self.names = [
            (kind, references.find_names(connection, kind, matches, literals))
            for kind, matches, literals in conditions.names
        ]
        self._labelled = self._find_labelled(connection)
        self._like = _make_pattern(conditions.name_literals)
        self._where = [samples.FILTERS[name] for name in conditions.filters]
        among = self._find_samples(connection)
        self._among = None if among is None else sorted(among)
        self._after = 0
        self._ahead: deque[_Range] = deque()

    def count_functions(self, connection: Connection) -> int:
        """Return how many functions the samples have in which candidates are looked for."""
        parameters = {**self._conditions.filters, "among": _encode(self._among or []).decode()}
        where = [*self._where, _AMONG] if self._among is not None else self._where
        ((total,),) = connection.execute(_TOTAL.format(where=" AND ".join(where) or "TRUE"), parameters)
        return int(total)

    def read(self, connection: Connection, limit: int, instructions: int) -> list[Candidate]:
        """Return the next candidates: at most `limit`, and as few as have so many instructions together.

        There may be none before the end, which `is_done` tells.
        """
        if not self._ahead:
            self._ahead.extend(self._next_samples(connection))
            self.is_done = not self._ahead
        found: list[Candidate] = []
        while self._ahead and len(found) < limit and instructions > 0:
            sample = self._ahead.popleft()
            room = limit - len(found)
            rows = connection.execute(_FUNCTIONS, self._ask_for(connection, sample, room)).fetchall()
            totals = list(accumulate(number for *_, number in rows))
            fitting = rows[: bisect_left(totals, instructions) + 1]
            instructions -= totals[len(fitting) - 1] if fitting else 0
            if len(fitting) == room or len(fitting) < len(rows):
                _require_growth(sample.begin - 1, fitting[-1][0])
                self._ahead.appendleft(sample._replace(begin=fitting[-1][0] + 1))
            found += self._make_candidates(sample.sample_id, fitting)
        return found

    def _make_candidates(self, sample_id: int, rows: Iterable[tuple[int, int, str, int]]) -> Iterator[Candidate]:
        matches = self._conditions.name
        for function_id, offset, name, number in rows:
            if matches is None or matches(name):
                yield Candidate(sample_id, function_id, codec.unsigned(offset), name, number)

    def _ask_for(self, connection: Connection, sample: _Range, limit: int) -> dict[str, object]:
        """Return the parameters of `_FUNCTIONS` for some functions of a sample."""
        ids = None
        if self.names:
            positions = set.intersection(
                *(references.find_positions(connection, kind, sample.sample_id, names) for kind, names in self.names)
            )
            ids = _encode([sample.first + place for place in positions if place <= sample.last - sample.first]).decode()
        pic_hash = self._conditions.pic_hash
        offsets = None if self._labelled is None else self._labelled.get(sample.sample_id, ())
        return {
            "begin": sample.begin,
            "last": sample.last,
            "least": min(self._conditions.min_instructions, limits.MAX_ID),
            "pic_hash": None if pic_hash is None else codec.signed(pic_hash),
            "ids": ids,
            "like": self._like,
            "offsets": None if offsets is None else _encode(list(offsets)).decode(),
            "limit": limit,
        }

    def _next_samples(self, connection: Connection) -> list[_Range]:
        """Return the next samples that may have candidates."""
        while True:
            parameters = {**self._conditions.filters, "after": self._after, "limit": _SAMPLES}
            where = [*self._where, samples.FILTERS["after"]]
            last = limits.MAX_ID
            if self._among is not None:
                begin = bisect_right(self._among, self._after)
                among = self._among[begin : begin + _SAMPLES]
                if not among:
                    return []
                parameters["among"], last = _encode(among).decode(), among[-1]
                where.append(_AMONG)
            rows = connection.execute(_NEXT_SAMPLES.format(where=" AND ".join(where)), parameters).fetchall()
            _require_growth(self._after, rows[-1][0] if rows else limits.MAX_ID)
            self._after = last if self._among is not None else rows[-1][0] if rows else last
            if rows or self._among is None:
                return [_Range(sample_id, first, first + number - 1, first) for sample_id, first, number in rows]

    def _find_samples(self, connection: Connection) -> set[int] | None:
        """Return the samples that may have candidates by what the indexes tell; `None` for all."""
        conditions = self._conditions
        found = [references.find_samples(connection, kind, names) for kind, names in self.names]
        if conditions.pic_hash is not None:
            rows = connection.execute(_WITH_HASH, (codec.signed(conditions.pic_hash),))
            found.append({sample_id for (sample_id,) in rows})
        if self._labelled is not None:
            found.append(set(self._labelled))
        if conditions.name is not None:
            named = self._find_named(connection, conditions.name)
            found += [] if named is None else [named]
        if conditions.among is not None:
            found.append(set(conditions.among))
        return set.intersection(*found) if found else None

    def _find_labelled(self, connection: Connection) -> Mapping[int, Sequence[int]] | None:
        """Return the stored offsets of the labels that match, by sample; `None` if there is no condition on labels."""
        conditions = self._conditions
        if conditions.label is None:
            return None
        sample_id = conditions.filters.get("sample_id")
        return labels.find_offsets(connection, conditions.label, conditions.label_literals, sample_id)

    def _find_named(self, connection: Connection, matches: Callable[[str], bool]) -> set[int] | None:
        """Return the samples that have a function whose name may match; `None` if the index does not help."""
        expression = trigrams.match_all(filter(str.isascii, self._conditions.name_literals))
        if not expression and matches(""):
            return None
        rows = (
            connection.execute(_NAMES, (expression,)) if expression else connection.execute(_ALL_NAMES, (self._like,))
        )
        names = list(islice((name for (name,) in rows if matches(name)), _MOST_NAMES + 1))
        if len(names) > _MOST_NAMES:
            return None
        found = connection.execute(_WITH_LONG_NAME).fetchall()
        for name in names:
            found += connection.execute(_WITH_NAME, (name,))
        return {sample_id for (sample_id,) in found}
