"""Control-flow graphs: read from SMDA's function dict, and written for Graphviz.

Edges have the colours of IDA: where a block has two successors, one of which is the next instruction, the branch taken
is green and the fall-through red; all other edges are blue. Every drawing has bounds, and says what it leaves out.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec

from sampledb.errors import InvalidInputError, shorten
from sampledb.format.references import comment_instructions
from sampledb.render.html import Line
from sampledb.render.text import escape_unprintable

# Bounds of a drawing: blocks of a function, instructions of a block, characters of an instruction and of its comment.
MAX_BLOCKS: Final = 200
_MAX_INSTRUCTIONS: Final = 12
_MAX_CHARACTERS: Final = 60
_MAX_COMMENT: Final = 40
_SEMICOLON: Final = "  ; "
MAX_LINE: Final = _MAX_CHARACTERS + len(_SEMICOLON) + _MAX_COMMENT

Kind: TypeAlias = Literal["taken", "fallthrough", "always"]
#: How a block differs from those of another function.
Mark: TypeAlias = Literal["same", "changed", "only here"]
_SIGNS: Final[dict[Mark, str]] = {"same": "=", "changed": "~", "only here": "+"}
COLOURS: Final[dict[Kind, str]] = {"taken": "#1a7f37", "fallthrough": "#cf222e", "always": "#0550ae"}


class Instruction(msgspec.Struct, array_like=True, gc=False):
    """SMDA's fields of an instruction; further fields are ignored, as SMDA does."""

    address: int
    code: str
    mnemonic: str
    operands: str = ""

    def __str__(self) -> str:
        return f"{self.address:#x}  {self.mnemonic} {self.operands}".rstrip()


Block: TypeAlias = tuple[int, list[Instruction]]


class Called(NamedTuple):
    """A function that others may call: its name, and where its page is."""

    name: str
    href: str


def name_calls(names: Mapping[int, str]) -> dict[int, Called]:
    """Return functions that have names, by address, and no pages."""
    return {address: Called(name, "") for address, name in names.items() if name}


class _Function(msgspec.Struct):
    """SMDA's function dict, as far as it is drawn."""

    blocks: dict[str, list[Instruction]]
    offset: Any = None
    blockrefs: dict[str, list[int]] = {}
    apirefs: Any = None
    stringrefs: Any = None
    outrefs: Any = None


class Edge(msgspec.Struct, frozen=True):
    """An edge between two blocks, given by their positions in the graph's list."""

    source: int
    target: int
    kind: Kind


class Graph(msgspec.Struct, frozen=True):
    """The blocks of a function, and how control passes between them.

    Attributes:
        blocks: Addresses and instructions: the entry first, then in address order.
        edges: By source, without duplicates. Successors outside of the function are left out.
        comments: The APIs and strings that instructions refer to, and the functions that they call, by address.
        links: The pages of the functions that instructions call, by address.
        title: The name of the function, which the first box begins with; `""` for none.
        marks: For each drawn block, how it differs from another function; empty where none is compared.
    """

    blocks: list[Block]
    edges: list[Edge]
    comments: dict[int, str]
    links: dict[int, str]
    title: str = ""
    marks: Sequence[Mark] = ()

    def list_drawn_edges(self) -> list[Edge]:
        """Return the edges between the first MAX_BLOCKS blocks."""
        return [edge for edge in self.edges if max(edge.source, edge.target) < MAX_BLOCKS]


def read_graph(disassembly: object, functions: Mapping[int, Called] | None = None, *, title: str = "") -> Graph:
    """Return the graph of SMDA's function dict, with the name that the function has, if any.

    Calls of the `functions`, which are given by the addresses of their entries, are commented and linked.

    Raises:
        InvalidInputError: It is something else.
    """
    try:
        function = msgspec.convert(disassembly, _Function)
        found = {int(key): block for key, block in function.blocks.items()}
        # People begin to read at the entry, which is not always the lowest address.
        blocks = sorted(found.items(), key=lambda block: (block[0] != function.offset, block[0]))
        successors = {int(key): targets for key, targets in function.blockrefs.items()}
    except (ValueError, RecursionError) as error:
        message = shorten(f"The disassembly is not SMDA's: {error}", 300)
        raise InvalidInputError(message, {"field": "disassembly", "rule": "SMDA's function dict"}) from error
    comments = comment_instructions({"apirefs": function.apirefs, "stringrefs": function.stringrefs})
    links = {}
    for address, called in _find_calls(function.outrefs, functions or {}):
        links[address] = called.href
        comments[address] = f"{called.name}, {comments[address]}" if address in comments else called.name
    return Graph(blocks, list(_find_edges(blocks, successors)), comments, links, title)


