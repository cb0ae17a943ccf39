"""Encode frames: from functions to columns.

Each step is for all functions at once, because that is mostly work of C: `map`, `zip`, `chain`, slices with a step.
"""

import struct
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from itertools import accumulate, chain, compress, count, repeat
from operator import add, iadd, is_not, sub
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET

from sampledb.format import frame as layout
from sampledb.format.codec import MASK
from sampledb.format.frame import Frame, Row
from sampledb.format.smda import EMPTY, Function, inner_json, list_absent

# What the columns raise for a function that they cannot hold: no blocks, a reference to a block that is not there,
# an instruction of 128 bytes, addresses further apart than 64 bits can say.
_MISFITS: Final = (IndexError, KeyError, ValueError, OverflowError)

_flatten = chain.from_iterable
_unparse_json = msgspec.json.Encoder().encode
_unparse = msgspec.msgpack.Encoder().encode


class ColumnError(ValueError):
    """Columns cannot hold a function."""


class Shape(NamedTuple):
    """A function's row, and its values that follow from its blocks."""

    row: Row
    num_blocks: int
    num_instructions: int
    lowest: int  # the first address of any block
    highest: int  # the end of any block, exclusive


def encode_frame(functions: Sequence[Function | None], jsons: Sequence[bytes]) -> tuple[bytes, list[Shape | None]]:
    """Return the frame of functions, and their shapes; a shape is `None` where the function is kept as JSON.

    Each function is given as `smda.parse_function` parsed it, and as its JSON.
    """
    try:
        return _encode(functions, jsons)
    except _MISFITS:
        absent = next(list_absent(function) for function in functions if function)
        fitting = [
            function if function and list_absent(function) == absent and _fits(function) else None
            for function in functions
        ]
    try:
        return _encode(fitting, jsons)
    except _MISFITS:
        # Each fits, but one lies further from another than 64 bits can say.
        return _encode([None] * len(jsons), jsons)


