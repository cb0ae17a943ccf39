"""Parse SMDA reports into checked structs, before any lock is taken, and join them again.

A report must hold what SMDA needs to load it (`SmdaReport.fromDict` in SMDA 5); everything else may be missing,
`null` or unknown, and is kept. One from MCRIT has `mcrit`, which `Mcrit` describes.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from operator import attrgetter
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import msgspec
from msgspec import Raw

from sampledb import limits
from sampledb.errors import CorruptFileError, InvalidInputError
from sampledb.format import codec, strictjson
from sampledb.format.frame import pause_garbage_collection
from sampledb.format.references import References
from sampledb.format.xcfg import FunctionRow, Functions, parse_functions

# In a header; SMDA writes some hundred.
MAX_VALUES: Final = 1 << 24
# Bytes of JSON: every Sample carries them; SMDA's take some hundred.
MAX_STATISTICS: Final = 1 << 20
# The text of larger reports is not copied another time.
_ONE_PASS_BYTES: Final = 64 * 1024 * 1024
_XCFG: Final = b'"xcfg":'
_FUNCTIONS: Final = b'"xcfg":{"'

_T = TypeVar("_T")
_Unsigned = Annotated[int, msgspec.Meta(ge=0)]


class GivenLabel(NamedTuple):
    """A name that somebody gave to a function before its report came here; `given_at` is UTC, without saying so."""

    offset: int
    name: str
    username: str
    given_at: Annotated[datetime, msgspec.Meta(tz=False)]


class KnownFunction(msgspec.Struct):
    """What MCRIT knows of a function and SMDA does not.

    Attributes:
        minhash: Hex digits, `""` for none.
        picblockhashes: The offset, instructions, bytes and hash of each block that has one.
        moved: How far the function was moved from its offset, modulo 2**64; block hashes keep their offsets.
        more: The values of its entry that do not follow from the function.
    """

    minhash: Annotated[str, msgspec.Meta(pattern="^(?:[0-9a-f]{2})*$")] = ""
    picblockhashes: list[tuple[int, int, int, int]] = []
    moved: _Unsigned = 0
    more: dict[str, Any] = {}


class Mcrit(msgspec.Struct):
    """What only MCRIT knows of a sample: the value of a report's key `mcrit`.

    Attributes:
        config: The configuration that made the MinHashes, as an export of MCRIT's has it.
        sample: Keys of the sample's entry that the report has no place for.
        functions: By offset.
        labels: The names that people gave to functions; they become labels when the report is added.
    """

    config: dict[str, Any] = {}
    sample: dict[str, Any] = {}
    functions: dict[str, KnownFunction] = {}
    labels: list[GivenLabel] = []


class Report(msgspec.Struct, frozen=True):
    """A checked report, ready to be stored; the overrides are applied.

    Attributes:
        header: The blob of the report's JSON without its `xcfg`.
        functions: Rows for the table `functions`, in unsigned offset order.
        frames: Each frame of disassembly with the position of its first function in `functions`.
        references: The APIs and strings that functions refer to.
        labels: The names that people gave to functions, oldest first.
    """

    sha256: str
    md5: str
    sha1: str
    name: str
    family: str
    version: str
    component: str
    is_library: bool
    architecture: str
    bitness: int | None
    base_addr: int
    binary_size: int
    binweight: float
    smda_version: str
    statistics: dict[str, Any]
    header: bytes
    functions: list[FunctionRow]
    frames: list[tuple[int, bytes]]
    references: References
    labels: list[GivenLabel]


class _Metadata(msgspec.Struct):
    family: str | None = None
    version: str | None = None
    component: str | None = None
    filename: str | None = None
    is_library: bool | None = None
    binweight: float | None = None


class _Header(msgspec.Struct):
    """SMDA's required fields, and the optional ones that become columns."""

    sha256: str
    architecture: str
    base_addr: _Unsigned | None
    binary_size: _Unsigned | None
    bitness: int | None
    smda_version: str | None
    code_areas: Raw
    confidence_threshold: Raw
    disassembly_errors: Raw
    execution_time: Raw
    identified_alignment: Raw
    message: Raw
    status: Raw
    metadata: _Metadata | None = None
    statistics: dict[str, Any] | None = None
    md5: str | None = None
    sha1: str | None = None
    mcrit: Mcrit | None = None


class _Functions(msgspec.Struct):
    xcfg: dict[str, Raw]


_NO_LABELS: Final = Raw(b"[]")


class _Labels(msgspec.Struct):
    labels: Raw = _NO_LABELS


class _Hash(msgspec.Struct):
    sha256: str
    mcrit: _Labels | None = None


class _Export(msgspec.Struct):
    timestamp: Any = None
    mcrit: Mcrit | None = None


