"""JSON from strangers, read strictly: whatever is wrong with it is an InvalidInputError that names the place."""

import codecs
import json
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
    """Return JSON without white space; a byte order mark before it is dropped.

    Raises:
        InvalidInputError: It is no JSON, or too long for a report.
    """
    # Which some editors and shells put before UTF-8.
    data = data.removeprefix(codecs.BOM_UTF8)
    if len(data) > limits.MAX_REPORT:
        raise InvalidInputError.in_report("$", f"is longer than {limits.MAX_REPORT} bytes")
    try:
        return msgspec.json.format(data, indent=-1)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError.in_report("$", f"is not JSON: {error}") from error


def typed(parse: Callable[[_Data], _T], data: _Data, path: str) -> _T:
    """`parse(data)`; what msgspec finds wrong stands at `path` or below."""
    try:
        return parse(data)
    except (ValueError, RecursionError) as error:
        rule, _, place = str(error).partition(" - at `$")
        place = path + place.rstrip("`")
        missing = _MISSING.match(rule)
        if missing:
            raise InvalidInputError.in_report(f"{place}.{missing[1]}", "is missing") from error
        raise InvalidInputError.in_report(place, rule) from error


def members(data: bytes | Raw, path: str) -> dict[str, Raw]:
    """The members of a JSON object, not parsed any further; a key that stands twice is an error."""
    found = typed(_parse_members, data, path)
    # `{"key":value,…}`: escapes in a key, or a second one like it, make the text longer than its members are.
    length = 1 + sum(len(key.encode()) + len(memoryview(value)) + 4 for key, value in found.items())
    if len(memoryview(data)) > max(length, 2):
        _refuse_duplicates_slowly(bytes(data), path)
    return found


def refuse_duplicates(data: bytes, path: str) -> None:
    """Parse `data` and write it again: where a key stands twice, the first is lost, and the bytes differ."""
    value = typed(_parse, data, path)
    if not limits.is_shallow(data) and limits.json_fault(value):
        raise InvalidInputError.in_report(path, f"is nested more than {limits.MAX_JSON_DEPTH} deep")
    if _unparse(value) != data:
        # The other reasons to differ are harmless: escapes, `1.0e5`, `-0`.
        _refuse_duplicates_slowly(data, path)


def _refuse_duplicates_slowly(data: bytes, path: str) -> None:
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
