"""Read one report, in any form in which users pass one, as the bytes of its JSON."""

import io
import os
from collections.abc import Callable
from functools import partial
from typing import Any, BinaryIO

from sampledb.errors import InvalidInputError
from sampledb.intake import archive, compression
from sampledb.intake.files import open_readable


def read_source(source: object) -> bytes:
    """Return the JSON of a report, not yet validated.

    `source` is a dict, JSON bytes, a path, or an object with `toDict()` or `open("rb")`. Files may be compressed
    (gzip, zstd, xz), or a zip archive of one report.

    Raises:
        InvalidInputError: It cannot be read.
    """
    if hasattr(source, "toDict"):
        try:
            source = source.toDict()
        except Exception as error:  # the object is the user's, and so is what it raises
            raise InvalidInputError.in_report("$", f"toDict() failed: {error!r}") from error
    if isinstance(source, dict):
        return _dump(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, str | os.PathLike):
        return _read(str(source), partial(open_readable, source, str(source)))
    if callable(getattr(source, "open", None)):
        # As zipfile.Path, and what find_reports() yields.
        return _read(str(source), partial(source.open, "rb"))  # type: ignore[attr-defined]
    raise InvalidInputError.of("smda_report", "a dict, JSON bytes, a path or an SmdaReport", source)


def read_file(file: BinaryIO, name: str) -> bytes:
    """Return the content of a file, or of the only report in an archive, without a second copy of it.

    Raises:
        InvalidInputError: It is damaged or breaks a bound; the error calls it `name`.
    """
    bounds = compression.Bounds(name)
    head, pieces = compression.peek(compression.read_pieces(file, bounds))
    if archive.is_zip(head):
        if not file.seekable():
            raise bounds.error("is a zip archive where none is read; extract it first")
        pieces = archive.unpack_only_member(file, name)
    else:
        pieces = compression.unpack(pieces, bounds)
    content = io.BytesIO()
    for piece in pieces:
        content.write(piece)
    # Not a join of pieces: the buffer is handed over, not copied.
    return content.getvalue()


def _dump(report: dict[Any, Any]) -> bytes:
    import json  # noqa: PLC0415 - most reports come as JSON

    # Not msgspec, which would quietly turn NaN into null and bytes into text.
    try:
        return json.dumps(report, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError.in_report("$", f"cannot be JSON: {error}") from error


def _read(name: str, open_file: Callable[[], BinaryIO]) -> bytes:
    try:
        with open_file() as file:
            return read_file(file, name)
    except (InvalidInputError, MemoryError):
        raise
    except Exception as error:  # a file of any kind may raise anything
        reason = getattr(error, "strerror", None) or str(error) or repr(error)
        raise InvalidInputError.in_file(name, f"cannot be read: {reason}") from error
