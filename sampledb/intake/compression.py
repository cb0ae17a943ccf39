"""Reports as they are kept and sent: compressed by gzip, zstd or xz, or in a zip archive; unpacked within bounds.

What a file is, its first bytes say and not its name. It may be packed once, and once more where it is the member of
an archive. Compressed data may consist of several streams, as `cat a.gz b.gz` makes it; what is cut off, or has
something else behind it, is refused.

The bounds: MAX_REPORT of content; MAX_RATIO times what was read of the file, and some MiB; 128 MiB of memory for a
decompressor. They hold for what comes out, whatever headers say, and nothing is written to disk.
"""

import io
import os
import re
import stat
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any, BinaryIO, Final, NamedTuple, Protocol

from sampledb.errors import InvalidInputError
from sampledb.limits import MAX_REPORT

# Of 329 reports of SMDA's, the one that zstd -19 and xz -9 make the least of is 15 times as long, 30 when indented.
MAX_RATIO: Final = 250
# Small files may be all alike, and packed even better.
_ALWAYS: Final = 8 * 1024 * 1024
# What `zstd -d` allows itself, and twice what `xz -9` asks for.
_MAX_MEMORY: Final = 128 * 1024 * 1024
# Of so few bytes zstd can make 32 MiB at once, xz 7, gzip 1.
_STEP: Final = 1024
_PIECE: Final = 64 * 1024
# About 300,000 members, of which Python makes some 200 MB.
_MAX_DIRECTORY: Final = 32 * 1024 * 1024

_ZIP: Final = re.compile(rb"PK(?:\x03\x04|\x05\x06)")
_LONGEST_MAGIC: Final = 6
_LOCAL_HEADER: Final = 30
_STORED, _DEFLATED = 0, 8
_IS_ENCRYPTED: Final = 1
_REPORT_NAME: Final = re.compile(r".+\.(?:smda|json)(?:\.(?:gz|zst|xz|zip))?", re.IGNORECASE | re.DOTALL)


class Member(NamedTuple):
    """A file in a zip archive: its name there, which is a label only, and where it lies.

    `offset` and `packed` are bytes, `crc` is what the content must have; all as the archive claims.
    """

    name: str
    offset: int
    packed: int
    crc: int
    method: int
    is_encrypted: bool


class _Stream(Protocol):
    """What the decompressors of zlib, lzma and zstandard have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def _gzip() -> Callable[[], _Stream]:
    import zlib  # noqa: PLC0415 - as below: most reports come unpacked

    return partial(zlib.decompressobj, wbits=31)  # 16 for gzip's header and checksum, 15 for any window


def _deflate() -> Callable[[], _Stream]:
    import zlib  # noqa: PLC0415

    return partial(zlib.decompressobj, wbits=-15)  # negative for no header


def _xz() -> Callable[[], _Stream]:
    import lzma  # noqa: PLC0415

    return partial(lzma.LZMADecompressor, lzma.FORMAT_XZ, _MAX_MEMORY)


def _zstd() -> Callable[[], _Stream]:
    import zstandard  # noqa: PLC0415

    new: Callable[[], _Stream] = zstandard.ZstdDecompressor(max_window_size=_MAX_MEMORY).decompressobj
    return new


class _Format(NamedTuple):
    """How data is compressed; `is_padded` where zeros may follow a stream, as on tapes."""

    name: str
    magic: re.Pattern[bytes]
    streams: Callable[[], Callable[[], _Stream]]
    is_padded: bool


_FORMATS: Final = (
    _Format("gzip", re.compile(rb"\x1f\x8b"), _gzip, is_padded=True),
    # Or a frame to be skipped, with which pzstd begins.
    _Format("zstd", re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), _zstd, is_padded=False),
    _Format("xz", re.compile(rb"\xfd7zXZ\x00"), _xz, is_padded=True),
)
_IN_ZIP: Final = _Format("deflate", re.compile(rb""), _deflate, is_padded=False)


def is_report(name: str) -> bool:
    """Whether a file is taken for a report by its name, where nobody named it: in a folder, in an archive.

    It ends in .smda or .json, and perhaps .gz, .zst, .xz or .zip behind that; neither it nor a folder is hidden.
    """
    hidden = any(part.startswith(".") and part.strip(".") for part in re.split(r"[/\\]", name))
    return not hidden and _REPORT_NAME.fullmatch(name) is not None


def is_packed(head: bytes) -> bool:
    """Whether a file that begins with these bytes is compressed, or a zip archive."""
    return any(each.magic.match(head) for each in _FORMATS) or _ZIP.match(head) is not None


def is_archive(path: str) -> bool:
    """Whether there is a zip archive at `path`; what cannot be read is none, nor is what could make us wait."""
    try:
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as file:
            return _ZIP.match(file.read(_LONGEST_MAGIC)) is not None
    except (OSError, ValueError):
        return False


def open_file(path: str | os.PathLike[str], name: str) -> BinaryIO:
    """The file at `path` as it is, to be closed by the caller.

    Raises:
        OSError: It is missing, or cannot be opened.
        InvalidInputError: It is a device, which may have no end, or no file can have such a path.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed by the caller
    except (ValueError, TypeError) as error:
        raise InvalidInputError.in_file(name, f"cannot be read: {error}") from error
    if stat.S_ISCHR(os.fstat(file.fileno()).st_mode):
        file.close()
        raise InvalidInputError.in_file(name, "is a device, which may have no end; give a file")
    return file


