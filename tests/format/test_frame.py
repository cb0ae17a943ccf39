"""Frames give back every function, and refuse everything else."""

import gc
import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sampledb.format import smda
from sampledb.format.decoder import count_functions, decode_frame
from sampledb.format.encoder import encode_frame, split_into_frames
from sampledb.format.frame import FUNCTIONS, JSON_BYTES, Frame, FrameError, Row, pause_garbage_collection
from tests import strategies
from tests.markers import every_platform
from tests.strategies import function, instruction

Parsed = dict[str, dict[str, Any]]


def compact(functions: list[dict[str, Any]]) -> list[bytes]:
    return [json.dumps(each, separators=(",", ":")).encode() for each in functions]


def framed(functions: list[dict[str, Any]]) -> tuple[bytes, list[Row], int]:
    """Return the frame of functions, their rows, and how many of them are regular."""
    texts = compact(functions)
    content, shapes = encode_frame([smda.parse_function(text) for text in texts], texts)
    rows = []
    for each in functions:
        metadata = each["metadata"]
        rows.append(Row(each["offset"], metadata["function_name"], metadata["binweight"], metadata.get("pic_hash")))
    return content, rows, sum(shape is not None for shape in shapes)


def smda_function(offset: int = 4096, **changes: Any) -> dict[str, Any]:
    """Return a function with everything that SMDA 5 writes."""
    blocks = {
        str(offset): [instruction(offset, "7402", "je", hex(offset + 4))],
        str(offset + 2): [instruction(offset + 2, "9090", "nop")],
        str(offset + 4): [
            instruction(offset + 4, "e8fbffffff", "call", hex(offset + 4)),
            instruction(offset + 9, "c3"),
        ],
    }
    made = function(offset, blocks, strongly_connected_components=[[offset], [offset + 2, offset + 4]], nesting_depth=1)
    made.update(stringrefs={}, is_exported=True, architecture_metadata={}, inrefs=[1, offset, 2**63])
    made["blockrefs"] = {str(offset): [offset + 2, offset + 4], str(offset + 2): [offset + 4], str(offset + 4): []}
    made["outrefs"] = {str(offset + 4): [offset + 4], str(offset + 9): [0, 2**63]}
    made["apirefs"] = {str(offset + 4): "kernel32.dll!Sleep"}
    made.update(changes)
    return made


@every_platform
def test_real_functions_are_regular_and_come_back(parsed: Parsed) -> None:
    for smda_report in parsed.values():
        functions = list(smda_report["xcfg"].values())
        for start in range(0, len(functions), FUNCTIONS):
            chunk = functions[start : start + FUNCTIONS]
            content, rows, regular = framed(chunk)
            # Some functions of .NET refer to blocks that SMDA has left out.
            assert regular == len(chunk) or smda_report["architecture"] == "cil"
            assert decode_frame(content, rows) == chunk
            assert [decode_frame(content, rows[place : place + 1], place)[0] for place in range(len(rows))] == chunk


@given(st.lists(strategies.functions() | strategies.addresses.map(smda_function), min_size=1, max_size=16))
@example([smda_function(2**63 - 2), function(0), smda_function(0)])
def test_any_functions_come_back_alone_and_together(functions: list[dict[str, Any]]) -> None:
    content, rows, _ = framed(functions)
    assert count_functions(content) == len(functions)
    assert decode_frame(content, rows) == functions
    for place in range(len(rows)):
        assert decode_frame(content, rows[place:], place) == functions[place:]
        assert decode_frame(content, rows[place : place + 1], place) == [functions[place]]


def jump(operands: str, successors: list[int]) -> dict[str, Any]:
    """Return a function whose first block ends with a jump and has these successors."""
    blocks = {
        "4096": [instruction(4096), instruction(4097, "7401", "je", operands)],
        "4099": [instruction(4099)],
        "4100": [instruction(4100)],
    }
    return smda_function(
        blocks=blocks,
        blockrefs={"4096": successors, "4099": [], "4100": []},
        outrefs={"4097": [4100]},
        metadata={**smda_function()["metadata"], "strongly_connected_components": []},
    )


@pytest.mark.parametrize(
    "operands", ["-0x1", "0x1004", "#0x1004", "x16, #0x1004", "0x1003", "0X1004", "0x01004", "0x", "", "0x5"]
)
@pytest.mark.parametrize("successors", [[], [4100], [4099, 4100], [4100, 4099], [4100, 4100]])
def test_jumps_come_back_however_their_targets_are_spelled(operands: str, successors: list[int]) -> None:
    functions = [jump(operands, successors)]
    content, rows, regular = framed(functions)
    assert regular == 1
    assert decode_frame(content, rows) == functions


