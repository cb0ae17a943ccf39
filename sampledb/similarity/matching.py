"""Match the functions of two samples one to one."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampledb.similarity.vectors import Pairs, Vectors, find_pairs

# Scores that are made at a time, so that pairs of samples in which all functions are alike do not fill the memory.
_SCORES: Final = 1 << 22
# Of each function, so many others are looked at: the best, of which others may take the first.
_BEST: Final = 64


class _Groups(NamedTuple):
    """Functions with the same signature.

    Attributes:
        vectors: The signature of each group.
        members: The functions of each, ascending.
    """

    vectors: Vectors
    members: list[list[int]]


def match_one_to_one(left: Vectors, right: Vectors, threshold: int) -> list[tuple[int, int, int]]:
    """Return pairs of rows with at least this score, and the score, best first; each row is in one pair at most."""
    ours, theirs = _group(left), _group(right)
    matched: list[tuple[int, int, int]] = []
    for row, column, score in _find_best(ours.vectors, theirs.vectors, threshold):
        count = min(len(ours.members[row]), len(theirs.members[column]))
        matched += ((ours.members[row].pop(0), theirs.members[column].pop(0), score) for _ in range(count))
    return matched


def _group(vectors: Vectors) -> _Groups:
    unique, inverse = np.unique(vectors, axis=0, return_inverse=True)
    members: list[list[int]] = [[] for _ in unique]
    for row, group in enumerate(inverse.ravel().tolist()):
        members[group].append(row)
    # In the order of the rows, not of their values.
    order = sorted(range(len(members)), key=lambda group: members[group][0])
    return _Groups(unique[order], [members[group] for group in order])


def _find_best(left: Vectors, right: Vectors, threshold: int) -> list[tuple[int, int, int]]:
    """Return the best pairs of each row, best first."""
    step = max(_SCORES // max(len(right), 1), 1)
    parts = [
        _keep_best(find_pairs(left[begin : begin + step], right, threshold), begin)
        for begin in range(0, len(left), step)
    ]
    rows, columns, scores = (
        np.concatenate([np.zeros(0, np.int64), *each]) for each in (zip(*parts, strict=True) if parts else ((), (), ()))
    )
    order = np.lexsort((columns, rows, -scores))
    return list(zip(*(each[order].tolist() for each in (rows, columns, scores)), strict=True))


def _keep_best(pairs: Pairs, begin: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    order = np.lexsort((pairs.right, -pairs.scores, pairs.left))
    rows = pairs.left[order]
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
    kept = order[rank < _BEST]
    return pairs.left[kept] + begin, pairs.right[kept], pairs.scores[kept]
