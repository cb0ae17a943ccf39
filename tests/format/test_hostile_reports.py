"""Whatever is given as a report is refused, and nothing is stored, or comes back equal."""

import json
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sampledb
from sampledb import InvalidInputError, SampleDB
from tests.conftest import Record
from tests.markers import mostly_slow
from tests.strategies import function, instruction, report

Parsed = dict[str, dict[str, Any]]

# Functions of each real report that are changed: what more would show, the first ones show sooner.
FUNCTIONS = 6
# Reports, in the long run.
SWEPT = 3000
# Seconds for a megabyte of any report on a slow machine. What takes longer is not in proportion to it.
TIME = 15.0

# What JSON may hold where SMDA writes something else.
ODD_VALUES: list[Any] = [
    *(None, True, False, 0, -1, 2**63, 2**64, -(2**70), 10**1300, 0.5, -0.0, 1e308),
    *("", "\0", "\ud800", "x\udfffx", "\u202eexe.scr", "\U0010ffff" * 40, "a" * 5000, "[" * 300, "4198400", "NaN"),
    *([], {}, [[]], [0] * 300, {"": 0}, {"4096": []}, [[4096, "90", "nop", ""]]),
]
TOKENS = [b'"', b"\\", b"{", b"]", b",", b"e9", b"\\ud800", b"\xff", b"\\u0000", b" ", b"-0", b"null"]
ODD_KEYS = ["", "0", "-1", "00", "1e3", "18446744073709551616", "offset", "xcfg", "\0", "\ud800", "é"]


@pytest.fixture(scope="module")
def memory() -> Iterator[SampleDB]:
    with sampledb.open(":memory:") as db:
        db.add_sample(report(function(4096), seed="here before"))
        yield db


@pytest.fixture(scope="module")
def small(parsed: Parsed) -> list[dict[str, Any]]:
    """Return real reports with a few functions each."""
    return [whole | {"xcfg": dict(list(_functions(whole).items())[:FUNCTIONS])} for whole in parsed.values()]


def _functions(whole: dict[str, Any]) -> dict[str, Any]:
    return dict(whole["xcfg"])


def refused_or_equal(db: SampleDB, data: bytes) -> bool:
    """Return whether the store took the JSON, and check that it holds what the JSON means, or nothing new."""
    before = db.stats()
    try:
        sample = db.add_sample(data)
    except InvalidInputError as error:
        json.dumps(error.to_dict())
        assert db.stats() == before
        return False
    assert db.get_report(sample.sample_id) == json.loads(data)
    assert db.check(deep=True) == []
    assert db.delete_sample(sample.sample_id)
    return True


def changed(value: Any, chance: random.Random) -> Any:
    """Return a copy of a JSON value with one change somewhere."""
    if not isinstance(value, dict | list) or not value or chance.random() < 0.1:
        return _another(value, chance)
    copy = value.copy()
    place: Any = chance.choice(list(copy)) if isinstance(copy, dict) else chance.randrange(len(copy))
    if chance.random() < 0.75:
        copy[place] = changed(copy[place], chance)
    elif isinstance(copy, dict):
        _change_keys(copy, place, chance)
    else:
        copy[place : place + chance.randrange(3)] = copy[:place][-chance.randrange(1, 4) :]
    return copy


def _change_keys(copy: dict[str, Any], place: str, chance: random.Random) -> None:
    how = chance.randrange(4)
    if how == 0:
        del copy[place]
    elif how == 1:
        copy[chance.choice(ODD_KEYS)] = copy.pop(place)
    elif how == 2:
        copy[chance.choice(list(copy))] = copy[place]
    else:
        copy[chance.choice(ODD_KEYS)] = chance.choice(ODD_VALUES)


def _another(value: Any, chance: random.Random) -> Any:
    how = chance.randrange(4)
    if how == 0 and isinstance(value, int | float):
        return chance.choice([value + 1, -value, value * 2**40, str(value), float(value % 2**60)])
    if how == 0 and isinstance(value, str):
        return chance.choice([value[:-1], value + value, value.upper(), value + "\n", value + "\1"])
    if how == 1:
        return _nested(value, chance.choice([1, 150, 199, 205, 5000]), chance)
    return chance.choice(ODD_VALUES)


def _nested(value: Any, depth: int, chance: random.Random) -> Any:
    if depth > 500:
        return f"deep:{depth}"
    for _ in range(depth):
        value = [value] if chance.random() < 0.5 else {"a": value}
    return value


def dumped(value: Any) -> bytes:
    return json.dumps(value).replace('"deep:5000"', "[" * 5000 + "]" * 5000).encode()


