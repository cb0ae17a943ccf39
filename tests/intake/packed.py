"""Reports packed in every way, and bombs that look like them; what the tests of this package share."""

import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

from sampledb import find_reports
from sampledb.format.strictjson import compact
from sampledb.format.zstd import zstd
from sampledb.intake.source import read_source
from tests.strategies import function, report

SMALL = json.dumps(report(function(4096), function(8192)), separators=(",", ":")).encode()


def read(source: object) -> bytes:
    """Return the JSON of a source, or raise its fault."""
    return compact(read_source(source))


def sources(*paths: str | Path) -> list[str]:
    """Return the places of the reports that are found."""
    return [found.source for found in find_reports(*paths)]


def written(path: Path, content: bytes = SMALL) -> Path:
    """Return the path of a new file, whose folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _zstd(data: bytes) -> bytes:
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip archive of members by name."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def encrypted(archive: bytes) -> bytes:
    """Return the archive with every member marked as encrypted."""
    changed = bytearray(archive)
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        position = archive.find(signature)
        while position >= 0:
            changed[position + flags] |= 1
            position = archive.find(signature, position + 1)
    return bytes(changed)


def skippable(content: bytes) -> bytes:
    """Return a zstd frame that decompressors pass over."""
    return b"\x5a\x2a\x4d\x18" + len(content).to_bytes(4, "little") + content


def _halves(pack: Callable[[bytes], bytes], between: bytes = b"") -> Callable[[bytes], bytes]:
    return lambda data: pack(data[: len(data) // 2]) + between + pack(data[len(data) // 2 :])


# By the suffix of such files.
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "zst": _zstd,
    "xz": lzma.compress,
    "zip": lambda data: zipped({"a.smda": data}),
}

# By what is special: what else the tools for these formats write.
VARIANTS: dict[str, Callable[[bytes], bytes]] = {
    **PACKERS,
    "nothing": lambda data: data,
    "two gzip members": _halves(gzip.compress),
    "gzip padded with zeros": lambda data: gzip.compress(data) + bytes(1000),
    "two zstd frames": _halves(_zstd),
    "zstd with frames to skip": lambda data: skippable(b"index") + _zstd(data) + skippable(b"x" * 3000),
    "zstd with an empty frame": lambda data: _zstd(b"") + _zstd(data),
    "two padded xz streams": _halves(lzma.compress, bytes(8)),
    "xz without a check": lambda data: lzma.compress(data, check=lzma.CHECK_NONE),
    "stored in zip": lambda data: zipped({"a": data}, zipfile.ZIP_STORED),
    "zip beside a note": lambda data: zipped({"README": b"see a", "b/": b"", "b/a.JSON": data, "b/._a.json": b""}),
    "gzip in zip": lambda data: zipped({"a.smda.gz": gzip.compress(data)}),
    "zstd stored in zip": lambda data: zipped({"a.smda.zst": _zstd(data)}, zipfile.ZIP_STORED),
}

_ZEROS = bytes(64 * 1024**2)

# Files of at most a megabyte that unpack to 3 GiB of zeros; gzip's to 512 MiB, zip's own to 64.
BOMBS: dict[str, Callable[[], bytes]] = {
    "gzip": lambda: gzip.compress(_ZEROS, 9) * 8,
    "zstd": lambda: _zstd(_ZEROS) * 48,
    "xz": lambda: lzma.compress(_ZEROS, preset=0) * 48,
    "zip": lambda: zipped({"a.smda": _ZEROS}),
    "zstd in zip": lambda: zipped({"a.smda": _zstd(_ZEROS) * 48}),
    "zstd stored in zip": lambda: zipped({"a.smda": _zstd(_ZEROS) * 48}, zipfile.ZIP_STORED),
}