_unparse = msgspec.json.Encoder().encode
_parse_object = msgspec.json.Decoder(dict[str, Any]).decode
_parse_xcfg = msgspec.json.Decoder(_Functions).decode
_parse_sha256 = msgspec.json.Decoder(_Hash).decode
_parse_export = msgspec.json.Decoder(_Export).decode
_parse_header = msgspec.json.Decoder(_Header).decode
_SHA256: Final = re.compile(rb'"sha256"\s*:\s*"([0-9a-fA-F]{64})"')
_DIGEST: Final = re.compile(r"[0-9a-fA-F]*")


def parse_report(content: bytes, overrides: dict[str, Any] | None = None) -> Report:
    """Return the checked report of JSON.

    `overrides` may hold `family`, `version`, `component`, `is_library` and `name`. They win over the report's own
    values, which then need not obey the rules.

    Raises:
        InvalidInputError: The report is no JSON or breaks a rule; the error names the JSON path.
    """
    with pause_garbage_collection():
        members, xcfg = _split_in_one_pass(content) or _split(strictjson.compact(content))
        header = _unparse(members)
        _refuse_excess(members, header)
        strictjson.refuse_duplicates(header, "$")
        functions = parse_functions(xcfg)
        return _make_report(header, codec.encode(codec.JSON, header), functions, overrides or {})


def restore_report(header: bytes, blob: bytes, functions: Functions, overrides: dict[str, Any]) -> Report:
    """Return the report of which another store holds the header, whose blob is kept as it is, and the functions.

    The header is checked as `parse_report` does, so that all columns made of it say what it says.

    Raises:
        InvalidInputError: It breaks a rule, or `parse_report` would not have written it so.
    """
    members = strictjson.parse_members(header, "$")
    if "xcfg" in members or _unparse(members) != header:
        raise InvalidInputError.in_report("$", "is not as this package stores it")
    _refuse_excess(members, header)
    # A key that stands twice does no harm in what is not written again; nesting does, to SQLite's JSON functions.
    if not limits.is_shallow(header):
        strictjson.refuse_duplicates(header, "$")
    return _make_report(header, blob, functions, overrides)


def _make_report(header: bytes, blob: bytes, functions: Functions, overrides: dict[str, Any]) -> Report:
    rows, frames, references = functions
    fields = _check_header(strictjson.parse_at("$", _parse_header, header), overrides, rows)
    return Report(**fields, header=blob, functions=rows, frames=frames, references=references)


def _split(data: bytes) -> tuple[dict[str, Raw], dict[str, Raw]]:
    """Return the members of compact JSON without `xcfg`, and those of `xcfg`."""
    members = strictjson.parse_members(data, "$")
    functions = members.pop("xcfg", None)
    if functions is None and "sample_entries" in members:
        raise InvalidInputError.in_report("$", "is an export of MCRIT; add_samples() reads it from a .mcrit file")
    if functions is None:
        raise InvalidInputError.in_report("$.xcfg", "is missing")
    return members, strictjson.parse_members(functions, "$.xcfg")


def _split_in_one_pass(data: bytes) -> tuple[dict[str, Raw], dict[str, Raw]] | None:
    """Return what `_split` does, without parsing `xcfg` twice; `None` where it is not certain to be the same.

    This takes JSON as SMDA writes it, without white space. Inside of functions there may be some all the same.
    """
    begin = data.find(_FUNCTIONS)
    if begin < 0 or len(data) > _ONE_PASS_BYTES:
        return None
    try:
        functions = _parse_xcfg(data).xcfg
    except (ValueError, RecursionError):
        return None
    # The functions, written again, are the same text: no key stands twice.
    text = _unparse(functions)
    if not data.startswith(text, begin + len(_XCFG)):
        return None
    before, after = data[:begin], data[begin + len(_XCFG) + len(text) :]
    rest = before[:-1] + after if before.endswith(b",") else before + after.removeprefix(b",")
    try:
        members = strictjson.parse_members(strictjson.compact(rest), "$")
    except InvalidInputError:
        return None
    # If the text was that of another object, the functions are still there.
    return None if "xcfg" in members else (members, functions)


def _refuse_excess(members: Mapping[str, Raw], header: bytes) -> None:
    """Raise InvalidInputError if the header is too large; as Python objects it takes up to 30 times its bytes."""
    if len(header) > codec.MAX_BYTES[codec.JSON]:
        raise InvalidInputError.in_report("$", f"holds over {codec.MAX_BYTES[codec.JSON]} bytes without its functions")
    if header.count(b",") > MAX_VALUES:
        raise InvalidInputError.in_report("$", f"holds over {MAX_VALUES} values without its functions")
    if len(memoryview(members.get("statistics", b""))) > MAX_STATISTICS:
        raise InvalidInputError.in_report("$.statistics", f"is longer than {MAX_STATISTICS} bytes")


