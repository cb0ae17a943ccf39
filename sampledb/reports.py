"""SMDA reports: from what users pass to checked structs, before any lock is taken, and back.

What SMDA itself needs to load a report must be there (`SmdaReport.fromDict` in SMDA 5); everything else may
be missing, `null` or unknown, and is kept. Sources of the rules: SMDA for the format, the contract for limits.
"""

import json
import math
import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Raw

from sampledb import codec, frames, limits, smda
from sampledb.errors import MAX_VALUE, CorruptFileError, InvalidInputError, shorten

# The largest report that SMDA can be expected to make of an image of its MAX_IMAGE_SIZE; a path to something
# endless ends here.
MAX_REPORT_BYTES: Final = 2 * 1024**3

_T = TypeVar("_T")
_Data = TypeVar("_Data")
_Unsigned = Annotated[int, msgspec.Meta(ge=0)]
_Instruction = tuple[_Unsigned, str, str, str]


class Report(msgspec.Struct, frozen=True):
    """A report that obeys every rule, ready to be stored; the overrides are applied.

    Attributes:
        header: The blob of the report's JSON without its `xcfg`.
        functions: Rows for the table `functions`, in unsigned offset order.
        frames: Each frame of disassembly with the position of its first function in `functions`.
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
    functions: list["FunctionRow"]
    frames: list[tuple[int, bytes]]


class FunctionRow(msgspec.Struct, frozen=True, array_like=True):
    """What the table `functions` holds of a function, integers unsigned."""

    offset: int
    name: str
    num_blocks: int
    num_instructions: int
    binweight: float
    pic_hash: int | None
    bytes_before: int
    bytes_after: int


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


class _FunctionMetadata(msgspec.Struct):
    function_name: str | None
    binweight: float | None
    characteristics: Raw
    confidence: Raw
    strongly_connected_components: Raw
    tfidf: Raw
    pic_hash: _Unsigned | None = None


class _Function(msgspec.Struct):
    """SMDA's required fields of a function."""

    offset: _Unsigned
    blocks: dict[str, list[_Instruction]]
    apirefs: dict[str, Any]
    blockrefs: dict[str, list[int]]
    inrefs: list[Any]
    outrefs: dict[str, list[int]]
    metadata: _FunctionMetadata


class _WideFunction(_Function):
    """A function whose instructions have more than four fields, which SMDA ignores and we keep."""

    blocks: dict[str, list[list[Any]]]  # type: ignore[assignment]


_parse = msgspec.json.Decoder().decode
_unparse = msgspec.json.Encoder().encode
_parse_object = msgspec.json.Decoder(dict[str, Any]).decode
_parse_members = msgspec.json.Decoder(dict[str, Raw]).decode
_parse_function = msgspec.json.Decoder(_Function).decode
_parse_wide_function = msgspec.json.Decoder(_WideFunction).decode
_parse_header = msgspec.json.Decoder(_Header).decode

_convert_instruction = partial(msgspec.convert, type=_Instruction)

_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,19}")
_DIGEST: Final = re.compile(r"[0-9a-fA-F]*")
_MISSING: Final = re.compile(r"Object missing required field `(\w+)`")
_address_of = itemgetter(0)


def read(source: object, overrides: dict[str, Any] | None = None) -> Report:
    """The checked report of a dict, JSON bytes, a path, or an object with `toDict()`.

    `overrides` holds values of `family`, `version`, `component`, `is_library` and `name` that win over the
    report's own; those then need not obey the rules.

    Raises:
        InvalidInputError: The report cannot be read or breaks a rule; the error names the JSON path.
    """
    members = _members(_compact(_json(source)), "$")
    xcfg = members.pop("xcfg", None)
    if xcfg is None:
        raise InvalidInputError.in_report("$.xcfg", "is missing")
    header = _unparse(members)
    _refuse_duplicates(header, "$")
    rows, frames = _functions(_members(xcfg, "$.xcfg"))
    fields = _header_fields(_typed(_parse_header, header, "$"), overrides or {}, rows)
    if len(header) > codec.MAX_CONTENT_BYTES:
        raise InvalidInputError.in_report("$", f"holds over {codec.MAX_CONTENT_BYTES} bytes besides its functions")
    return Report(**fields, header=codec.encode(codec.JSON, header), functions=rows, frames=frames)


