"""The codec's laws, for every input that hypothesis can think of."""

import contextlib
import json

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from sampledb import codec
from tests import strategies


@given(st.lists(strategies.functions(), min_size=1, max_size=codec.FRAME_FUNCTIONS))
def test_a_frame_gives_back_its_functions(functions: list[dict[str, object]]) -> None:
    raw = [json.dumps(function).encode() for function in functions]
    decoded = codec.decode_frame(codec.encode_frame(raw))
    assert [json.loads(bytes(each)) for each in decoded] == functions


@given(st.binary(max_size=2000))
def test_a_blob_gives_back_its_content(content: bytes) -> None:
    assert codec.decode(codec.encode(content)) == content


@given(st.integers(0, 2**64 - 1))
def test_unsigned_integers_fit_into_signed_ones(value: int) -> None:
    assert -(2**63) <= codec.signed(value) < 2**63
    assert codec.unsigned(codec.signed(value)) == value


@given(st.binary(max_size=300))
def test_bytes_that_are_no_blob_are_refused(data: bytes) -> None:
    with pytest.raises(codec.DecodeError):
        codec.decode_frame(data)


@given(st.data())
def test_a_damaged_frame_is_refused_or_decodes_to_functions(data: st.DataObject) -> None:
    frame = bytearray(codec.encode_frame([json.dumps(strategies.function(4096)).encode()] * 3))
    position = data.draw(st.integers(0, len(frame) - 1))
    frame[position] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(codec.DecodeError):
        assert codec.decode_frame(bytes(frame))


def test_a_blob_that_declares_too_much_is_refused_before_it_is_decompressed() -> None:
    # 1 TiB declared in a frame header of a few bytes.
    bomb = bytes([codec.FORMAT]) + b"\x28\xb5\x2f\xfd\xc0\x00" + (2**40).to_bytes(8, "little") + b"\x01\x00\x00"
    with pytest.raises(codec.DecodeError, match="declares"):
        codec.decode(bomb)


@pytest.mark.parametrize("content", [b"[]", b"{}", b"[" + b"1," * 16 + b"1]", b"[1", b"[" * 100_000])
def test_content_that_is_no_list_of_functions_is_refused(content: bytes) -> None:
    with pytest.raises(codec.DecodeError):
        codec.decode_frame(codec.encode(content))


def test_a_blob_of_an_unknown_format_is_refused() -> None:
    with pytest.raises(codec.DecodeError, match="format 9"):
        codec.decode(b"\x09" + zstandard.compress(b"{}"))


@given(st.lists(st.integers(1, 3 * codec.FRAME_BYTES // 2), max_size=60))
def test_frames_take_all_functions_in_order_and_stay_small(sizes: list[int]) -> None:
    content = b"x" * max(sizes, default=0)
    functions = [content[:size] for size in sizes]
    ranges = list(codec.split(functions))
    assert [index for start, end in ranges for index in range(start, end)] == list(range(len(sizes)))
    for start, end in ranges:
        assert 1 <= end - start <= codec.FRAME_FUNCTIONS
        assert end - start == 1 or sum(sizes[start:end]) <= codec.FRAME_BYTES
