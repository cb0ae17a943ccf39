"""The columns of functions that signatures are made of, gathered from frames."""

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampledb.format import frame as layout
from sampledb.format.columns import refuse_misfits
from sampledb.format.decoder import parse_frame, parse_odd
from sampledb.format.frame import Frame, FrameError

Numbers = NDArray[np.int64]

# Of three lines, the code says what the others do.
_find_texts = re.compile(r"[^\n]*\n([^\n]*\n[^\n]*)\n?").findall


class Code(NamedTuple):
    """Several functions, all of their blocks, and all of their instructions, each in one column.

    Attributes:
        positions: Which functions they are, among all of the sample.
        blocks: How many blocks each function has.
        sizes: How many instructions each block has.
        texts: Mnemonic and operands of each instruction, a line each; a target of a jump may be cut off.
        sources: The block, numbered through all functions, in which each edge of a control-flow graph begins.
        targets: The block in which it ends.
    """

    positions: list[int]
    blocks: list[int]
    sizes: list[int]
    texts: list[str]
    sources: Numbers
    targets: Numbers


def read_code(contents: Sequence[bytes], first: int = 0) -> Code:
    """Return the code of all functions in the contents of consecutive frames.

    `first` is the position of the first function.

    Raises:
        FrameError: A content is no frame.
    """
    code = Code([], [], [], [], np.zeros(0, np.int64), np.zeros(0, np.int64))
    edges: list[tuple[Numbers, Numbers]] = [(code.sources, code.targets)]
    for content in contents:
        with refuse_misfits():
            frame = parse_frame(content)
            layout.check_counts(frame)
            count = len(frame.num_blocks) + len(frame.odd)
            edges += [_add_regular(code, frame, first, count), *_add_odd(code, frame, first)]
            first += count
    sources, targets = map(np.concatenate, zip(*edges, strict=True))
    return code._replace(sources=sources, targets=targets)


def _add_regular(code: Code, frame: Frame, first: int, count: int) -> tuple[Numbers, Numbers]:
    """Add the functions of a frame that are columns; return their edges."""
    begin = len(code.sizes)
    code.positions.extend(first + position for position in range(count) if position not in frame.odd)
    code.blocks.extend(frame.num_blocks)
    code.sizes.extend(frame.num_instructions)
    if frame.num_blocks:
        text = frame.lines.replace("\0", "\n")
        if text.count("\n") != 3 * sum(frame.num_instructions) - 1:
            raise FrameError("there are not three lines for each instruction")
        code.texts.extend(_find_texts(text))
    blocks = len(frame.num_instructions)
    sources = np.repeat(np.arange(blocks), np.array(list(frame.num_successors), np.int64))
    targets = np.array(list(accumulate(frame.successors)), np.int64)
    if len(targets) and not 0 <= targets.min() <= targets.max() < blocks:
        raise FrameError("a block has a successor that is not in the frame")
    return sources + begin, targets + begin


def _add_odd(code: Code, frame: Frame, first: int) -> Iterator[tuple[Numbers, Numbers]]:
    """Add the functions of a frame that are kept as JSON; yield their edges."""
    for position, json in sorted(frame.odd.items()):
        function = parse_odd(json)
        blocks: dict[str, list[Any]] = function["blocks"]
        begin = len(code.sizes)
        code.positions.append(first + position)
        code.blocks.append(len(blocks))
        code.sizes.extend(map(len, blocks.values()))
        code.texts.extend(f"{mnemonic}\n{text}" for _, _, mnemonic, text, *_ in chain.from_iterable(blocks.values()))
        numbers = {int(key): number for number, key in enumerate(blocks, begin)}
        # References to what is no block of the function are no edges.
        edges = [
            (numbers[int(key)], numbers[to])
            for key, successors in (function.get("blockrefs") or {}).items()
            for to in successors
            if int(key) in numbers and to in numbers
        ]
        found = np.array(edges, np.int64).reshape(-1, 2)
        yield found[:, 0], found[:, 1]
