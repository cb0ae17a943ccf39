"""What signatures are made of, in numbers that people know: they say why two functions are alike."""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from sampledb.similarity import categories
from sampledb.similarity.code import read_code
from sampledb.similarity.features import is_constant
from sampledb.similarity.instructions import read_instruction


class Facts(NamedTuple):
    """What is known of a function.

    Attributes:
        constants: Numbers in its instructions, 32 bits of each, without addresses, 0, 1, and sizes of its stack.
        fields: Offsets from registers at which it reads or writes.
        instructions: How many it has, without those that do nothing.
        blocks: How many blocks its control-flow graph has.
        loops: How many edges of that go back.
        calls: How many of the instructions call a function.
    """

    constants: frozenset[int]
    fields: frozenset[int]
    instructions: int
    blocks: int
    loops: int
    calls: int


def list_facts(contents: Sequence[bytes], architecture: str, image: range) -> dict[int, Facts]:
    """Return what is known of each function in the contents of frames, by position from 0.

    Raises:
        FrameError: A content is no frame.
    """
    code = read_code(contents)
    blocks = list(accumulate(code.blocks, initial=0))
    bounds = [list(accumulate(code.sizes, initial=0))[block] for block in blocks]
    back = np.flatnonzero(code.targets <= code.sources)
    loops = np.bincount(np.searchsorted(blocks, code.sources[back], side="right") - 1, minlength=len(code.blocks))
    facts = {}
    for number, position in enumerate(code.positions):
        texts = code.texts[bounds[number] : bounds[number + 1]]
        read = [read_instruction(architecture, text) for text in texts]
        does = [each.category for each in read if each.category != categories.NOTHING]
        facts[position] = Facts(
            frozenset(each.constants[0] for each in read if each.constants[0] and is_constant(each.number, image)),
            frozenset(each.field for each in read if each.field),
            len(does),
            code.blocks[number],
            int(loops[number]),
            does.count(categories.CALL),
        )
    return facts
