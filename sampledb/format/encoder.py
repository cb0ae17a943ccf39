"""Encode frames: from functions to columns.

Whole columns are made first, for all functions at once, because that is mostly work of C: `map`, `zip`, `join`; then
each function takes its slice.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain
from operator import sub
from typing import Final, NamedTuple

import msgspec
from msgspec import UNSET

from sampledb.format import frame as layout
from sampledb.format.frame import Frame, Row
from sampledb.format.smda import EMPTY, Function, inner_json, list_absent

# What the columns raise for a function that they cannot hold: no blocks, a reference to a block that is not there,
# 256 successors of one block, addresses further apart than 64 bits can say.
_MISFITS: Final = (IndexError, KeyError, ValueError, OverflowError)

_unparse_json = msgspec.json.Encoder().encode
_unparse = msgspec.msgpack.Encoder().encode


class ColumnError(ValueError):
    """Columns cannot hold a function."""


class Shape(NamedTuple):
    """The values of a function's row that follow from its blocks."""

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
        # Together they are too much: 256 mnemonics are all that a frame has names for.
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


def row_of(function: Function) -> Row:
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
    absent = list_absent(regular[0]) if regular else []
    if any(list_absent(function) != absent for function in regular):
        raise ColumnError("functions lack different keys")
    columns = _Columns(regular)
    texts = list(map(inner_json, regular))
    frame = Frame(
        rows_checksum=layout.checksum_rows(map(row_of, regular)),
        odd={position: json for position, json in enumerate(jsons) if functions[position] is None},
        absent=absent,
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
        inrefs=[_differences(function.offset, function.inrefs) for function in regular],
        outref_addresses=columns.outref_addresses,
        outref_targets=columns.outref_targets,
        apiref_addresses=columns.apiref_addresses,
        apiref_names="\0".join(_join_lines(list(function.apirefs.values())) for function in regular),
        measures=_unparse_json(list(map(_measures, regular))),
        texts=[] if texts.count((EMPTY, EMPTY)) == len(texts) else texts,
    )
    shapes = iter(columns.shapes)
    return _unparse(frame), [next(shapes) if function else None for function in functions]


def _measures(function: Function) -> layout.Measures:
    metadata = function.metadata
    nesting_depth = 0 if metadata.nesting_depth is UNSET else metadata.nesting_depth
    is_exported = function.is_exported is True
    return metadata.characteristics, metadata.confidence, metadata.tfidf, nesting_depth, is_exported


class _Columns:
    """The columns of functions, an entry for each; `Frame` says what they mean."""

    def __init__(self, functions: Sequence[Function]) -> None:
        self.num_instructions: list[list[int]] = []
        self.gaps: list[list[int]] = []
        self.codes: list[str] = []
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
        addresses = [instruction.address for instruction in instructions]
        codes = [instruction.code for instruction in instructions]
        operands = [instruction.operands for instruction in instructions]
        starts, ends, gaps = _bounds(addresses, layout.code_sizes(codes), counts)
        if list(map(str, starts)) != list(chain.from_iterable(function.blocks for function in functions)):
            raise ColumnError("a block does not begin where its key says")
        mnemonics = [instruction.mnemonic for instruction in instructions]
        places = {mnemonic: place for place, mnemonic in enumerate(dict.fromkeys(mnemonics))}
        self.mnemonics = list(places)
        self.mnemonic_of = bytes(map(places.__getitem__, mnemonics))
        block = instruction = 0
        for function in functions:
            begin, block = block, block + len(function.blocks)
            inside = slice(instruction, instruction + sum(counts[begin:block]))
            instruction = inside.stop
            self._add_blocks(function, counts[begin:block], starts[begin:block], ends[begin:block], gaps[begin:block])
            self.codes.append(_join_lines(codes[inside]))
            self._add_successors(function, starts[begin:block])
            self._add_references(function, addresses[inside], operands[inside])
            self.operands.append(_join_lines(_mark_targets(operands[inside], function, counts[begin:block])))

    def _add_blocks(
        self, function: Function, counts: list[int], starts: list[int], ends: list[int], gaps: list[int]
    ) -> None:
        # The blocks of the function before say nothing of where this one begins.
        self.gaps.append([starts[0] - function.offset, *gaps[1:]])
        self.num_instructions.append(counts)
        self.shapes.append(Shape(len(counts), sum(counts), min(starts), max(ends)))

    def _add_successors(self, function: Function, starts: list[int]) -> None:
        places = dict(zip(starts, range(len(starts)), strict=True))
        if len(function.blockrefs) != len(starts):
            raise ColumnError("references of blocks that are not there")
        successors = list(map(function.blockrefs.__getitem__, function.blocks))
        self.num_successors.append(bytes(map(len, successors)))
        self.successors.append(_differences(0, list(map(places.__getitem__, chain.from_iterable(successors)))))
        components = function.metadata.strongly_connected_components
        lengths = list(map(len, components))
        self.component_sizes.append([] if lengths.count(1) == len(lengths) else lengths)
        self.components.append(_differences(0, list(map(places.__getitem__, chain.from_iterable(components)))))

    def _add_references(self, function: Function, addresses: list[int], operands: list[str]) -> None:
        outrefs, apirefs = _parse_keys(function.outrefs), _parse_keys(function.apirefs)
        self.outref_addresses.append(_differences(function.offset, outrefs))
        self.outref_targets.append(
            [
                _shorten_targets(address, targets, addresses, operands)
                for address, targets in zip(outrefs, function.outrefs.values(), strict=True)
            ]
        )
        self.apiref_addresses.append(_differences(function.offset, apirefs))


