"""Control-flow graphs: real functions are drawn whole, and nothing in a hostile one leaves its box."""

import re
import sys
from collections import Counter
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampledb import Function, FunctionId, InvalidInputError, MissingExtraError, SampleDB, SampleId
from sampledb.render.comparison import mark_blocks
from sampledb.render.graph import MAX_BLOCKS, read_graph, write_dot
from sampledb.render.layout import place_boxes
from sampledb.render.notebook import render_disassembly
from sampledb.render.svg import MAX_EDGES, draw_graph
from tests import strategies
from tests.markers import every_platform
from tests.strategies import U64, instruction

SVG = "{http://www.w3.org/2000/svg}"
INJECTIONS = [
    '"];evil[label="',
    "</text><script>",
    "<!--",
    "]]>",
    "\\",
    '\\"',
    "&lt;",
    "\x1b[31m",
    "\u202e",
    "\0",
    "\ud800",
]

nodes = st.integers(0, 12)
edge_lists = st.lists(st.tuples(nodes, nodes), max_size=30)
hostile_texts = st.sampled_from(INJECTIONS) | st.text()
hostile_instructions = st.tuples(st.integers(), hostile_texts, hostile_texts, hostile_texts).map(list)
hostile_functions = st.fixed_dictionaries(
    {
        "blocks": st.dictionaries(
            st.integers(-1, 20).map(str), st.lists(hostile_instructions, max_size=15), max_size=12
        ),
        "blockrefs": st.dictionaries(
            st.integers(-1, 20).map(str), st.lists(st.integers(-2, 22), max_size=8), max_size=20
        ),
        "apirefs": st.dictionaries(st.integers(-1, 20).map(str), hostile_texts),
        "stringrefs": st.lists(st.fixed_dictionaries({"string": hostile_texts, "ins_addr": st.integers(-1, 20)})),
    }
)


def function(edges: list[tuple[int, int]], count: int = 13) -> dict[str, Any]:
    """A function of one-instruction blocks, numbered from 0, and these edges."""
    refs = {str(node): [target for source, target in edges if source == node] for node in range(count)}
    return {"blocks": {str(node): [instruction(node)] for node in range(count)}, "blockrefs": refs}


def draw_svg(function: object) -> str:
    return draw_graph(read_graph(function))


def boxes(svg: str) -> list[tuple[float, float, float, float]]:
    """Left, top, right, bottom of each block."""
    found = [rect.attrib for rect in ET.fromstring(svg).iter(f"{SVG}rect") if rect.get("stroke")]  # noqa: S314 - ours
    corners = [[float(rect[name]) for name in ("x", "y", "width", "height")] for rect in found]
    return [(x, y, x + width, y + height) for x, y, width, height in corners]


def colours(svg: str) -> Counter[str]:
    return Counter(path.attrib["stroke"] for path in ET.fromstring(svg).iter(f"{SVG}path"))  # noqa: S314 - ours


