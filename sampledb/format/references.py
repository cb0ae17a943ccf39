"""Collect the APIs and strings that functions refer to, in all shapes that reports have.

SMDA writes `apirefs` as `{address: name}`. Its `stringrefs` are `{}` unless it collects strings, then a list of
`{"string", "ins_addr", "data_addr", "type"}`; older ones are `{address: string}`. Reports of others may hold anything:
what is no text is left out here, though not out of the report.
"""

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Final

import msgspec
from msgspec import UNSET

from sampledb import limits
from sampledb.format.smda import Function

# Characters of a name that the index holds: SMDA's longest string.
LONGEST: Final = 0x10000

_EMPTY: Final = (b"{}", b"[]")
_WILD: Final = re.compile(r"\*|\?|\[!?\]?[^\]]*\]|\[")
_DECIMAL: Final = re.compile(r"[0-9]{1,20}")

_parse_json = msgspec.json.Decoder().decode

#: The address of the instruction that refers, `None` where the report has none, and the name.
Reference = tuple[int | None, str]


class References(msgspec.Struct):
    """The names that the functions of a report refer to, each with the positions of these functions, ascending.

    A position counts functions in unsigned offset order, from 0.
    """

    apis: dict[str, list[int]] = {}
    strings: dict[str, list[int]] = {}

    def add(self, position: int, apis: Iterable[str], strings: Iterable[str]) -> None:
        """Note what the function at a position refers to, after those before it."""
        for found, names in ((self.apis, apis), (self.strings, strings)):
            for name in dict.fromkeys(name[:LONGEST] for name in names):
                if name:
                    found.setdefault(name, []).append(position)

    def add_function(self, position: int, function: Function | None, json: bytes) -> None:
        """Note a function as `smda.parse_function` parsed it; where it did not, its JSON is read."""
        if function is None:
            loose = _parse_loose(json)
            self.add(position, _names(list_apis(loose.apirefs)), _names(list_strings(loose.stringrefs)))
            return
        text = b"{}" if function.stringrefs is UNSET else bytes(function.stringrefs)
        strings = () if text in _EMPTY else _names(list_strings(_parse_json(text)))
        if function.apirefs or strings:
            self.add(position, function.apirefs.values(), strings)


def _names(references: Iterable[Reference]) -> list[str]:
    return [name for _, name in references]


class _Loose(msgspec.Struct):
    apirefs: Any = None
    stringrefs: Any = None


_parse_loose = msgspec.json.Decoder(_Loose).decode


def list_apis(apirefs: object) -> list[Reference]:
    """Return the APIs of a function dict's `apirefs`, in its order."""
    return list(_read_dict(apirefs)) if isinstance(apirefs, dict) else []


def list_strings(stringrefs: object) -> list[Reference]:
    """Return the strings of a function dict's `stringrefs`, in its order."""
    if isinstance(stringrefs, dict):
        return list(_read_dict(stringrefs))
    return list(_read_list(stringrefs)) if isinstance(stringrefs, list) else []


def _read_dict(references: dict[Any, Any]) -> Iterator[Reference]:
    for key, value in references.items():
        name = value.get("string") if isinstance(value, dict) else value
        if name and isinstance(name, str):
            yield _address(int(key) if isinstance(key, str) and _DECIMAL.fullmatch(key) else None), name


def _read_list(references: list[Any]) -> Iterator[Reference]:
    for item in references:
        name = item.get("string") if isinstance(item, dict) else item
        if name and isinstance(name, str):
            yield _address(item.get("ins_addr") if isinstance(item, dict) else None), name


def _address(value: object) -> int | None:
    is_address = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= limits.MAX_U64
    return value if is_address else None  # type: ignore[return-value]


def comment_instructions(function: Mapping[str, Any]) -> dict[int, str]:
    """Return what each instruction of a function dict refers to, by its address: APIs, and strings in quotes.

    Nothing is escaped or shortened.
    """
    strings = ((address, f'"{string}"') for address, string in list_strings(function.get("stringrefs")))
    names: dict[int, dict[str, None]] = {}
    for address, name in chain(list_apis(function.get("apirefs")), strings):
        if address is not None:
            names.setdefault(address, {})[name] = None
    return {address: ", ".join(found) for address, found in names.items()}


# Matching names


def compile_glob(pattern: str) -> Callable[[str], bool]:
    """Return what tells whether a text matches a glob (`*`, `?`, `[a-z]`, `[!a-z]`), capitals ignored."""
    # Without backtracking into an earlier `*`: no pattern takes exponential time.
    match = re.compile(fnmatch.translate(pattern.lower())).match
    return lambda text: match(text.lower()) is not None


def compile_api_glob(pattern: str) -> Callable[[str], bool]:
    """Return what tells whether an API matches a glob, by its name or with its library before a `!`."""
    matches = compile_glob(pattern)
    return lambda api: matches(api) or ("!" in api and matches(api.partition("!")[2]))


def compile_part(part: str) -> Callable[[str], bool]:
    """Return what tells whether a text contains another, capitals ignored."""
    lower = part.lower()
    return lambda text: lower in text.lower()


def list_literals(pattern: str) -> list[str]:
    """Return texts that everything contains, in small letters, that matches a glob."""
    return [literal for literal in _WILD.split(pattern.lower()) if literal]