@pytest.mark.parametrize("operands", ["0x1004", "#0x1004", "-0x1004", "0x0x1004", "x0, 0x1004", "0x01004", "0x4"])
@pytest.mark.parametrize("targets", [[], [4100], [4, 4100], [4097], [2**62], [2**64], [0, 1], [-4100]])
def test_targets_of_references_come_back_however_they_are_spelled(operands: str, targets: list[int]) -> None:
    functions = [smda_function(1), jump(operands, []) | {"outrefs": {"4097": targets, "4099": [4099, 4100]}}]
    content, rows, regular = framed(functions)
    assert regular == 2 - any(not 0 <= target < 2**64 for target in targets)
    assert decode_frame(content, rows) == functions
    assert decode_frame(content, rows[1:], 1) == functions[1:]


def test_a_target_that_a_successor_names_is_not_stored() -> None:
    named, other = framed([jump("x16, #0x1004", [4099, 4100])])[0], framed([jump("x16, #0x1004", [4099])])[0]
    assert b"0x1004" not in named
    assert b"0x1004" in other


def test_a_usual_function_is_regular() -> None:
    assert framed([smda_function(), smda_function(2**62), smda_function(0)])[2] == 3


# By name: a function that columns cannot hold, and that must be kept whole.
ODD: dict[str, dict[str, Any]] = {
    "no blocks": smda_function(blocks={}, blockrefs={}),
    "an empty block": smda_function(blocks={"4096": []}, blockrefs={"4096": []}),
    "a gap between instructions": smda_function(
        blocks={"4096": [instruction(4096), instruction(4099)]}, blockrefs={"4096": []}
    ),
    "a key that is not where the block begins": smda_function(
        blocks={"4096": [instruction(4097)]}, blockrefs={"4096": []}
    ),
    "addresses below 0": function(4096, {"-4": [instruction(-4)]}),
    "code of two lines": smda_function(blocks={"4096": [instruction(4096, "90\n9")]}, blockrefs={"4096": []}),
    "code of 128 bytes": smda_function(blocks={"4096": [instruction(4096, "90" * 128)]}, blockrefs={"4096": []}),
    "operands of two lines": smda_function(
        blocks={"4096": [instruction(4096, "90", "a", "b\nc")]}, blockrefs={"4096": []}
    ),
    "operands with NUL": smda_function(blocks={"4096": [instruction(4096, "90", "a", "\0")]}, blockrefs={"4096": []}),
    "operands with a control character": smda_function(
        blocks={"4096": [instruction(4096, "90", "a", "\1")]}, blockrefs={"4096": []}
    ),
    "an instruction of five": smda_function(blocks={"4096": [[4096, "90", "a", "", 5]]}, blockrefs={"4096": []}),
    "an unknown key": smda_function(unknown=None),
    "a missing successor list": smda_function(blockrefs={}),
    "a successor that is no block": smda_function(blockrefs={"4096": [1], "4098": [], "4100": []}),
    "a reference spelled with a zero": smda_function(outrefs={"04100": [1]}),
    "a reference spelled with a sign": smda_function(0, outrefs={"-0": [1]}),
    "a reference far away": smda_function(outrefs={"4100": [2**65]}),
    "a reference beyond": smda_function(inrefs=[-(2**64)]),
    "a reference from no instruction": smda_function(outrefs={"4097": [1]}),
    "a name used by no instruction": smda_function(apirefs={"4097": "a"}),
    "a reference below nothing": smda_function(outrefs={"4100": [-(4100)]}),
    "a component that is no block": function(4096, strongly_connected_components=[[4097]]),
    "a name of two lines": smda_function(apirefs={"4100": "a\nb"}),
    "apirefs that are a list": smda_function(apirefs={"4100": ["dll", "api"]}),
    "an integer that floats cannot hold": function(4096, tfidf=2**53 + 1),
    "the first such integer": function(4096, tfidf=-(2**53)),
    "text for a number": function(4096, confidence="high"),
    "no nesting depth": function(4096, nesting_depth=None),
}


@pytest.mark.parametrize("name", ODD)
def test_what_columns_cannot_hold_is_kept_whole_beside_what_they_can(name: str) -> None:
    functions = [smda_function(1), ODD[name], smda_function(9)]
    content, rows, regular = framed(functions)
    assert regular == 2
    assert decode_frame(content, rows) == functions
    assert json.dumps(decode_frame(content, rows[1:2], 1)[0]) == json.dumps(functions[1])


def test_a_zero_with_a_sign_is_kept_whole() -> None:
    content, _, regular = framed([smda_function(1), function(4096, binweight=-0.0)])
    assert regular == 1
    assert count_functions(content) == 2