def read(file: BinaryIO, name: str) -> bytes:
    """The whole content of a file, or of the only report in an archive, in not much more memory than it has.

    Raises:
        InvalidInputError: It is damaged or breaks a bound; the error calls it `name`.
    """
    source = _Source(file, name)
    head, pieces = _begun(source.pieces())
    if _ZIP.match(head) and file.seekable():
        pieces = _member_pieces(source, _only(members(file, name), name))
    else:
        pieces = _unpacked(source, pieces)
    content = io.BytesIO()
    for piece in pieces:
        content.write(piece)
    # Not a join of pieces: the buffer is given away, not copied.
    return content.getvalue()


def members(file: BinaryIO, name: str) -> list[Member]:
    """The reports in a zip archive, in its order: the files whose names are those of reports, or all if none is.

    Raises:
        InvalidInputError: The archive is damaged, has too many members, or is made to deceive.
    """
    import zipfile  # noqa: PLC0415 - needs much else

    try:
        with zipfile.ZipFile(_Directory(file)) as archive:
            found = [_member(each) for each in archive.infolist() if not each.is_dir()]
        size = file.seek(0, os.SEEK_END)
    except MemoryError:
        raise
    except Exception as error:  # forged archives make it raise many things
        raise InvalidInputError.in_file(name, f"is a damaged zip archive ({error}); make it again") from error
    if sum(member.packed for member in found) > size:
        raise InvalidInputError.in_file(name, "is a zip archive whose members overlap; do not trust it")
    if found and min(member.offset for member in found) > 0:
        raise InvalidInputError.in_file(name, "has something else before its zip archive; make it again")
    return [member for member in found if is_report(member.name)] or found


def open_member(path: str, member: Member, name: str) -> BinaryIO:
    """The content of a member of the archive at `path`, unpacked, as a file to read once from the beginning.

    Raises:
        OSError: The archive cannot be read.
        InvalidInputError: The member is encrypted or damaged, or breaks a bound; reading may raise it as well.
    """
    file = open_file(path, name)
    try:
        pieces = _member_pieces(_Source(file, name), member)
        return io.BufferedReader(_Pieces(pieces, file))
    except BaseException:
        file.close()
        raise


