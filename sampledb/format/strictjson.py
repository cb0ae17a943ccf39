"""Strict parsing of untrusted JSON: every fault is an InvalidInputError that names the place."""

import codecs
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw

from sampledb import limits
from sampledb.errors import MAX_VALUE, InvalidInputError, shorten

_T = TypeVar("_T")
_Data = TypeVar("_Data")

_parse = msgspec.json.Decoder().decode
_unparse = msgspec.json.Encoder().encode
_parse_members = msgspec.json.Decoder(dict[str, Raw]).decode
_MISSING: Final = re.compile(r"Object missing required field `(\w+)`")


def compact(data: bytes) -> bytes:
    """Return JSON without white space and byte order mark.

    Raises:
        InvalidInputError: It is no JSON, or longer than MAX_REPORT.
    """
    # Some editors and shells put the mark before UTF-8.
    data = data.removeprefix(codecs.BOM_UTF8)
    if len(data) > limits.MAX_REPORT:
        raise InvalidInputError.in_report("$", f"is longer than {limits.MAX_REPORT} bytes")
    try:
        return msgspec.json.format(data, indent=-1)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError.in_report("$", f"is not JSON: {error}") from error


def parse_at(path: str, parse: Callable[[_Data], _T], data: _Data) -> _T:
    """Return `parse(data)`; an error of msgspec's becomes one that names a place at or below `path`."""
    try:
        return parse(data)
    except (ValueError, RecursionError) as error:
        rule, _, place = str(error).partition(" - at `$")
        place = path + place.rstrip("`")
        missing = _MISSING.match(rule)
        if missing:
            raise InvalidInputError.in_report(f"{place}.{missing[1]}", "is missing") from error
        raise InvalidInputError.in_report(place, rule) from error


def parse_members(data: bytes | Raw, path: str) -> dict[str, Raw]:
    """Return the members of a JSON object, themselves not parsed.

    Raises:
        InvalidInputError: It is no object, or a key stands twice.
    """
    members = parse_at(path, _parse_members, data)
    # `{"key":value,…}`: escapes in a key, or a second one like it, make the text longer than its members are.
    length = 1 + sum(len(key.encode()) + len(memoryview(value)) + 4 for key, value in members.items())
    if len(memoryview(data)) > max(length, 2):
        _refuse_duplicates_slowly(bytes(data), path)
    return members


def refuse_duplicates(data: bytes, path: str) -> None:
    """Raise InvalidInputError if a key stands twice anywhere in `data`, or if that is nested too deep.

    Parsing loses the first of two keys, so that the value, written again, differs from `data`.
    """
    value = parse_at(path, _parse, data)
    if not limits.is_shallow(data) and limits.json_fault(value):
        raise InvalidInputError.in_report(path, f"is nested more than {limits.MAX_JSON_DEPTH} deep")
    if _unparse(value) != data:
        # The other reasons to differ are harmless: escapes, `1.0e5`, `-0`.
        _refuse_duplicates_slowly(data, path)


def _refuse_duplicates_slowly(data: bytes, path: str) -> None:
    import json  # noqa: PLC0415 - few reports need it

    def refuse(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise InvalidInputError.in_report(path, f"holds the key {json.dumps(shorten(key, MAX_VALUE))} twice")
            seen.add(key)

    try:
        json.loads(data, object_pairs_hook=refuse)
    except InvalidInputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidInputError.in_report(path, f"cannot be read: {error}") from error
