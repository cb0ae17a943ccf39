"""Each rule holds on every way in, and a violation changes nothing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sampledb
from sampledb import InvalidInputError, SampleDB, limits
from tests import strategies


@pytest.fixture(scope="module")
def memory() -> SampleDB:
    db = sampledb.open(":memory:")
    db.add_sample(strategies.report(strategies.function(4096)))
    return db


@pytest.mark.parametrize(("field", "value"), strategies.BROKEN_VALUES)
def test_a_broken_rule_names_field_rule_and_value(memory: SampleDB, field: str, value: Any) -> None:
    before = memory.get_sample(1)
    changes = {"name": "changed", "notes": "changed", field: value}
    with pytest.raises(InvalidInputError) as raised:
        memory.update_sample(1, **changes)
    assert raised.value.details["field"] == field.removesuffix("_name")
    assert {"rule", "value"} <= raised.value.details.keys()
    assert memory.get_sample(1) == before


@given(strategies.families, strategies.labels, strategies.tag_lists, st.none() | strategies.notes)
def test_valid_values_are_stored_as_they_are(
    memory: SampleDB, family: str, version: str, tags: list[str], notes: str | None
) -> None:
    sample = memory.update_sample(1, family_name=family, version=version, tags=tags, notes=notes)
    assert (sample.family, sample.version, sample.tags, sample.notes) == (family, version, tuple(tags), notes)
    assert memory.get_sample(1) == sample


@given(strategies.json_objects)
def test_media_info_is_any_json_object(memory: SampleDB, media_info: dict[str, Any]) -> None:
    assert memory.update_sample(1, media_info=media_info).media_info == media_info


def test_media_info_may_not_be_nested_deeper_than_sqlite_reads() -> None:
    def nested(depth: int) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for _ in range(depth - 1):
            value = {"a": value}
        return value

    assert limits.json_object("media_info", nested(limits.MAX_JSON_DEPTH))
    with pytest.raises(InvalidInputError, match="deep"):
        limits.json_object("media_info", nested(limits.MAX_JSON_DEPTH + 1))


@pytest.mark.parametrize("value", ["", "ab", "g" * 64, "a" * 63, "a" * 65, "a" * 64 + "\n", None, 5, b"a" * 64])
def test_a_sha256_is_64_hex_digits(memory: SampleDB, value: Any) -> None:
    with pytest.raises(InvalidInputError, match="64 hex digits"):
        memory.get_sample_by_sha256(value)


@pytest.mark.parametrize("value", [0, -1, True, 1.0, "1", None])
def test_an_id_is_an_integer_from_1(memory: SampleDB, value: Any) -> None:
    for call in (memory.get_sample, memory.delete_sample, memory.list_functions, memory.get_report):
        with pytest.raises(InvalidInputError, match="sample_id must be"):
            call(value)
    with pytest.raises(InvalidInputError, match="function_id must be"):
        memory.get_function(1, value)


@pytest.mark.parametrize("value", [2**63, 2**64, 2**200, pytest.param(10**5000, id="10**5000")])
def test_an_id_too_large_for_sqlite_is_not_found(memory: SampleDB, value: int) -> None:
    with pytest.raises(sampledb.NotFoundError):
        memory.get_sample(value)
    with pytest.raises(sampledb.NotFoundError):
        memory.get_function(1, value)
    assert memory.delete_sample(value) is False


@pytest.mark.parametrize("value", [-1, True, 1.5, "1", None])
def test_positions_are_integers_from_0(memory: SampleDB, value: Any) -> None:
    for arguments in ({"start": value}, {"limit": value}):
        with pytest.raises(InvalidInputError):
            memory.list_samples(**arguments)
        with pytest.raises(InvalidInputError):
            memory.list_functions(1, **arguments)


@pytest.mark.parametrize("value", [-1, 2**64, "4096", "0x", "0x1_0", "0x10\n", "0x" + "1" * 17, 1.0, True, None])
def test_an_address_is_64_bits_as_integer_or_hex(memory: SampleDB, value: Any) -> None:
    with pytest.raises(InvalidInputError, match="address must be"):
        memory.find_function(1, value)


def test_an_address_may_be_hex_text(memory: SampleDB) -> None:
    assert memory.find_function(1, "0x1000") == memory.find_function(1, 4096)


@pytest.mark.parametrize("value", ["", "x" * 65, "a\nb", None, 5])
def test_a_username_is_1_to_64_printable_characters(memory: SampleDB, value: Any) -> None:
    with pytest.raises(InvalidInputError, match="username must be"):
        memory.add_sample(strategies.report(seed="b"), username=value)
    with pytest.raises(InvalidInputError, match="username must be"):
        memory.add_media(sha256="0" * 64, username=value)


@pytest.mark.parametrize(
    ("file_name", "extension"),
    [
        ("a.EXE", "exe"),
        ("a.tar.gz", "gz"),
        ("a", ""),
        (".profile", ""),
        ("a.", ""),
        ("a.b c", ""),
        ("a.toolongtoo1", ""),
    ],
)
def test_the_extension_of_a_name(file_name: str, extension: str) -> None:
    assert limits.extension_of(file_name) == extension


@pytest.mark.parametrize("value", [-1, 86401, float("nan"), "1", True, None])
def test_a_timeout_is_seconds_up_to_a_day(value: Any) -> None:
    with pytest.raises(InvalidInputError, match="timeout must be"):
        sampledb.open(":memory:", timeout=value)