def spoiled(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """Return JSON with some bytes changed."""
    for _ in range(chance.choice([1, 1, 2, 8])):
        place, length = chance.randrange(len(data) + 1), chance.randrange(40)
        rest = data[place + length :]
        middle = chance.choice(
            [
                bytes(byte ^ (1 << chance.randrange(8)) for byte in data[place : place + length]),
                bytes(chance.randrange(256) for _ in range(chance.randrange(6))),
                data[place : place + length] * chance.randrange(4),
                chance.choice(
                    [b'"', b"\\", b"{", b"]", b",", b"e9", b"\\ud800", b"\xff", b"\\u0000", b" ", b"-0", b"null"]
                ),
                other[place : place + chance.randrange(2000)],
            ]
        )
        data = data[:place] + middle + (rest if chance.random() < 0.95 else b"")
    return data


@given(chance=st.randoms(use_true_random=False))
def test_reports_of_another_shape(memory: SampleDB, small: list[dict[str, Any]], chance: random.Random) -> None:
    whole: Any = chance.choice(small)
    for _ in range(chance.choice([1, 1, 2, 5])):
        whole = changed(whole, chance)
    refused_or_equal(memory, dumped(whole))


@given(chance=st.randoms(use_true_random=False))
def test_reports_of_other_bytes(memory: SampleDB, small: list[dict[str, Any]], chance: random.Random) -> None:
    data, other = (json.dumps(chance.choice(small)).encode() for _ in range(2))
    refused_or_equal(memory, spoiled(data, other, chance))


@pytest.mark.sweep
def test_reports_by_the_thousand(memory: SampleDB, small: list[dict[str, Any]], record: Record) -> None:
    stored = 0
    for seed in range(SWEPT):
        chance = random.Random(seed)  # noqa: S311 - it must be repeatable
        whole, other = chance.choice(small), json.dumps(chance.choice(small)).encode()
        data = dumped(changed(changed(whole, chance), chance)) if seed % 2 else spoiled(dumped(whole), other, chance)
        stored += refused_or_equal(memory, data)
    record("reports changed", {"reports": SWEPT, "stored": stored})


# What could take more than its share


def _with(**fields: Any) -> dict[str, Any]:
    return {**function(4096), **fields}


_COUNT = 20_000
#: About a megabyte each, of what one might not expect by the thousand.
MANY = {
    "functions": lambda: report(*[function(place * 16) for place in range(_COUNT // 5)]),
    "overlapping functions": lambda: report(*[_far(place) for place in range(_COUNT // 8)]),
    "blocks": lambda: report(function(0, {str(place): [instruction(place)] for place in range(_COUNT)})),
    "successors": lambda: report(_with(blockrefs={"4096": [4096] * _COUNT * 5})),
    "references": lambda: report(_with(outrefs={str(place): [] for place in range(_COUNT * 4)})),
    "components": lambda: report(
        _with(metadata=_with()["metadata"] | {"strongly_connected_components": [[]] * _COUNT})
    ),
    "unknown keys": lambda: report(function(0)) | {f"x{place}": place for place in range(_COUNT * 4)},
    "unknown keys of a function": lambda: report(_with(**{f"x{place}": place for place in range(_COUNT * 4)})),
    "brackets in text": lambda: report(_with(stringrefs={"0": "[{" * _COUNT * 20}), other="[[[" * _COUNT * 20),
    "lists": lambda: report(function(0), other=[[]] * _COUNT * 10),
    "large numbers": lambda: report(function(0), other=[10**1200] * (_COUNT // 20)),
    "names of megabytes": lambda: report(*[function(place, function_name="name_" * 200_000) for place in range(2)]),
    "mnemonics": lambda: report(*[_alone(place) for place in range(_COUNT // 8)]),
    "space": lambda: report(function(0), other=" " * 1_000_000),
}


def _far(place: int) -> dict[str, Any]:
    return function(place, {str(start): [instruction(start)] for start in (place, 2**41 + place)})


def _alone(place: int) -> dict[str, Any]:
    return function(place * 16, {str(place * 16): [instruction(place * 16, "90", f"mnemonic{place}")]})


@pytest.mark.parametrize("many", mostly_slow(MANY, {"functions", "references", "large numbers"}))
def test_what_there_is_much_of_takes_time_in_proportion(memory: SampleDB, many: str) -> None:
    data = json.dumps(MANY[many]()).encode()
    begun = time.monotonic()
    sample = memory.add_sample(data)
    with pytest.raises(sampledb.NotFoundError):
        memory.find_function(sample.sample_id, 2**40)
    memory.search("name")
    assert memory.get_report(sample.sample_id) == json.loads(data)
    assert memory.delete_sample(sample.sample_id)
    assert time.monotonic() - begun < TIME * max(len(data) / 1e6, 1)


#: What is refused, before it takes the memory that it would as Python objects, and the place it is refused at.
TOO_MUCH: dict[str, dict[str, Any]] = {
    "$.statistics": {"statistics": {"a": "x" * (1 << 20)}},
    "$": {"other": [0] * (1 << 24)},
}


@pytest.mark.parametrize("path", mostly_slow(TOO_MUCH, {"$.statistics"}))
def test_too_much_is_refused_where_it_is(memory: SampleDB, path: str) -> None:
    before = memory.stats()
    with pytest.raises(InvalidInputError) as raised:
        memory.add_sample(report(function(0), **TOO_MUCH[path]))
    assert raised.value.details["path"] == path
    assert memory.stats() == before
