"""Compare two functions block by block: a block is the same, changed, or only in one of them."""

import re
from difflib import SequenceMatcher
from typing import Final

import msgspec

from sampledb.render.graph import MAX_BLOCKS, Graph, Instruction, Mark

_RELATIVE: Final = re.compile(r"\b(?:rip|pc) [+-] 0x[0-9a-f]+")
_NUMBER: Final = re.compile(r"0x[0-9a-f]+")
# The size of the largest usual image. Numbers so near to an instruction count as addresses, which differ in each build.
_NEAR: Final = 1 << 24
# What is smaller is a size or an index, also in images that begin at 0.
_SMALLEST_ADDRESS: Final = 0x1000
_LONGEST_ADDRESS: Final = len("0xffffffffffffffff")


def mark_blocks(one: Graph, other: Graph) -> Graph:
    """Return the first graph with a mark for each of its drawn blocks: how it differs from the second one.

    Blocks are the same if their instructions are, but for addresses. What stands between the same blocks in both is
    changed; what stands there in one of them only, only that one has.
    """
    own, others = (
        [tuple(map(_normalize, instructions)) for _, instructions in graph.blocks[:MAX_BLOCKS]]
        for graph in (one, other)
    )
    marks: list[Mark] = []
    for kind, begin, end, _, _ in SequenceMatcher(None, own, others, autojunk=False).get_opcodes():
        mark: Mark = "same" if kind == "equal" else "changed" if kind == "replace" else "only here"
        marks += [mark] * (end - begin)
    return msgspec.structs.replace(one, marks=marks)


def _normalize(instruction: Instruction) -> str:
    """Return an instruction without what depends on where it lies."""

    def hide(found: re.Match[str]) -> str:
        number = int(found[0], 16) if len(found[0]) <= _LONGEST_ADDRESS else 0
        is_address = number >= _SMALLEST_ADDRESS and abs(number - instruction.address) < _NEAR
        return "address" if is_address else found[0]

    operands = _RELATIVE.sub("address", instruction.operands)
    return f"{instruction.mnemonic} {_NUMBER.sub(hide, operands)}"
