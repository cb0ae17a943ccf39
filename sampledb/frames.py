"""Frames: the disassembly of consecutive functions of a sample, as columns.

A frame is MessagePack of `_Frame`, whose fields are the columns: all instruction lengths, all code bytes, all
mnemonics and so on, function after function. Neighbouring values of one kind compress far better than SMDA's
JSON, and making them is mostly work of C: `zip`, `join`, `bytes.fromhex`, MessagePack for integers of any size.

What follows from something else is not stored: the address of an instruction follows from its block's start and
the lengths before it; offset, name, binweight and pic_hash stand in the row of the function. Addresses are kept
relative to something near: blocks to the end of the block before, references to where they are made, successors
and components as positions of blocks.

SMDA's functions fit nearly always. One that does not (instructions with gaps between them, unknown keys, a
reference to a block that is not there) is kept whole, as the JSON it came in, in `odd`.

The law: `decode(encode(functions, texts), rows)` equals what the texts say; anything else that is
decoded raises FrameError, using memory in proportion to the frame.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, pairwise
from operator import add, sub
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import msgspec
import xxhash
from msgspec import UNSET

from sampledb.smda import EMPTY, OPTIONAL, Function, absent, texts

# A read decompresses and unpacks the whole frame: with 32 functions it takes 1.6 times as long, for 7 % less space;
# with 64, 1.8 times for 10 %.
FUNCTIONS: Final = 16
# A frame ends early rather than make the reader of one function unpack megabytes of its neighbours.
JSON_BYTES: Final = 256 * 1024

_HALVES: Final = bytes(number >> 1 for number in range(256))


_Sliced = TypeVar("_Sliced", str, list[int], list[list[Any]])


class FrameError(ValueError):
    """The bytes are no frame, or not the frame of these rows; or columns cannot hold a function."""


class Row(NamedTuple):
    """What the row of a function holds of its dict."""

    offset: int
    name: str
    binweight: float
    pic_hash: int | None


class Shape(NamedTuple):
    """What a function's row holds of its blocks."""

    num_blocks: int
    num_instructions: int
    lowest: int  # the first address of any block
    highest: int  # the end of any block, exclusive


_Count = Annotated[int, msgspec.Meta(ge=0)]
_Column = TypeVar("_Column")
# A forged frame must not make lists by the million out of a few bytes.
_OfEach = Annotated[list[_Column], msgspec.Meta(max_length=FUNCTIONS)]