class _Source:
    """A file that is being read, and how much of it was: what its content is measured against."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.file = file
        self.name = name
        self.taken = 0

    def pieces(self, size: int = MAX_REPORT + 1) -> Iterator[bytes]:
        """The next `size` bytes, or what there is of them."""
        while size and (piece := self.file.read(min(size, _PIECE))):
            size -= len(piece)
            self.taken += len(piece)
            self.check(self.taken)
            yield piece

    def check(self, length: int) -> None:
        """Raise InvalidInputError if so much content is too much, at all or for what was read."""
        if length > MAX_REPORT:
            raise self.error(f"holds more than {MAX_REPORT} bytes, and no report can; look what it is")
        if length > self.taken * MAX_RATIO + _ALWAYS:
            raise self.error(f"unpacks to more than {MAX_RATIO} times its size; unpack it yourself if you trust it")

    def error(self, rule: str) -> InvalidInputError:
        """The error that the file breaks a rule."""
        return InvalidInputError.in_file(self.name, rule)


class _Pieces(io.RawIOBase):
    """A file whose content comes in pieces; closes the file they are made of."""

    def __init__(self, pieces: Iterator[bytes], file: BinaryIO) -> None:
        self._pieces = pieces
        self._file = file
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - a buffer has no type before Python 3.12
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    def close(self) -> None:
        self._file.close()
        super().close()


class _Directory:
    """A zip archive for `zipfile`, which reads its directory at one go: as much as a forged one claims there is."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int = -1) -> bytes:
        if size > _MAX_DIRECTORY:
            raise ValueError(f"its directory has {size} bytes, {_MAX_DIRECTORY} are allowed")
        return self._file.read(size)


def _member(info: Any) -> Member:  # noqa: ANN401 - zipfile.ZipInfo, which is imported late
    is_encrypted = bool(info.flag_bits & _IS_ENCRYPTED)
    return Member(info.filename, info.header_offset, info.compress_size, info.CRC, info.compress_type, is_encrypted)


def _only(found: list[Member], name: str) -> Member:
    if len(found) != 1:
        raise InvalidInputError.in_file(name, f"is an archive of {len(found)} reports; find_reports() reads such")
    return found[0]


def _member_pieces(source: _Source, member: Member) -> Iterator[bytes]:
    if member.is_encrypted:
        raise source.error("is encrypted; extract it first")
    if member.method not in (_STORED, _DEFLATED):
        raise source.error(f"is packed by zip's method {member.method}; extract it first")
    source.file.seek(member.offset)
    header = source.file.read(_LOCAL_HEADER)
    if len(header) < _LOCAL_HEADER or not _ZIP.match(header):
        raise source.error("is not where its zip archive says; make the archive again")
    # The lengths of the name and of what is known beside it; the directory's may be others.
    source.file.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), os.SEEK_CUR)
    pieces = source.pieces(member.packed)
    if member.method == _DEFLATED:
        pieces = _decompressed(source, pieces, _IN_ZIP)
    return _unpacked(source, _verified(source, pieces, member.crc))


def _verified(source: _Source, pieces: Iterator[bytes], expected: int) -> Iterator[bytes]:
    import zlib  # noqa: PLC0415

    crc = 0
    for piece in pieces:
        crc = zlib.crc32(piece, crc)
        yield piece
    if crc != expected:
        raise source.error("is damaged in its zip archive; make or fetch the archive again")


def _unpacked(source: _Source, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The content of what may be compressed."""
    head, pieces = _begun(pieces)
    if _ZIP.match(head):
        raise source.error("is a zip archive where none is read; extract it first")
    found = next((each for each in _FORMATS if each.magic.match(head)), None)
    return pieces if found is None else _decompressed(source, pieces, found)


def _begun(pieces: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first bytes, enough to know what they are, and all pieces as they were."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= _LONGEST_MAGIC:
            break
    return head, chain((head,), pieces)


def _decompressed(source: _Source, pieces: Iterator[bytes], form: _Format) -> Iterator[bytes]:
    new = form.streams()
    stream, length = new(), 0
    for step in _steps(pieces):
        rest = step
        while rest:
            if stream.eof:
                rest = rest.lstrip(b"\0") if form.is_padded else rest
                stream = new() if rest else stream
            content, rest = _fed(source, stream, rest, form)
            length += len(content)
            source.check(length)
            yield content
    if not stream.eof:
        raise source.error(f"is cut off, or has something behind it, for its {form.name} has no end; make it again")


def _steps(pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        for start in range(0, len(piece), _STEP):
            yield piece[start : start + _STEP]


def _fed(source: _Source, stream: _Stream, data: bytes, form: _Format) -> tuple[bytes, bytes]:
    """What the stream makes of some more data, and what of the data is behind its end."""
    if not data:
        return b"", b""
    try:
        content = stream.decompress(data)
    except MemoryError:
        raise
    except Exception as error:  # each format has errors of its own
        raise source.error(f"cannot be unpacked by {form.name} ({error}); make or fetch it again") from error
    return content, stream.unused_data if stream.eof else b""
