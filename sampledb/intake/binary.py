"""Read a binary to disassemble, and check the request, before any lock is taken."""

import os
import re
from typing import Final, NamedTuple

import msgspec

from sampledb import limits
from sampledb.errors import InvalidInputError
from sampledb.intake.files import open_regular
from sampledb.limits import MAX_BINARY

# ELF, Mach-O in both byte orders and sizes, Dalvik. Fat Mach-O shares its first bytes with Java classes, which go on
# with a version from 45 up where it has the number of its architectures.
_PROGRAM: Final = re.compile(
    rb"\x7fELF|\xfe\xed\xfa[\xce\xcf]|[\xce\xcf]\xfa\xed\xfe|dex\n|\xca\xfe\xba[\xbe\xbf]\0\0\0[\x01-\x2c]"
)
# DOS programs begin with `MZ` too; in a PE, a field behind it says where its own header is.
_DOS: Final = b"MZ"
_PE: Final = b"PE\0\0"
_PE_FIELD: Final = slice(0x3C, 0x40)


class Submission(NamedTuple):
    """A checked request to disassemble a binary."""

    sha256: str
    binary: bytes
    filename: str | None
    family: str
    version: str
    is_dump: bool
    base_addr: int
    bitness: int
    username: str
    keep_binary: bool
    strings: bool


class Request(msgspec.Struct, frozen=True):
    """How to disassemble a binary.

    Attributes:
        strings: Whether SMDA collects the strings that functions refer to.
        timeout: Seconds after which SMDA gives up, when it next looks at the clock.
    """

    job_id: str
    filename: str | None
    family: str
    version: str
    is_dump: bool
    base_addr: int
    bitness: int
    strings: bool
    timeout: float


def is_program(path: str) -> bool:
    """Return whether the file at `path` is a PE, ELF, Mach-O or DEX by its first bytes.

    Raises:
        InvalidInputError: It cannot be read.
    """
    with open_regular(path, "binary") as file:
        head = file.read(_PE_FIELD.stop)
        if not head.startswith(_DOS):
            return _PROGRAM.match(head) is not None
        file.seek(int.from_bytes(head[_PE_FIELD], "little"))
        return file.read(len(_PE)) == _PE


def read_submission(
    binary: object,
    *,
    filename: object,
    family: object,
    version: object,
    is_dump: object,
    base_addr: object,
    bitness: object,
    username: object,
    keep_binary: object,
    strings: object,
) -> Submission:
    """Return the checked request to disassemble bytes, or the file at a path.

    The sample is named `filename`, or as the file.

    Raises:
        InvalidInputError: A value breaks a rule, or the file cannot be read.
    """
    # It loads OpenSSL, which only jobs and media need.
    import hashlib  # noqa: PLC0415

    content, file_name = _read_content(binary)
    return Submission(
        sha256=hashlib.sha256(content).hexdigest(),
        filename=file_name if filename is None else limits.text("filename", filename, longest=limits.MAX_NAME),
        family=limits.family("family", family),
        version=limits.printable("version", version),
        is_dump=limits.flag("is_dump", is_dump),
        # As in MCRIT, a dump without an address begins at 0.
        base_addr=0 if base_addr is None else limits.address("base_addr", base_addr),
        bitness=limits.bitness(bitness),
        username=limits.username(username),
        keep_binary=limits.flag("keep_binary", keep_binary),
        strings=limits.flag("strings", strings),
        binary=content,
    )


def _read_content(binary: object) -> tuple[bytes, str | None]:
    if isinstance(binary, bytes | bytearray | memoryview):
        content, name = _copy(binary), None
    elif isinstance(binary, str | os.PathLike):
        with open_regular(binary, "binary") as file:
            content, name = file.read(MAX_BINARY + 1), limits.name_of(binary)
    else:
        raise InvalidInputError.of("binary", "bytes or a path", binary)
    if not 1 <= len(content) <= MAX_BINARY:
        raise InvalidInputError.of("binary", f"from 1 to {MAX_BINARY} bytes long", len(content))
    return content, name


def _copy(binary: bytes | bytearray | memoryview) -> bytes:
    try:
        return bytes(binary)
    except (ValueError, BufferError) as error:
        raise InvalidInputError.of("binary", f"bytes that can be read ({error})", repr(binary)) from error
