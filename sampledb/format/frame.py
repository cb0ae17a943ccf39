"""Frames: the disassembly of consecutive functions of a sample, as columns.

A frame is MessagePack of `_Frame`, whose fields are the columns: the code of all instructions, all mnemonics and so
on, function after function. Values of one kind compress far better beside each other than inside SMDA's JSON, and
take less time to make and to read.

What follows from something else is not stored: the address of an instruction follows from its block's start and
the code before it, the target of a jump from the successors of its block; offset, name, binweight and pic_hash
stand in the row of the function. Addresses are kept relative to something near: blocks to the end of the block
before, references to where they are made, successors and components as positions of blocks.

SMDA's functions fit nearly always. One that does not (instructions with gaps between them, unknown keys, a
reference to a block that is not there) is kept whole, as the JSON it came in, in `odd`.

The law: `decode(encode(functions, texts), rows)` equals what the texts say. Anything else that is decoded raises
FrameError or gives other dicts, using memory in proportion to the frame.

What lost, measured on real reports at equal compression (space as a share of the frame, time of the whole call):

- A table of the frame's different instructions, branches relative, and numbers of rows: 8 % smaller, 15 % if
  sorted; but twice the time to make, and 1.6 times to read.
- Targets of all branches and calls computed from their code: 4 % smaller, 1.3 times the time to make.
- Code as bytes with a column of lengths: as large at level 6, 2 % larger at level 19, a tenth slower to read,
  because `split` is the fastest way that Python has to cut.
- A zstd dictionary of 110 kB trained on the file: 4 % smaller, 6 % after `compact()`; but then no frame can be read
  when that one blob is damaged.
- Blocks that stand twice in the file kept once: 4 % of the text, most of which zstd finds in the frame already.
- More functions in a frame: see FUNCTIONS.
"""

import gc
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import msgspec
import xxhash
from msgspec import UNSET

from sampledb.format.codec import FRAME, MAX_BYTES
from sampledb.format.columns import (
    TO_FIRST,
    TO_LAST,
    ColumnError,
    Columns,
    Shape,
    differences,
    instruction_addresses,
    lines,
    sizes,
)
from sampledb.format.smda import EMPTY, OPTIONAL, OPTIONAL_METADATA, Function, absent, texts

# A read decompresses and unpacks the whole frame: with 32 functions it takes 1.6 times as long, for 7 % less space;
# with 64, 1.8 times for 10 %.
FUNCTIONS: Final = 16
# A frame ends early rather than make the reader of one function unpack megabytes of its neighbours.
JSON_BYTES: Final = 256 * 1024

# Only in text of so many characters it pays to count lines before they are cut.
_LONG: Final = 1 << 20

_Sliced = TypeVar("_Sliced", str, list[int], list[list[Any]])


class FrameError(ValueError):
    """The bytes are no frame, or not the frame of these rows."""


class Row(NamedTuple):
    """What the row of a function holds of its dict."""

    offset: int
    name: str
    binweight: float
    pic_hash: int | None


