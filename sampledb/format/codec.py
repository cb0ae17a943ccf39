"""How blobs and integers lie in the file, whatever the blobs hold.

A blob is

    format (1 byte) · zstd( content )

with format 1 for JSON (a report without its functions), 2 for a frame of functions (`frames`) and 3 for a file to be
disassembled, plus 128 where compact() has compressed it. It stands beside its xxh3 checksum, which is compared
whenever it is read.

The laws, for all inputs within the limits: what is encoded is decoded again,
`unsigned(signed(n)) == n`, and decoding anything else raises DecodeError without allocating more than
MAX_BYTES.
"""

from collections.abc import Sequence
from os import cpu_count
from threading import local
from typing import Final

import xxhash

from sampledb import limits

JSON: Final = 1
FRAME: Final = 2
BINARY: Final = 3
# All of a report but its functions; a frame, which may be of one function; a binary: what a
# forged blob of a few bytes can make us allocate. SQLite itself stops at 10**9 bytes.
MAX_BYTES: Final = {JSON: 512 * 1024 * 1024, FRAME: 64 * 1024 * 1024, BINARY: limits.MAX_BINARY}
# A function costs 17 µs at this level; 8 µs at level 3, for 4 % more space, more than whole reports take at level 19;
# 24 µs at level 6, for 3 % less.
LEVEL: Final = 5
# What compact() uses: 0.6 ms a function, for 11 % less space, and no slower to read.
COMPACT_LEVEL: Final = 19

_COMPACT: Final = 128
_WORTH_THREADS: Final = 32
_TOP_BIT: Final = 1 << 63
#: `value & MASK` is `unsigned(value)`, for loops over many.
MASK: Final = (1 << 64) - 1


class DecodeError(ValueError):
    """The bytes are no blob of ours: damaged, forged, or of a format that this package does not know."""


class _Zstd:
    """Compression contexts: costly to make, and one may serve one thread at a time."""

    def __init__(self) -> None:
        # A fifth of the time that importing this package would take, and opening a file needs none of it.
        import zstandard  # noqa: PLC0415

        self.error = zstandard.ZstdError
        self.size_of = zstandard.frame_content_size
        self.compressors = {level: zstandard.ZstdCompressor(level=level) for level in (LEVEL, COMPACT_LEVEL)}
        self.decompressor = zstandard.ZstdDecompressor()


_threads = local()


def _zstd() -> _Zstd:
    if not hasattr(_threads, "zstd"):
        _threads.zstd = _Zstd()
    contexts: _Zstd = _threads.zstd
    return contexts


def encode(kind: int, content: bytes) -> bytes:
    """The blob of `content`, which is at most as long as MAX_BYTES says."""
    return bytes((kind,)) + _zstd().compressors[LEVEL].compress(content)


def encode_many(kind: int, contents: Sequence[bytes], *, compact: bool = False) -> list[bytes]:
    """The blobs of several contents, compressed on all cores; `compact` takes its time to make them smaller."""
    level = COMPACT_LEVEL if compact else LEVEL
    prefix = bytes((kind | _COMPACT if compact else kind,))
    compressor = _zstd().compressors[level]
    # The threads begin with new contexts, which costs as much as some dozen frames; and they refuse what is empty.
    if len(contents) < _WORTH_THREADS or not all(contents):
        return [prefix + compressor.compress(content) for content in contents]
    segments = compressor.multi_compress_to_buffer(list(contents), threads=min(cpu_count() or 1, 8))
    return [prefix + segments[position].tobytes() for position in range(len(segments))]


def is_compact(blob: object) -> bool:
    """Whether a blob was compressed with `compact`, so that doing it again would change nothing."""
    return isinstance(blob, bytes) and blob[:1] >= bytes((_COMPACT,))


def decode(kind: int, blob: object, expected: object) -> bytes:
    """The content of a blob of this kind, which a file may hold damaged or as another type.

    Raises:
        DecodeError: It does not have the checksum it was stored with, is of another kind, or claims to hold more
            than a content of this kind may.
    """
    if not isinstance(blob, bytes) or checksum(blob) != expected:
        raise DecodeError("a blob does not match its checksum")
    if not blob or blob[0] & ~_COMPACT != kind:
        raise DecodeError(f"a blob of format {blob[0] if blob else 'nothing'}, not {kind}")
    body, zstd = memoryview(blob)[1:], _zstd()
    try:
        # The decompressor allocates what the header declares, so the header is asked first.
        size = zstd.size_of(body)
        if not 0 <= size <= MAX_BYTES[kind]:
            raise DecodeError(f"a blob declares {size} bytes")
        return zstd.decompressor.decompress(body, allow_extra_data=False)
    except zstd.error as error:
        raise DecodeError(f"a blob does not decompress: {error}") from error


def checksum(blob: bytes) -> int:
    """The xxh3 hash of a stored blob, as the signed integer that SQLite keeps."""
    return signed(xxhash.xxh3_64_intdigest(blob))


def signed(value: int) -> int:
    """An unsigned 64-bit integer as SQLite's signed one of the same bits.

    Values from 2**63, kernel addresses among them, become negative: `printf('%x', …)` in SQL still shows
    them right, but ORDER BY does not. That is why functions get their ids in unsigned offset order.
    """
    return value - (1 << 64) if value >= _TOP_BIT else value


def unsigned(value: int) -> int:
    """The unsigned 64-bit integer that `signed` made `value` of."""
    return value & MASK
