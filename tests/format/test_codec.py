"""Blobs and integers: the codec's laws, for every input that hypothesis can think of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampledb.format import codec
from sampledb.format.codec import FRAME, JSON
from sampledb.format.zstd import zstd

kinds = st.sampled_from([JSON, FRAME])


@given(kinds, st.binary(max_size=2000))
def test_a_blob_gives_back_its_content(kind: int, content: bytes) -> None:
    blob = codec.encode(kind, content)
    assert codec.decode(kind, blob, codec.checksum(blob)) == content


@given(kinds, st.lists(st.binary(max_size=200), max_size=50), st.booleans())
def test_many_blobs_are_like_one(kind: int, contents: list[bytes], compact: bool) -> None:
    blobs = codec.encode_many(kind, contents, compact=compact)
    assert [codec.decode(kind, blob, codec.checksum(blob)) for blob in blobs] == contents
    assert all(codec.is_compact(blob) is compact for blob in blobs)


@given(st.integers(0, 2**64 - 1))
def test_unsigned_integers_fit_into_signed_ones(value: int) -> None:
    assert -(2**63) <= codec.signed(value) < 2**63
    assert codec.unsigned(codec.signed(value)) == value


@given(st.binary(max_size=300))
def test_bytes_that_are_no_blob_are_refused(data: bytes) -> None:
    with pytest.raises(codec.DecodeError):
        codec.decode(JSON, data, codec.checksum(data))


@given(st.binary(min_size=1, max_size=500), st.data())
def test_a_flipped_bit_is_noticed(content: bytes, data: st.DataObject) -> None:
    (blob,) = codec.encode_many(JSON, [content], compact=data.draw(st.booleans()))
    damaged = bytearray(blob)
    damaged[data.draw(st.integers(0, len(blob) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(codec.DecodeError, match="checksum"):
        codec.decode(JSON, bytes(damaged), codec.checksum(blob))


@pytest.mark.parametrize("value", [None, 5, 1.5, "text"])
def test_what_is_no_blob_at_all_is_refused(value: object) -> None:
    with pytest.raises(codec.DecodeError):
        codec.decode(JSON, value, 0)


def test_a_blob_that_declares_too_much_is_refused_before_it_is_decompressed() -> None:
    # 1 TiB declared in a frame header of a few bytes.
    bomb = bytes([JSON]) + b"\x28\xb5\x2f\xfd\xc0\x00" + (2**40).to_bytes(8, "little") + b"\x01\x00\x00"
    with pytest.raises(codec.DecodeError, match="declares"):
        codec.decode(JSON, bomb, codec.checksum(bomb))


def forged() -> dict[str, bytes]:
    """Return frames that no encoder of blobs writes, by the fault."""
    whole, stream = zstd.compress(bytes(1000)), zstd.ZstdCompressor()
    return {
        "cut off": whole[:-1],
        "something behind its end": whole + b"x",
        "another frame behind it": whole * 2,
        "a size that it does not say": stream.compress(b"abc") + stream.flush(),
        "a size that is too small": whole[:5] + b"\x01\x00" + whole[7:],
        "only a header": whole[:6],
    }


@pytest.mark.parametrize("fault", forged())
def test_what_is_not_exactly_one_whole_frame_is_refused(fault: str) -> None:
    blob = bytes([JSON]) + forged()[fault]
    with pytest.raises(codec.DecodeError, match="blob"):
        codec.decode(JSON, blob, codec.checksum(blob))


def test_many_blobs_are_compressed_by_threads_in_order() -> None:
    contents = [b"%d" % number * number for number in range(3 * codec._WORTH_THREADS)]
    assert codec.encode_many(FRAME, contents) == [codec.encode(FRAME, content) for content in contents]


def test_a_blob_of_another_format_is_refused() -> None:
    for blob in (b"\x09" + zstd.compress(b"{}"), codec.encode(FRAME, b"{}")):
        with pytest.raises(codec.DecodeError, match="format"):
            codec.decode(JSON, blob, codec.checksum(blob))
