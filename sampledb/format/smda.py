"""SMDA's functions in two shapes: exactly what SMDA writes, and the least that it requires."""

from collections.abc import Sequence
from math import copysign
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

EMPTY: Final = b"{}"
OPTIONAL: Final = ("architecture_metadata", "is_exported", "stringrefs")
OPTIONAL_METADATA: Final = ("nesting_depth", "pic_hash")

# From here on not every integer is a float; JSON does not tell the two apart, so a float field may hold either.
_EXACT: Final = 2.0**53
# More brackets may mean deep nesting, which the slow way checks.
_MAX_BRACKETS: Final = 200
# How JSON begins to spell control characters.
_CONTROL: Final = rb"\u000"
# The only key that msgspec parses though `str` spells it differently. Keys are addresses of instructions, and one at 0
# begins a block.
_MINUS_ZERO: Final = b'"-0"'

_Unsigned = Annotated[int, msgspec.Meta(ge=0)]


class LooseInstruction(msgspec.Struct, array_like=True, gc=False):
    """The four fields that SMDA reads: code in hex digits, operands as Capstone prints them; more may follow."""

    address: _Unsigned
    code: str
    mnemonic: str
    operands: str


# An instruction of exactly four fields. A tuple, because whole columns are cut out of many at once; and without a
# bound of its address, which would take a fifth of the time to parse a function.
Instruction = tuple[int, str, str, str]


class Metadata(msgspec.Struct, gc=False):
    """The metadata of a function as SMDA writes it."""

    binweight: float
    characteristics: str | None  # null in CIL reports
    confidence: float | None
    function_name: str
    strongly_connected_components: list[list[int]]
    tfidf: float | None
    nesting_depth: int | UnsetType = UNSET
    pic_hash: int | UnsetType | None = UNSET


class Function(msgspec.Struct, gc=False):
    """A function dict as SMDA writes it. Keys that are addresses are parsed: msgspec takes only the usual spelling."""

    offset: int
    blocks: dict[int, list[Instruction]]
    apirefs: dict[int, str]
    blockrefs: dict[int, list[int]]
    inrefs: list[int]
    outrefs: dict[int, list[int]]
    metadata: Metadata
    architecture_metadata: Raw | UnsetType = UNSET
    is_exported: bool | UnsetType = UNSET
    stringrefs: Raw | UnsetType = UNSET


class LooseMetadata(msgspec.Struct):
    """The metadata that SMDA requires of a function; only what its row holds is checked."""

    function_name: str | None
    binweight: float | None
    characteristics: Any
    confidence: Any
    strongly_connected_components: Any
    tfidf: Any
    pic_hash: _Unsigned | None = None


class LooseFunction(msgspec.Struct):
    """A function dict that SMDA can load; it may have any other keys."""

    offset: _Unsigned
    blocks: dict[str, Any]  # lists of LooseInstruction, which `xcfg` checks, so that errors name the block
    apirefs: dict[str, Any]
    blockrefs: dict[str, list[int]]
    inrefs: list[Any]
    outrefs: dict[str, list[int]]
    metadata: LooseMetadata


_parse_function = msgspec.json.Decoder(Function).decode
_parse_json = msgspec.json.Decoder().decode
_unparse_json = msgspec.json.Encoder().encode
_RAW_EMPTY: Final = Raw(EMPTY)
_NUM_KEYS: Final = len(Function.__struct_fields__) + len(Metadata.__struct_fields__)


def parse_function(json: bytes) -> Function | None:
    """Return the function of JSON; `None` when its shape cannot hold all that the JSON says.

    No key stands twice or is unknown: the text has as many keys as the function. And its texts have none of the
    control characters that columns use as marks; SMDA writes none.
    """
    try:
        function = _parse_function(json)
        return function if _is_whole(function, json) and _is_exact(function) else None
    except (ValueError, RecursionError):
        return None


def list_absent(function: Function) -> list[str]:
    """Return the optional keys that the dict lacks."""
    metadata = function.metadata
    optional = (function.architecture_metadata, function.is_exported, function.stringrefs)
    of_metadata = (metadata.nesting_depth, metadata.pic_hash)
    if UNSET not in optional and UNSET not in of_metadata:
        return []
    absent = [key for key, value in zip(OPTIONAL, optional, strict=True) if value is UNSET]
    return absent + [key for key, value in zip(OPTIONAL_METADATA, of_metadata, strict=True) if value is UNSET]


def inner_json(function: Function) -> tuple[bytes, bytes]:
    """Return the JSON of `architecture_metadata` and `stringrefs`, which are nearly always `{}`."""
    return _inner(function.architecture_metadata), _inner(function.stringrefs)


def _inner(value: Raw | UnsetType) -> bytes:
    return EMPTY if value is UNSET or value == _RAW_EMPTY else bytes(value)


def block_range(block: Sequence[Sequence[Any]], address: int) -> tuple[int, int]:
    """Return the start of a block's first instruction and the end of its last, as SMDA's `BlockLocator` does.

    An empty block starts and ends at `address`.
    """
    if not block:
        return address, address
    last, code = block[-1][:2]
    return block[0][0], last + len(code) // 2


def _is_whole(function: Function, json: bytes) -> bool:
    """Return whether the text has as many keys as the function, and no control characters."""
    maps = len(function.blocks) + len(function.apirefs) + len(function.blockrefs) + len(function.outrefs)
    keys = _NUM_KEYS - len(list_absent(function)) + maps
    if 0 in function.blocks and _MINUS_ZERO in json:
        return False
    # Each key has a colon, so where there are no more colons, there are no more keys. To count them is twice as fast
    # as to count `":`, which decides where operands have colons too.
    if b"\\" not in json and json.count(b":") == keys:
        return True
    json = msgspec.json.format(json, indent=-1)
    # Keys within the inner JSON are counted as text; `_is_exact` checks that none of them stands twice.
    inner = sum(text.count(b'":') for text in inner_json(function))
    return json.count(b'":') == keys + inner and _CONTROL not in json


def _is_exact(function: Function) -> bool:
    """Return whether no float was rounded from an integer, and the inner JSON stays the same when parsed."""
    metadata = function.metadata
    # SQLite, which keeps the binweight, knows one zero only.
    if copysign(1.0, metadata.binweight) < 0 or metadata.binweight >= _EXACT:
        return False
    if not -_EXACT < (metadata.confidence or 0.0) < _EXACT or not -_EXACT < (metadata.tfidf or 0.0) < _EXACT:
        return False
    texts = inner_json(function)
    return texts == (EMPTY, EMPTY) or all(map(_is_stable, texts))


def _is_stable(text: bytes) -> bool:
    return text.count(b"[") + text.count(b"{") < _MAX_BRACKETS and _unparse_json(_parse_json(text)) == text
