"""Functions: in unsigned offset order, alone or with disassembly, by address and by hash."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sampledb
from sampledb import NotFoundError, SampleDB
from sampledb.format.frame import FUNCTIONS
from tests import strategies
from tests.markers import every_platform
from tests.strategies import KERNEL, U64, function, instruction, report

Parsed = dict[str, dict[str, Any]]


@every_platform
def test_real_functions_are_listed_in_offset_order_with_their_numbers(filled: SampleDB, parsed: Parsed) -> None:
    for smda_report in parsed.values():
        sample = filled.get_sample_by_sha256(smda_report["sha256"])
        listed = list(filled.list_functions(sample.sample_id).values())
        expected = sorted(smda_report["xcfg"].values(), key=lambda each: each["offset"])
        assert [each.offset for each in listed] == [each["offset"] for each in expected]
        for found, original in zip(listed, expected, strict=True):
            assert found.name == original["metadata"]["function_name"]
            assert found.pic_hash == original["metadata"]["pic_hash"]
            assert found.binweight == original["metadata"]["binweight"]
            assert found.num_blocks == len(original["blocks"])
            assert found.num_instructions == sum(map(len, original["blocks"].values()))
            assert found.disassembly is None


@every_platform
def test_real_functions_come_whole_with_their_disassembly(filled: SampleDB, parsed: Parsed) -> None:
    for smda_report in parsed.values():
        sample = filled.get_sample_by_sha256(smda_report["sha256"])
        whole = filled.list_functions(sample.sample_id, disassembly=True)
        for function_id, found in whole.items():
            assert found.disassembly == smda_report["xcfg"][str(found.offset)]
            assert filled.get_function(sample.sample_id, function_id) == found
        assert list(filled.iter_functions(sample.sample_id, disassembly=True)) == list(whole.values())


@every_platform
def test_all_functions_stream_in_id_order(filled: SampleDB) -> None:
    streamed = list(filled.iter_functions())
    listed = [each for sample in filled.list_samples() for each in filled.list_functions(sample).values()]
    assert streamed == listed
    assert [each.function_id for each in streamed] == list(range(1, len(listed) + 1))


def test_kernel_addresses_sort_after_user_addresses(db: SampleDB) -> None:
    offsets = [0, 0x401000, 2**63 - 1, 2**63, KERNEL, U64 - 8]
    sample = db.add_sample(report(*map(function, reversed(offsets))))
    assert [each.offset for each in db.list_functions(sample.sample_id).values()] == offsets
    assert [each.pic_hash for each in db.list_functions(sample.sample_id).values()] == offsets
    for offset in offsets:
        assert db.find_function(sample.sample_id, offset).offset == offset


@given(st.integers(0, 45) | st.just(2**70), st.integers(0, 45) | st.just(2**70), st.booleans())
def test_pages_are_slices(shared: SampleDB, start: int, limit: int, disassembly: bool) -> None:
    page = list(shared.list_functions(2, start=start, limit=limit, disassembly=disassembly).values())
    everything = list(shared.list_functions(2, disassembly=disassembly).values())
    assert len(everything) == 40
    assert page == everything[start:][: limit or None]


@pytest.fixture(scope="module")
def shared() -> SampleDB:
    """Three samples of 40 functions each, which fill two frames and half of a third."""
    assert FUNCTIONS < 40
    db = sampledb.open(":memory:")
    for seed in "abc":
        db.add_sample(report(*(function(16 * number) for number in range(40)), seed=seed))
    return db


def test_a_sample_without_analysis_has_no_functions(db: SampleDB) -> None:
    sample = db.add_media(sha256="0" * 64)
    assert db.list_functions(sample.sample_id) == {}
    assert list(db.iter_functions(sample.sample_id)) == []
    with pytest.raises(NotFoundError, match="no SMDA report"):
        db.get_report(sample.sample_id)
    with pytest.raises(NotFoundError):
        db.find_function(sample.sample_id, 0)


def test_an_empty_analysis_is_no_missing_analysis(db: SampleDB) -> None:
    sample = db.add_sample(report())
    assert db.list_functions(sample.sample_id) == {}
    assert db.get_report(sample.sample_id) == report()
    assert db.check(deep=True) == []


def test_a_function_of_another_sample_is_not_found(shared: SampleDB) -> None:
    assert shared.get_function(2, 41).offset == 0
    with pytest.raises(NotFoundError) as raised:
        shared.get_function(1, 41)
    assert raised.value.details == {"resource": "function", "id": 41}
    with pytest.raises(NotFoundError) as raised:
        shared.get_function(9, 41)
    assert raised.value.details == {"resource": "sample", "id": 9}


def test_unknown_samples_are_errors_at_the_call(db: SampleDB) -> None:
    for call in (db.list_functions, db.iter_functions):
        with pytest.raises(NotFoundError):
            call(1)
    with pytest.raises(NotFoundError):
        db.find_function(1, 0)


def test_hashes_match_across_samples(filled: SampleDB, shared: SampleDB) -> None:
    assert [each.function_id for each in shared.functions_with_pic_hash(16)] == [2, 42, 82]
    assert shared.functions_with_pic_hash(U64) == []
    for each in filled.list_functions(1).values():
        if each.pic_hash is not None:
            assert each in filled.functions_with_pic_hash(each.pic_hash)


def test_every_instruction_of_a_real_sample_is_found(filled: SampleDB, parsed: Parsed) -> None:
    given = parsed["pe-cil"]
    sample_id = filled.get_sample_by_sha256(given["sha256"]).sample_id
    for original in given["xcfg"].values():
        for block in original["blocks"].values():
            for address, code, *_ in block:
                found = filled.find_function(sample_id, address + len(code) // 2 - 1)
                assert found.disassembly is not None
                assert any(
                    each[0] == address for each_block in found.disassembly["blocks"].values() for each in each_block
                )


def test_a_block_apart_from_its_function_is_found(db: SampleDB) -> None:
    far = {"1000": [instruction(1000)], "10": [instruction(10, "9090")], "5000": [instruction(5000)]}
    sample = db.add_sample(report(function(1000, far), function(2000), function(12), seed="far"))
    for address, offset in {10: 1000, 11: 1000, 12: 12, 1000: 1000, 2001: 2000, 5000: 1000}.items():
        assert db.find_function(sample.sample_id, address).offset == offset
    for address in (0, 9, 14, 1001, 1999, 2002, 4999, 5001, U64):
        with pytest.raises(NotFoundError) as raised:
            db.find_function(sample.sample_id, address)
        assert raised.value.details == {"resource": "function", "id": hex(address)}


def test_blocks_at_both_ends_of_memory_are_found(db: SampleDB) -> None:
    wide = {"16": [instruction(16)], str(U64 - 16): [instruction(U64 - 16)]}
    for offset in (16, U64 - 16):
        given = report(function(offset, wide), seed=str(offset))
        sample = db.add_sample(given)
        assert db.get_report(sample.sample_id) == given
        for address in (16, U64 - 16):
            assert db.find_function(sample.sample_id, address).offset == offset
        with pytest.raises(NotFoundError):
            db.find_function(sample.sample_id, 2**63)
    assert db.check(deep=True) == []


def test_of_two_functions_that_share_a_block_the_nearest_entry_below_is_found(db: SampleDB) -> None:
    tail = [instruction(3000)]
    one = function(1000, {"1000": [instruction(1000)], "3000": tail})
    two = function(2000, {"2000": [instruction(2000)], "3000": tail})
    three = function(4000, {"4000": [instruction(4000)], "3000": tail})
    sample = db.add_sample(report(one, two, three))
    assert db.find_function(sample.sample_id, 3000).offset == 2000


def test_a_user_address_in_a_kernel_driver_is_not_found(db: SampleDB) -> None:
    sample = db.add_sample(report(*(function(KERNEL + 16 * number) for number in range(100))))
    with pytest.raises(NotFoundError):
        db.find_function(sample.sample_id, 0x401000)
    assert db.find_function(sample.sample_id, KERNEL + 33).function_id == 3


@given(strategies.reports(), st.data())
def test_what_is_found_contains_the_address(given: dict[str, Any], data: st.DataObject) -> None:
    ranges = [
        (block[0][0], block[-1][0] + len(block[-1][1]) // 2)
        for each in given["xcfg"].values()
        for block in each["blocks"].values()
        if block
    ]
    edges = sorted(
        {min(max(edge + step, 0), U64) for pair in ranges for edge in pair for step in (-1, 0, 1)} | {0, U64}
    )
    address = data.draw(st.sampled_from(edges))
    expected = any(start <= address < end for start, end in ranges)
    with sampledb.open(":memory:") as db:
        sample = db.add_sample(given)
        try:
            found = db.find_function(sample.sample_id, address)
        except NotFoundError:
            assert not expected
        else:
            assert expected
            assert found.disassembly == given["xcfg"][str(found.offset)]
