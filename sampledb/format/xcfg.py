"""The functions of a report, SMDA's `xcfg`: from JSON to checked rows and frames."""

import json
import re
from collections.abc import Sequence
from functools import partial
from operator import itemgetter
from typing import Annotated, Any, Final

import msgspec
from msgspec import Raw

from sampledb import limits
from sampledb.errors import InvalidInputError
from sampledb.format import codec, smda
from sampledb.format import frame as frames
from sampledb.format import strictjson as documents
from sampledb.format.columns import Shape

# As JSON; columns of it are shorter, and kept whole it leaves room for the rest of its frame.
MAX_FUNCTION_BYTES: Final = codec.MAX_BYTES[codec.FRAME] - 1024

_Unsigned = Annotated[int, msgspec.Meta(ge=0)]
_Instruction = tuple[_Unsigned, str, str, str]


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


class _OutlineMetadata(msgspec.Struct):
    function_name: str | None
    binweight: float | None
    pic_hash: _Unsigned | None = None


class _Outline(msgspec.Struct):
    """What the row of a function is made of."""

    offset: _Unsigned
    blocks: dict[str, list[_Instruction]]
    metadata: _OutlineMetadata


class _FunctionMetadata(_OutlineMetadata, kw_only=True):
    characteristics: Raw
    confidence: Raw
    strongly_connected_components: Raw
    tfidf: Raw


class _Function(_Outline, kw_only=True):
    """SMDA's required fields of a function."""

    apirefs: dict[str, Any]
    blockrefs: dict[str, list[int]]
    inrefs: list[Any]
    outrefs: dict[str, list[int]]
    metadata: _FunctionMetadata


class _WideFunction(_Function):
    """A function whose instructions have more than four fields, which SMDA ignores and we keep."""

    blocks: dict[str, list[list[Any]]]  # type: ignore[assignment]


_parse_function = msgspec.json.Decoder(_Function).decode
_parse_wide_function = msgspec.json.Decoder(_WideFunction).decode
_unparse = msgspec.json.Encoder().encode
_convert_outline = partial(msgspec.convert, type=_Outline)
_convert_instruction = partial(msgspec.convert, type=_Instruction)
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,19}")
_address_of = itemgetter(0)


def read(xcfg: dict[str, Raw]) -> tuple[list[FunctionRow], list[tuple[int, bytes]]]:
    """The rows and frames of the functions, both in unsigned offset order."""
    offsets = sorted((_decimal(key, "$.xcfg"), key) for key in xcfg)
    ranges = list(frames.split(len(memoryview(xcfg[key])) for _, key in offsets))
    rows: list[FunctionRow] = []
    contents = []
    with frames.without_garbage_collection():
        for start, end in ranges:
            frame_rows, content = _frame([(offset, key, bytes(xcfg[key])) for offset, key in offsets[start:end]])
            rows += frame_rows
            contents.append(content)
    blobs = codec.encode_many(codec.FRAME, contents)
    return rows, [(start, blob) for (start, _), blob in zip(ranges, blobs, strict=True)]


def _frame(functions: Sequence[tuple[int, str, bytes]]) -> tuple[list[FunctionRow], bytes]:
    """The rows and the frame of functions: offset, key and JSON of each."""
    texts = [text for *_, text in functions]
    # A longer one has a frame of its own.
    if len(texts[0]) > MAX_FUNCTION_BYTES:
        raise InvalidInputError.in_report(f"$.xcfg.{functions[0][1]}", f"is longer than {MAX_FUNCTION_BYTES} bytes")
    parsed = [smda.parse(text) for text in texts]
    content, shapes = frames.encode(parsed, texts)
    rows = [
        _regular_row(offset, function, shape) or function_row(offset, text, f"$.xcfg.{key}")
        for (offset, key, text), function, shape in zip(functions, parsed, shapes, strict=True)
    ]
    return rows, content


def _regular_row(offset: int, function: smda.Function | None, shape: Shape | None) -> FunctionRow | None:
    """The row of a function of SMDA's usual shape; `None` where that, or a rule, needs a closer look."""
    if function is None or shape is None:
        return None
    row = frames.row_of(function)
    fits = shape.lowest >= 0 and shape.highest <= limits.MAX_U64 and 0 <= (row.pic_hash or 0) <= limits.MAX_U64
    if not fits or row.offset != offset or not limits.is_clean(row.name):
        return None
    return FunctionRow(
        offset,
        row.name,
        shape.num_blocks,
        shape.num_instructions,
        row.binweight,
        row.pic_hash,
        _distance(shape.lowest, offset),
        _distance(offset, shape.highest),
    )


def function_row(offset: int, raw: bytes, path: str) -> FunctionRow:
    """The checked row of one function dict; `path` is where errors say it stands."""
    documents.refuse_duplicates(raw, path)
    return _row(offset, _parsed_function(raw, path), path)


def derived_row(offset: int, function: dict[str, Any]) -> FunctionRow:
    """The row of a function dict that was stored, or InvalidInputError when it is none that would have been."""
    try:
        outline = _convert_outline(function)
    except (ValueError, RecursionError):
        # Instructions with more than four fields, for one.
        return function_row(offset, _unparse(function), "$")
    return _row(offset, outline, "$")


def _row(offset: int, function: _Outline, path: str) -> FunctionRow:
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
        bytes_before=_distance(lowest, offset),
        bytes_after=_distance(offset, highest),
    )


def _distance(start: int, end: int) -> int:
    """Bytes from `start` to `end`, capped to what SQLite can hold: only blocks that lie 2**63 apart get there."""
    return min(max(end - start, 0), limits.MAX_ID)


def _parsed_function(raw: bytes, path: str) -> _Function:
    try:
        return _parse_function(raw)
    except msgspec.ValidationError:
        function = documents.typed(_parse_wide_function, raw, path)
        for key, block in function.blocks.items():
            for position, instruction in enumerate(block):
                place = f"{path}.blocks.{key}[{position}]"
                documents.typed(_convert_instruction, instruction[:4], place)
        return function


def _extent(function: _Outline, path: str) -> tuple[int, int]:
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
