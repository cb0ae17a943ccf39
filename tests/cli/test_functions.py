"""The commands about functions."""

from pathlib import Path

from sampledb import SampleDB
from tests.cli.consoles import answered, run


def test_a_function_is_found_by_an_address_in_it(filled_path: Path, filled: SampleDB) -> None:
    function = filled.get_function(1, 5)
    last = max(each[0] for block in (function.disassembly or {})["blocks"].values() for each in block)
    assert answered("function", filled_path, 1, hex(last)) == filled.find_function(1, last).to_dict()


def test_a_control_flow_graph_goes_to_graphviz(filled_path: Path) -> None:
    printed = run("function", filled_path, 1, 5, "--dot").output
    assert printed.startswith("digraph")
    assert answered("function", filled_path, 1, 5, "--dot").strip() == printed.strip()


def test_what_a_function_calls_stands_beside_the_call(filled_path: Path, filled: SampleDB) -> None:
    sample = next(each for each in filled.iter_samples() if each.name == "t32.exe")
    function = next(each for each in filled.iter_functions(sample.sample_id, disassembly=True) if each.comments)
    listing = run("function", filled_path, sample.sample_id, function.function_id).output
    assert all(f"; {name}" in listing for name in function.comments.values())
