"""The columns of functions that signatures are made of, gathered from frames."""

from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from operator import getitem
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sampledb.format import frame as layout
from sampledb.format.columns import refuse_misfits
from sampledb.format.decoder import parse_frame, parse_odd
from sampledb.format.frame import Frame, FrameError
from sampledb.similarity.instructions import GAP, cut_numbers

Numbers = NDArray[np.int64]


class Code(NamedTuple):
    """Several functions, all of their blocks, and all of their instructions, each in one column.

    Attributes:
        positions: Which functions they are, among all of the sample.
        blocks: How many blocks each function has.
        sizes: How many instructions each block has.
        forms: Of each instruction the number, in `Forms`, of its text without its numbers.
        numbers: All numbers that were cut out of texts, without sign.
        sources: The block, numbered through all functions, in which each edge of a control-flow graph begins.
        targets: The block in which it ends.
    """

    positions: list[int]
    blocks: list[int]
    sizes: list[int]
    forms: Numbers
    numbers: NDArray[np.uint64]
    sources: Numbers
    targets: Numbers


class _Operands(dict[str, int]):
    """Numbers of instructions with one mnemonic by their operands; what is new gets the next number."""

    def __init__(self, mnemonic: str, known: list[tuple[str, str]]) -> None:
        self._mnemonic = mnemonic
        self._known = known

    def __missing__(self, operands: str) -> int:
        self[operands] = number = len(self._known)
        self._known.append((self._mnemonic, operands))
        return number


class Forms(dict[str, _Operands]):
    """Texts of instructions without their numbers: mnemonics, and the operands of each. Each form has a number.

    Attributes:
        known: Mnemonic and operands of each form.
    """

    def __init__(self) -> None:
        self.known: list[tuple[str, str]] = []

    def __missing__(self, mnemonic: str) -> _Operands:
        self[mnemonic] = operands = _Operands(mnemonic, self.known)
        return operands

    def number(self, mnemonics: Sequence[str], operands: Sequence[str]) -> Numbers:
        """Return the number of each form."""
        # To find two texts is faster than to make one of both.
        return np.fromiter(map(getitem, map(self.__getitem__, mnemonics), operands), np.int64, len(operands))


def read_code(contents: Sequence[bytes], forms: Forms, first: int = 0) -> Code:
    """Return the code of all functions in the contents of consecutive frames.

    `first` is the position of the first function.

    Raises:
        FrameError: A content is no frame.
    """
    none = np.zeros(0, np.int64)
    code = Code([], [], [], none, none.astype(np.uint64), none, none)
    graph, found, numbers = _Graph([], [], [], [], []), [none], list[int]()
    with refuse_misfits():
        for content in contents:
            frame = parse_frame(content)
            layout.check_counts(frame)
            _add_regular(code, graph, frame, first)
            for position, json in sorted(frame.odd.items()):
                _add_odd(code, graph, parse_odd(json), first + position)
            # Frame by frame, so that texts are looked up while they are in the cache of the processor.
            for mnemonics, operands, cut in _read_texts(frame):
                found.append(forms.number(mnemonics, operands))
                numbers += cut
            first += len(frame.num_blocks) + len(frame.odd)
        sources, targets = _list_edges(graph)
        cut_out = np.array(numbers, np.uint64)
    return code._replace(forms=np.concatenate(found), numbers=cut_out, sources=sources, targets=targets)


_Texts: TypeAlias = tuple[Sequence[str], Sequence[str], list[int]]


def _read_texts(frame: Frame) -> Iterator[_Texts]:
    """Yield mnemonics and operands of functions, and the numbers that were cut out of these."""
    if frame.num_blocks:
        text = frame.lines.replace("\0", "\n")
        if text.count("\n") != 3 * sum(frame.num_instructions) - 1:
            raise FrameError("there are not three lines for each instruction")
        rest, numbers = cut_numbers(text)
        # Code, mnemonic and operands; the first says what the others do.
        lines = rest.split("\n")
        if GAP in "".join(lines[::3]):
            # No code has such a number, but a report may say so.
            lines = text.split("\n")
            yield _cut_each(lines[1::3], lines[2::3])
        else:
            yield lines[1::3], lines[2::3], numbers
    for _, json in sorted(frame.odd.items()):
        instructions = list(chain.from_iterable(parse_odd(json)["blocks"].values()))
        yield _cut_each([f"{each[2]}" for each in instructions], [f"{each[3]}" for each in instructions])


def _cut_each(mnemonics: list[str], operands: list[str]) -> _Texts:
    cut = [cut_numbers(text.replace(GAP, "")) for text in operands]
    numbers = list(chain.from_iterable(numbers for _, numbers in cut))
    return [text.replace(GAP, "") for text in mnemonics], [text for text, _ in cut], numbers


class _Graph(NamedTuple):
    """Edges of control-flow graphs, as they are found.

    Attributes:
        leaving: How many edges of `targets` leave each block.
        targets: The block in which each ends, numbered through its frame.
        begins: The first block of the frame of each edge of `targets`.
        ends: The block behind the last of that frame.
        others: Edges of functions that are kept as JSON.
    """

    leaving: list[int]
    targets: list[int]
    begins: list[int]
    ends: list[int]
    others: list[tuple[int, int]]


def _add_regular(code: Code, graph: _Graph, frame: Frame, first: int) -> None:
    """Add the functions of a frame that are columns."""
    begin, edges = len(code.sizes), len(frame.successors)
    positions = range(first, first + len(frame.num_blocks) + len(frame.odd))
    code.positions.extend([each for each in positions if each - first not in frame.odd] if frame.odd else positions)
    code.blocks.extend(frame.num_blocks)
    code.sizes.extend(frame.num_instructions)
    graph.leaving.extend(frame.num_successors)
    graph.targets.extend(accumulate(frame.successors))
    graph.begins.extend([begin] * edges)
    graph.ends.extend([len(code.sizes)] * edges)


def _add_odd(code: Code, graph: _Graph, function: dict[str, Any], position: int) -> None:
    """Add a function that is kept as JSON."""
    blocks: dict[str, list[Any]] = function["blocks"]
    numbers = {int(key): number for number, key in enumerate(blocks, len(code.sizes))}
    code.positions.append(position)
    code.blocks.append(len(blocks))
    code.sizes.extend(map(len, blocks.values()))
    graph.leaving.extend([0] * len(blocks))
    # References to what is no block of the function are no edges.
    graph.others.extend(
        (numbers[int(key)], numbers[to])
        for key, successors in (function.get("blockrefs") or {}).items()
        for to in successors
        if int(key) in numbers and to in numbers
    )


def _list_edges(graph: _Graph) -> tuple[Numbers, Numbers]:
    """Return the block in which each edge begins, and that in which it ends."""
    begins, ends = np.array(graph.begins, np.int64), np.array(graph.ends, np.int64)
    sources = np.repeat(np.arange(len(graph.leaving)), np.array(graph.leaving, np.int64))
    targets = np.array(graph.targets, np.int64) + begins
    if not ((begins <= targets) & (targets < ends)).all():
        raise FrameError("a block has a successor that is not in the frame")
    others = np.array(graph.others, np.int64).reshape(-1, 2)
    return np.concatenate([sources, others[:, 0]]), np.concatenate([targets, others[:, 1]])
