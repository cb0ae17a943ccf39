"""Signatures as bytes, and how alike they are.

A coordinate is one of 16 steps, -15, -13, … 15. A signature is four planes of bits, each with one bit of all 256
coordinates: first the signs, which are enough to look through many, then the three others, which scores need. Scores
are whole numbers, the same on every machine: the cosine of two signatures in hundredths, rounded down, 0 at least.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.int8]  # a row of coordinates for each function
Words = NDArray[np.uint64]
Numbers = NDArray[np.int64]

COORDINATES: Final = 256
_PLANES: Final = 4
SIGN_BYTES: Final = COORDINATES // 8
DETAIL_BYTES: Final = (_PLANES - 1) * SIGN_BYTES
_STEPS: Final = 1 << _PLANES
# A product of float32 is as near to the cosine as this.
_ERROR: Final = 1e-4
# Of all pairs of some rows with others, one in so many is worth a product of all.
_CROWDED: Final = 8
# Scores that are made at a time: 64 MB.
_SCORES: Final = 1 << 24


class Pairs(NamedTuple):
    """Rows of two sets of vectors that are alike, and their scores from 0 to 100."""

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    scores: NDArray[np.int64]


def pack_vectors(vectors: Vectors) -> tuple[bytes, bytes]:
    """Return the signs of vectors, SIGN_BYTES each, and their details, DETAIL_BYTES each."""
    steps = ((vectors.astype(np.int16) + _STEPS - 1) >> 1).astype(np.uint8)
    planes = [np.packbits(steps >> bit & 1, axis=1) for bit in reversed(range(_PLANES))]
    return planes[0].tobytes(), np.concatenate(planes[1:], axis=1).tobytes()


def unpack_vectors(signs: bytes, details: bytes) -> Vectors:
    """Return the vectors of which `pack_vectors` made these bytes."""
    steps = np.unpackbits(np.frombuffer(signs, np.uint8).reshape(-1, SIGN_BYTES), axis=1)
    planes = np.frombuffer(details, np.uint8).reshape(-1, _PLANES - 1, SIGN_BYTES)
    for place in range(_PLANES - 1):
        steps <<= 1
        steps |= np.unpackbits(planes[:, place], axis=1)
    steps <<= 1
    steps -= _STEPS - 1
    return steps.view(np.int8)


def score_rows(left: Vectors, right: Vectors) -> Numbers:
    """Return the score of each row with the same row of the other vectors."""
    # Sums of whole numbers below 2**24, which float32 adds without error in any order.
    a, b = left.astype(np.float32), right.astype(np.float32)
    return _make_scores(np.einsum("ij,ij->i", a, b), _square(a) * _square(b))


def score_pairs(left: Vectors, right: Vectors, rows: Numbers, columns: Numbers) -> Numbers:
    """Return the scores of pairs, given by their rows in both."""
    used, places = np.unique(rows, return_inverse=True)
    # Malware may be alike to everything: then one product takes a tenth of the time that all its rows would take.
    if len(used) * len(right) > _CROWDED * len(rows):
        return score_rows(left[rows], right[columns])
    a, b = left[used].astype(np.float32), right.astype(np.float32)
    return _make_scores((a @ b.T)[places, columns], _square(a)[places] * _square(b)[columns])


def _square(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    squares: NDArray[np.float64] = np.einsum("ij,ij->i", rows, rows).astype(np.float64)
    return squares


def _make_scores(products: NDArray[np.float32], squares: NDArray[np.float64]) -> Numbers:
    scores: Numbers = np.maximum(100 * (products.astype(np.float64) / np.sqrt(squares)), 0).astype(np.int64)
    return scores


def find_pairs(left: Vectors, right: Vectors, threshold: int) -> Pairs:
    """Return all pairs of rows with at least this score, 1 to 100, in the order of the rows."""
    none = np.zeros(0, np.int64)
    found = [(none, none, none)]
    a, b = left.astype(np.float32), right.astype(np.float32)
    squares = _square(a), _square(b)
    lengths = np.sqrt(squares[1]).astype(np.float32) * np.float32(threshold / 100 - _ERROR)
    step = max(_SCORES // max(len(b), 1), 1)
    for begin in range(0, len(a), step):
        part = slice(begin, begin + step)
        products = a[part] @ b.T
        rows, columns = np.nonzero(products >= np.sqrt(squares[0][part]).astype(np.float32)[:, None] * lengths)
        scores = _make_scores(products[rows, columns], squares[0][rows + begin] * squares[1][columns])
        kept = scores >= threshold
        found.append((rows[kept] + begin, columns[kept], scores[kept]))
    return Pairs(*map(np.concatenate, zip(*found, strict=True)))


def arrange_signs(signs: bytes) -> Words:
    """Return signs in columns of 64 bits, through which `find_nearest` looks fast."""
    return np.ascontiguousarray(np.frombuffer(signs, np.uint64).reshape(-1, SIGN_BYTES // 8).T)


def find_nearest(signs: bytes, columns: Words, limit: int) -> NDArray[np.int64]:
    """Return at least `limit` positions of the signs that differ least from those of one function, in order.

    All that are as near as the last are there too, so that the order of functions changes nothing.
    """
    differences = np.zeros(columns.shape[1], np.uint16)
    for word, column in zip(np.frombuffer(signs, np.uint64), columns, strict=True):
        differences += np.bitwise_count(column ^ word)
    farthest = np.searchsorted(np.cumsum(np.bincount(differences, minlength=COORDINATES + 1)), limit)
    return np.flatnonzero(differences <= farthest)
