"""HTML of a function's code, for notebooks and pages."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from sampledb.errors import InvalidInputError, MissingExtraError, shorten
from sampledb.render.graph import Called, Graph, read_graph
from sampledb.render.html import Line, render_code, render_note
from sampledb.render.svg import draw_graph

_MAX_LINES: Final = 1000
# On a page of its own, where the largest functions are read too.
_MAX_LINES_OF_PAGE: Final = 20_000
# Of an instruction's code: 8 bytes, as debuggers show.
_CODE_DIGITS: Final = 16


def render_disassembly(disassembly: object, functions: Mapping[int, Called] | None = None) -> str:
    """Return the drawing and the instructions of SMDA's function dict, or the reason why they are not shown.

    On a page, `functions` are those that have pages, by address: calls lead to them, and jumps to their targets.
    """
    try:
        graph = read_graph(disassembly, functions)
    except InvalidInputError as error:
        return render_note(error.message)
    count = sum(len(block) for _, block in graph.blocks)
    summary = f"{len(graph.blocks):,} blocks, {count:,} instructions"
    is_page = functions is not None
    lines = list(islice(format_lines(graph, is_page=is_page), _MAX_LINES_OF_PAGE if is_page else _MAX_LINES))
    rest = count - sum(bool(line.text) for line in lines)
    lines += [Line(f"… {rest:,} more instructions")] if rest else []
    try:
        # Pages have a style of their own, and some of them forbid any other.
        frame = 'class="graph"' if is_page else 'style="overflow: auto; max-height: 640px"'
        drawing = f"<div {frame}>{draw_graph(graph)}</div>"
    except MissingExtraError as error:
        return render_note(error.message) + render_code(summary, lines, unfolded=True)
    return drawing + render_code(summary, lines, unfolded=is_page)


def format_lines(graph: Graph, *, is_page: bool = False) -> Iterator[Line]:
    """Yield a line for each instruction, and an empty line after each block; on a page, with places to jump to."""
    jumps = _find_jumps(graph) if is_page else {}
    for start, instructions in graph.blocks:
        anchor = f"{start:#x}" if is_page else ""
        for each in instructions:
            code = f"{shorten(each.code, _CODE_DIGITS):{_CODE_DIGITS}}"
            line = f"{each.address:#x}  {code}  {each.mnemonic} {each.operands}".rstrip()
            comment = graph.comments.get(each.address)
            href = graph.links.get(each.address) or jumps.get(each.address, "")
            yield Line(f"{line}  ; {comment}" if comment else line, href, anchor)
            anchor = ""
        yield Line("")


def _find_jumps(graph: Graph) -> dict[int, str]:
    """Return where the last instruction of each block leads within the function, unless it only falls through."""
    return {
        graph.blocks[edge.source][1][-1].address: f"#{graph.blocks[edge.target][0]:#x}"
        for edge in graph.edges
        if graph.blocks[edge.source][1] and edge.kind != "fallthrough" and edge.target != edge.source + 1
    }