def test_functions_too_far_apart_for_one_frame_are_kept_whole() -> None:
    functions = [function(2**63 + 8192), function(4096)]
    content, rows, regular = framed(functions)
    assert decode_frame(content, rows) == functions
    assert regular == 0
    assert framed(functions[::-1])[2] == 2


@pytest.mark.parametrize("key", ["stringrefs", "is_exported", "architecture_metadata"])
def test_a_key_that_is_missing_stays_missing(key: str) -> None:
    lacking = smda_function()
    del lacking[key]
    del lacking["metadata"]["pic_hash"]
    assert framed([lacking, lacking])[2] == 2
    for functions in ([lacking, lacking], [smda_function(), lacking]):
        content, rows, _ = framed(functions)
        assert decode_frame(content, rows) == functions


def test_strings_and_architecture_metadata_come_back() -> None:
    strings = [{"string": "é\n", "ins_addr": 4100, "data_addr": None, "type": "a"}]
    functions = [smda_function(stringrefs={"4100": "text"}, architecture_metadata={"thumb": True})]
    functions += [smda_function(stringrefs=strings), smda_function()]
    content, rows, regular = framed(functions)
    assert decode_frame(content, rows) == functions
    # The escape of `é` would be written differently, so that function is kept as it was.
    assert regular == 2


def test_rows_that_are_not_those_of_the_frame_are_refused() -> None:
    content, rows, _ = framed([smda_function(1), smda_function(9)])
    with pytest.raises(FrameError, match="changed"):
        decode_frame(content, rows[::-1])
    with pytest.raises(FrameError, match="ends before"):
        decode_frame(content, rows, 1)


def test_a_block_without_instructions_is_refused() -> None:
    content, rows, _ = framed([smda_function(1)])
    columns = dict(zip(Frame.__struct_fields__, msgspec.msgpack.decode(content), strict=True))
    assert columns["num_instructions"] == b"\1\1\2"
    for forged in (b"\0\2\2", [0, 2, 2]):
        changed = columns | {"num_instructions": forged}
        with pytest.raises(FrameError, match="as the counts say"):
            decode_frame(msgspec.msgpack.encode(list(changed.values())), rows)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_frame_are_refused(data: bytes) -> None:
    with pytest.raises(FrameError):
        decode_frame(data, [Row(0, "", 0.0, None)])


@given(st.data())
def test_a_forged_frame_is_refused_or_gives_dicts(data: st.DataObject) -> None:
    content, rows, _ = framed([smda_function(1), ODD["an unknown key"], smda_function(9)])
    forged = msgspec.msgpack.decode(content)
    field = data.draw(st.integers(0, len(forged) - 1))
    forged[field] = data.draw(_damaged(forged[field]))
    try:
        found = decode_frame(msgspec.msgpack.encode(forged), rows[:1])
    except FrameError:
        return
    assert all(isinstance(each, dict) for each in found)


def _damaged(column: Any) -> st.SearchStrategy[Any]:
    """Return a changed column: shorter, longer, with other numbers, or of another type."""
    numbers = st.integers(-(2**63), 2**64 - 1) | st.integers(-3, 300)
    like: st.SearchStrategy[Any] = st.none() | numbers
    if isinstance(column, bytes):
        like |= st.binary(max_size=len(column) + 3)
    elif isinstance(column, str):
        like |= st.text("\0\nab", max_size=len(column) + 3)
    elif isinstance(column, list):
        inner = numbers | st.binary(max_size=5) | st.lists(numbers, max_size=5)
        like |= st.lists(inner, max_size=5) | st.permutations(column) | st.just(column[:-1])
    return like


@given(st.lists(st.integers(1, 3 * JSON_BYTES // 2), max_size=60))
def test_frames_take_all_functions_in_order_and_stay_small(sizes: list[int]) -> None:
    ranges = list(split_into_frames(sizes))
    assert [index for start, end in ranges for index in range(start, end)] == list(range(len(sizes)))
    for start, end in ranges:
        assert 1 <= end - start <= FUNCTIONS
        assert end - start == 1 or sum(sizes[start:end]) <= JSON_BYTES


def test_the_collector_runs_on_after_a_pause_and_keeps_what_is_frozen() -> None:
    made: list[list[int]] = []
    with pause_garbage_collection():
        assert not gc.isenabled()
        made.append([])
    assert gc.isenabled()
    assert any(each is made[0] for each in gc.get_objects(generation=2))
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        with pause_garbage_collection():
            pass
        assert gc.get_freeze_count() == frozen
    finally:
        gc.unfreeze()


def test_a_collector_that_is_off_stays_off() -> None:
    gc.disable()
    try:
        with pause_garbage_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
