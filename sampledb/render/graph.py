"""Control-flow graphs: from SMDA's function dict to text for Graphviz, to SVG, and to HTML for notebooks.

Edges have the colours of IDA: where a block goes to two places, one of which is the next instruction, the branch
taken is green and the fall-through red; all else is blue. What is drawn has bounds, and says what it leaves out.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice, pairwise, starmap
from typing import Final, Literal, TypeAlias

import msgspec

from sampledb.errors import InvalidInputError, MissingExtraError, shorten
from sampledb.render import html as pages
from sampledb.render import layout

# What is drawn: blocks of a function, instructions of a block, characters of an instruction. The layout takes a third
# of a second for so many edges, wherever they go.
MAX_BLOCKS: Final = 200
MAX_EDGES: Final = 400
MAX_LINES: Final = 12
MAX_CHARACTERS: Final = 60
# What is listed below the drawing.
_MAX_LISTED: Final = 1000
# Of an Intel instruction's code: 8 bytes, as debuggers show.
_CODE: Final = 16

Kind: TypeAlias = Literal["taken", "fallthrough", "always"]
_COLOURS: Final[dict[Kind, str]] = {"taken": "#1a7f37", "fallthrough": "#cf222e", "always": "#0550ae"}

# Pixels: a line of text, a character of a monospaced font of 12, the space inside a box, a self-loop, an arrow.
_LINE: Final = 15.0
_CHARACTER: Final = 7.3
_PADDING: Final = 8.0
_LOOP: Final = 16.0
_ARROW: Final = 4.0
_MARGIN: Final = 20.0


class Instruction(msgspec.Struct, array_like=True, gc=False):
    """SMDA's fields of an instruction; what reports have behind them is ignored, as SMDA does."""

    address: int
    code: str
    mnemonic: str
    operands: str = ""

    def __str__(self) -> str:
        return f"{self.address:#x}  {self.mnemonic} {self.operands}".rstrip()


Block: TypeAlias = tuple[int, list[Instruction]]


class _Shape(msgspec.Struct):
    blocks: dict[str, list[Instruction]]
    blockrefs: dict[str, list[int]] = {}


class Edge(msgspec.Struct, frozen=True):
    """From a block to a block, both as positions in the graph's list."""

    source: int
    target: int
    kind: Kind


class Graph(msgspec.Struct, frozen=True):
    """A function's blocks and how control passes between them.

    Attributes:
        blocks: Addresses and instructions, in address order.
        edges: By source; none twice. Successors that are no blocks of the function are left out.
    """

    blocks: list[Block]
    edges: list[Edge]


def read(disassembly: object) -> Graph:
    """The graph of SMDA's function dict.

    Raises:
        InvalidInputError: It is something else.
    """
    try:
        shape = msgspec.convert(disassembly, _Shape)
        blocks = sorted({int(key): block for key, block in shape.blocks.items()}.items())
        targets = {int(key): found for key, found in shape.blockrefs.items()}
    except (ValueError, RecursionError) as error:
        message = shorten(f"The disassembly is not SMDA's: {error}", 300)
        raise InvalidInputError(message, {"field": "disassembly", "rule": "SMDA's function dict"}) from error
    return Graph(blocks, list(_edges(blocks, targets)))


def _edges(blocks: Sequence[Block], targets: Mapping[int, Sequence[int]]) -> Iterator[Edge]:
    position = {address: number for number, (address, _) in enumerate(blocks)}
    for source, (address, block) in enumerate(blocks):
        successors = dict.fromkeys(targets.get(address, ()))
        # Instruction sets have hundreds of branches; where they lead tells all of them apart.
        following = block[-1].address + len(block[-1].code) // 2 if block else None
        is_branch = len(successors) == 2 and following in successors  # noqa: PLR2004 - taken or not
        for target in successors:
            kind: Kind = "always" if not is_branch else "fallthrough" if target == following else "taken"
            if target in position:
                yield Edge(source, position[target], kind)


def dot(disassembly: object) -> str:
    """The graph as text for Graphviz, at most MAX_BLOCKS of its blocks.

    Raises:
        InvalidInputError: It is not SMDA's function dict.
    """
    graph = read(disassembly)
    rest = len(graph.blocks) - MAX_BLOCKS
    nodes = [f'b{number} [label="{_label(block)}"];' for number, block in enumerate(graph.blocks[:MAX_BLOCKS])]
    arrows = [f'b{edge.source} -> b{edge.target} [color="{_COLOURS[edge.kind]}"];' for edge in _drawn_edges(graph)]
    more = [f'more [shape=plaintext, label="… {rest:,} more blocks"];'] if rest > 0 else []
    return "\n".join(["digraph {", 'node [shape=box, fontname="monospace"];', *nodes, *arrows, *more, "}", ""])


