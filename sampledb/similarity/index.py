"""Signs of the functions of many samples, kept in columns that are looked through at once."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from math import acos, pi
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from sampledb.similarity.vectors import COORDINATES, SIGN_BYTES, Words, arrange_signs

Numbers = NDArray[np.int64]

# Signs that differ by more than the score of two functions lets expect. One in a hundred of the pairs with just the
# score differs by more still, and is not found; of all pairs, 1 in 250 differ by as few at the score 60.
_MORE: Final = 20
# Differences that are counted at a time: they stay in the cache of a core.
_AT_ONCE: Final = 1 << 16


def pack_positions(positions: Sequence[int]) -> bytes:
    """Return which functions have signatures, a bit each: `1 << n % 8` of byte `n // 8` for the n-th."""
    bits = np.zeros(positions[-1] + 1 if positions else 0, np.uint8)
    bits[list(positions)] = 1
    return np.packbits(bits, bitorder="little").tobytes()


def unpack_positions(packed: bytes) -> Numbers:
    """Return the positions of which `pack_positions` made these bytes."""
    return np.flatnonzero(np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little"))


class Part(NamedTuple):
    """The signs of one sample: of how many functions, at which positions of the sample, and the signs."""

    positions: NDArray[np.uint32]
    columns: Words


def make_part(functions: bytes, signs: bytes) -> Part:
    """Return the part of an index that the stored signatures of a sample are."""
    return Part(unpack_positions(functions).astype(np.uint32), arrange_signs(signs))


class Index:
    """The signs of samples, each of which has a key, in the order of the keys. It is never changed.

    Attributes:
        keys: Of the samples; another analysis, or another signature, is another key.
        starts: The place where the signs of each sample begin, and the end of the last.
        positions: Of each function, in its sample.
        columns: The signs, as `arrange_signs` returns them.
    """

    def __init__(self, parts: Mapping[Any, Part] | None = None) -> None:
        parts = parts or {}
        self.keys = tuple(parts)
        self.starts = np.cumsum([0, *(len(part.positions) for part in parts.values())])
        none = np.zeros((SIGN_BYTES // 8, 0), np.uint64)
        self.positions = np.concatenate([none[0].astype(np.uint32), *(part.positions for part in parts.values())])
        self.columns = np.concatenate([none, *(part.columns for part in parts.values())], axis=1)
        self._numbers = {key: number for number, key in enumerate(self.keys)}

    def update(self, keys: Sequence[Hashable], read: Callable[[int], Part]) -> Self:
        """Return an index of these keys; `read` returns the part of the n-th, if it is a new one."""
        if self.keys == tuple(keys):
            return self
        return type(self)({key: self._find(key) or read(number) for number, key in enumerate(keys)})

    def _find(self, key: Hashable) -> Part | None:
        number = self._numbers.get(key)
        if number is None:
            return None
        own = slice(self.starts[number], self.starts[number + 1])
        return Part(self.positions[own], self.columns[:, own])

    def choose(self, samples: Sequence[int]) -> "Choice":
        """Return some of the samples, given by their numbers; the signs of all, in their order, are not copied."""
        numbers = np.array(samples, np.int64)
        if np.array_equal(numbers, np.arange(len(self.keys))):
            return Choice(numbers, self.starts, self.positions, self.columns)
        counts = np.diff(self.starts)[numbers]
        ends = np.cumsum(counts)
        places = np.arange(int(counts.sum())) + np.repeat(self.starts[numbers] - ends + counts, counts)
        return Choice(numbers, np.concatenate([[0], ends]), self.positions[places], self.columns[:, places])


class Choice(NamedTuple):
    """Some samples of an index.

    Attributes:
        samples: Their numbers.
        starts: The column where the signs of each begin, and the end of the last.
        positions: The position, in its sample, of the function of each column.
        columns: Their signs.
    """

    samples: Numbers
    starts: Numbers
    positions: NDArray[np.uint32]
    columns: Words

    def find_owners(self, columns: Numbers) -> Numbers:
        """Return which of the samples, counted from 0, each column belongs to."""
        return np.searchsorted(self.starts, columns, side="right") - 1


def find_close(signs: bytes, columns: Words, threshold: int) -> Iterator[tuple[Numbers, Numbers]]:
    """Yield pairs whose scores may be at least `threshold`, of functions by their signs and of columns.

    There are at most 65,536 at a time, unordered.
    """
    most = round(acos(threshold / 100) / pi * COORDINATES) + _MORE
    words = np.frombuffer(signs, np.uint64).reshape(-1, SIGN_BYTES // 8)
    width = min(columns.shape[1], _AT_ONCE)
    height = _AT_ONCE // max(width, 1)
    for begin in range(0, columns.shape[1], max(width, 1)):
        block = columns[:, begin : begin + width]
        for top in range(0, len(words), height):
            # Of 256 differences none would be counted; who looks at the details sees it.
            differences = np.zeros((len(words[top : top + height]), block.shape[1]), np.uint8)
            for word, column in zip(words[top : top + height].T, block, strict=True):
                differences += np.bitwise_count(word[:, None] ^ column)
            found = np.flatnonzero(differences <= most)
            if len(found):
                rows, places = np.divmod(found, block.shape[1])
                yield rows + top, places + begin
