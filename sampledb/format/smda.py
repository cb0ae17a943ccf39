"""SMDA's functions, parsed: the shape that SMDA gives them, and whether a function dict has exactly that shape."""

from math import copysign

import msgspec
from msgspec import UNSET, Raw, UnsetType

# Integers from here on are not all floats; JSON does not tell the two apart, so a float field may hold either.
_EXACT = 2.0**53
EMPTY = b"{}"
_BRACKETS = 200
# How JSON begins to spell them.
_CONTROL = rb"\u000"

OPTIONAL = ("architecture_metadata", "is_exported", "stringrefs")
OPTIONAL_METADATA = ("nesting_depth", "pic_hash")


class Instruction(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """SMDA's four fields: the code in hex digits, the operands as Capstone prints them."""

    # Not a tuple: thousands of those keep Python's garbage collector busy for a third of the time.
    address: int
    code: str
    mnemonic: str
    operands: str


class Metadata(msgspec.Struct, gc=False):
    """What SMDA computes of a function."""

    binweight: float
    characteristics: str | None  # null in CIL reports
    confidence: float | None
    function_name: str
    strongly_connected_components: list[list[int]]
    tfidf: float | None
    nesting_depth: int | UnsetType = UNSET
    pic_hash: int | UnsetType | None = UNSET


class Function(msgspec.Struct, gc=False):
    """A function dict of the shape that SMDA writes: what columns can hold."""

    offset: int
    blocks: dict[str, list[Instruction]]
    apirefs: dict[str, str]
    blockrefs: dict[str, list[int]]
    inrefs: list[int]
    outrefs: dict[str, list[int]]
    metadata: Metadata
    architecture_metadata: Raw | UnsetType = UNSET
    is_exported: bool | UnsetType = UNSET
    stringrefs: Raw | UnsetType = UNSET


_parse = msgspec.json.Decoder(Function).decode
_parse_json = msgspec.json.Decoder().decode
_unparse_json = msgspec.json.Encoder().encode
_KEYS = len(Function.__struct_fields__) + len(Metadata.__struct_fields__)


def parse(json: bytes) -> Function | None:
    """A function's compact JSON, if all of it is in what is returned; `None` when something would be lost.

    No key stands twice or is unknown: there are as many keys in the text as in the function. And its texts have none
    of the control characters that columns use as marks; SMDA writes none.
    """
    try:
        function = _parse(json)
        return function if _is_whole(function, json) and _is_exact(function) else None
    except (ValueError, RecursionError):
        return None


def _is_whole(function: Function, json: bytes) -> bool:
    return json.count(b'":') == _num_keys(function) and _CONTROL not in json


def _num_keys(function: Function) -> int:
    """How many keys the dict has; in the inner JSON texts they are counted as text, which `_is_exact` checks."""
    known = _KEYS - len(absent(function))
    inner = sum(text.count(b'":') for text in texts(function))
    maps = len(function.blocks) + len(function.apirefs) + len(function.blockrefs) + len(function.outrefs)
    return known + inner + maps


def absent(function: Function) -> list[str]:
    """The optional keys that the dict lacks."""
    found = [key for key in OPTIONAL if getattr(function, key) is UNSET]
    return found + [key for key in OPTIONAL_METADATA if getattr(function.metadata, key) is UNSET]


def texts(function: Function) -> tuple[bytes, bytes]:
    """The JSON of the two parts that are nearly always `{}`."""
    metadata, strings = function.architecture_metadata, function.stringrefs
    return EMPTY if metadata is UNSET else bytes(metadata), EMPTY if strings is UNSET else bytes(strings)


def _is_exact(function: Function) -> bool:
    """Whether floats were not rounded from integers, and inner texts stay as they are when parsed."""
    metadata = function.metadata
    numbers = (metadata.binweight, metadata.confidence or 0.0, metadata.tfidf or 0.0)
    # SQLite, which keeps the binweight, knows one zero only.
    if any(abs(number) >= _EXACT for number in numbers) or copysign(1.0, metadata.binweight) < 0:
        return False
    return all(text == EMPTY or _is_stable(text) for text in texts(function))


def _is_stable(text: bytes) -> bool:
    # Many brackets may mean deep nesting, which somebody has to look at.
    return text.count(b"[") + text.count(b"{") < _BRACKETS and _unparse_json(_parse_json(text)) == text
