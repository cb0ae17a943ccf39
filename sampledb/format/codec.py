"""Encode blobs and integers as they lie in the file, whatever the blobs hold.

A blob is

    format (1 byte) · zstd( content )

with format 1 for JSON (a report without its functions), 2 for a frame of functions (`format.frame`) and 3 for a
binary to disassemble; compact() adds 128 to the format. Frames are compressed with the dictionary that the file
`frame2.dict` beside this module holds. A blob stands beside its xxh3 checksum, which every read
compares.

The laws, for all inputs within the limits: `decode(kind, encode(kind, content), checksum) == content`,
`unsigned(signed(n)) == n`, and decoding anything else raises DecodeError without allocating more than three times
MAX_BYTES.
"""

from collections.abc import Sequence
from functools import cache
from os import cpu_count
from typing import TYPE_CHECKING, Final, cast

import xxhash

from sampledb import limits

if TYPE_CHECKING:
    from sampledb.format.zstd import zstd

JSON: Final = 1
FRAME: Final = 2
BINARY: Final = 3
# The most that a forged blob of a few bytes can unpack to. The largest function, which is alone in its frame, and the
# largest binary fit; SQLite itself stops at 10**9 bytes.
MAX_BYTES: Final = {JSON: 512 * 1024 * 1024, FRAME: 64 * 1024 * 1024, BINARY: limits.MAX_BINARY}
# See `format.frame`.
LEVEL: Final = 3
# What compact() uses: 0.6 ms a function, for 14 % less space, and no slower to read.
COMPACT_LEVEL: Final = 19

# The dictionary of each format that has one. It belongs to the format: another one needs another number, and this
# file stays for ever. `python -m benchmarks.dictionary` made it.
_DICTIONARIES: Final = {FRAME: "frame2.dict"}
_COMPACT: Final = 128
# Fewer frames are compressed before the threads, and the modules that they need, are there.
_WORTH_THREADS: Final = 64
_MAX_THREADS: Final = 8
_TOP_BIT: Final = 1 << 63
#: `value & MASK` is `unsigned(value)`, for loops over many.
MASK: Final = (1 << 64) - 1


class DecodeError(ValueError):
    """The blob is damaged, forged, or of a format that this package does not know."""


def encode(kind: int, content: bytes) -> bytes:
    """Return the blob of `content`, of at most `MAX_BYTES[kind]` bytes."""
    return encode_many(kind, [content])[0]


def encode_many(kind: int, contents: Sequence[bytes], *, compact: bool = False) -> list[bytes]:
    """Return the blobs of several contents, many of them compressed on all cores.

    `compact` makes them smaller, in 30 times the time.
    """
    prefix = bytes((kind | _COMPACT if compact else kind,))
    level = COMPACT_LEVEL if compact else LEVEL
    if len(contents) < _WORTH_THREADS:
        return _compress(prefix, level, kind, contents)
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - as zstd, nothing that opening a file needs

    count = min(cpu_count() or 1, _MAX_THREADS)
    blobs = [b""] * len(contents)
    with ThreadPoolExecutor(count) as threads:
        shares = [threads.submit(_compress, prefix, level, kind, contents[begin::count]) for begin in range(count)]
        for begin, share in enumerate(shares):
            blobs[begin::count] = share.result()
    return blobs


def _compress(prefix: bytes, level: int, kind: int, contents: Sequence[bytes]) -> list[bytes]:
    from sampledb.format.zstd import zstd  # noqa: PLC0415

    dictionary = _read_dictionary(kind)
    # One compressor for all: to make it costs a tenth of a frame.
    compressor = zstd.ZstdCompressor(level, zstd_dict=dictionary.as_digested_dict if dictionary else None)
    return [prefix + compressor.compress(content, compressor.FLUSH_FRAME) for content in contents]


@cache
def _read_dictionary(kind: int) -> "zstd.ZstdDict | None":
    from pkgutil import get_data  # noqa: PLC0415

    from sampledb.format.zstd import zstd  # noqa: PLC0415

    name = _DICTIONARIES.get(kind)
    content = get_data(__package__, name) if name else None
    return zstd.ZstdDict(content) if content else None


def is_compact(blob: object) -> bool:
    """Return whether a blob was compressed with `compact`."""
    return isinstance(blob, bytes) and blob[:1] >= bytes((_COMPACT,))


def decode(kind: int, blob: object, expected: object) -> bytes:
    """Return the content of a blob of this kind; the file may hold it damaged, or as another type.

    Raises:
        DecodeError: Its checksum is not `expected`, it is of another kind, claims to hold more than MAX_BYTES, or is
            not exactly one frame of zstd.
    """
    from sampledb.format.zstd import zstd  # noqa: PLC0415

    if not isinstance(blob, bytes) or checksum(blob) != expected:
        raise DecodeError("a blob does not match its checksum")
    if not blob or blob[0] & ~_COMPACT != kind:
        raise DecodeError(f"a blob of format {blob[0] if blob else 'nothing'}, not {kind}")
    body = memoryview(blob)[1:]
    try:
        # None where the header has no size, which its annotation does not say.
        size = cast("int | None", zstd.get_frame_info(body).decompressed_size)
        if size is None or size > MAX_BYTES[kind]:
            raise DecodeError(f"a blob declares {size} bytes")
        # Its window takes at most that size, and at most 128 MiB.
        decompressor = zstd.ZstdDecompressor(zstd_dict=_read_dictionary(kind))
        content = decompressor.decompress(body, size)
    except zstd.ZstdError as error:
        raise DecodeError(f"a blob does not decompress: {error}") from error
    if len(content) != size or not decompressor.eof or decompressor.unused_data:
        raise DecodeError("a blob is cut off, or has something behind its end")
    return content


def checksum(blob: bytes) -> int:
    """Return the xxh3 hash of a stored blob, as the signed integer that SQLite keeps."""
    return signed(xxhash.xxh3_64_intdigest(blob))


def signed(value: int) -> int:
    """Return an unsigned 64-bit integer as SQLite's signed one of the same bits.

    Values from 2**63 on, kernel addresses among them, become negative: `printf('%x', …)` in SQL still shows
    them right, but ORDER BY does not. That is why functions get their ids in unsigned offset order.
    """
    return value - (1 << 64) if value >= _TOP_BIT else value


def unsigned(value: int) -> int:
    """Return the unsigned 64-bit integer of which `signed` made `value`."""
    return value & MASK