def split_into_frames(sizes: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield the half-open ranges of functions that share a frame, in order and without gaps.

    `sizes` are the bytes of the functions' JSON.
    """
    start = end = total = 0
    for size in sizes:
        if end > start and (end - start == layout.FUNCTIONS or total + size > layout.JSON_BYTES):
            yield start, end
            start, total = end, 0
        end += 1
        total += size
    if end > start:
        yield start, end


def _row_of(function: Function) -> Row:
    """Return the values that the frame leaves to the function's row."""
    metadata = function.metadata
    pic_hash = None if metadata.pic_hash is UNSET else metadata.pic_hash
    return Row(function.offset, metadata.function_name, metadata.binweight, pic_hash)


def _fits(function: Function) -> bool:
    try:
        _encode([function], [b""])
    except _MISFITS:
        return False
    return True


def _encode(functions: Sequence[Function | None], jsons: Sequence[bytes]) -> tuple[bytes, list[Shape | None]]:
    regular = [function for function in functions if function]
    odd = {position: json for position, json in enumerate(jsons) if functions[position] is None}
    rows = list(map(_row_of, regular))
    checksum = layout.checksum_rows(rows)
    if not regular:
        return _unparse(Frame(checksum, odd, [])), [None] * len(functions)
    absent, *others = map(list_absent, regular)
    if others.count(absent) < len(others):
        raise ColumnError("functions lack different keys")
    frame, shapes = _fill(Frame(checksum, odd, absent), regular, rows)
    _narrow(frame)
    return _unparse(frame), [next(shapes) if function else None for function in functions]


def _fill(frame: Frame, functions: Sequence[Function], rows: Sequence[Row]) -> tuple[Frame, Iterator[Shape]]:
    """Return the frame with the columns of functions, and their shapes."""
    code = _flatten_code(functions)
    successors = list(_flatten(map(_list_successors, functions)))
    places = _find_places(functions, code, successors)
    frame.num_blocks = [len(function.blocks) for function in functions]
    firsts = list(accumulate(frame.num_blocks, initial=0))
    frame.entries = [code.starts[first] - function.offset for first, function in zip(firsts, functions, strict=False)]
    frame.num_instructions, frame.gaps = code.counts, code.gaps
    _add_references(frame, functions, code, places)
    frame.num_successors, frame.successors = list(map(len, successors)), _differences(places.successors)
    frame.targets = _cut_targets(code, successors)
    frame.lines = _join_functions(code, firsts)
    _add_components(frame, functions, places)
    frame.measures = list(map(_unparse_json, map(_measures, functions)))
    texts = list(map(inner_json, functions))
    frame.texts = [] if texts.count((EMPTY, EMPTY)) == len(texts) else texts
    return frame, map(_shape, rows, *_pairs(firsts), repeat(code))


def _narrow(frame: Frame) -> None:
    """Make bytes of the columns of integers that all fit in one."""
    for names, pack in ((layout.COUNTS, bytes), (layout.SIGNED, _pack_signed)):
        for name in names:
            setattr(frame, name, _pack_if_small(getattr(frame, name), pack))


def _pack_if_small(column: list[int], pack: Callable[[list[int]], bytes]) -> bytes | list[int]:
    try:
        return pack(column)
    except (ValueError, struct.error):
        return column


def _pack_signed(column: list[int]) -> bytes:
    return struct.pack(f"{len(column)}b", *column)


def _pairs(bounds: list[int]) -> tuple[list[int], list[int]]:
    return bounds[:-1], bounds[1:]


class _Code(NamedTuple):
    """The blocks and instructions of all functions, one after the other."""

    addresses: list[int]
    texts: list[str]  # code, mnemonic and operands of each instruction
    counts: list[int]  # instructions of each block
    bounds: list[int]  # the first instruction of each block, and the end of all
    starts: list[int]
    ends: list[int]
    gaps: list[int]


def _flatten_code(functions: Sequence[Function]) -> _Code:
    blocks = list(_flatten(function.blocks.values() for function in functions))
    counts = list(map(len, blocks))
    if 0 in counts or not all(function.blocks for function in functions):
        raise ColumnError("a function without blocks, or a block without instructions")
    # Two thirds of the time that two chains take.
    fields: list[Any] = reduce(iadd, _flatten(blocks), [])
    addresses = fields[0::4]
    del fields[0::4]
    sizes = layout.code_sizes(fields[0::3])
    bounds = list(accumulate(counts, initial=0))
    starts = list(map(addresses.__getitem__, bounds[:-1]))
    lasts = [bound - 1 for bound in bounds[1:]]
    ends = list(map(add, map(addresses.__getitem__, lasts), map(sizes.__getitem__, lasts)))
    gaps = list(map(sub, starts, [starts[0], *ends]))
    if addresses != layout.locate_instructions(starts[0], gaps, bounds, sizes):
        raise ColumnError("instructions do not follow each other")
    if min(starts) < 0:
        raise ColumnError("an address below 0")
    if starts != list(_flatten(function.blocks for function in functions)):
        raise ColumnError("a block does not begin where its key says")
    return _Code(addresses, fields, counts, bounds, starts, ends, gaps)


def _list_successors(function: Function) -> Iterable[list[int]]:
    """Return the successors of each block, in the order of the blocks."""
    if len(function.blockrefs) != len(function.blocks):
        raise ColumnError("references of blocks that are not there")
    return map(function.blockrefs.__getitem__, function.blocks)


class _Places(NamedTuple):
    """What functions refer to, as numbers of blocks or instructions."""

    successors: list[int]
    components: list[int]
    outrefs: list[int]
    apirefs: list[int]


def _find_places(functions: Sequence[Function], code: _Code, successors: list[list[int]]) -> _Places:
    places = blocks, components, outrefs, apirefs = _Places([], [], [], [])
    addresses = code.addresses
    block = 0
    for function in functions:
        begin, block = block, block + len(function.blocks)
        number = dict(zip(function.blocks, range(begin, block), strict=True))
        blocks += map(number.__getitem__, _flatten(successors[begin:block]))
        components += map(number.__getitem__, _flatten(function.metadata.strongly_connected_components))
        low, high = code.bounds[begin], code.bounds[block]
        if function.outrefs:
            outrefs += map(bisect_left, repeat(addresses), function.outrefs, repeat(low), repeat(high))
        if function.apirefs:
            apirefs += map(bisect_left, repeat(addresses), function.apirefs, repeat(low), repeat(high))
    return places


def _shape(row: Row, begin: int, end: int, code: _Code) -> Shape:
    """Return the shape of the function with the blocks from `begin` to `end`."""
    num_instructions = code.bounds[end] - code.bounds[begin]
    return Shape(row, end - begin, num_instructions, min(code.starts[begin:end]), max(code.ends[begin:end]))


def _add_references(frame: Frame, functions: Sequence[Function], code: _Code, places: _Places) -> None:
    inrefs = [function.inrefs for function in functions]
    frame.num_inrefs, frame.inrefs = list(map(len, inrefs)), _differences(list(_flatten(inrefs)))
    outrefs = [function.outrefs for function in functions]
    frame.num_outrefs, frame.outref_places = list(map(len, outrefs)), _differences(places.outrefs)
    apirefs = [function.apirefs for function in functions]
    frame.num_apirefs, frame.apiref_places = list(map(len, apirefs)), _differences(places.apirefs)
    if outrefs:
        _check_keys(outrefs, places.outrefs, code.addresses)
        frame.outref_sizes, frame.outref_targets = _relate_targets(outrefs, places.outrefs, code)
    if apirefs:
        _check_keys(apirefs, places.apirefs, code.addresses)
        names = list(_flatten(map(dict.values, apirefs)))
        frame.apiref_names = _join_lines(names)


def _check_keys(references: Sequence[dict[int, Any]], places: list[int], addresses: list[int]) -> None:
    """Raise ColumnError unless each reference is made by an instruction."""
    if list(map(addresses.__getitem__, places)) != list(_flatten(references)):
        raise ColumnError("a reference from no instruction")


def _relate_targets(
    outrefs: Sequence[dict[int, list[int]]], places: list[int], code: _Code
) -> tuple[list[int], list[int]]:
    """Return the columns `outref_sizes` and `outref_targets`."""
    lists = list(_flatten(map(dict.values, outrefs)))
    sizes = list(map(len, lists))
    if sizes.count(1) == len(sizes):
        sizes = []
    targets = list(_flatten(lists))
    if min(targets, default=0) < 0 or max(targets, default=0) > MASK:
        raise ColumnError("a target that is no address")
    sources = list(_flatten(map(repeat, places, sizes))) if sizes else places
    operands = [code.texts[3 * source + 2] for source in sources]
    are_named = map(str.endswith, operands, map(hex, targets))
    addresses = map(code.addresses.__getitem__, sources)
    return sizes, [
        0 if is_named else target - address + (target >= address)
        for is_named, target, address in zip(are_named, targets, addresses, strict=True)
    ]


def _cut_targets(code: _Code, successors: list[list[int]]) -> bytes:
    """Cut off the address of a successor that the last operands of a block end in; return which of them it is."""
    # Where a block falls through to the next, that is the last successor, and a jump goes to the first.
    # No operands end in a line feed.
    spelled = [
        hex(to[0] if to[-1] == end else to[-1]) if to else "\n" for to, end in zip(successors, code.ends, strict=True)
    ]
    texts = code.texts
    lasts = [3 * bound - 1 for bound in code.bounds[1:]]
    operands = list(map(texts.__getitem__, lasts))
    cut = list(map(str.removesuffix, operands, spelled))
    # What has no such end is returned as it is.
    targets = bytearray(map(is_not, cut, operands))
    for block in compress(count(), targets):
        texts[lasts[block]] = cut[block]
        if successors[block][0] != successors[block][-1] == code.ends[block]:
            targets[block] = layout.FIRST
    return bytes(targets)


def _join_functions(code: _Code, firsts: list[int]) -> str:
    bounds = [3 * code.bounds[first] for first in firsts]
    joined = "\0".join("\n".join(code.texts[begin:end]) for begin, end in zip(*_pairs(bounds), strict=True))
    if joined.count("\n") != len(code.texts) - len(firsts) + 1:
        raise ColumnError("a text has several lines")
    return joined


def _add_components(frame: Frame, functions: Sequence[Function], places: _Places) -> None:
    components = [function.metadata.strongly_connected_components for function in functions]
    sizes = list(map(len, _flatten(components)))
    frame.num_components = list(map(len, components))
    frame.component_sizes = [] if sizes.count(1) == len(sizes) else sizes
    frame.components = _differences(places.components)


def _measures(function: Function) -> layout.Measures:
    metadata = function.metadata
    return (
        metadata.characteristics,
        metadata.confidence,
        metadata.tfidf,
        0 if metadata.nesting_depth is UNSET else metadata.nesting_depth,
        function.is_exported is True,
    )


def _join_lines(texts: list[str]) -> str:
    joined = "\n".join(texts)
    if joined.count("\n") != max(len(texts) - 1, 0):
        raise ColumnError("a text has several lines")
    return joined


def _differences(values: list[int]) -> list[int]:
    """Return each value relative to the one before it, the first to 0."""
    return list(map(sub, values, [0, *values]))
