"""Parse the functions of a report, SMDA's `xcfg`: from JSON to checked rows and frames."""

import re
from collections.abc import Sequence
from functools import partial
from itertools import islice
from operator import itemgetter
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from sampledb import limits
from sampledb.errors import InvalidInputError
from sampledb.format import codec, decoder, encoder, smda, strictjson
from sampledb.format.frame import FrameError, Outline, checksum_rows
from sampledb.format.references import References

# As JSON; columns of it are shorter, and kept whole it leaves room for the rest of its frame.
MAX_FUNCTION_BYTES: Final = codec.MAX_BYTES[codec.FRAME] - 1024

_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,19}")
_address_of = itemgetter(0)
_parse_function = msgspec.json.Decoder(smda.LooseFunction).decode
_parse_outline = msgspec.msgpack.Decoder(Outline).decode
_convert_function = partial(msgspec.convert, type=smda.LooseFunction)
_convert_blocks = partial(msgspec.convert, type=dict[str, list[smda.LooseInstruction]])
_convert_block = partial(msgspec.convert, type=list[smda.LooseInstruction])


_Count = Annotated[int, msgspec.Meta(ge=0)]


class FunctionRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A function's row for the table `functions`, integers unsigned."""

    offset: int
    name: str
    num_blocks: _Count
    num_instructions: _Count
    binweight: float
    pic_hash: int | None
    bytes_before: _Count
    bytes_after: _Count


class Functions(NamedTuple):
    """The functions of a report, in unsigned offset order.

    Attributes:
        rows: A row for each.
        frames: Each frame with the position of its first function.
        references: What they refer to.
    """

    rows: list[FunctionRow]
    frames: list[tuple[int, bytes]]
    references: References


def parse_functions(xcfg: dict[str, Raw]) -> Functions:
    """Return the functions of a report, given the JSON of each, checked."""
    offsets = sorted((_parse_address(key, "$.xcfg"), key) for key in xcfg)
    ranges = list(encoder.split_into_frames(len(memoryview(xcfg[key])) for _, key in offsets))
    rows: list[FunctionRow] = []
    contents = []
    references = References()
    for start, end in ranges:
        functions = [(offset, key, bytes(xcfg[key])) for offset, key in offsets[start:end]]
        frame_rows, content = _parse_frame(functions, references, start)
        rows += frame_rows
        contents.append(content)
    blobs = codec.encode_many(codec.FRAME, contents)
    frames = [(start, blob) for (start, _), blob in zip(ranges, blobs, strict=True)]
    return Functions(rows, frames, references)


def derive_row(offset: int, function: dict[str, Any]) -> FunctionRow:
    """Return the row of a stored function dict.

    Raises:
        InvalidInputError: It would not have been stored.
    """
    return _check_function(offset, strictjson.parse_at("$", _convert_function, function), "$")


def check_frame(content: bytes, rows: Sequence[FunctionRow]) -> int:
    """Check a stored frame against the rows of its first function and those behind it; return how many it holds.

    Most of its columns are skipped, so that it takes a fraction of decoding. Whether they fit together, each read of
    the frame checks; not compared are the distances to the ends of the blocks.

    Raises:
        ValueError: It is no frame, a row says something else, or a function that is kept whole breaks a rule.
        LookupError: It numbers a function that it does not have.
    """
    frame = _parse_outline(content)
    count = len(frame.num_blocks) + len(frame.odd)
    own = rows[:count]
    regular = [row for position, row in enumerate(own) if position not in frame.odd]
    if len(own) < count or len(regular) != len(frame.num_blocks) or not count:
        raise FrameError("the frame holds more functions than there are, or none")
    if checksum_rows([(row.offset, row.name, row.binweight, row.pic_hash) for row in regular]) != frame.rows_checksum:
        raise FrameError("a name, offset, binweight or pic_hash is not that of the frame")
    sizes = iter(frame.num_instructions)
    found = [(blocks, sum(islice(sizes, blocks))) for blocks in frame.num_blocks]
    if found != [(row.num_blocks, row.num_instructions) for row in regular]:
        raise FrameError("a number of blocks or instructions is not that of the frame")
    for position, text in frame.odd.items():
        if derive_row(own[position].offset, decoder.parse_odd(text)) != own[position]:
            raise FrameError("a row is not that of its function")
    return count