def guess_sha256(content: bytes) -> str | None:
    """Return the first SHA-256 in JSON, nearly always the one that `peek_sha256` returns after reading all of it."""
    found = _SHA256.search(content)
    return found[1].decode().lower() if found else None


def peek_sha256(content: bytes) -> str | None:
    """Return the SHA-256 that JSON names, without checking the rest.

    Returns `None` if there is none that is valid, or if labels come with it.
    """
    try:
        found = _parse_sha256(content)
        return None if found.mcrit and found.mcrit.labels != _NO_LABELS else limits.sha256(found.sha256)
    except (ValueError, RecursionError):
        return None


def read_mcrit(header: bytes) -> tuple[object, Mcrit]:
    """Return the `timestamp` of a report and what it has under `mcrit`, given the content of its header blob.

    Raises:
        CorruptFileError: This package has not written the header.
    """
    try:
        found = _parse_export(header)
    except (ValueError, RecursionError) as error:
        raise CorruptFileError.of(f"a report cannot be read: {error}", "reports") from error
    return found.timestamp, found.mcrit or Mcrit()


def join_report(header: bytes, functions: Iterable[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    """Return the whole report, given the content of its header blob and its functions by offset.

    Raises:
        CorruptFileError: The header is no report.
    """
    try:
        report: dict[str, Any] = _parse_object(header)
    except (ValueError, RecursionError) as error:
        raise CorruptFileError.of(f"a report is no JSON: {error}", "reports") from error
    report["xcfg"] = {str(offset): function for offset, function in functions}
    return report


def _check_at(path: str, check: Callable[..., _T], *arguments: object) -> _T:
    """Return `check(*arguments)`; an error names the place in the report."""
    try:
        return check(*arguments)
    except InvalidInputError as error:
        details = {**error.details, "path": path}
        raise InvalidInputError(f"SMDA report, {path}: {error.message}", details) from error


def _check_header(header: _Header, overrides: dict[str, Any], rows: Sequence[FunctionRow]) -> dict[str, Any]:
    metadata = header.metadata or _Metadata()

    def check_label(field: str, own: str | None, check: Callable[..., str], *arguments: str) -> str:
        if field in overrides:
            return check(*arguments, overrides[field])
        key = "filename" if field == "name" else field
        return _check_at(f"$.metadata.{key}", check, *arguments, own or "")

    return {
        "sha256": _check_at("$.sha256", limits.sha256, header.sha256),
        "md5": _check_digest("$.md5", header.md5, 32),
        "sha1": _check_digest("$.sha1", header.sha1, 40),
        "name": check_label("name", metadata.filename, limits.name),
        "family": check_label("family", metadata.family, limits.family, "family"),
        "version": check_label("version", metadata.version, limits.printable, "version"),
        "component": check_label("component", metadata.component, limits.printable, "component"),
        "is_library": limits.flag("is_library", overrides.get("is_library", bool(metadata.is_library))),
        "architecture": _check_at("$.architecture", limits.printable, "architecture", header.architecture),
        "bitness": _check_bitness(header.bitness),
        "base_addr": _check_at("$.base_addr", limits.u64, "base_addr", header.base_addr or 0),
        "binary_size": _check_at("$.binary_size", limits.u64, "binary_size", header.binary_size or 0),
        "binweight": _check_binweight(metadata.binweight, rows),
        "smda_version": _check_at("$.smda_version", limits.printable, "smda_version", header.smda_version or ""),
        "statistics": _check_at("$.statistics", limits.json_object, "statistics", header.statistics or {}),
        "labels": _check_labels(header.mcrit.labels if header.mcrit else []),
    }


def _check_labels(labels: Sequence[GivenLabel]) -> list[GivenLabel]:
    checked = []
    for number, label in enumerate(labels):
        path = f"$.mcrit.labels[{number}]"
        name = _check_at(path, partial(limits.text, longest=limits.MAX_FUNCTION_LABEL), "name", label.name)
        username = _check_at(path, limits.username, label.username or "anonymous")
        checked.append(GivenLabel(_check_at(path, limits.u64, "offset", label.offset), name, username, label.given_at))
    return sorted((label for label in checked if label.name), key=attrgetter("given_at"))


def _check_binweight(value: float | None, rows: Sequence[FunctionRow]) -> float:
    total = sum(row.binweight for row in rows) if value is None else value
    if not math.isfinite(total):
        raise InvalidInputError.in_report("$.metadata.binweight", "must be finite")
    return total


def _check_bitness(value: int | None) -> int | None:
    if value not in (32, 64, None):
        raise InvalidInputError.in_report("$.bitness", f"must be 32, 64 or null, not {value}")
    return value


def _check_digest(path: str, value: str | None, length: int) -> str:
    if value and (len(value) != length or not _DIGEST.fullmatch(value)):
        raise InvalidInputError.in_report(path, f"must be {length} hex digits, or empty")
    return (value or "").lower()
