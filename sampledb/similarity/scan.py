"""Look through the signs of many samples, and score what is close by its details."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import accumulate, groupby, pairwise
from operator import itemgetter
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sampledb.similarity.index import Choice, Index, find_close, unpack_positions
from sampledb.similarity.vectors import (
    DETAIL_BYTES,
    SIGN_BYTES,
    Vectors,
    find_nearest,
    pack_vectors,
    score_pairs,
    unpack_vectors,
)

Numbers = NDArray[np.int64]
#: Return the details of the sample of a number in an index; `None` if they are gone.
ReadDetails: TypeAlias = Callable[[int], bytes | None]

# Functions as near as others that get a score: thousands of samples may have the same one.
_MOST: Final = 1 << 12
# Pairs that get scores at a time: 70 MB.
_PAIRS: Final = 1 << 15
# Signs of samples that are looked through together, and samples at most.
_SIGNS: Final = 1 << 15
_SAMPLES: Final = 1 << 10


class Query(NamedTuple):
    """Functions that are asked for: their positions in their sample, their signs and their details."""

    positions: Numbers
    signs: bytes
    details: bytes

    def choose(self, positions: Collection[int]) -> "Query":
        """Return the query for some of the functions only."""
        kept = np.flatnonzero(np.isin(self.positions, np.array([*positions], np.int64)))
        signs, details = (
            np.frombuffer(blob, np.uint8).reshape(-1, size)[kept].tobytes()
            for blob, size in ((self.signs, SIGN_BYTES), (self.details, DETAIL_BYTES))
        )
        return Query(self.positions[kept], signs, details)

    def unpack(self) -> Vectors:
        """Return the signatures as rows of coordinates."""
        return unpack_vectors(self.signs, self.details)


def make_query(functions: bytes, signs: bytes, details: bytes) -> Query:
    """Return the query for all functions of a sample, given its signatures as they are stored."""
    return Query(unpack_positions(functions), signs, details)


class Found(NamedTuple):
    """Functions that are like those asked for, as columns.

    Attributes:
        rows: The positions, in their sample, of functions asked for.
        samples: The number of the sample in the index.
        positions: The position of the function in its sample.
        scores: From 0 to 100.
    """

    rows: Numbers
    samples: Numbers
    positions: Numbers
    scores: Numbers

    def list_rows(self) -> list[tuple[int, int, int, int]]:
        """Return them as tuples."""
        return list(zip(*(column.tolist() for column in self), strict=True))


def make_found(rows: Sequence[tuple[int, int, int, int]]) -> Found:
    """Return what is known to be found as columns."""
    return Found(*np.array(rows, np.int64).reshape(-1, 4).T)


def find_best(choice: Choice, query: Query, threshold: int, count: int, read: ReadDetails) -> Found:
    """Return the functions that are like one function, if their scores are at least `threshold`.

    Those whose signs are nearest get a score: `count` of them, and all as near; 0 for all that are close.
    """
    nearest = _find_nearest(query.signs, choice, count) if count else np.zeros(0, np.int64)
    pairs = [(np.zeros_like(nearest), nearest)] if count else find_close(query.signs, choice.columns, threshold)
    known, vectors = _Details(choice, read), query.unpack()
    parts = [_score(choice, rows, columns, vectors, known) for rows, columns in pairs]
    parts = [Found(*(column[found.scores >= threshold] for column in found)) for found in parts]
    best = Found(*map(np.concatenate, zip(make_found([]), *parts, strict=True)))
    return best._replace(rows=query.positions[best.rows])


def _find_nearest(signs: bytes, choice: Choice, count: int) -> Numbers:
    columns = find_nearest(signs, choice.columns, count)
    if len(columns) > _MOST:
        words = np.frombuffer(signs, np.uint64)[:, None]
        differences = np.bitwise_count(choice.columns[:, columns] ^ words).sum(axis=0)
        columns = columns[np.argsort(differences, kind="stable")[:_MOST]]
    return columns


def scan(choice: Choice, query: Query, threshold: int, read: ReadDetails) -> Found:
    """Return the best function of each sample for each function asked for, if its score is at least `threshold`."""
    # A report may have one function a thousand times.
    vectors, numbers = np.unique(query.unpack(), axis=0, return_inverse=True)
    known = _Details(choice, read)
    parts = [
        _keep_best(_score(choice, rows, columns, vectors, known), threshold)
        for rows, columns in _gather(find_close(pack_vectors(vectors)[0], choice.columns, threshold))
    ]
    best = _keep_best(Found(*map(np.concatenate, zip(make_found([]), *parts, strict=True))), threshold)
    return _repeat(best, query.positions, numbers.ravel())


def _repeat(best: Found, positions: Numbers, numbers: Numbers) -> Found:
    """Return what was found for each different function, for all functions that are equal to it."""
    order = np.argsort(numbers, kind="stable")
    starts = np.searchsorted(numbers[order], np.arange(numbers.max(initial=-1) + 2))
    counts = np.diff(starts)[best.rows]
    ends = np.cumsum(counts)
    places = np.arange(int(counts.sum())) + np.repeat(starts[best.rows] - ends + counts, counts)
    return Found(positions[order[places]], *(np.repeat(column, counts) for column in best[1:]))


def _gather(pairs: Iterable[tuple[Numbers, Numbers]]) -> Iterator[tuple[Numbers, Numbers]]:
    """Yield the same pairs, more at a time: what they have in common is unpacked once."""
    waiting: list[tuple[Numbers, Numbers]] = []
    count = 0
    for pair in pairs:
        waiting.append(pair)
        count += len(pair[0])
        if count >= _PAIRS:
            yield _join(waiting)
            waiting, count = [], 0
    if waiting:
        yield _join(waiting)


def _join(pairs: Sequence[tuple[Numbers, Numbers]]) -> tuple[Numbers, Numbers]:
    rows, columns = map(np.concatenate, zip(*pairs, strict=True))
    return rows, columns


def split(index: Index, samples: Sequence[int]) -> Iterator[list[int]]:
    """Yield samples that are looked through together, in the order given."""
    counts = np.diff(index.starts)[np.array(samples, np.int64)].tolist()
    weights = accumulate(max(count, _SIGNS // _SAMPLES) for count in counts)
    for _, block in groupby(zip(weights, samples, strict=True), lambda each: each[0] // _SIGNS):
        yield list(map(itemgetter(1), block))


class _Details:
    """The details of a choice's functions, read sample by sample as they are asked for."""

    def __init__(self, choice: Choice, read: ReadDetails) -> None:
        self._choice = choice
        self._read = read
        self._known: dict[int, NDArray[np.uint8] | None] = {}

    def take(self, columns: Numbers) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return the details of these columns, which ascend, and whether there are any."""
        owners = self._choice.find_owners(columns)
        found = np.zeros((len(columns), DETAIL_BYTES), np.uint8)
        is_there = np.zeros(len(columns), np.bool_)
        edges = [0, *(np.flatnonzero(np.diff(owners)) + 1).tolist(), len(columns)]
        for begin, end in pairwise(edges):
            own = None if begin == end else self._get(int(owners[begin]))
            if own is not None:
                found[begin:end] = own[columns[begin:end] - self._choice.starts[owners[begin]]]
                is_there[begin:end] = True
        return found, is_there

    def _get(self, owner: int) -> NDArray[np.uint8] | None:
        if owner not in self._known:
            count = int(self._choice.starts[owner + 1] - self._choice.starts[owner])
            details = self._read(int(self._choice.samples[owner]))
            if details is not None and len(details) != count * DETAIL_BYTES:
                raise ValueError("there are not as many details as signatures")
            own = None if details is None else np.frombuffer(details, np.uint8).reshape(-1, DETAIL_BYTES)
            self._known[owner] = own
        return self._known[owner]


def _score(choice: Choice, rows: Numbers, columns: Numbers, vectors: Vectors, details: _Details) -> Found:
    """Return pairs of functions asked for and columns with their scores; what is gone has the score 0."""
    unique, places = np.unique(columns, return_inverse=True)
    known, is_there = details.take(unique)
    theirs = unpack_vectors(np.ascontiguousarray(choice.columns[:, unique].T).tobytes(), known.tobytes())
    scores = score_pairs(vectors, theirs, rows, places) * is_there[places]
    samples = choice.samples[choice.find_owners(columns)]
    return Found(rows, samples, choice.positions[columns].astype(np.int64), scores)


def _keep_best(found: Found, threshold: int) -> Found:
    """Return the best function of each sample for each function asked for, the first of equals."""
    kept = np.flatnonzero(found.scores >= threshold)
    rows, samples, positions, scores = (column[kept] for column in found)
    order = np.lexsort((positions, -scores, samples, rows))
    keys = rows[order] * (1 << 32) + samples[order]
    first = order[np.flatnonzero(np.diff(keys, prepend=-1))]
    return Found(rows[first], samples[first], positions[first], scores[first])


class Sum(NamedTuple):
    """How much a sample has of the functions asked for: their number, their weight, and that without libraries."""

    number: int
    weight: float
    weight_without_libraries: float


def sum_up(
    found: Iterable[Found], weights: Sequence[float], is_library: Sequence[bool]
) -> tuple[dict[int, Sum], float]:
    """Return sums by the number of the sample, and the weight of all functions asked for that no library has.

    Each pair of function and sample is found once. Libraries are found before others, or at the same time.
    """
    weight, library = np.array(weights, np.float64), np.array(is_library, np.bool_)
    is_in_library = np.zeros(len(weight), np.bool_)
    total = np.zeros((3, len(library)))
    for rows, samples, *_ in found:
        is_in_library[rows[library[samples]]] = True
        measures = np.stack([np.ones(len(weight)), weight, weight * ~is_in_library])
        total += [np.bincount(samples, measure[rows], minlength=len(library)) for measure in measures]
    numbers = np.flatnonzero(total[0]).tolist()
    sums = {number: Sum(int(total[0, number]), *total[1:, number].tolist()) for number in numbers}
    return sums, float(weight @ ~is_in_library)