def _parse_frame(
    functions: Sequence[tuple[int, str, bytes]], references: References, start: int
) -> tuple[list[FunctionRow], bytes]:
    """Return the rows and the frame of functions, given the offset, key and JSON of each.

    What they refer to is added to `references`, under positions from `start` on.
    """
    jsons = [json for *_, json in functions]
    # A longer one has a frame of its own.
    if len(jsons[0]) > MAX_FUNCTION_BYTES:
        raise InvalidInputError.in_report(f"$.xcfg.{functions[0][1]}", f"is longer than {MAX_FUNCTION_BYTES} bytes")
    parsed = list(map(smda.parse_function, jsons))
    content, shapes = encoder.encode_frame(parsed, jsons)
    rows = [
        _regular_row(offset, shape) or _parse_row(offset, json, f"$.xcfg.{key}")
        for (offset, key, json), shape in zip(functions, shapes, strict=True)
    ]
    for position, (function, text) in enumerate(zip(parsed, jsons, strict=True), start):
        references.add_function(position, function, text)
    return rows, content


def _regular_row(offset: int, shape: encoder.Shape | None) -> FunctionRow | None:
    """Return the row of a function of SMDA's usual shape; `None` where that, or a rule, needs a closer look."""
    if shape is None:
        return None
    (own, name, binweight, pic_hash), num_blocks, num_instructions, lowest, highest = shape
    fits = highest <= limits.MAX_U64 and 0 <= (pic_hash or 0) <= limits.MAX_U64
    if not fits or own != offset or not limits.is_clean(name):
        return None
    before, after = _distance(lowest, offset), _distance(offset, highest)
    return FunctionRow(offset, name, num_blocks, num_instructions, binweight, pic_hash, before, after)


def _parse_row(offset: int, raw: bytes, path: str) -> FunctionRow:
    strictjson.refuse_duplicates(raw, path)
    return _check_function(offset, strictjson.parse_at(path, _parse_function, raw), path)


def _check_function(offset: int, function: smda.LooseFunction, path: str) -> FunctionRow:
    if function.offset != offset:
        raise InvalidInputError.in_report(f"{path}.offset", f"is {function.offset}, which its key is not")
    metadata = function.metadata
    pic_hash = metadata.pic_hash
    if pic_hash is not None and pic_hash > limits.MAX_U64:
        raise InvalidInputError.in_report(f"{path}.metadata.pic_hash", "must fit 64 bits")
    name = metadata.function_name or ""
    if not limits.is_clean(name):
        raise InvalidInputError.in_report(f"{path}.metadata.function_name", "must be valid Unicode without NUL")
    lowest, highest = _check_blocks(function, f"{path}.blocks")
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


def _check_blocks(function: smda.LooseFunction, path: str) -> tuple[int, int]:
    """Return the lowest start and the highest end of the blocks and the entry; ends are exclusive, as in SMDA."""
    _check_instructions(function.blocks, path)
    lowest = highest = function.offset
    for key, block in function.blocks.items():
        address = _parse_address(key, path)
        if max(map(_address_of, block), default=address) > limits.MAX_U64:
            raise InvalidInputError.in_report(f"{path}.{key}", "must hold addresses that fit 64 bits")
        start, end = smda.block_range(block, address)
        lowest = min(lowest, start)
        highest = max(highest, end)
    return lowest, highest


def _check_instructions(blocks: dict[str, Any], path: str) -> None:
    try:
        _convert_blocks(blocks)
    except (ValueError, RecursionError):
        # Block by block takes twice as long, but its error names the block.
        for key, block in blocks.items():
            strictjson.parse_at(f"{path}.{key}", _convert_block, block)


def _parse_address(key: str, path: str) -> int:
    """Return the address that a JSON key spells as SMDA does; get_report() could not restore another spelling."""
    if not _DECIMAL.fullmatch(key) or int(key) > limits.MAX_U64:
        import json  # noqa: PLC0415 - for this error only

        raise InvalidInputError.in_report(
            path, f"has the key {json.dumps(key[:40])}, which is no decimal 64-bit address"
        )
    return int(key)


def _distance(start: int, end: int) -> int:
    """Return the bytes from `start` to `end`, at most what SQLite can hold: few blocks lie 2**63 apart."""
    return min(max(end - start, 0), limits.MAX_ID)