_Count = Annotated[int, msgspec.Meta(ge=0)]
_Column = TypeVar("_Column")
# A forged frame must not make lists by the million out of a few bytes: nothing is longer than a function's JSON could
# say, in which a number takes two bytes, a reference (`"0":[],`) or a block seven, an instruction twelve.
_OfEach = Annotated[list[_Column], msgspec.Meta(max_length=FUNCTIONS)]
_Instructions = Annotated[bytes, msgspec.Meta(max_length=MAX_BYTES[FRAME] // 12)]
_Odd = Annotated[dict[int, bytes], msgspec.Meta(max_length=FUNCTIONS)]
_Absent = Annotated[list[str], msgspec.Meta(max_length=len(OPTIONAL + OPTIONAL_METADATA))]
_Mnemonics = Annotated[list[str], msgspec.Meta(max_length=256)]
_Numbers = Annotated[list[_Column], msgspec.Meta(max_length=MAX_BYTES[FRAME] // 2)]
_Entries = Annotated[list[_Column], msgspec.Meta(max_length=MAX_BYTES[FRAME] // 7)]


class _Frame(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """What is in the bytes: each column of all functions. Odd functions have nothing in theirs."""

    rows_checksum: int
    odd: _Odd  # by position in the frame: JSON
    absent: _Absent  # optional keys that no regular function of the frame has
    num_instructions: _OfEach[_Entries[_Count]]  # of each block
    gaps: _OfEach[_Entries[int]]  # from the end of the block before, or the offset, to each block's start
    codes: str  # hex digits, one instruction a line, NUL between functions
    mnemonics: _Mnemonics  # those of the frame, each once
    mnemonic_of: _Instructions  # of each instruction, its place in `mnemonics`
    operands: str  # like codes; those of a jump end in a mark instead of the address of a successor
    num_successors: _OfEach[bytes]  # of each block
    successors: _OfEach[_Numbers[int]]  # positions of blocks, each relative to the one before
    component_sizes: _OfEach[_Numbers[_Count]]  # empty when every component is one block
    components: _OfEach[_Numbers[int]]  # like successors
    inrefs: _OfEach[_Numbers[int]]  # each relative to the one before, the first to the offset
    outref_addresses: _OfEach[_Entries[int]]  # likewise
    # Relative to the address; a list where they are not exactly one; 0 for the one that the operands there name.
    outref_targets: _OfEach[_Entries[int | list[int]]]
    apiref_addresses: _OfEach[_Entries[int]]  # like inrefs
    apiref_names: str  # like codes
    measures: bytes  # JSON, in which floats take the digits they have
    texts: _OfEach[tuple[bytes, bytes]]  # `architecture_metadata` and `stringrefs` as JSON; empty when all are {}


_Measures = list[tuple[str | None, float | None, float | None, int, bool]]

_parse_json = msgspec.json.Decoder().decode
_parse_measures = msgspec.json.Decoder(_Measures).decode
_unparse_json = msgspec.json.Encoder().encode
_parse_frame = msgspec.msgpack.Decoder(_Frame).decode
_unparse = msgspec.msgpack.Encoder().encode


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """For work on many frames: looking through their lists for cycles takes as long as making them, and finds none."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


# Encoding


def encode(functions: Sequence[Function | None], jsons: Sequence[bytes]) -> tuple[bytes, list[Shape | None]]:
    """The frame of functions, each as `parse` gave it and as JSON, and their shapes: `None` for those kept as JSON."""
    try:
        return _encoded(functions, jsons)
    except _MISFITS:
        lacking = next(absent(function) for function in functions if function)
        fitting = [
            function if function and absent(function) == lacking and _fits(function) else None for function in functions
        ]
    try:
        return _encoded(fitting, jsons)
    except _MISFITS:
        # Together they are too much: 256 mnemonics are all that a frame has names for.
        return _encoded([None] * len(jsons), jsons)


# What the columns raise for a function that they cannot hold: no blocks, a reference to a block that is not there,
# 256 successors of one block, addresses further apart than 64 bits can say.
_MISFITS: Final = (IndexError, KeyError, ValueError, OverflowError)


def _fits(function: Function) -> bool:
    try:
        _encoded([function], [b""])
    except _MISFITS:
        return False
    return True


def _encoded(functions: Sequence[Function | None], jsons: Sequence[bytes]) -> tuple[bytes, list[Shape | None]]:
    regular = [function for function in functions if function]
    odd = {position: json for position, json in enumerate(jsons) if functions[position] is None}
    lacking = absent(regular[0]) if regular else []
    if any(absent(function) != lacking for function in regular):
        raise ColumnError("functions lack different keys")
    columns = Columns(regular)
    inner = list(map(texts, regular))
    frame = _Frame(
        rows_checksum=rows_checksum(map(row_of, regular)),
        odd=odd,
        absent=lacking,
        num_instructions=columns.num_instructions,
        gaps=columns.gaps,
        codes="\0".join(columns.codes),
        mnemonics=columns.mnemonics,
        mnemonic_of=columns.mnemonic_of,
        operands="\0".join(columns.operands),
        num_successors=columns.num_successors,
        successors=columns.successors,
        component_sizes=columns.component_sizes,
        components=columns.components,
        inrefs=[differences(function.offset, function.inrefs) for function in regular],
        outref_addresses=columns.outref_addresses,
        outref_targets=columns.outref_targets,
        apiref_addresses=columns.apiref_addresses,
        apiref_names="\0".join(lines(list(function.apirefs.values())) for function in regular),
        measures=_unparse_json(list(map(_measures, regular))),
        texts=[] if inner.count((EMPTY, EMPTY)) == len(inner) else inner,
    )
    shapes = iter(columns.shapes)
    return _unparse(frame), [next(shapes) if function else None for function in functions]


def _measures(function: Function) -> tuple[str | None, float | None, float | None, int, bool]:
    metadata = function.metadata
    nesting_depth = 0 if metadata.nesting_depth is UNSET else metadata.nesting_depth
    return (
        metadata.characteristics,
        metadata.confidence,
        metadata.tfidf,
        nesting_depth,
        function.is_exported is True,
    )


def row_of(function: Function) -> Row:
    """What the function's row holds of it."""
    metadata = function.metadata
    pic_hash = None if metadata.pic_hash is UNSET else metadata.pic_hash
    return Row(function.offset, metadata.function_name, metadata.binweight, pic_hash)


def rows_checksum(rows: Iterable[Row]) -> int:
    """The xxh3 hash of the rows that a frame's regular functions take values from."""
    return xxhash.xxh3_64_intdigest(_unparse(list(rows)))


def split(sizes: Iterable[int]) -> Iterator[tuple[int, int]]:
    """The half-open ranges of functions, given the bytes of their JSON, that share a frame; in order, no gaps."""
    start = end = total = 0
    for size in sizes:
        if end > start and (end - start == FUNCTIONS or total + size > JSON_BYTES):
            yield start, end
            start, total = end, 0
        end += 1
        total += size
    if end > start:
        yield start, end


# Decoding


def decode(content: bytes, rows: Sequence[Row], first: int = 0) -> list[dict[str, Any]]:
    """The dicts of the functions of these rows, which stand in the frame from position `first` on.

    Raises:
        FrameError: The content is no frame, or holds other functions.
    """
    frame = _opened(content)
    if not 0 <= first <= first + len(rows) <= _length(frame):
        raise FrameError("the frame ends before the function")
    try:
        positions = range(first, first + len(rows))
        regular = [row for position, row in zip(positions, rows, strict=True) if position not in frame.odd]
        if len(rows) == _length(frame) and rows_checksum(regular) != frame.rows_checksum:
            raise FrameError("a name, offset, binweight or pic_hash has changed")
        reader = _Reader(frame, first - sum(position < first for position in frame.odd))
        return [
            _odd(frame.odd[position]) if position in frame.odd else reader.next(row)
            for position, row in zip(positions, rows, strict=True)
        ]
    except (IndexError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise FrameError(f"the columns do not fit together: {error}") from error


def length(content: bytes) -> int:
    """How many functions a frame holds, or FrameError."""
    return _length(_opened(content))


def _length(frame: _Frame) -> int:
    return len(frame.num_instructions) + len(frame.odd)


def _opened(content: bytes) -> _Frame:
    try:
        return _parse_frame(content)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"no frame: {error}") from error


def _odd(json: bytes) -> dict[str, Any]:
    function = _parse_json(json)
    if not isinstance(function, dict):
        raise FrameError("an odd function is no JSON object")
    return function


class _Reader:
    """Makes dicts of the regular functions, one after the other, from the one at `first` on."""

    def __init__(self, frame: _Frame, first: int) -> None:
        self._frame = frame
        self._position = first - 1
        self._instruction = sum(map(sum, frame.num_instructions[:first]))
        if max(len(frame.codes), len(frame.operands)) > _LONG:
            _refuse_lines(frame)
        self._codes = frame.codes.split("\0")
        self._operands = frame.operands.split("\0")
        self._names = frame.apiref_names.split("\0")
        self._measures = _parse_measures(frame.measures)

    def next(self, row: Row) -> dict[str, Any]:
        """The dict of the next function, whose row this is."""
        self._position += 1
        frame, position = self._frame, self._position
        counts = frame.num_instructions[position]
        bounds = list(accumulate(counts, initial=0))
        codes = self._codes[position].split("\n")
        addresses = instruction_addresses(row.offset, frame.gaps[position], bounds, sizes(codes))
        starts = list(map(addresses.__getitem__, bounds[:-1]))
        keys = list(map(str, starts))
        successors = self._successors(starts)
        instructions = self._instructions(
            addresses, codes, _with_targets(self._operands[position].split("\n"), bounds[1:], successors)
        )
        apirefs = _sums(row.offset, frame.apiref_addresses[position])
        metadata = self._metadata(row, starts)
        function: dict[str, Any] = {
            "apirefs": dict(zip(map(str, apirefs), self._names[position].split("\n"), strict=False)),
            "architecture_metadata": {},
            "blockrefs": dict(zip(keys, successors, strict=True)),
            "blocks": dict(zip(keys, _slices(instructions, counts), strict=True)),
            "inrefs": _sums(row.offset, frame.inrefs[position]),
            "is_exported": self._measures[position][-1],
            "metadata": metadata,
            "offset": row.offset,
            "outrefs": self._outrefs(row, instructions),
            "stringrefs": {},
        }
        if frame.texts:
            function["architecture_metadata"], function["stringrefs"] = map(_parse_json, frame.texts[position])
        for key in frame.absent:
            (function if key in OPTIONAL else metadata).pop(key, None)
        return function

    def _successors(self, starts: list[int]) -> list[list[int]]:
        """Of each block the starts of the blocks that may follow it."""
        places = accumulate(self._frame.successors[self._position])
        return _slices(list(map(starts.__getitem__, places)), self._frame.num_successors[self._position])

    def _instructions(self, addresses: list[int], codes: list[str], operands: list[str]) -> list[list[Any]]:
        inside = slice(self._instruction, self._instruction + len(addresses))
        self._instruction = inside.stop
        mnemonics = map(self._frame.mnemonics.__getitem__, self._frame.mnemonic_of[inside])
        # Four names, because list(fields) would take twice as long.
        fields = zip(addresses, codes, mnemonics, operands, strict=True)
        return [[address, code, mnemonic, operand] for address, code, mnemonic, operand in fields]

    def _outrefs(self, row: Row, instructions: list[list[Any]]) -> dict[str, list[int]]:
        addresses = _sums(row.offset, self._frame.outref_addresses[self._position])
        targets = self._frame.outref_targets[self._position]
        return {
            str(address): [target + address for target in to]
            if isinstance(to, list)
            else [address + to if to else _named(address, instructions)]
            for address, to in zip(addresses, targets, strict=True)
        }

    def _metadata(self, row: Row, starts: list[int]) -> dict[str, Any]:
        characteristics, confidence, tfidf, nesting_depth, _ = self._measures[self._position]
        sizes = self._frame.component_sizes[self._position]
        components = list(map(starts.__getitem__, accumulate(self._frame.components[self._position])))
        return {
            "binweight": row.binweight,
            "characteristics": characteristics,
            "confidence": confidence,
            "function_name": row.name,
            "nesting_depth": nesting_depth,
            "pic_hash": row.pic_hash,
            "strongly_connected_components": _slices(components, sizes) if sizes else [[start] for start in components],
            "tfidf": tfidf,
        }


def _refuse_lines(frame: _Frame) -> None:
    """Before text is split: a line takes a byte, and its place in a list eight."""
    for text in (frame.codes, frame.operands):
        if text.count("\n") + text.count("\0") > len(frame.mnemonic_of):
            raise FrameError("there are more lines than instructions")


def _sums(first: int, differences: list[int]) -> list[int]:
    return list(accumulate(differences, initial=first))[1:]


def _with_targets(operands: list[str], bounds: list[int], successors: list[list[int]]) -> list[str]:
    """The operands of a function's instructions, of whose blocks these are the ends and the successors."""
    for bound, targets in zip(bounds, successors, strict=True):
        mark = operands[bound - 1][-1:]
        if mark == TO_LAST:
            operands[bound - 1] = operands[bound - 1][:-1] + hex(targets[-1])
        elif mark == TO_FIRST:
            operands[bound - 1] = operands[bound - 1][:-1] + hex(targets[0])
    return operands


def _named(address: int, instructions: list[list[Any]]) -> int:
    """The address that the operands of the instruction at `address` name."""
    operands: str = instructions[bisect_left(instructions, [address])][3]
    return int(operands.removeprefix("#"), 16)


def _slices(values: _Sliced, lengths: Iterable[int]) -> list[_Sliced]:
    return [values[begin:end] for begin, end in pairwise(accumulate(lengths, initial=0))]