def _find_calls(outrefs: object, functions: Mapping[int, Called]) -> Iterator[tuple[int, Called]]:
    """Yield the first function that each instruction calls, if it is one of these."""
    try:
        targets = msgspec.convert(outrefs, dict[str, list[int]])
        for address, found in targets.items():
            called = next((functions[each] for each in found if each in functions), None)
            if called:
                yield int(address), called
    except (ValueError, RecursionError):
        return


def _find_edges(blocks: Sequence[Block], successors: Mapping[int, Sequence[int]]) -> Iterator[Edge]:
    position = {address: number for number, (address, _) in enumerate(blocks)}
    for source, (address, block) in enumerate(blocks):
        targets = dict.fromkeys(successors.get(address, ()))
        # Instruction sets have hundreds of branches; their targets tell all of them apart.
        following = block[-1].address + len(block[-1].code) // 2 if block else None
        is_branch = len(targets) == 2 and following in targets  # noqa: PLR2004 - taken or not
        for target in targets:
            kind: Kind = "always" if not is_branch else "fallthrough" if target == following else "taken"
            if target in position:
                yield Edge(source, position[target], kind)


def format_blocks(graph: Graph) -> list[list[Line]]:
    """Return the lines of the first MAX_BLOCKS blocks, in ASCII, each of at most MAX_LINE characters."""
    title = [Line(_format_text(graph.title, _MAX_CHARACTERS))] if graph.title else []
    return [
        (title if number == 0 else [])
        + [Line(f"{_SIGNS[mark]} {mark}") for mark in graph.marks[number : number + 1]]
        + [
            Line(line, graph.links.get(each.address, "") if each else "")
            for line, each in zip_longest(_format_block(block, graph.comments), block[1][:_MAX_INSTRUCTIONS])
        ]
        for number, block in enumerate(graph.blocks[:MAX_BLOCKS])
    ]


def _format_block(block: Block, comments: Mapping[int, str]) -> list[str]:
    """Return the first instructions of a block, and a line that counts the others."""
    address, instructions = block
    if not instructions:
        return [_format_text(f"{address:#x}", _MAX_CHARACTERS)]
    lines = [_format_instruction(each, comments.get(each.address)) for each in instructions[:_MAX_INSTRUCTIONS]]
    rest = len(instructions) - _MAX_INSTRUCTIONS
    return [*lines, f"… {rest:,} more"] if rest > 0 else lines


def _format_instruction(instruction: Instruction, comment: str | None) -> str:
    line = _format_text(str(instruction), _MAX_CHARACTERS)
    return f"{line}{_SEMICOLON}{_format_text(comment, _MAX_COMMENT)}" if comment else line


def _format_text(text: str, limit: int) -> str:
    # The width of other characters is unknown. Cut first, as operands can have millions.
    ascii_only = escape_unprintable(text[: 2 * limit]).encode("ascii", "backslashreplace").decode()
    return shorten(ascii_only, limit)


def write_dot(disassembly: object, functions: Mapping[int, Called] | None = None, *, title: str = "") -> str:
    """Return the graph as text for Graphviz, with at most MAX_BLOCKS blocks, and the function's name, if any.

    Raises:
        InvalidInputError: It is not SMDA's function dict.
    """
    graph = read_graph(disassembly, functions, title=title)
    rest = len(graph.blocks) - MAX_BLOCKS
    nodes = [f'b{number} [label="{_write_label(lines)}"];' for number, lines in enumerate(format_blocks(graph))]
    arrows = [f'b{edge.source} -> b{edge.target} [color="{COLOURS[edge.kind]}"];' for edge in graph.list_drawn_edges()]
    more = [f'more [shape=plaintext, label="… {rest:,} more blocks"];'] if rest > 0 else []
    return "\n".join(["digraph {", 'node [shape=box, fontname="monospace"];', *nodes, *arrows, *more, "}", ""])


def _write_label(lines: Iterable[Line]) -> str:
    """Return the lines of a box, aligned to the left, as they stand between quotes."""
    # Graphviz reads escapes, and entities as HTML has them, in every label.
    quoted = (line.text.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;") for line in lines)
    return "".join(rf"{line}\l" for line in quoted)
