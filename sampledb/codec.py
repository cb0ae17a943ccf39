"""How values lie in the file: frames of disassembly, other blobs, checksums, unsigned integers.

A frame holds the disassembly of consecutive functions of one sample:

    version (1 byte, 1) · zstd( "[" function "," function … "]" )

where each function is SMDA's function dict as compact JSON, spelled as it was given. Any other blob is

    version (1 byte, 1) · zstd( content )

Sixteen functions to a frame: one compresses 15 % worse alone, and with 32 a single read decompresses
twice as much for 2 % of space.

The laws, for all inputs within the limits: `decode_frame(encode_frame(f)) == f`, `decode(encode(b)) == b`,
`unsigned(signed(n)) == n`, and decoding anything else raises DecodeError without allocating more than
MAX_CONTENT_BYTES.
"""

from collections.abc import Iterator, Sequence
from threading import local
from typing import Final

import msgspec
import xxhash
import zstandard

FORMAT: Final = 1
FRAME_FUNCTIONS: Final = 16
# A frame ends early rather than make the reader of one function decompress megabytes of its neighbours.
FRAME_BYTES: Final = 256 * 1024
# One function, or all of a report but its functions: SQLite itself stops at 10**9 bytes of blob.
MAX_CONTENT_BYTES: Final = 512 * 1024 * 1024
LEVEL: Final = 3

_TOP_BIT: Final = 1 << 63
_MASK: Final = (1 << 64) - 1
_OVERHEAD: Final = 3 + FRAME_FUNCTIONS

_functions = msgspec.json.Decoder(list[msgspec.Raw])


class DecodeError(ValueError):
    """The bytes are no blob of ours: damaged, forged, or of a version that this package does not know."""


class _Zstd(local):
    """Compression contexts: costly to make, and one may serve one thread at a time."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=LEVEL)
        self.decompressor = zstandard.ZstdDecompressor()


_zstd = _Zstd()


def encode(content: bytes) -> bytes:
    """The blob of `content`, which is at most MAX_CONTENT_BYTES long."""
    return bytes((FORMAT,)) + _zstd.compressor.compress(content)


def decode(blob: bytes) -> bytes:
    """The content of a blob.

    Raises:
        DecodeError: The blob is damaged, or claims to hold more than MAX_CONTENT_BYTES.
    """
    if blob[:1] != bytes((FORMAT,)):
        raise DecodeError(f"blob format {blob[0] if blob else 'missing'}")
    body = memoryview(blob)[1:]
    try:
        # The decompressor allocates what the header declares, so the header is asked first.
        size = zstandard.frame_content_size(body)
        if not 0 <= size <= MAX_CONTENT_BYTES + _OVERHEAD:
            raise DecodeError(f"blob declares {size} bytes")
        return _zstd.decompressor.decompress(body, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise DecodeError(f"blob does not decompress: {error}") from error


def encode_frame(functions: Sequence[bytes | msgspec.Raw]) -> bytes:
    """The frame of at most FRAME_FUNCTIONS functions, each compact JSON."""
    return encode(b"[" + b",".join(map(bytes, functions)) + b"]")


def decode_frame(frame: bytes) -> list[msgspec.Raw]:
    """The functions of a frame, in order, each as JSON that has not been parsed yet.

    Raises:
        DecodeError: The frame is damaged, forged, or holds more functions than a frame may.
    """
    content = decode(frame)
    try:
        functions = _functions.decode(content)
    except (msgspec.DecodeError, RecursionError) as error:
        raise DecodeError(f"frame holds no list of functions: {error}") from error
    if not 1 <= len(functions) <= FRAME_FUNCTIONS:
        raise DecodeError(f"frame holds {len(functions)} functions")
    return functions


def split(functions: Sequence[bytes | msgspec.Raw]) -> Iterator[tuple[int, int]]:
    """The half-open ranges of `functions` that belong into one frame each, in order, without gaps."""
    start = size = 0
    for index, function in enumerate(functions):
        length = len(memoryview(function))
        if index > start and (index - start == FRAME_FUNCTIONS or size + length > FRAME_BYTES):
            yield start, index
            start, size = index, 0
        size += length
    if functions:
        yield start, len(functions)


def checksum(blob: bytes) -> int:
    """The xxh3 hash of a stored blob, as the signed integer that SQLite keeps."""
    return signed(xxhash.xxh3_64_intdigest(blob))


def verify(blob: object, expected: object) -> bytes:
    """The blob, which a file may hold damaged or as another type, if it has the checksum it was stored with.

    Raises:
        DecodeError: It is not the blob that was stored.
    """
    if not isinstance(blob, bytes) or checksum(blob) != expected:
        raise DecodeError("a blob does not match its checksum")
    return blob


def signed(value: int) -> int:
    """An unsigned 64-bit integer as SQLite's signed one of the same bits.

    Values from 2**63, kernel addresses among them, become negative: `printf('%x', …)` in SQL still shows
    them right, but ORDER BY does not. That is why functions get their ids in unsigned offset order.
    """
    return value - (1 << 64) if value >= _TOP_BIT else value


def unsigned(value: int) -> int:
    """The unsigned 64-bit integer that `signed` made `value` of."""
    return value & _MASK
