"""Read the samples of a `.mcrit` file, each as the JSON of an SMDA report, one at a time."""

import io
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, BinaryIO, Final, NamedTuple

import msgspec

from sampledb import limits
from sampledb.errors import InvalidInputError
from sampledb.intake.compression import Allowance, Share
from sampledb.intake.mcrit import packing, records
from sampledb.intake.mcrit.members import Reader, Span

_NAME: Final = re.compile(r".+\.mcrit(?:\.(?:gz|zst|xz))?", re.IGNORECASE | re.DOTALL)
# What is kept of each takes some 400 bytes.
_MAX_SAMPLES: Final = 1_000_000
_MAX_CONFIG: Final = 64 * 1024
_EMPTY: Final = b"{}"

_parse_config = msgspec.json.Decoder(dict[str, Any]).decode
_parse_text = msgspec.json.Decoder(str).decode


class Found(NamedTuple):
    """A sample of a file: its SHA-256, and what opens its report."""

    sha256: str
    open: Callable[[], BinaryIO]


class _Layout(NamedTuple):
    """The places of the records in a file; samples and functions by SHA-256."""

    config: dict[str, Any]
    samples: dict[str, Span]
    functions: dict[str, Span]


def is_mcrit_name(name: str) -> bool:
    """Return whether the name is that of a `.mcrit` file, compressed or not."""
    return _NAME.fullmatch(name) is not None


def find_samples(open_file: Callable[[], BinaryIO], name: str) -> Iterator[Found]:
    """Yield the samples of a file in its order.

    Raises:
        OSError: The file cannot be read.
        InvalidInputError: It is no such file; the error calls it `name`.
    """
    try:
        with open_file() as file:
            layout = _locate(Reader(file))
    except (ValueError, RecursionError) as error:
        raise InvalidInputError.in_file(name, f"is no export of MCRIT's: {error}") from error
    allowance = Allowance()
    for sha256 in layout.samples:
        yield Found(sha256, partial(_open, open_file, layout, sha256, f"{name}/{sha256}", Share(allowance)))


def _locate(reader: Reader) -> _Layout:
    layout: _Layout | None = None
    config: dict[str, Any] = {}
    found: dict[str, dict[str, Span]] = {}
    for key in reader.members():
        if key in ("sample_entries", "function_entries"):
            found[key] = _locate_each(reader)
        elif key == "data":
            # As the server sends it, which the console of MCRIT unwraps.
            layout = _locate(reader)
        else:
            span = reader.skip()
            if key == "config" and span.end - span.start <= _MAX_CONFIG:
                config = _parse_config(reader.read(span))
    if "sample_entries" in found:
        return _Layout(config, found["sample_entries"], found.get("function_entries", {}))
    if layout is None:
        raise ValueError("it has no sample_entries")
    return layout


def _locate_each(reader: Reader) -> dict[str, Span]:
    spans: dict[str, Span] = {}
    for sha256 in reader.members():
        if limits.sha256(sha256) in spans:
            raise ValueError(f"{sha256} stands twice")
        if len(spans) == _MAX_SAMPLES:
            raise ValueError(f"it has more than {_MAX_SAMPLES} samples")
        spans[limits.sha256(sha256)] = reader.skip()
    return spans


def _open(open_file: Callable[[], BinaryIO], layout: _Layout, sha256: str, name: str, share: Share) -> BinaryIO:
    with open_file() as file:
        sample = layout.samples[sha256].read(file)
        functions = layout.functions[sha256].read(file) if sha256 in layout.functions else _EMPTY
    try:
        if functions.startswith(b'"'):
            functions = packing.unpack(_parse_text(functions), name, share)
        report = records.make_report(sha256, layout.config, sample, functions)
    except InvalidInputError:
        raise
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InvalidInputError.in_file(name, f"has records that MCRIT has not written: {error}") from error
    return io.BytesIO(report)
