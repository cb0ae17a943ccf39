"""Signs of many samples are looked through fast, and lose little; functions are matched one to one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampledb.similarity import find_pairs, pack_vectors
from sampledb.similarity import scan as scanning
from sampledb.similarity.index import Index, Part, find_close, make_part, pack_positions, unpack_positions
from sampledb.similarity.matching import match_one_to_one
from sampledb.similarity.scan import Query, find_best, scan, split
from sampledb.similarity.vectors import Vectors
from sampledb.store.tables import signatures
from tests.similarity.test_vectors import some


@given(st.sets(st.integers(0, 300)))
def test_positions_come_back(positions: set[int]) -> None:
    packed = pack_positions(sorted(positions))
    assert unpack_positions(packed).tolist() == sorted(positions)
    assert int.from_bytes(packed, "little").bit_length() == max(positions, default=-1) + 1


def test_the_store_knows_how_large_signatures_are() -> None:
    signs, details = pack_vectors(some(3, 5))
    assert (len(signs), len(details)) == (3 * signatures.SIGN_BYTES, 3 * signatures.DETAIL_BYTES)


def parts(*vectors: Vectors) -> dict[int, Part]:
    return {
        number: make_part(pack_positions([2 * n for n in range(len(each))]), pack_vectors(each)[0])
        for number, each in enumerate(vectors)
    }


def test_an_index_takes_what_it_knows_and_reads_the_rest() -> None:
    known = parts(some(3, 4), some(0, 1), some(5, 6))
    index = Index({"a": known[0], "b": known[1]})
    assert index.update(["a", "b"], lambda _: pytest.fail("it is known")) is index
    changed = index.update(["c", "a"], lambda number: known[2] if number == 0 else pytest.fail("it is known"))
    expected = Index({"c": known[2], "a": known[0]})
    assert (changed.columns == expected.columns).all()
    assert changed.positions.tolist() == [0, 2, 4, 6, 8, 0, 2, 4]
    assert changed.choose([1]).columns.tolist() == index.choose([0, 1]).columns.tolist() == known[0].columns.tolist()


@pytest.mark.parametrize("threshold", [40, 60, 80])
def test_a_scan_finds_the_best_of_each_sample(threshold: int) -> None:
    samples = [some(50, 8), some(40, 5), some(0, 1), some(30, 3)]
    asked = np.concatenate([some(20, 6), samples[1][:4], samples[1][:1]])
    index = Index(parts(*samples))
    details = [pack_vectors(each)[1] for each in samples]
    query = Query(np.arange(len(asked)) * 3, *pack_vectors(asked))
    found = [scan(index.choose(block), query, threshold, details.__getitem__) for block in split(index, [3, 1, 2, 0])]
    scores = {(row, sample): score for each in found for row, sample, _, score in each.list_rows()}
    expected: dict[tuple[int, int], int] = {}
    for sample, vectors in enumerate(samples):
        for row, _, score in zip(*(each.tolist() for each in find_pairs(asked, vectors, threshold)), strict=True):
            expected[3 * row, sample] = max(score, expected.get((3 * row, sample), 0))
    assert scores.items() <= expected.items()
    assert len(scores) >= 0.8 * len(expected)
    assert {(60, 1): 100, (72, 1): 100}.items() <= scores.items()
    one = query.choose([60])
    for count in (7, 0):
        best = find_best(index.choose([0, 1, 3]), one, threshold, count, details.__getitem__).list_rows()
        assert max(best, key=lambda row: row[3]) == (60, 1, 0, 100)


def test_of_thousands_as_near_some_get_a_score_and_the_nearest_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "_MOST", 10)
    vectors = np.concatenate([some(1, 3).repeat(50, axis=0), some(1, 2)])
    index = Index(parts(vectors))
    query = Query(np.arange(1), *pack_vectors(vectors[-1:]))
    found = find_best(index.choose([0]), query, 1, 5, lambda _: pack_vectors(vectors)[1]).list_rows()
    assert len(found) == 10
    assert found[0] == (0, 0, 100, 100)


def test_what_is_gone_has_no_score_and_damage_is_no_score() -> None:
    vectors = some(5, 2)
    index = Index(parts(vectors))
    query = Query(np.arange(5), *pack_vectors(vectors))
    assert scan(index.choose([0]), query, 50, lambda _: None).list_rows() == []
    with pytest.raises(ValueError, match="as many details"):
        scan(index.choose([0]), query, 50, lambda _: bytes(96))


@pytest.mark.parametrize("threshold", [50, 100])
def test_pairs_are_one_to_one_and_the_best_first(threshold: int) -> None:
    left = np.concatenate([some(30, 7), some(1, 3).repeat(100, axis=0)])
    right = np.concatenate([some(1, 3).repeat(90, axis=0), some(40, 6), left[:3]])
    pairs = match_one_to_one(left, right, threshold)
    assert sorted((row, column) for row, column, score in pairs if score == 100)[:3] == [(0, 130), (1, 131), (2, 132)]
    assert [score for *_, score in pairs] == sorted((score for *_, score in pairs), reverse=True)
    for side in (0, 1):
        assert len({pair[side] for pair in pairs}) == len(pairs)
    assert sum(row >= 30 and column < 90 for row, column, _ in pairs) == 90
    known = find_pairs(left, right, threshold)
    assert {(row, column) for row, column, _ in pairs} <= set(zip(known.left, known.right, strict=True))
    assert match_one_to_one(left[:0], right, threshold) == match_one_to_one(left, right[:0], threshold) == []


def test_many_columns_are_looked_through_in_parts() -> None:
    signs, _ = pack_vectors(some(2, 9))
    columns = make_part(b"\xff" * 8750, signs[:32] * 70_000).columns
    found = [(set(rows.tolist()), len(columns)) for rows, columns in find_close(signs[:32], columns, 99)]
    assert found == [({0}, 65536), ({0}, 4464)]