def joined(header: bytes, functions: Iterable[tuple[int, dict[str, Any] | None]]) -> dict[str, Any]:
    """The whole report again, from the content of its header blob and its functions by offset.

    Raises:
        CorruptFileError: The header is no report.
    """
    try:
        report: dict[str, Any] = _parse_object(header)
    except (ValueError, RecursionError) as error:
        raise CorruptFileError.of(f"a report is no JSON: {error}", "reports") from error
    report["xcfg"] = {str(offset): function for offset, function in functions}
    return report


# From what users pass to compact JSON


def _json(source: object) -> bytes:
    if hasattr(source, "toDict"):
        try:
            source = source.toDict()
        except Exception as error:  # the object is not ours, nor what it raises
            raise InvalidInputError.in_report("$", f"toDict() failed: {error!r}") from error
    if isinstance(source, dict):
        return _dumped(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, str | os.PathLike):
        return _contents(source)
    raise InvalidInputError.of("smda_report", "a dict, JSON bytes, a path or an SmdaReport", source)


def _dumped(report: dict[Any, Any]) -> bytes:
    # Not msgspec, which would quietly turn NaN into null and bytes into text.
    try:
        return json.dumps(report, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError.in_report("$", f"cannot be JSON: {error}") from error


def _contents(path: str | os.PathLike[str]) -> bytes:
    try:
        with Path(path).open("rb") as file:
            # A device may have no end.
            size = 0 if stat.S_ISCHR(os.fstat(file.fileno()).st_mode) else MAX_REPORT_BYTES + 1
            data = file.read(size)
    except (OSError, ValueError, TypeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInputError.of("smda_report", f"a file that can be read ({reason})", repr(path)) from error
    return data


def _compact(data: bytes) -> bytes:
    if len(data) > MAX_REPORT_BYTES:
        raise InvalidInputError.in_report("$", f"is longer than {MAX_REPORT_BYTES} bytes")
    try:
        return msgspec.json.format(data, indent=-1)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError.in_report("$", f"is not JSON: {error}") from error


# Checks


def _typed(parse: Callable[[_Data], _T], data: _Data, path: str) -> _T:
    try:
        return parse(data)
    except (ValueError, RecursionError) as error:
        rule, _, place = str(error).partition(" - at `$")
        place = path + place.rstrip("`")
        missing = _MISSING.match(rule)
        if missing:
            raise InvalidInputError.in_report(f"{place}.{missing[1]}", "is missing") from error
        raise InvalidInputError.in_report(place, rule) from error


def _members(data: bytes | Raw, path: str) -> dict[str, Raw]:
    """The members of a JSON object, not parsed any further; a key that stands twice is an error."""
    members = _typed(_parse_members, data, path)
    # `{"key":value,…}`: escapes in a key, or a second one like it, make the text longer than its members are.
    length = 1 + sum(len(key.encode()) + len(memoryview(value)) + 4 for key, value in members.items())
    if len(memoryview(data)) > max(length, 2):
        _refuse_duplicates_slowly(bytes(data), path)
    return members


def _refuse_duplicates(data: bytes, path: str) -> None:
    """Parse `data` and write it again: where a key stands twice, the first is lost, and the bytes differ."""
    value = _typed(_parse, data, path)
    if not limits.is_shallow(data) and limits.json_fault(value):
        raise InvalidInputError.in_report(path, f"is nested more than {limits.MAX_JSON_DEPTH} deep")
    if _unparse(value) != data:
        # The other reasons to differ are harmless: escapes, `1.0e5`, `-0`.
        _refuse_duplicates_slowly(data, path)


def _refuse_duplicates_slowly(data: bytes, path: str) -> None:
    def refuse(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise InvalidInputError.in_report(path, f"holds the key {json.dumps(shorten(key, MAX_VALUE))} twice")
            seen.add(key)

    try:
        json.loads(data, object_pairs_hook=refuse)
    except InvalidInputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidInputError.in_report(path, f"cannot be read: {error}") from error


def _checked(path: str, check: Callable[..., _T], *arguments: object) -> _T:
    """`check(*arguments)`, a violation naming the place in the report."""
    try:
        return check(*arguments)
    except InvalidInputError as error:
        details = {**error.details, "path": path}
        raise InvalidInputError(f"SMDA report, {path}: {error.message}", details) from error


def _header_fields(header: _Header, overrides: dict[str, Any], rows: Sequence[FunctionRow]) -> dict[str, Any]:
    metadata = header.metadata or _Metadata()

    def labelled(field: str, own: str | None, check: Callable[..., str], *arguments: str) -> str:
        if field in overrides:
            return check(*arguments, overrides[field])
        key = "filename" if field == "name" else field
        return _checked(f"$.metadata.{key}", check, *arguments, own or "")

    return {
        "sha256": _checked("$.sha256", limits.sha256, header.sha256),
        "md5": _digest("$.md5", header.md5, 32),
        "sha1": _digest("$.sha1", header.sha1, 40),
        "name": labelled("name", metadata.filename, limits.name),
        "family": labelled("family", metadata.family, limits.family, "family"),
        "version": labelled("version", metadata.version, limits.printable, "version"),
        "component": labelled("component", metadata.component, limits.printable, "component"),
        "is_library": limits.flag("is_library", overrides.get("is_library", bool(metadata.is_library))),
        "architecture": _checked("$.architecture", limits.printable, "architecture", header.architecture),
        "bitness": _bitness(header.bitness),
        "base_addr": _checked("$.base_addr", limits.u64, "base_addr", header.base_addr or 0),
        "binary_size": _checked("$.binary_size", limits.u64, "binary_size", header.binary_size or 0),
        "binweight": _binweight(metadata.binweight, rows),
        "smda_version": _checked("$.smda_version", limits.printable, "smda_version", header.smda_version or ""),
        "statistics": _checked("$.statistics", limits.json_object, "statistics", header.statistics or {}),
    }


def _binweight(value: float | None, rows: Sequence[FunctionRow]) -> float:
    total = sum(row.binweight for row in rows) if value is None else value
    if not math.isfinite(total):
        raise InvalidInputError.in_report("$.metadata.binweight", "must be finite")
    return total


def _bitness(value: int | None) -> int | None:
    if value not in (32, 64, None):
        raise InvalidInputError.in_report("$.bitness", f"must be 32, 64 or null, not {value}")
    return value


def _digest(path: str, value: str | None, length: int) -> str:
    if value and (len(value) != length or not _DIGEST.fullmatch(value)):
        raise InvalidInputError.in_report(path, f"must be {length} hex digits, or empty")
    return (value or "").lower()


# Functions


def _functions(xcfg: dict[str, Raw]) -> tuple[list[FunctionRow], list[tuple[int, bytes]]]:
    """The rows and frames of the functions, both in unsigned offset order."""
    offsets = sorted((_decimal(key, "$.xcfg"), key) for key in xcfg)
    ranges = list(frames.split(len(memoryview(xcfg[key])) for _, key in offsets))
    rows: list[FunctionRow] = []
    contents = []
    for start, end in ranges:
        frame_rows, content = _frame([(offset, key, bytes(xcfg[key])) for offset, key in offsets[start:end]])
        rows += frame_rows
        contents.append(content)
    blobs = codec.encode_many(codec.FRAME, contents)
    return rows, [(start, blob) for (start, _), blob in zip(ranges, blobs, strict=True)]


def _frame(functions: Sequence[tuple[int, str, bytes]]) -> tuple[list[FunctionRow], bytes]:
    """The rows and the frame of functions: offset, key and JSON of each."""
    texts = [text for *_, text in functions]
    parsed = [smda.parse(text) for text in texts]
    content, shapes = frames.encode(parsed, texts)
    rows = [
        _regular_row(offset, function, shape) or function_row(offset, text, f"$.xcfg.{key}")
        for (offset, key, text), function, shape in zip(functions, parsed, shapes, strict=True)
    ]
    return rows, content


def _regular_row(offset: int, function: smda.Function | None, shape: frames.Shape | None) -> FunctionRow | None:
    """The row of a function of SMDA's usual shape; `None` where that, or a rule, needs a closer look."""
    if function is None or shape is None:
        return None
    row = frames.row_of(function)
    fits = shape.lowest >= 0 and shape.highest <= limits.MAX_U64 and 0 <= (row.pic_hash or 0) <= limits.MAX_U64
    if not fits or row.offset != offset or not limits.is_clean(row.name):
        return None
    before, after = offset - shape.lowest, shape.highest - offset
    return FunctionRow(
        offset,
        row.name,
        shape.num_blocks,
        shape.num_instructions,
        row.binweight,
        row.pic_hash,
        max(before, 0),
        max(after, 0),
    )


def function_row(offset: int, raw: bytes, path: str) -> FunctionRow:
    """The checked row of one function dict; `path` is where errors say it stands."""
    if len(raw) > codec.MAX_CONTENT_BYTES:
        raise InvalidInputError.in_report(path, f"is longer than {codec.MAX_CONTENT_BYTES} bytes")
    _refuse_duplicates(raw, path)
    function = _parsed_function(raw, path)
    if function.offset != offset:
        raise InvalidInputError.in_report(f"{path}.offset", f"is {function.offset}, which its key is not")
    metadata = function.metadata
    pic_hash = metadata.pic_hash
    if pic_hash is not None and pic_hash > limits.MAX_U64:
        raise InvalidInputError.in_report(f"{path}.metadata.pic_hash", "must fit 64 bits")
    name = metadata.function_name or ""
    if not limits.is_clean(name):
        raise InvalidInputError.in_report(f"{path}.metadata.function_name", "must be valid Unicode without NUL")
    lowest, highest = _extent(function, path)
    return FunctionRow(
        offset=offset,
        name=name,
        num_blocks=len(function.blocks),
        num_instructions=sum(map(len, function.blocks.values())),
        binweight=metadata.binweight or 0.0,
        pic_hash=pic_hash,
        # Capped to what SQLite can hold: only a function whose blocks lie 2**63 apart gets there.
        bytes_before=min(offset - lowest, limits.MAX_ID),
        bytes_after=min(highest - offset, limits.MAX_ID),
    )


def _parsed_function(raw: bytes, path: str) -> _Function:
    try:
        return _parse_function(raw)
    except msgspec.ValidationError:
        function = _typed(_parse_wide_function, raw, path)
        for key, block in function.blocks.items():
            for position, instruction in enumerate(block):
                place = f"{path}.blocks.{key}[{position}]"
                _typed(_convert_instruction, instruction[:4], place)
        return function


def _extent(function: _Function, path: str) -> tuple[int, int]:
    """The lowest start and the highest end of the blocks and the entry; block ends are exclusive, as in SMDA."""
    lowest = highest = function.offset
    for key, block in function.blocks.items():
        address = _decimal(key, f"{path}.blocks")
        if max(map(_address_of, block), default=address) > limits.MAX_U64:
            raise InvalidInputError.in_report(f"{path}.blocks.{key}", "must hold addresses that fit 64 bits")
        start, end = block_range(block, address)
        lowest = min(lowest, start)
        highest = max(highest, end)
    return lowest, highest


def block_range(block: Sequence[Sequence[Any]], address: int) -> tuple[int, int]:
    """Where a block's first instruction starts and its last one ends; an empty block ends where it starts.

    This is how SMDA's `BlockLocator` sees a block.
    """
    if not block:
        return address, address
    last, code = block[-1][:2]
    return block[0][0], last + len(code) // 2


def _decimal(key: str, path: str) -> int:
    """An address that is a JSON key, spelled as SMDA spells it; another spelling could not be given back."""
    if not _DECIMAL.fullmatch(key) or int(key) > limits.MAX_U64:
        raise InvalidInputError.in_report(
            path, f"has the key {json.dumps(key[:40])}, which is no decimal 64-bit address"
        )
    return int(key)
