"""Unpack reports compressed by gzip, zstd or xz, within bounds.

The first bytes of a file say how it is compressed, not its name. It may consist of several streams, as `cat a.gz b.gz`
makes it; a stream that is cut off, or has something else behind it, is refused.

The bounds: MAX_REPORT of content; MAX_RATIO times the bytes that were read, and some MiB, which the members of an
archive share; 128 MiB of memory for a decompressor. They hold for what is unpacked, whatever headers claim, and nothing
is written to disk.
"""

import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import BinaryIO, Final, NamedTuple, Protocol

from sampledb.errors import InvalidInputError
from sampledb.limits import MAX_REPORT

# Of 329 reports of SMDA's, zstd -19 and xz -9 compress one 15 times, 30 when it is indented, and all others less.
MAX_RATIO: Final = 250
# Small files may repeat one value, and be compressed even better.
_ALWAYS_ALLOWED: Final = 8 * 1024 * 1024
# The memory that `zstd -d` allows itself, and twice what `xz -9` asks for.
_MAX_WINDOW_LOG: Final = 27
_MAX_MEMORY: Final = 1 << _MAX_WINDOW_LOG
# Of so few bytes zstd can make 32 MiB at once, xz 7, gzip 1.
_STEP: Final = 1024
_PIECE: Final = 64 * 1024
_LONGEST_MAGIC: Final = 6


class _Stream(Protocol):
    """The methods that the decompressors of zlib, lzma and zstd have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def _gzip() -> Callable[[], _Stream]:
    import zlib  # noqa: PLC0415 - as below: most reports come unpacked

    return partial(zlib.decompressobj, wbits=31)  # 16 for gzip's header and checksum, 15 for any window


def _xz() -> Callable[[], _Stream]:
    import lzma  # noqa: PLC0415

    return partial(lzma.LZMADecompressor, lzma.FORMAT_XZ, _MAX_MEMORY)


def _zstd() -> Callable[[], _Stream]:
    # As format.zstd does, which is out of reach here.
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415
    else:
        from backports import zstd  # noqa: PLC0415
    return partial(zstd.ZstdDecompressor, options={zstd.DecompressionParameter.window_log_max: _MAX_WINDOW_LOG})


class _Format(NamedTuple):
    """A compressed format; `is_padded` where zeros may follow a stream, as on tapes."""

    name: str
    magic: re.Pattern[bytes]
    load: Callable[[], Callable[[], _Stream]]
    is_padded: bool


_FORMATS: Final = (
    _Format("gzip", re.compile(rb"\x1f\x8b"), _gzip, is_padded=True),
    # Or a frame to be skipped, with which pzstd begins.
    _Format("zstd", re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), _zstd, is_padded=False),
    _Format("xz", re.compile(rb"\xfd7zXZ\x00"), _xz, is_padded=True),
)


class Allowance:
    """The bytes that the files of one archive may unpack to beyond MAX_RATIO, all together."""

    def __init__(self) -> None:
        self.left = _ALWAYS_ALLOWED


class Share:
    """The part of an allowance that one file takes, once, however often it is read."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._taken = 0

    def covers(self, excess: int) -> bool:
        """Take what is needed for `excess` bytes; return `False` if less is left."""
        more = max(excess - self._taken, 0)
        if more > self._allowance.left:
            return False
        self._allowance.left -= more
        self._taken += more
        return True


class Bounds:
    """The bounds on the content of one file, by the bytes read of it; their errors call it `name`."""

    def __init__(self, name: str, bytes_read: int = 0, share: Share | None = None) -> None:
        self._name = name
        self.bytes_read = bytes_read
        self._share = share or Share(Allowance())

    def check(self, length: int) -> None:
        """Raise InvalidInputError if `length` exceeds MAX_REPORT, or MAX_RATIO times the bytes read and its share."""
        if length > MAX_REPORT:
            raise self.error(f"holds more than {MAX_REPORT} bytes, and no report can; look what it is")
        if not self._share.covers(length - self.bytes_read * MAX_RATIO):
            raise self.error(f"unpacks to more than {MAX_RATIO} times its size; unpack it yourself if you trust it")

    def error(self, rule: str) -> InvalidInputError:
        """Return the error that the file breaks a rule."""
        return InvalidInputError.in_file(self._name, rule)


def read_pieces(file: BinaryIO, bounds: Bounds) -> Iterator[bytes]:
    """Yield the content of a file as it is, counted in `bounds`."""
    while piece := file.read(_PIECE):
        bounds.bytes_read += len(piece)
        bounds.check(bounds.bytes_read)
        yield piece


def peek(pieces: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Return the first bytes, enough to tell the format, and an iterator of all pieces."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= _LONGEST_MAGIC:
            break
    return head, chain((head,), pieces)


def is_compressed(head: bytes) -> bool:
    """Return whether a file that begins with these bytes is compressed."""
    return _format_of(head) is not None


def unpack(pieces: Iterator[bytes], bounds: Bounds) -> Iterator[bytes]:
    """Yield the content of pieces that may be compressed.

    Raises:
        InvalidInputError: They are damaged, or break a bound.
    """
    head, pieces = peek(pieces)
    found = _format_of(head)
    return pieces if found is None else _decompress(found, pieces, bounds)


def _format_of(head: bytes) -> _Format | None:
    return next((each for each in _FORMATS if each.magic.match(head)), None)


def _decompress(form: _Format, pieces: Iterator[bytes], bounds: Bounds) -> Iterator[bytes]:
    new = form.load()
    stream, length = new(), 0
    steps = (piece[start : start + _STEP] for piece in pieces for start in range(0, len(piece), _STEP))
    for rest in steps:
        while rest:
            if stream.eof:
                rest = rest.lstrip(b"\0") if form.is_padded else rest  # noqa: PLW2901
                stream = new() if rest else stream
            content, rest = _feed(stream, rest, form, bounds)  # noqa: PLW2901
            length += len(content)
            bounds.check(length)
            yield content
    if not stream.eof:
        raise bounds.error(f"is cut off, or has something behind it, for its {form.name} has no end; make it again")


def _feed(stream: _Stream, data: bytes, form: _Format, bounds: Bounds) -> tuple[bytes, bytes]:
    """Return what the stream makes of some more data, and the part of the data behind its end."""
    if not data:
        return b"", b""
    try:
        content = stream.decompress(data)
    except MemoryError:
        raise
    except Exception as error:  # each format has errors of its own
        raise bounds.error(f"cannot be unpacked by {form.name} ({error}); make or fetch it again") from error
    return content, stream.unused_data if stream.eof else b""
