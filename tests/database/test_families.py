"""Families: counted, renamed and marked as libraries for all their samples at once."""

import pytest

from sampledb import Family, InvalidInputError, NotFoundError, SampleDB
from tests.strategies import function, report


@pytest.fixture
def families(db: SampleDB) -> SampleDB:
    for number, family in enumerate(("zlib", "emotet", "zlib", "")):
        functions = [function(64 * each) for each in range(number)]
        db.add_sample(report(*functions, seed=str(number)), family=family)
    return db


def test_a_family_is_described_renamed_and_marked(families: SampleDB) -> None:
    db = families
    assert db.describe_families() == [Family("", 1, 0, 3), Family("emotet", 1, 0, 1), Family("zlib", 2, 0, 2)]
    assert db.update_family("zlib", is_library=True) == 2
    assert db.update_family("emotet", new_name="win.emotet") == 1
    assert db.describe_families()[1:] == [Family("win.emotet", 1, 0, 1), Family("zlib", 2, 2, 2)]
    assert [hit.sample_id for hit in db.search("win.emotet")] == [2]
    assert db.update_family("win.emotet", new_name="zlib", is_library=False) == 1
    assert db.list_families() == {"": 1, "zlib": 3}
    assert db.search("emotet") == []
    assert list(db.list_samples(is_library=True)) == [1, 3]
    assert db.update_family("", new_name="unknown") == 1
    assert db.check(deep=True) == []


def test_what_cannot_be_done_to_a_family_changes_nothing(families: SampleDB) -> None:
    before = families.describe_families()
    with pytest.raises(NotFoundError) as raised:
        families.update_family("nobody", is_library=True)
    assert raised.value.details == {"resource": "family", "id": "nobody"}
    for name, changes in (("zlib", {}), ("zlib", {"new_name": "a b"}), ("a b", {"is_library": True})):
        with pytest.raises(InvalidInputError):
            families.update_family(name, **changes)
    assert families.describe_families() == before