def _bounds(addresses: list[int], sizes: list[int], counts: list[int]) -> tuple[list[int], list[int], list[int]]:
    """Return the start and the end of each block, and the gap before it; inside of blocks there may be no gap."""
    if 0 in counts:
        raise ColumnError("a block without instructions")
    bounds = list(accumulate(counts, initial=0))
    starts = list(map(addresses.__getitem__, bounds[:-1]))
    ends = [addresses[bound - 1] + sizes[bound - 1] for bound in bounds[1:]]
    gaps = list(map(sub, starts, starts[:1] + ends))
    if addresses and addresses != layout.locate_instructions(addresses[0], gaps, bounds, sizes):
        raise ColumnError("instructions do not follow each other")
    return starts, ends, gaps


def _mark_targets(operands: list[str], function: Function, counts: list[int]) -> list[str]:
    """Replace the address in the last operands of a block by a mark, where it is that of a successor."""
    for bound, key in zip(accumulate(counts), function.blocks, strict=True):
        others, prefix, digits = operands[bound - 1].rpartition("0x")
        successors = function.blockrefs[key]
        if prefix and successors:
            if prefix + digits == hex(successors[-1]):
                operands[bound - 1] = others + layout.TO_LAST
            elif prefix + digits == hex(successors[0]):
                operands[bound - 1] = others + layout.TO_FIRST
    return operands


def _shorten_targets(address: int, targets: list[int], addresses: list[int], operands: list[str]) -> int | list[int]:
    """Return the targets of the reference at `address` as `Frame.outref_targets` keeps them."""
    if len(targets) == 1:
        place = bisect_left(addresses, address)
        if addresses[place : place + 1] == [address] and operands[place].removeprefix("#") == hex(targets[0]):
            return 0
        if targets[0] != address:
            return targets[0] - address
    return [target - address for target in targets]


def _parse_keys(keys: Iterable[str]) -> list[int]:
    """Return addresses that are keys of a dict; the decoder will spell them as `str` does."""
    spelled = list(keys)
    addresses = list(map(int, spelled))
    if list(map(str, addresses)) != spelled:
        raise ColumnError("an address is spelled in another way")
    return addresses


def _join_lines(texts: list[str]) -> str:
    joined = "\n".join(texts)
    if joined.count("\n") != max(len(texts) - 1, 0) or "\0" in joined:
        raise ColumnError("a text has several lines")
    return joined


def _differences(first: int, values: list[int]) -> list[int]:
    """Return each value relative to the one before it, the first to `first`."""
    return list(map(sub, values, [first, *values]))