class _Frame(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """What is in the bytes: each column of all functions. Odd functions have nothing in theirs."""

    rows_checksum: int
    odd: dict[int, bytes]  # by position in the frame: JSON
    absent: list[str]  # optional keys that no regular function of the frame has
    num_instructions: _OfEach[list[_Count]]  # of each block
    gaps: _OfEach[list[int]]  # from the end of the block before, or the offset, to each block's start
    lengths: bytes  # of each instruction, in hex digits
    code: bytes
    mnemonics: list[str]  # those of the frame, each once
    mnemonic_of: bytes  # of each instruction, its place in `mnemonics`
    operands: str  # one a line, NUL between functions
    num_successors: _OfEach[bytes]  # of each block
    successors: _OfEach[list[_Count]]  # positions of blocks
    component_sizes: _OfEach[list[_Count]]  # empty when every component is one block
    components: _OfEach[list[_Count]]  # positions of blocks
    inrefs: _OfEach[list[int]]  # each relative to the one before, the first to the offset
    outref_addresses: _OfEach[list[int]]  # likewise
    outref_targets: _OfEach[list[int | list[int]]]  # relative to the address; a list where they are not exactly one
    apiref_addresses: _OfEach[list[int]]  # like inrefs
    apiref_names: str  # one a line, NUL between functions
    measures: bytes  # JSON, in which floats take the digits they have
    texts: _OfEach[tuple[bytes, bytes]]  # `architecture_metadata` and `stringrefs` as JSON; empty when all are {}


_Measures = list[tuple[str | None, float | None, float | None, int, bool]]

_parse_json = msgspec.json.Decoder().decode
_parse_measures = msgspec.json.Decoder(_Measures).decode
_unparse_json = msgspec.json.Encoder().encode
_parse_frame = msgspec.msgpack.Decoder(_Frame).decode
_unparse = msgspec.msgpack.Encoder().encode


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
        raise FrameError("functions lack different keys")
    columns = _Columns(regular)
    inner = list(map(texts, regular))
    frame = _Frame(
        rows_checksum=rows_checksum(map(row_of, regular)),
        odd=odd,
        absent=lacking,
        num_instructions=columns.num_instructions,
        gaps=columns.gaps,
        lengths=columns.lengths,
        code=columns.code,
        mnemonics=columns.mnemonics,
        mnemonic_of=columns.mnemonic_of,
        operands="\0".join(columns.operands),
        num_successors=columns.num_successors,
        successors=columns.successors,
        component_sizes=columns.component_sizes,
        components=columns.components,
        inrefs=[_differences(function.offset, function.inrefs) for function in regular],
        outref_addresses=columns.outref_addresses,
        outref_targets=columns.outref_targets,
        apiref_addresses=columns.apiref_addresses,
        apiref_names="\0".join(_lines(list(function.apirefs.values())) for function in regular),
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


class _Columns:
    """The columns that are made of instructions and blocks.

    Whole columns first, for all functions at once, because that is fast; then each function takes its slice.
    """

    def __init__(self, functions: Sequence[Function]) -> None:
        self.num_instructions: list[list[int]] = []
        self.gaps: list[list[int]] = []
        self.operands: list[str] = []
        self.num_successors: list[bytes] = []
        self.successors: list[list[int]] = []
        self.component_sizes: list[list[int]] = []
        self.components: list[list[int]] = []
        self.outref_addresses: list[list[int]] = []
        self.outref_targets: list[list[int | list[int]]] = []
        self.apiref_addresses: list[list[int]] = []
        self.shapes: list[Shape] = []
        blocks = [block for function in functions for block in function.blocks.values()]
        instructions = list(chain.from_iterable(blocks))
        counts = list(map(len, blocks))
        self.lengths, self.code = _code([instruction.code for instruction in instructions])
        addresses = [instruction.address for instruction in instructions]
        starts, ends, gaps = _bounds(addresses, self.lengths, counts)
        if list(map(str, starts)) != list(chain.from_iterable(function.blocks for function in functions)):
            raise FrameError("a block does not begin where its key says")
        mnemonics = [instruction.mnemonic for instruction in instructions]
        places = {mnemonic: place for place, mnemonic in enumerate(dict.fromkeys(mnemonics))}
        self.mnemonics = list(places)
        self.mnemonic_of = bytes(map(places.__getitem__, mnemonics))
        operands = [instruction.operands for instruction in instructions]
        block = instruction = 0
        for function in functions:
            begin, block = block, block + len(function.blocks)
            inside = slice(instruction, instruction + sum(counts[begin:block]))
            instruction = inside.stop
            self._add_blocks(function, counts[begin:block], starts[begin:block], ends[begin:block], gaps[begin:block])
            self.operands.append(_lines(operands[inside]))
            self._add_references(function, starts[begin:block])

    def _add_blocks(
        self, function: Function, counts: list[int], starts: list[int], ends: list[int], gaps: list[int]
    ) -> None:
        # The blocks of the function before say nothing of where this one begins.
        self.gaps.append([starts[0] - function.offset, *gaps[1:]])
        self.num_instructions.append(counts)
        self.shapes.append(Shape(len(counts), sum(counts), min(starts), max(ends)))

    def _add_references(self, function: Function, starts: list[int]) -> None:
        places = dict(zip(starts, range(len(starts)), strict=True))
        if len(function.blockrefs) != len(starts):
            raise FrameError("references of blocks that are not there")
        successors = [function.blockrefs[key] for key in function.blocks]
        self.num_successors.append(bytes(map(len, successors)))
        self.successors.append(list(map(places.__getitem__, chain.from_iterable(successors))))
        components = function.metadata.strongly_connected_components
        sizes = list(map(len, components))
        self.component_sizes.append([] if sizes.count(1) == len(sizes) else sizes)
        self.components.append(list(map(places.__getitem__, chain.from_iterable(components))))
        outrefs, apirefs = _addresses(function.outrefs), _addresses(function.apirefs)
        self.outref_addresses.append(_differences(function.offset, outrefs))
        self.outref_targets.append(
            [
                targets[0] - address if len(targets) == 1 else [target - address for target in targets]
                for address, targets in zip(outrefs, function.outrefs.values(), strict=True)
            ]
        )
        self.apiref_addresses.append(_differences(function.offset, apirefs))


def _bounds(addresses: list[int], lengths: bytes, counts: list[int]) -> tuple[list[int], list[int], list[int]]:
    """Of each block the start, the end, and the gap to the end of the block before; within blocks there may be none."""
    if 0 in counts:
        raise FrameError("a block without instructions")
    ends = list(map(add, addresses, lengths.translate(_HALVES)))
    steps = list(map(sub, addresses[1:], ends))
    lasts = [bound - 1 for bound in accumulate(counts)]
    gaps = [0, *(steps[last] for last in lasts[:-1])]
    if steps.count(0) != len(steps) - len(gaps) + gaps.count(0):
        raise FrameError("instructions do not follow each other")
    starts = addresses[:1] + [addresses[last + 1] for last in lasts[:-1]]
    return starts, [ends[last] for last in lasts], gaps


def _code(codes: list[str]) -> tuple[bytes, bytes]:
    digits = "".join(codes)
    code = bytes.fromhex(digits)
    # Upper case, spaces: fromhex() reads more than hex() writes.
    if code.hex() != digits:
        raise FrameError("code is spelled in another way")
    return bytes(map(len, codes)), code


def _addresses(keys: Iterable[str]) -> list[int]:
    """Addresses that are keys, spelled as they will be spelled again."""
    spelled = list(keys)
    addresses = list(map(int, spelled))
    if list(map(str, addresses)) != spelled:
        raise FrameError("an address is spelled in another way")
    return addresses


def _lines(texts: list[str]) -> str:
    lines = "\n".join(texts)
    if lines.count("\n") != max(len(texts) - 1, 0) or "\0" in lines:
        raise FrameError("a text has several lines")
    return lines


def _differences(first: int, values: list[int]) -> list[int]:
    return list(map(sub, values, [first, *values]))


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
        self._digit = sum(frame.lengths[: self._instruction])
        self._operands = frame.operands.split("\0")
        self._names = frame.apiref_names.split("\0")
        self._measures = _parse_measures(frame.measures)

    def next(self, row: Row) -> dict[str, Any]:
        """The dict of the next function, whose row this is."""
        self._position += 1
        frame, position = self._frame, self._position
        starts, blocks = self._blocks(row)
        keys = list(map(str, starts))
        successors = list(map(starts.__getitem__, frame.successors[position]))
        apirefs = _sums(row.offset, frame.apiref_addresses[position])
        metadata = self._metadata(row, starts)
        function: dict[str, Any] = {
            "apirefs": dict(zip(map(str, apirefs), self._names[position].split("\n"), strict=False)),
            "architecture_metadata": {},
            "blockrefs": dict(zip(keys, _slices(successors, frame.num_successors[position]), strict=True)),
            "blocks": dict(zip(keys, blocks, strict=True)),
            "inrefs": _sums(row.offset, frame.inrefs[position]),
            "is_exported": self._measures[position][-1],
            "metadata": metadata,
            "offset": row.offset,
            "outrefs": self._outrefs(row),
            "stringrefs": {},
        }
        if frame.texts:
            function["architecture_metadata"], function["stringrefs"] = map(_parse_json, frame.texts[position])
        for key in frame.absent:
            (function if key in OPTIONAL else metadata).pop(key, None)
        return function

    def _blocks(self, row: Row) -> tuple[list[int], list[list[list[Any]]]]:
        """The starts of the blocks, and their instructions."""
        frame, position = self._frame, self._position
        counts = frame.num_instructions[position]
        inside = slice(self._instruction, self._instruction + sum(counts))
        lengths = frame.lengths[inside]
        begin, end = self._digit, self._digit + sum(lengths)
        self._instruction, self._digit = inside.stop, end
        bounds = list(accumulate(counts, initial=0))
        addresses = _instruction_addresses(row.offset, frame.gaps[position], bounds, lengths)
        codes = _slices(frame.code[begin // 2 : (end + 1) // 2].hex()[begin % 2 :], lengths)
        mnemonics = map(frame.mnemonics.__getitem__, frame.mnemonic_of[inside])
        operands = self._operands[position].split("\n")
        fields = zip(addresses, codes, mnemonics, operands, strict=True)
        # Four names, because list(fields) would take twice as long.
        instructions = [[address, code, mnemonic, operand] for address, code, mnemonic, operand in fields]
        return [addresses[bound] for bound in bounds[:-1]], _slices(instructions, counts)

    def _outrefs(self, row: Row) -> dict[str, list[int]]:
        addresses = _sums(row.offset, self._frame.outref_addresses[self._position])
        return {
            str(address): [address + to] if isinstance(to, int) else [address + each for each in to]
            for address, to in zip(addresses, self._frame.outref_targets[self._position], strict=True)
        }

    def _metadata(self, row: Row, starts: list[int]) -> dict[str, Any]:
        characteristics, confidence, tfidf, nesting_depth, _ = self._measures[self._position]
        sizes = self._frame.component_sizes[self._position]
        components = list(map(starts.__getitem__, self._frame.components[self._position]))
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


def _sums(first: int, differences: list[int]) -> list[int]:
    return list(accumulate(differences, initial=first))[1:]


def _instruction_addresses(offset: int, gaps: list[int], bounds: list[int], lengths: bytes) -> list[int]:
    steps = list(lengths.translate(_HALVES))
    for bound, gap in zip(bounds[1:-1], gaps[1:], strict=True):
        steps[bound - 1] += gap
    return list(accumulate(steps[:-1], initial=offset + gaps[0]))


def _slices(values: _Sliced, lengths: Iterable[int]) -> list[_Sliced]:
    return [values[begin:end] for begin, end in pairwise(accumulate(lengths, initial=0))]
