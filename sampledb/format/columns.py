"""Columns: what functions are made of, each kind of value by itself, for all functions of a frame.

Whole columns are made first, for all functions at once, because that is mostly work of C: `map`, `zip`, `join`; then
each function takes its slice. Where an address follows from something else it is left out: that of an instruction
from its block's start and the code before it, the target of a jump from the successors of its block.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain
from operator import sub
from typing import Final, NamedTuple

from sampledb.format.smda import Function

# What stands for the address of a block's last or first successor; `parse` lets no such character in.
TO_LAST: Final = "\1"
TO_FIRST: Final = "\2"

_HALVES: Final = bytes(number >> 1 for number in range(256))


class ColumnError(ValueError):
    """Columns cannot hold a function."""


class Shape(NamedTuple):
    """What a function's row holds of its blocks."""

    num_blocks: int
    num_instructions: int
    lowest: int  # the first address of any block
    highest: int  # the end of any block, exclusive


class Columns:
    """The columns of functions, an entry for each; what they mean stands in `frames`."""

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
        starts, ends, gaps = _bounds(addresses, sizes(codes), counts)
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
            self.codes.append(lines(codes[inside]))
            self._add_successors(function, starts[begin:block])
            self._add_references(function, addresses[inside], operands[inside])
            self.operands.append(lines(_without_targets(operands[inside], function, counts[begin:block])))

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
        self.successors.append(differences(0, list(map(places.__getitem__, chain.from_iterable(successors)))))
        components = function.metadata.strongly_connected_components
        lengths = list(map(len, components))
        self.component_sizes.append([] if lengths.count(1) == len(lengths) else lengths)
        self.components.append(differences(0, list(map(places.__getitem__, chain.from_iterable(components)))))

    def _add_references(self, function: Function, addresses: list[int], operands: list[str]) -> None:
        outrefs, apirefs = _addresses(function.outrefs), _addresses(function.apirefs)
        self.outref_addresses.append(differences(function.offset, outrefs))
        self.outref_targets.append(
            [
                _distances(address, targets, addresses, operands)
                for address, targets in zip(outrefs, function.outrefs.values(), strict=True)
            ]
        )
        self.apiref_addresses.append(differences(function.offset, apirefs))


def _without_targets(operands: list[str], function: Function, counts: list[int]) -> list[str]:
    """The operands of a function's instructions; where a block ends with a jump to a successor, a mark for that."""
    for bound, key in zip(accumulate(counts), function.blocks, strict=True):
        others, prefix, digits = operands[bound - 1].rpartition("0x")
        successors = function.blockrefs[key]
        if prefix and successors:
            if prefix + digits == hex(successors[-1]):
                operands[bound - 1] = others + TO_LAST
            elif prefix + digits == hex(successors[0]):
                operands[bound - 1] = others + TO_FIRST
    return operands


def _distances(address: int, targets: list[int], addresses: list[int], operands: list[str]) -> int | list[int]:
    if len(targets) == 1:
        place = bisect_left(addresses, address)
        if addresses[place : place + 1] == [address] and operands[place].removeprefix("#") == hex(targets[0]):
            return 0
        if targets[0] != address:
            return targets[0] - address
    return [target - address for target in targets]


def _bounds(addresses: list[int], sizes: list[int], counts: list[int]) -> tuple[list[int], list[int], list[int]]:
    """Of each block the start, the end, and the gap to the end of the block before; within blocks there may be none."""
    if 0 in counts:
        raise ColumnError("a block without instructions")
    bounds = list(accumulate(counts, initial=0))
    starts = list(map(addresses.__getitem__, bounds[:-1]))
    ends = [addresses[bound - 1] + sizes[bound - 1] for bound in bounds[1:]]
    gaps = list(map(sub, starts, starts[:1] + ends))
    if addresses and addresses != instruction_addresses(addresses[0], gaps, bounds, sizes):
        raise ColumnError("instructions do not follow each other")
    return starts, ends, gaps


def _addresses(keys: Iterable[str]) -> list[int]:
    """Addresses that are keys, spelled as they will be spelled again."""
    spelled = list(keys)
    addresses = list(map(int, spelled))
    if list(map(str, addresses)) != spelled:
        raise ColumnError("an address is spelled in another way")
    return addresses


def lines(texts: list[str]) -> str:
    """The texts, one a line."""
    joined = "\n".join(texts)
    if joined.count("\n") != max(len(texts) - 1, 0) or "\0" in joined:
        raise ColumnError("a text has several lines")
    return joined


def sizes(codes: list[str]) -> list[int]:
    """The bytes of instructions."""
    return list(bytes(map(len, codes)).translate(_HALVES))


def differences(first: int, values: list[int]) -> list[int]:
    """Each value relative to the one before it, the first to `first`."""
    return list(map(sub, values, [first, *values]))


def instruction_addresses(offset: int, gaps: list[int], bounds: list[int], sizes: list[int]) -> list[int]:
    """Where instructions of these sizes are, block after block; `bounds` says which of them begin one."""
    steps = sizes[:-1]
    for bound, gap in zip(bounds[1:-1], gaps[1:], strict=True):
        steps[bound - 1] += gap
    return list(accumulate(steps, initial=offset + gaps[0]))
