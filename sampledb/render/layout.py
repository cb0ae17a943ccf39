"""Place the boxes of a directed graph in layers, by Sugiyama's method, and route its edges.

Pure numbers: boxes are numbered from 0, lengths are pixels, y grows downwards. The library that does the work,
fast-sugiyama, knows no sizes of boxes, aborts the process on self-loops, can take minutes for cycles,
and mixes up the vertices of separate components; so it gets one acyclic component at a time.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Final, TypeAlias

import msgspec

from sampledb.errors import MissingExtraError

Edge: TypeAlias = tuple[int, int]
Point: TypeAlias = tuple[float, float]
Size: TypeAlias = tuple[float, float]

# Between boxes: side by side, with room for a self-loop, and above each other, where edges turn.
GAP: Final = 40.0
_RISE: Final = 48.0
# Components stand side by side up to this width, or that of the widest.
_ROW: Final = 1600.0
# The width of an edge that passes through a layer, where a box has 1; and the distance of two such edges.
_LANE: Final = 0.2
_LANE_GAP: Final = 14.0
# Swapping neighbours crosses fewer edges; it takes seconds where there are many.
_MAX_SWAPPED: Final = 120


class Layout(msgspec.Struct, frozen=True):
    """The positions of boxes and edges.

    Attributes:
        boxes: The upper left corner of each box.
        routes: For each edge but self-loops, the points where it leaves the source, turns, and meets the target.
        width: Of the whole drawing.
        height: Of the whole drawing.
    """

    boxes: list[Point]
    routes: dict[Edge, list[Point]]
    width: float
    height: float


class _Layering(msgspec.Struct, frozen=True):
    """A component without sizes. Its vertices are the boxes, and a point wherever an edge passes through a layer.

    Attributes:
        column: Of each vertex, growing from the left; no two of a layer share one.
        layer: Of each vertex, from 0 at the top.
        paths: The vertices of each edge from its upper box to its lower one, whichever is the source.
    """

    column: dict[int, float]
    layer: dict[int, int]
    paths: dict[Edge, list[int]]


def place_boxes(sizes: Sequence[Size], edges: Iterable[Edge]) -> Layout:
    """Return positions for boxes of these widths and heights. Edges may be self-loops and make cycles.

    Raises:
        MissingExtraError: fast-sugiyama is not installed.
    """
    kept = {(source, target): None for source, target in edges if source != target}
    back = _find_back_edges(len(sizes), kept)
    layout = Layout([(0.0, 0.0)] * len(sizes), {}, 0.0, 0.0)
    left = top = width = bottom = 0.0
    for nodes, inside in _split_components(len(sizes), kept):
        part = _place_component(sizes, nodes, inside, back)
        if left and left + part.width > _ROW:
            left, top = 0.0, bottom + _RISE
        for node, (x, y) in zip(nodes, part.boxes, strict=True):
            layout.boxes[node] = (x + left, y + top)
        layout.routes.update((edge, [(x + left, y + top) for x, y in part.routes[edge]]) for edge in inside)
        width, bottom = max(width, left + part.width), max(bottom, top + part.height)
        left += part.width + GAP
    return Layout(layout.boxes, layout.routes, width, bottom)


def _find_back_edges(count: int, edges: Iterable[Edge]) -> set[Edge]:
    """Return the edges that close cycles, in a walk from the nodes without predecessors, then from the lowest."""
    targets: defaultdict[int, list[int]] = defaultdict(list)
    for source, target in edges:
        targets[source].append(target)
    reached = {target for _, target in edges}
    found: set[Edge] = set()
    seen: set[int] = set()
    for root in sorted(range(count), key=lambda node: (node in reached, node)):
        # Not by recursion: a function may be a chain of more blocks than Python has frames.
        path: dict[int, Iterator[int]] = {} if root in seen else {root: iter(targets[root])}
        while path:
            node = next(reversed(path))
            seen.add(node)
            for target in path[node]:
                if target in path:
                    found.add((node, target))
                elif target not in seen:
                    path[target] = iter(targets[target])
                    break
            else:
                del path[node]
    return found


def _split_components(count: int, edges: Iterable[Edge]) -> Iterator[tuple[list[int], list[Edge]]]:
    """Yield the nodes, in order, and the edges of each connected part."""
    near: defaultdict[int, list[int]] = defaultdict(list)
    leaving: defaultdict[int, list[Edge]] = defaultdict(list)
    for source, target in edges:
        near[source].append(target)
        near[target].append(source)
        leaving[source].append((source, target))
    seen: set[int] = set()
    for first in range(count):
        todo, nodes = [first], []
        while todo:
            node = todo.pop()
            if node not in seen:
                seen.add(node)
                nodes.append(node)
                todo += near[node]
        if nodes:
            yield sorted(nodes), [edge for node in sorted(nodes) for edge in leaving[node]]


def _place_component(sizes: Sequence[Size], nodes: Sequence[int], edges: Sequence[Edge], back: set[Edge]) -> Layout:
    """Return the layout of one component, with boxes in the order of `nodes`."""
    layering = _assign_layers(nodes, edges, back)
    middle = _align_middles({node: sizes[node][0] / 2 for node in nodes}, layering)
    tops, bottoms = _place_layers(sizes, nodes, layering.layer)
    routes = {}
    for edge, (start, end) in _place_ports(sizes, middle, layering.paths).items():
        upper, *lanes, lower = layering.paths[edge]
        first = layering.layer[upper]
        # Two edges between the same boxes, there and back, pass the layers between side by side.
        aside = _LANE_GAP / 3 if edge in back and edge[::-1] in layering.paths else 0.0
        route = [(start, tops[first] + sizes[upper][1]), (start, bottoms[first])]
        for row, lane in enumerate(lanes, first + 1):
            route += [(middle[lane] + aside, tops[row]), (middle[lane] + aside, bottoms[row])]
        route.append((end, tops[layering.layer[lower]]))
        routes[edge] = route[::-1] if edge in back else route
    boxes = [(middle[node] - sizes[node][0] / 2, tops[layering.layer[node]]) for node in nodes]
    ends = [x + sizes[node][0] for node, (x, _) in zip(nodes, boxes, strict=True)]
    width = max([*ends, *(x for route in routes.values() for x, _ in route)])
    return Layout(boxes, routes, width, bottoms[-1])


def _align_middles(half: Mapping[int, float], layering: _Layering) -> dict[int, float]:
    """Return x of each vertex, as near to each other as `half` the widths of the boxes allow.

    Vertices of a column stay in line. The columns are pushed to the left, then to the right, and put in the middle of
    the two, so that a vertex that was centred above others still is.
    """
    columns = {column: number for number, column in enumerate(sorted(set(layering.column.values())))}
    number = {vertex: columns[column] for vertex, column in layering.column.items()}
    apart = _measure_distances(half, layering.layer, number)
    leftmost: list[float] = []
    for right in range(len(columns)):
        leftmost.append(max([*leftmost[-1:], 0.0, *(leftmost[left] + distance for left, distance in apart[right])]))
    rightmost = leftmost[-1:] * len(columns)
    for right in reversed(range(len(columns))):
        rightmost[right] = min(rightmost[right : right + 2])
        for left, distance in apart[right]:
            rightmost[left] = min(rightmost[left], rightmost[right] - distance)
    middles = {vertex: (leftmost[column] + rightmost[column]) / 2 for vertex, column in number.items()}
    left_end = min(middle - half.get(vertex, 0.0) for vertex, middle in middles.items())
    return {vertex: middle - left_end for vertex, middle in middles.items()}


def _measure_distances(
    half: Mapping[int, float], layer: Mapping[int, int], number: Mapping[int, int]
) -> defaultdict[int, list[tuple[int, float]]]:
    """Return for each column those to its left with a neighbour in the same layer, and the distance that needs."""
    apart: defaultdict[int, list[tuple[int, float]]] = defaultdict(list)
    for left, right in pairwise(sorted(number, key=lambda vertex: (layer[vertex], number[vertex]))):
        if layer[left] == layer[right]:
            gap = GAP if left in half or right in half else _LANE_GAP
            apart[number[right]].append((number[left], half.get(left, 0.0) + half.get(right, 0.0) + gap))
    return apart


def _place_layers(
    sizes: Sequence[Size], nodes: Iterable[int], layer: Mapping[int, int]
) -> tuple[list[float], list[float]]:
    """Return the upper and the lower ends of the layers, each as high as its highest box."""
    heights = [0.0] * (1 + max(layer.values()))
    for node in nodes:
        heights[layer[node]] = max(heights[layer[node]], sizes[node][1])
    tops = list(accumulate((height + _RISE for height in heights[:-1]), initial=0.0))
    return tops, [top + height for top, height in zip(tops, heights, strict=True)]


def _place_ports(
    sizes: Sequence[Size], middle: Mapping[int, float], paths: Mapping[Edge, Sequence[int]]
) -> dict[Edge, tuple[float, float]]:
    """Return x where each edge meets its upper and its lower box. Edges at one side are apart, in target order."""
    below: defaultdict[int, list[tuple[float, Edge]]] = defaultdict(list)
    above: defaultdict[int, list[tuple[float, Edge]]] = defaultdict(list)
    for edge, path in paths.items():
        below[path[0]].append((middle[path[1]], edge))
        above[path[-1]].append((middle[path[-2]], edge))
    starts, ends = (
        {
            edge: middle[node] + sizes[node][0] * (number / (len(side) + 1) - 0.5)
            for node, side in sides.items()
            for number, (_, edge) in enumerate(sorted(side), 1)
        }
        for sides in (below, above)
    )
    return {edge: (starts[edge], ends[edge]) for edge in paths}


def _assign_layers(nodes: Sequence[int], edges: Sequence[Edge], back: set[Edge]) -> _Layering:
    """Return the component as fast-sugiyama draws it."""
    if not edges:
        return _Layering(dict.fromkeys(nodes, 0.0), dict.fromkeys(nodes, 0), {})
    number = {node: index for index, node in enumerate(nodes)}
    down = {edge: edge[::-1] if edge in back else edge for edge in edges}
    # Sorted, so that a function always looks the same.
    positions, links = _call_sugiyama(sorted({(number[upper], number[lower]) for upper, lower in down.values()}))
    # Points of edges get numbers that no box has.
    names = {vertex: nodes[vertex] if vertex < len(nodes) else -vertex for vertex in positions}
    highest = max(y for _, y in positions.values())
    following: defaultdict[int, list[int]] = defaultdict(list)
    for upper, lower in links:
        following[names[upper]].append(names[lower])
    found = {(path[0], path[-1]): path for node in nodes for path in _follow_edges(node, following)}
    return _Layering(
        {names[vertex]: round(x, 3) for vertex, (x, _) in positions.items()},
        {names[vertex]: round(highest - y) for vertex, (_, y) in positions.items()},
        {edge: found[down[edge]] for edge in edges},
    )


def _follow_edges(node: int, following: Mapping[int, Sequence[int]]) -> Iterator[list[int]]:
    """Yield the vertices of each edge from a box down to the next one."""
    for vertex in following.get(node, ()):
        path = [node, vertex]
        while path[-1] < 0:
            path += following[path[-1]]
        yield path


def _call_sugiyama(edges: list[Edge]) -> tuple[dict[int, Point], list[Edge]]:
    """Return x and y of all vertices, y growing upwards by 1 a layer; and the edges, cut where they pass a layer."""
    try:
        from fast_sugiyama import from_edges  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtraError.of("notebook", "Drawing a control-flow graph") from error
    swapping = len(edges) <= _MAX_SWAPPED
    ((positions, _, _, links),) = from_edges(
        edges,
        vertex_spacing=1,
        dummy_size=_LANE,
        crossing_minimization="barycenter" if swapping else "median",
        transpose=swapping,
    )
    return (
        {int(vertex): (float(x), float(y)) for vertex, (x, y) in positions},
        [(int(upper), int(lower)) for upper, lower in links or ()],
    )