def _label(block: Block) -> str:
    """The lines of a box, aligned to the left, as they stand between quotes."""
    # Graphviz reads escapes, and entities as HTML has them, in every label.
    lines = (line.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;") for line in _lines(block))
    return "".join(rf"{line}\l" for line in lines)


def _drawn_edges(graph: Graph) -> list[Edge]:
    return [edge for edge in graph.edges if max(edge.source, edge.target) < MAX_BLOCKS]


def _lines(block: Block) -> list[str]:
    """What stands in the box of a block: ASCII, MAX_LINES of instructions and a line for the rest."""
    address, instructions = block
    if not instructions:
        return [_line(f"{address:#x}")]
    lines = [_line(str(instruction)) for instruction in instructions[:MAX_LINES]]
    rest = len(instructions) - MAX_LINES
    return [*lines, f"… {rest:,} more"] if rest > 0 else lines


def _line(words: str) -> str:
    # The width of other characters is not known.
    ascii_only = pages.visible(words, 2 * MAX_CHARACTERS).encode("ascii", "backslashreplace").decode()
    return shorten(ascii_only, MAX_CHARACTERS)


def svg(disassembly: object) -> str:
    """The graph as an SVG picture; of a graph with too many edges, a picture that says so.

    Raises:
        InvalidInputError: It is not SMDA's function dict.
        MissingExtraError: fast-sugiyama is not installed.
    """
    return _svg(read(disassembly))


def _svg(graph: Graph) -> str:
    edges = _drawn_edges(graph)
    rest = len(graph.blocks) - MAX_BLOCKS
    if len(edges) > MAX_EDGES:
        return _picture([], 0.0, 0.0, f"Not drawn: {len(graph.blocks):,} blocks, {len(graph.edges):,} edges.")
    texts = [_lines(block) for block in graph.blocks[:MAX_BLOCKS]]
    sizes = [(2 * _PADDING + _CHARACTER * max(map(len, lines)), 2 * _PADDING + _LINE * len(lines)) for lines in texts]
    placed = layout.place(sizes, [(edge.source, edge.target) for edge in edges])
    parts = [_box(corner, size, lines) for corner, size, lines in zip(placed.boxes, sizes, texts, strict=True)]
    for edge in edges:
        if edge.source == edge.target:
            parts.append(_loop(placed.boxes[edge.source], sizes[edge.source], _COLOURS[edge.kind]))
        else:
            parts.append(_arrow(placed.routes[edge.source, edge.target], _COLOURS[edge.kind]))
    more = f"… {rest:,} more blocks" if rest > 0 else "" if texts else "No blocks."
    return _picture(parts, placed.width, placed.height, more)


def _picture(parts: Iterable[str], width: float, height: float, more: str) -> str:
    """The whole SVG, `more` written below its parts. It is white, whatever the notebook's theme."""
    width = max(width, len(more) * _CHARACTER) + 2 * _MARGIN
    words = _words(0.0, height + _LINE, more) if more else ""
    height += 2 * _MARGIN + (_LINE if more else 0.0)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
        f' viewBox="{-_MARGIN:.0f} {-_MARGIN:.0f} {width:.0f} {height:.0f}"'
        ' font-family="monospace" font-size="12" fill="black" xml:space="preserve">'
        f'<rect x="{-_MARGIN:.0f}" y="{-_MARGIN:.0f}" width="100%" height="100%" fill="white"/>'
        f"{''.join(parts)}{words}</svg>"
    )


def _box(corner: layout.Point, size: layout.Size, lines: Sequence[str]) -> str:
    (x, y), (width, height) = corner, size
    frame = f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="#f6f8fa" stroke="black"/>'
    baselines = (y + _LINE * number + 4 for number in range(1, len(lines) + 1))
    return frame + "".join(starmap(partial(_words, x + _PADDING), zip(baselines, lines, strict=True)))


def _words(x: float, y: float, words: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}">{pages.text(words, MAX_CHARACTERS)}</text>'


def _arrow(route: Sequence[layout.Point], colour: str) -> str:
    """An edge: upright where it passes other boxes, curved between the layers."""
    way = [f"M{route[0][0]:.1f} {route[0][1]:.1f}"]
    for (x, y), (next_x, next_y) in pairwise(route):
        half = (y + next_y) / 2
        curve = f"C{x:.1f} {half:.1f} {next_x:.1f} {half:.1f} {next_x:.1f} {next_y:.1f}"
        way.append(curve if x != next_x else f"V{next_y:.1f}")
    x, y = route[-1]
    tail = y - 2 * _ARROW if y > route[0][1] else y + 2 * _ARROW
    head = f"M{x - _ARROW:.1f} {tail:.1f}L{x:.1f} {y:.1f}L{x + _ARROW:.1f} {tail:.1f}"
    return f'<path d="{"".join(way)}{head}" fill="none" stroke="{colour}"/>'


def _loop(corner: layout.Point, size: layout.Size, colour: str) -> str:
    """An edge from a block to itself, on its right."""
    right, top, bottom = corner[0] + size[0], corner[1] + _PADDING, corner[1] + size[1] - _PADDING
    way = f"M{right:.1f} {bottom:.1f}h{_LOOP:.1f}V{top:.1f}H{right:.1f}"
    head = f"M{right + 2 * _ARROW:.1f} {top - _ARROW:.1f}l{-2 * _ARROW:.1f} {_ARROW:.1f}l{2 * _ARROW:.1f} {_ARROW:.1f}"
    return f'<path d="{way}{head}" fill="none" stroke="{colour}"/>'


def html(disassembly: object) -> str:
    """The drawing and the instructions, for a notebook; what cannot be shown is said instead."""
    try:
        graph = read(disassembly)
    except InvalidInputError as error:
        return pages.note(error.message)
    count = sum(len(block) for _, block in graph.blocks)
    summary = f"{len(graph.blocks):,} blocks, {count:,} instructions"
    lines = list(islice(_listing(graph.blocks), _MAX_LISTED))
    rest = count - sum(map(bool, lines))
    lines += [f"… {rest:,} more instructions"] if rest else []
    try:
        drawing = f'<div style="overflow: auto; max-height: 640px">{_svg(graph)}</div>'
    except MissingExtraError as error:
        return pages.note(error.message) + pages.folded(summary, lines, unfolded=True)
    return drawing + pages.folded(summary, lines, unfolded=False)


def _listing(blocks: Iterable[Block]) -> Iterator[str]:
    """The instructions with their code, a line each, and an empty line behind each block."""
    for _, instructions in blocks:
        for each in instructions:
            yield f"{each.address:#x}  {shorten(each.code, _CODE):{_CODE}}  {each.mnemonic} {each.operands}".rstrip()
        yield ""
