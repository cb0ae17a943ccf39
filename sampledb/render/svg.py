"""Draw control-flow graphs as SVG pictures."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

from sampledb.render.graph import COLOURS, MAX_BLOCKS, MAX_LINE, Edge, Graph, Mark, format_blocks
from sampledb.render.html import Line, render_link, render_text
from sampledb.render.layout import Layout, Point, Size, place_boxes

# The layout takes a third of a second for so many, wherever they go.
MAX_EDGES: Final = 400

# Pixels: a line of text, a character of a monospaced font of 12, the space inside a box, a self-loop, an arrow.
_LINE: Final = 15.0
_CHARACTER: Final = 7.3
_PADDING: Final = 8.0
_LOOP: Final = 16.0
_ARROW: Final = 4.0
_MARGIN: Final = 20.0
# Of boxes.
_FILL: Final = "#f6f8fa"
_FILLS: Final[dict[Mark, str]] = {"same": "#dafbe1", "changed": "#fff8c5", "only here": "#ffebe9"}
# Links in a picture have no colour unless it says so.
_LINK: Final = "#0550ae"


def draw_graph(graph: Graph) -> str:
    """Return an SVG picture of the first MAX_BLOCKS blocks; one that says so where there are too many edges.

    Raises:
        MissingExtraError: fast-sugiyama is not installed.
    """
    edges = graph.list_drawn_edges()
    if len(edges) > MAX_EDGES:
        return _draw_picture([], 0.0, 0.0, f"Not drawn: {len(graph.blocks):,} blocks, {len(graph.edges):,} edges.")
    texts = format_blocks(graph)
    sizes = [
        (2 * _PADDING + _CHARACTER * max(len(line.text) for line in lines), 2 * _PADDING + _LINE * len(lines))
        for lines in texts
    ]
    layout = place_boxes(sizes, [(edge.source, edge.target) for edge in edges])
    fills = [_FILLS[mark] for mark in graph.marks] or [_FILL] * len(texts)
    boxes = map(_draw_box, layout.boxes, sizes, texts, fills)
    rest = len(graph.blocks) - MAX_BLOCKS
    more = f"… {rest:,} more blocks" if rest > 0 else "" if texts else "No blocks."
    arrows = (_draw_edge(edge, layout, sizes) for edge in edges)
    return _draw_picture([*boxes, *arrows], layout.width, layout.height, more)


def _draw_picture(parts: Iterable[str], width: float, height: float, more: str) -> str:
    """Return the whole SVG, with `more` written below its parts. It is white, whatever the notebook's theme."""
    width = max(width, len(more) * _CHARACTER) + 2 * _MARGIN
    words = _draw_line(0.0, height + _LINE, Line(more)) if more else ""
    height += 2 * _MARGIN + (_LINE if more else 0.0)
    return (
        # The class is JupyterLab's: it would make a wide picture as narrow as the page, too small to read.
        f'<svg class="jp-mod-unconfined" xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
        f' viewBox="{-_MARGIN:.0f} {-_MARGIN:.0f} {width:.0f} {height:.0f}"'
        ' font-family="monospace" font-size="12" fill="black" xml:space="preserve">'
        f'<rect x="{-_MARGIN:.0f}" y="{-_MARGIN:.0f}" width="100%" height="100%" fill="white"/>'
        f"{''.join(parts)}{words}</svg>"
    )


def _draw_box(corner: Point, size: Size, lines: Sequence[Line], fill: str) -> str:
    (x, y), (width, height) = corner, size
    frame = f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}" stroke="black"/>'
    return frame + "".join(_draw_line(x + _PADDING, y + 4 + _LINE * row, line) for row, line in enumerate(lines, 1))


def _draw_line(x: float, y: float, line: Line) -> str:
    text = render_text(line.text, MAX_LINE)
    if not line.href:
        return f'<text x="{x:.1f}" y="{y:.1f}">{text}</text>'
    return render_link(line.href, f'<text x="{x:.1f}" y="{y:.1f}" fill="{_LINK}">{text}</text>')


def _draw_edge(edge: Edge, layout: Layout, sizes: Sequence[Size]) -> str:
    is_loop = edge.source == edge.target
    path = (
        _draw_loop(layout.boxes[edge.source], sizes[edge.source])
        if is_loop
        else _draw_route(layout.routes[edge.source, edge.target])
    )
    return f'<path d="{path}" fill="none" stroke="{COLOURS[edge.kind]}"/>'


def _draw_route(route: Sequence[Point]) -> str:
    """Return the path of an edge: upright where it passes other boxes, curved between the layers."""
    way = [f"M{route[0][0]:.1f} {route[0][1]:.1f}"]
    for (x, y), (next_x, next_y) in pairwise(route):
        half = (y + next_y) / 2
        curve = f"C{x:.1f} {half:.1f} {next_x:.1f} {half:.1f} {next_x:.1f} {next_y:.1f}"
        way.append(curve if x != next_x else f"V{next_y:.1f}")
    x, y = route[-1]
    tail = y - 2 * _ARROW if y > route[0][1] else y + 2 * _ARROW
    head = f"M{x - _ARROW:.1f} {tail:.1f}L{x:.1f} {y:.1f}L{x + _ARROW:.1f} {tail:.1f}"
    return "".join(way) + head


def _draw_loop(corner: Point, size: Size) -> str:
    """Return the path of an edge from a block to itself, on its right."""
    right, top, bottom = corner[0] + size[0], corner[1] + _PADDING, corner[1] + size[1] - _PADDING
    way = f"M{right:.1f} {bottom:.1f}h{_LOOP:.1f}V{top:.1f}H{right:.1f}"
    head = f"M{right + 2 * _ARROW:.1f} {top - _ARROW:.1f}l{-2 * _ARROW:.1f} {_ARROW:.1f}l{2 * _ARROW:.1f} {_ARROW:.1f}"
    return way + head
