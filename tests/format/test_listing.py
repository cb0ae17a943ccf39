"""Listings hold the text of every instruction, and say where each is."""

import re
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampledb.format.frame import FUNCTIONS, FrameError
from sampledb.format.listing import Listing
from tests import strategies
from tests.format.test_frame import ODD, framed, smda_function
from tests.markers import every_platform
from tests.strategies import function

Parsed = dict[str, dict[str, Any]]


def listed(functions: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Return position, address, code, mnemonic and operands of each instruction, as a listing has them."""
    listing = Listing(framed(functions)[0])
    found = []
    index = 0
    for text in listing.text.split("\0"):
        lines = text.split("\n")
        for fields in zip(lines[0::3], lines[1::3], lines[2::3], strict=False):
            ends = list(accumulate((len(field) + 1 for field in fields), initial=index))
            places = [listing.locate(each) for each in (index, *ends[1:3], ends[3] - 1)]
            assert [place.line for place in places] == [0, 1, 2, 2]
            assert len({place[:3] for place in places}) == 1
            function, distance, *_ = places[0]
            found.append((function, functions[function]["offset"] + distance, *fields))
            index = ends[3]
        index += text == ""
    return sorted(found)


def expected(functions: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted(
        (position, address, *(re.sub("[\n\0]", " ", field) for field in fields[:3]))
        for position, each in enumerate(functions)
        for block in each["blocks"].values()
        for address, *fields in block
    )


def without_targets(instructions: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [(*fields, re.sub("0x[0-9a-f]+$", "", operands)) for *fields, operands in instructions]


@every_platform
def test_a_listing_has_every_instruction_of_real_functions_and_where_it_is(parsed: Parsed) -> None:
    for smda_report in parsed.values():
        functions = list(smda_report["xcfg"].values())[: FUNCTIONS // 2]
        assert without_targets(listed(functions)) == without_targets(expected(functions))


@given(st.lists(strategies.functions() | strategies.addresses.map(smda_function), min_size=1, max_size=6))
def test_a_listing_has_every_instruction_of_any_functions(functions: list[dict[str, Any]]) -> None:
    assert without_targets(listed(functions)) == without_targets(expected(functions))


@pytest.mark.parametrize("name", ODD)
def test_functions_that_are_kept_whole_are_listed_too(name: str) -> None:
    functions = [ODD[name], smda_function(1), ODD[name], function(9), smda_function(20)]
    assert without_targets(listed(functions)) == without_targets(expected(functions))


def test_a_listing_is_made_of_frames_only() -> None:
    for content in (b"", b"\x90", b"\x94\x00\x80\x90\x00"):
        with pytest.raises(FrameError):
            Listing(content)
