"""Read reports from zip archives, which may be made to deceive, and pack one member.

A member is stored or deflated, and its content may be compressed once more. Its bounds are those of `compression`, by
the bytes that it takes in the archive; what they allow beyond its size, all members of an archive share.
"""

import io
import os
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from sampledb.errors import InvalidInputError
from sampledb.intake.compression import Bounds, Share, peek, unpack
from sampledb.intake.files import open_readable

if TYPE_CHECKING:
    # `zipfile` needs much else, and few programs read archives.
    from zipfile import ZipInfo

# About 300,000 members, for which Python takes some 200 MB.
MAX_DIRECTORY: Final = 32 * 1024 * 1024

_MAGIC: Final = re.compile(rb"PK(?:\x03\x04|\x05\x06)")
_EMPTY: Final = b"PK\5\6" + bytes(18)
_STORED, _DEFLATED = 0, 8
_IS_ENCRYPTED: Final = 1
_PIECE: Final = 64 * 1024
_REPORT_NAME: Final = re.compile(r".+\.(?:smda|json|mcrit)(?:\.(?:gz|zst|xz|zip))?", re.IGNORECASE | re.DOTALL)


def is_report_name(name: str) -> bool:
    """Return whether a name alone, in a folder or an archive, makes a file a report.

    It ends in .smda, .json or .mcrit, and perhaps .gz, .zst, .xz or .zip behind that. Neither it nor a folder is
    hidden.
    """
    hidden = any(part.startswith(".") and part.strip(".") for part in re.split(r"[/\\]", name))
    return not hidden and _REPORT_NAME.fullmatch(name) is not None


def is_zip(head: bytes) -> bool:
    """Return whether a file that begins with these bytes is a zip archive."""
    return _MAGIC.match(head) is not None


def is_archive(path: str) -> bool:
    """Return whether there is a zip archive at `path`, without waiting for a pipe; `False` if it cannot be read."""
    try:
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as file:
            return is_zip(file.read(4))
    except (OSError, ValueError):
        return False


def list_members(file: BinaryIO, name: str) -> list["ZipInfo"]:
    """Return the members of an archive with names of reports, in its order, or all files if there are none.

    Raises:
        InvalidInputError: The archive is damaged, has too many members, or is made to deceive.
    """
    import zipfile  # noqa: PLC0415

    try:
        with zipfile.ZipFile(_BoundedDirectory(file)) as archive:
            members = [each for each in archive.infolist() if not each.is_dir()]
        size = file.seek(0, os.SEEK_END)
    except MemoryError:
        raise
    except Exception as error:  # forged archives make it raise many things
        raise InvalidInputError.in_file(name, f"is a damaged zip archive ({error}); make it again") from error
    if sum(member.compress_size for member in members) > size:
        raise InvalidInputError.in_file(name, "is a zip archive whose members overlap; do not trust it")
    if members and min(member.header_offset for member in members) > 0:
        raise InvalidInputError.in_file(name, "has something else before its zip archive; make it again")
    return [member for member in members if is_report_name(member.filename)] or members


def open_member(path: str, member: "ZipInfo", name: str, share: Share) -> BinaryIO:
    """Open a member of the archive at `path`, unpacked, to be read once from the beginning.

    `share` is its share of the archive's allowance.

    Raises:
        OSError: The archive cannot be read.
        InvalidInputError: The member is encrypted or damaged, or breaks a bound; reading may raise it as well.
    """
    file = open_readable(path, name)
    try:
        return io.BufferedReader(_MemberFile(unpack_member(file, member, name, share), file))
    except BaseException:
        file.close()
        raise


def unpack_only_member(file: BinaryIO, name: str) -> Iterator[bytes]:
    """Yield the content of the only report in an archive, or raise InvalidInputError."""
    members = list_members(file, name)
    if len(members) != 1:
        raise InvalidInputError.in_file(name, f"is an archive of {len(members)} reports; read it with find_reports()")
    return unpack_member(file, members[0], name)


def unpack_member(file: BinaryIO, member: "ZipInfo", name: str, share: Share | None = None) -> Iterator[bytes]:
    """Yield the content of a member of the archive in `file`, as `open_member` does."""
    import zipfile  # noqa: PLC0415

    bounds = Bounds(name, member.compress_size, share)
    if member.flag_bits & _IS_ENCRYPTED:
        raise bounds.error("is encrypted; extract it first")
    if member.compress_type not in (_STORED, _DEFLATED):
        raise bounds.error(f"is packed by zip's method {member.compress_type}; extract it first")
    # An archive without a directory: to read that again for each of its members would take quadratic time.
    archive = zipfile.ZipFile(io.BytesIO(_EMPTY))
    archive.fp = file
    head, pieces = peek(_read_member(archive, member, bounds))
    if is_zip(head):
        raise bounds.error("is a zip archive where none is read; extract it first")
    return unpack(pieces, bounds)


def _read_member(archive: Any, member: "ZipInfo", bounds: Bounds) -> Iterator[bytes]:  # noqa: ANN401 - imported late
    length = 0
    try:
        with archive.open(member) as content:
            while piece := content.read(_PIECE):
                length += len(piece)
                bounds.check(length)
                yield piece
    except (OSError, MemoryError, InvalidInputError):
        raise
    except Exception as error:  # zipfile and zlib have many errors
        rule = f"is damaged in its zip archive ({error}); make or fetch the archive again"
        raise bounds.error(rule) from error


def pack_member(name: str, pieces: Iterable[bytes]) -> bytes:
    """Return an archive of one member; its date is that of all such, so that the same pieces make the same bytes."""
    import zipfile  # noqa: PLC0415

    packed = io.BytesIO()
    info = zipfile.ZipInfo(name)
    info.compress_type = _DEFLATED
    with zipfile.ZipFile(packed, "w") as archive, archive.open(info, "w", force_zip64=True) as member:
        for piece in pieces:
            member.write(piece)
    return packed.getvalue()


class _MemberFile(io.RawIOBase):
    """A member as a file, whose content comes in pieces; closes its archive."""

    def __init__(self, pieces: Iterator[bytes], archive: BinaryIO) -> None:
        self._pieces = pieces
        self._archive = archive
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
        self._archive.close()
        super().close()


class _BoundedDirectory:
    """An archive for `zipfile`, which reads the whole directory at once, of whatever size a forged one claims."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int = -1) -> bytes:
        if size > MAX_DIRECTORY:
            raise ValueError(f"its directory has {size} bytes, {MAX_DIRECTORY} are allowed")
        return self._file.read(size)
