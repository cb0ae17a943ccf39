"""Vectors become bytes and come back, and their scores are whole numbers."""

from math import isqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sampledb.similarity import (
    DETAIL_BYTES,
    SIGN_BYTES,
    arrange_signs,
    find_nearest,
    find_pairs,
    pack_vectors,
    score_rows,
    unpack_vectors,
)
from sampledb.similarity.vectors import Vectors, score_pairs

STEPS = st.sampled_from(range(-15, 16, 2))


@given(arrays.arrays(np.int8, st.tuples(st.integers(0, 3), st.just(256)), elements=STEPS))
def test_vectors_come_back(vectors: Vectors) -> None:
    signs, details = pack_vectors(vectors)
    assert (len(signs), len(details)) == (SIGN_BYTES * len(vectors), DETAIL_BYTES * len(vectors))
    assert (unpack_vectors(signs, details) == vectors).all()
    assert (np.unpackbits(np.frombuffer(signs, np.uint8)) == (vectors > 0).ravel()).all()


def some(count: int, spread: int) -> Vectors:
    """Return vectors around one; with a larger spread they are less alike."""
    random = np.random.default_rng(spread)
    steps = random.integers(-8, 8, 256) + random.integers(-spread, spread + 1, (count, 256))
    vectors: Vectors = (2 * np.clip(steps, -8, 7) + 1).astype(np.int8)
    return vectors


@pytest.mark.parametrize("threshold", [1, 50, 60, 100])
def test_pairs_are_all_that_have_the_score(threshold: int) -> None:
    left, right = some(30, 7), some(40, 6)
    left[3] = right[5]
    pairs = find_pairs(left, right, threshold)
    found = dict(zip(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True), pairs.scores.tolist(), strict=True))
    for i, a in enumerate(left.astype(int)):
        for j, b in enumerate(right.astype(int)):
            dot = int(a @ b)
            exact = isqrt(10_000 * dot * dot // int(a @ a) // int(b @ b)) if dot > 0 else 0
            assert found.get((i, j), -1) == (exact if exact >= threshold else -1)
    assert len(find_pairs(left[:0], right, 50).scores) == len(find_pairs(left, right[:0], 50).scores) == 0
    assert score_rows(left[3:4], right[5:6]).tolist() == [100]


@pytest.mark.parametrize("share", [1, 20])
def test_pairs_get_the_scores_of_their_rows_however_crowded_they_are(share: int) -> None:
    left, right = some(40, 7), some(50, 6)
    rows, columns = (each.ravel()[::share] for each in np.indices((40, 50)))
    assert score_pairs(left, right, rows, columns).tolist() == score_rows(left[rows], right[columns]).tolist()
    assert score_pairs(left, right, rows[:0], columns[:0]).tolist() == []


def test_the_nearest_are_there_and_all_that_are_as_near() -> None:
    vectors = np.concatenate([some(500, 9), some(500, 9), some(20, 1)])
    signs, _ = pack_vectors(vectors)
    query = signs[:SIGN_BYTES]
    found = find_nearest(query, arrange_signs(signs), 10).tolist()
    bits = np.unpackbits(np.frombuffer(signs, np.uint8).reshape(-1, SIGN_BYTES), axis=1)
    differences = (bits != bits[0]).sum(axis=1)
    farthest = sorted(differences.tolist())[9]
    assert found == np.flatnonzero(differences <= farthest).tolist()
    assert {0, 500} <= set(found)
    assert len(find_nearest(query, arrange_signs(signs), 5000)) == len(vectors)