def overlaps(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def statements(dot: str) -> list[str]:
    """DOT's lines, texts between quotes taken out; every quote that is not escaped must close."""
    return re.sub(r'"(?:[^"\\\n]|\\.)*"', "TEXT", dot).splitlines()


@every_platform
def test_every_real_function_has_a_box_for_each_block_and_an_arrow_for_each_edge(filled: SampleDB) -> None:
    for sample in filled.list_samples().values():
        for each in list(filled.list_functions(sample.sample_id, limit=40, disassembly=True).values()):
            graph, svg = read_graph(each.disassembly), each.to_svg()
            assert len(boxes(svg)) == each.num_blocks == len(graph.blocks) < MAX_BLOCKS
            assert (
                colours(svg).total()
                == len(graph.edges)
                == sum(map(len, (each.disassembly or {})["blockrefs"].values()))
            )


@every_platform
def test_real_branches_are_known_in_every_architecture_that_has_them(parsed: dict[str, dict[str, Any]]) -> None:
    for kind, report in parsed.items():
        edges = [edge for function in report["xcfg"].values() for edge in read_graph(function).edges]
        found = Counter(edge.kind for edge in edges)
        assert found["taken"] == found["fallthrough"] > 10, kind


def test_a_branch_is_green_where_it_is_taken_and_red_where_not() -> None:
    blocks = {"0": [instruction(0, "7405", "je", "7")], "2": [instruction(2)], "7": [instruction(7, "c3", "ret")]}
    graph = read_graph({"blocks": blocks, "blockrefs": {"0": [7, 2], "2": [7]}})
    assert [(edge.source, edge.target, edge.kind) for edge in graph.edges] == [
        (0, 2, "taken"),
        (0, 1, "fallthrough"),
        (1, 2, "always"),
    ]


def test_the_entry_comes_first_then_blocks_in_address_order_and_successors_elsewhere_are_left_out() -> None:
    function = {"blocks": {"100": [], "20": []}, "blockrefs": {"100": [20, 20, 5], "5": [20]}}
    for offset, order, edge in ((100, [100, 20], (0, 1)), (20, [20, 100], (1, 0)), ("?", [20, 100], (1, 0))):
        graph = read_graph({"offset": offset, **function})
        assert [address for address, _ in graph.blocks] == order
        assert [(each.source, each.target) for each in graph.edges] == [edge]


@pytest.mark.parametrize("strings", [{"1": "a < b"}, [{"string": "a < b", "ins_addr": 1, "data_addr": 9}]])
def test_apis_and_strings_stand_beside_the_instructions_that_refer_to_them(strings: Any) -> None:
    made = function([(0, 1)], 3)
    made |= {"apirefs": {"0": "kernel32.dll!CreateFileA", "1": "x" * 1000}, "stringrefs": strings}
    made |= {"outrefs": {"2": [0x50]}}
    shown = Function(FunctionId(1), SampleId(1), 0, "", 3, 3, 0.0, None, made)
    assert shown.comments == {0: "kernel32.dll!CreateFileA", 1: "x" * 1000 + ', "a < b"'}
    drawn, html = shown.to_svg(), shown._repr_html_()
    assert all("  nop  ; kernel32.dll!CreateFileA" in each for each in (drawn, shown.to_dot(), html))
    names = {0x50: "rc4_init", 0: "never called"}
    assert all("0x2  nop  ; rc4_init" in each for each in (shown.to_svg(names=names), shown.to_dot(names=names)))
    made["apirefs"].pop("1")
    assert "0x1  nop  ; &quot;a &lt; b&quot;" in shown.to_svg()
    assert r"0x1  nop  ; \"a < b\"\l" in shown.to_dot()
    assert max(right - left for left, _, right, _ in boxes(drawn)) < 800
    assert 'class="jp-mod-unconfined"' in drawn


def test_two_functions_are_compared_block_by_block_whatever_their_addresses() -> None:
    def code(base: int, *operands: str) -> dict[str, Any]:
        texts = ["push rbp", *operands, f"call {base + 0x2000:#x}", f"lea rax, [rip + {base:#x}]"]
        blocks = {
            str(base + number): [instruction(base + number, "90", *text.split(" ", 1))]
            for number, text in enumerate(texts)
        }
        return {"blocks": blocks, "blockrefs": {}}

    def marks(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
        return list(mark_blocks(read_graph(one), read_graph(other)).marks)

    one, same = code(0x401000, "xor eax, 0x5c"), code(0x7FFF0000, "xor eax, 0x5c")
    changed, longer = code(0x401000, "xor eax, 0x36"), code(0x401000, "xor eax, 0x5c", "nop")
    assert marks(one, same) == ["same"] * 4
    assert marks(one, changed) == marks(changed, one) == ["same", "changed", "same", "same"]
    assert marks(longer, one) == ["same", "same", "only here", "same", "same"]
    assert marks(one, longer) == ["same"] * 4
    shown = [Function(FunctionId(1), SampleId(1), 0, "", 4, 4, 0.0, None, each) for each in (longer, changed)]
    drawn = shown[0].to_svg(compared_to=shown[1])
    assert [drawn.count(f">{sign}<") for sign in ("= same", "~ changed", "+ only here")] == [3, 2, 0]
    assert len(set(re.findall(r'fill="(#\w+)" stroke="black"', drawn))) == 2


@given(hostile_functions, hostile_functions)
def test_hostile_functions_can_be_compared(one: dict[str, Any], other: dict[str, Any]) -> None:
    svg = draw_graph(mark_blocks(read_graph(one), read_graph(other)))
    assert len(boxes(svg)) == len(one["blocks"])


@given(strategies.functions())
def test_whatever_can_be_stored_can_be_drawn(function: dict[str, Any]) -> None:
    assert len(boxes(draw_svg(function))) == len(function["blocks"])
    assert statements(write_dot(function))[-1] == "}"


@given(hostile_functions)
def test_hostile_functions_stay_in_their_boxes(function: dict[str, Any]) -> None:
    svg = draw_svg(function)
    tags = {element.tag.removeprefix(SVG) for element in ET.fromstring(svg).iter()}  # noqa: S314 - ours
    assert tags <= {"svg", "rect", "text", "path"}
    assert len(boxes(svg)) == len(function["blocks"])
    assert svg.encode()


@given(hostile_functions)
def test_nothing_in_a_function_becomes_a_statement_of_graphviz(function: dict[str, Any]) -> None:
    dot = write_dot(function)
    first, style, *content, last = statements(dot)
    assert (first, style, last) == ("digraph {", "node [shape=box, fontname=TEXT];", "}")
    assert all(re.fullmatch(r"b\d+ (-> b\d+ )?\[(label|color)=TEXT\];", line) for line in content)
    # No escape but those that we write, and no entity of HTML but ours.
    assert not re.search(r"&(?!amp;)", dot)
    assert set(re.findall(r"\\(.)", dot)) <= {"\\", '"', "l"}


@pytest.mark.parametrize(
    "disassembly",
    [
        *[None, 5, [], {}, {"blocks": None}, {"blocks": []}, {"blocks": {"0": 5}}, {"blocks": {"0": [[1]]}}],
        *[{"blocks": {"x": []}}, {"blocks": {5: []}}, {"blocks": {"\ud800": [[]]}}, {"blocks": {"9" * 5000: []}}],
        *[{"blocks": {"0": [["0", "", "", ""]]}}, {"blocks": {}, "blockrefs": {"0": 5}}],
        {"blocks": {}, "blockrefs": {"0": ["0"]}},
    ],
)
def test_what_is_no_function_is_refused_and_said_in_notebooks(disassembly: Any) -> None:
    for call in (draw_svg, write_dot):
        with pytest.raises(InvalidInputError, match="not SMDA's"):
            call(disassembly)
    assert "not SMDA" in render_disassembly(disassembly)


@given(strategies.json_values)
def test_any_json_is_drawn_or_refused(value: Any) -> None:
    for disassembly in (value, {"blocks": value}, {"blocks": {}, "blockrefs": value}, {"blocks": {"0": value}}):
        assert render_disassembly(disassembly)


@given(edge_lists)
def test_boxes_do_not_overlap_and_every_edge_has_an_arrow(edges: list[tuple[int, int]]) -> None:
    svg = draw_svg(function(edges))
    found = boxes(svg)
    assert len(found) == 13
    assert not any(overlaps(one, other) for number, one in enumerate(found) for other in found[:number])
    assert colours(svg).total() == len(set(edges))


@given(edge_lists)
def test_routes_lead_from_source_to_target_around_all_other_boxes(edges: list[tuple[int, int]]) -> None:
    sizes = [(60.0 + 40 * (number % 3), 30.0 + 50 * (number % 4)) for number in range(13)]
    placed = place_boxes(sizes, edges)
    areas = [(x, y, x + width, y + height) for (x, y), (width, height) in zip(placed.boxes, sizes, strict=True)]
    for (source, target), route in placed.routes.items():
        for node, (x, y) in ((source, route[0]), (target, route[-1])):
            left, top, right, bottom = areas[node]
            assert left < x < right
            assert y in (pytest.approx(top), pytest.approx(bottom))
        others = [area for node, area in enumerate(areas) if node not in {source, target}]
        for one, other in pairwise(route):
            low, high = sorted((one[1], other[1]))
            # What is not upright turns between two layers, where there are no boxes.
            assert not any(overlaps((min(one[0], other[0]), low, max(one[0], other[0]), high), area) for area in others)


def test_edges_there_and_back_are_apart() -> None:
    routes = place_boxes([(50.0, 30.0)] * 4, [(0, 1), (1, 2), (2, 3), (0, 3), (3, 0)]).routes
    assert not {*routes[0, 3]} & {*routes[3, 0]}


def test_a_function_always_looks_the_same() -> None:
    edges = [(0, 1), (0, 2), (2, 3), (1, 3), (3, 0), (3, 4), (4, 4), (6, 7), (7, 6)]
    assert draw_svg(function(edges)) == draw_svg(function(edges))


@pytest.mark.parametrize(
    "edges",
    [
        *[[], [(0, 0)], [(node, node) for node in range(200)], [(node, node + 1) for node in range(199)]],
        [(node, (node + 1) % 200) for node in range(200)],
        [(0, node) for node in range(200)] + [(node, 199) for node in range(200)],
        [(one, other) for one in range(20) for other in range(20)],
        [(node, 199 - node) for node in range(200)] + [(node, (7 * node + 3) % 200) for node in range(200)],
    ],
)
def test_graphs_as_large_as_are_drawn_are_drawn(edges: list[tuple[int, int]]) -> None:
    svg = draw_svg(function(edges, MAX_BLOCKS))
    assert len(boxes(svg)) == MAX_BLOCKS
    assert colours(svg).total() == len(set(edges)) <= MAX_EDGES


def test_more_edges_than_can_be_drawn_are_not_drawn_but_counted() -> None:
    svg = draw_svg(function([(one, other) for one in range(21) for other in range(21)], 21))
    assert boxes(svg) == []
    assert "Not drawn: 21 blocks, 441 edges." in svg


def test_what_is_left_out_is_said() -> None:
    large = function([], 1234)
    large["blocks"]["0"] = [instruction(number) for number in range(50)]
    for drawn in (draw_svg(large), write_dot(large)):
        assert "… 1,034 more blocks" in drawn
        assert "… 38 more" in drawn
    assert "… 758 more instructions" in render_disassembly(large)
    assert "No blocks." in draw_svg({"blocks": {}})


def test_long_operands_and_addresses_of_any_size_are_cut() -> None:
    huge = {"blocks": {str(U64): [instruction(1 << 100_000, "90" * 10_000, "nop", "x" * 1_000_000)]}}
    assert len(draw_svg(huge)) < 1000
    assert len(render_disassembly(huge)) < 3000


def test_without_the_extra_the_call_says_so_and_notebooks_show_the_instructions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "fast_sugiyama", None)
    with pytest.raises(MissingExtraError) as caught:
        draw_svg(function([(0, 1)]))
    assert caught.value.details["install"] == "pip install 'sampledb[notebook]'"
    shown = render_disassembly(function([(0, 1)]))
    assert "sampledb[notebook]" in shown
    assert "<svg" not in shown
    assert "<details open>" in shown
    assert "0xc" in shown
    assert write_dot(function([(0, 1)])).startswith("digraph")
