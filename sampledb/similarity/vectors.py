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

COORDINATES: Final = 256
_PLANES: Final = 4
SIGN_BYTES: Final = COORDINATES // 8
DETAIL_BYTES: Final = (_PLANES - 1) * SIGN_BYTES
_STEPS: Final = 1 << _PLANES
# A product of float32 is as near to the cosine as this.
_ERROR: Final = 1e-4
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


def score_rows(left: Vectors, right: Vectors) -> NDArray[np.int64]:
    """Return the score of each row with the same row of the other vectors."""
    # Sums of whole numbers below 2**24, which float32 adds without error in any order.
    a, b = left.astype(np.float32), right.astype(np.float32)
    product, *squares = (np.einsum("ij,ij->i", *each).astype(np.float64) for each in ((a, b), (a, a), (b, b)))
    scores: NDArray[np.int64] = np.maximum(100 * (product / np.sqrt(squares[0] * squares[1])), 0).astype(np.int64)
    return scores


def find_pairs(left: Vectors, right: Vectors, threshold: int) -> Pairs:
    """Return all pairs of rows with at least this score, 1 to 100, in the order of the rows."""
    found = [(np.zeros(0, np.int64),) * 2]
    a, b = _normalize(left), _normalize(right)
    step = max(_SCORES // max(len(b), 1), 1)
    for begin in range(0, len(a), step):
        rows, columns = np.nonzero(a[begin : begin + step] @ b.T >= threshold / 100 - _ERROR)
        found.append((rows + begin, columns))
    rows, columns = map(np.concatenate, zip(*found, strict=True))
    scores = score_rows(left[rows], right[columns])
    kept = scores >= threshold
    return Pairs(rows[kept], columns[kept], scores[kept])


def _normalize(vectors: Vectors) -> NDArray[np.float32]:
    rows = vectors.astype(np.float32)
    rows /= np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    return rows


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
