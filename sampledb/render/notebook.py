"""HTML of a function's code, for notebooks."""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from sampledb.errors import InvalidInputError, MissingExtraError, shorten
from sampledb.render.graph import Graph, read_graph
from sampledb.render.html import render_code, render_note
from sampledb.render.svg import draw_graph

_MAX_LINES: Final = 1000
# Of an instruction's code: 8 bytes, as debuggers show.
_CODE_DIGITS: Final = 16


def render_disassembly(disassembly: object) -> str:
    """Return the drawing and the instructions of SMDA's function dict, or the reason why they are not shown."""
    try:
        graph = read_graph(disassembly)
    except InvalidInputError as error:
        return render_note(error.message)
    count = sum(len(block) for _, block in graph.blocks)
    summary = f"{len(graph.blocks):,} blocks, {count:,} instructions"
    lines = list(islice(_format_lines(graph), _MAX_LINES))
    rest = count - sum(map(bool, lines))
    lines += [f"… {rest:,} more instructions"] if rest else []
    try:
        drawing = f'<div style="overflow: auto; max-height: 640px">{draw_graph(graph)}</div>'
    except MissingExtraError as error:
        return render_note(error.message) + render_code(summary, lines, unfolded=True)
    return drawing + render_code(summary, lines, unfolded=False)


def _format_lines(graph: Graph) -> Iterator[str]:
    """Yield a line for each instruction, and an empty line after each block."""
    for _, instructions in graph.blocks:
        for each in instructions:
            code = f"{shorten(each.code, _CODE_DIGITS):{_CODE_DIGITS}}"
            line = f"{each.address:#x}  {code}  {each.mnemonic} {each.operands}".rstrip()
            comment = graph.comments.get(each.address)
            yield f"{line}  ; {comment}" if comment else line
        yield ""
