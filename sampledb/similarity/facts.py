"""What signatures are made of, in numbers that people know: they say why two functions are alike."""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from sampledb.similarity import categories
from sampledb.similarity.code import read_code
from sampledb.similarity.features import Vocabulary, is_constant


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
    vocabulary = Vocabulary(architecture)
    code = read_code(contents, vocabulary.forms)
    table = vocabulary.look_up(code.forms)
    values = vocabulary.read_values(code, table, np.arange(len(code.forms)))
    blocks = list(accumulate(code.blocks, initial=0))
    bounds = [list(accumulate(code.sizes, initial=0))[block] for block in blocks]
    back = np.flatnonzero(code.targets <= code.sources)
    loops = np.bincount(np.searchsorted(blocks, code.sources[back], side="right") - 1, minlength=len(code.blocks))
    facts = {}
    for number, position in enumerate(code.positions):
        own = slice(bounds[number], bounds[number + 1])
        constants = zip(values.constants[0][own].tolist(), values.number[own].tolist(), strict=True)
        does = [each for each in table.category[own].tolist() if each != categories.NOTHING]
        facts[position] = Facts(
            frozenset(constant for constant, origin in constants if constant and is_constant(origin, image)),
            frozenset(each for each in values.field[own].tolist() if each),
            len(does),
            code.blocks[number],
            int(loops[number]),
            does.count(categories.CALL),
        )
    return facts
