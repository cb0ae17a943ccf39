"""Check values by the rules that hold on every way into the file.

Each function takes a value, and the name of its field where several fields have the same rule. It returns the value
as it is stored, or raises InvalidInputError.
"""

import math
import operator
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from sampledb.errors import InvalidInputError

# Bytes of JSON: the largest report that SMDA can be expected to make of an image of its MAX_IMAGE_SIZE.
MAX_REPORT: Final = 2 * 1024**3
# Bytes of a binary to disassemble: five times what SMDA loads.
MAX_BINARY: Final = 512 * 1024**2
MAX_U64: Final = 2**64 - 1
# The largest id that SQLite can store.
MAX_ID: Final = 2**63 - 1
# SQLite's name for a database without a file.
MEMORY: Final = ":memory:"
MAX_TAGS: Final = 50
MAX_TAG: Final = 50
MAX_NOTES: Final = 1000
MAX_NAME: Final = 255
MAX_LABEL: Final = 64
# Of a function: MSVC's names have up to 4,096 characters, those of C++ templates and of Rust sometimes more.
MAX_FUNCTION_LABEL: Final = 10_000
MAX_COMMENT: Final = 10_000
MAX_SEARCH: Final = 1000
MAX_WORDS: Final = 50
MAX_EXTENSION: Final = 10
# SQLite's JSON functions fail on deeper values, and query() would fail with them.
MAX_JSON_DEPTH: Final = 200
# Far above every count and hash; Python refuses to print integers that are a few times longer.
MAX_JSON_INTEGER_BITS: Final = 4096

_SMALL: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")
_DIGITS: Final = re.compile(r"[0-9a-fA-F]{8,64}")
_FAMILY: Final = re.compile(r"(?:[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*)?")
_EXTENSION: Final = re.compile(r"[A-Za-z0-9]*")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_ROUNDS: Final = 4
_ADDRESS: Final = re.compile(r"0[xX][0-9a-fA-F]+")


def text(field: str, value: object, *, longest: int, shortest: int = 0) -> str:
    """Return text of `shortest` to `longest` characters, both inclusive; valid Unicode without NUL."""
    rule = f"text of {shortest} to {longest} characters"
    if not isinstance(value, str) or not shortest <= len(value) <= longest:
        raise InvalidInputError.of(field, rule, value)
    if not is_clean(value):
        raise InvalidInputError.of(field, "valid Unicode without NUL", value)
    return str(value)


def is_clean(value: str) -> bool:
    """Return whether text is valid Unicode without NUL: no lone surrogates, nothing that ends a C string early."""
    if "\0" in value:
        return False
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def fold(value: str) -> str:
    """Return text with its ASCII capitals as small letters, as SQLite's LIKE and NOCASE compare it."""
    return value.translate(_SMALL)


def printable(field: str, value: object, *, shortest: int = 0) -> str:
    """Return text of at most 64 printable characters: no line breaks, no control characters."""
    checked = text(field, value, longest=MAX_LABEL, shortest=shortest)
    if not checked.isprintable():
        raise InvalidInputError.of(field, "printable characters", value)
    return checked


def username(value: object) -> str:
    """Return a username of 1 to 64 printable characters."""
    return printable("username", value, shortest=1)


def family(field: str, value: object) -> str:
    """Return a name of 0 to 64 ASCII letters and digits, with single `.`, `_` or `-` between them: `win.emotet`."""
    checked = text(field, value, longest=MAX_LABEL)
    # Not match() and `$`, which would let a trailing newline through.
    if not _FAMILY.fullmatch(checked):
        raise InvalidInputError.of(field, "ASCII letters and digits, single . _ - between them", value)
    return checked


def extension(value: object) -> str:
    """Return an extension of 0 to 10 ASCII letters and digits, without a dot."""
    checked = text("extension", value, longest=MAX_EXTENSION)
    if not _EXTENSION.fullmatch(checked):
        raise InvalidInputError.of("extension", "ASCII letters and digits without a dot", value)
    return checked


def name(value: object) -> str:
    """Return a name of 0 to 255 characters."""
    return text("name", value, longest=MAX_NAME)


def extension_of(file_name: str) -> str:
    """Return the extension of a file name, lower-case; `""` if there is none that can be stored."""
    stem, dot, suffix = file_name.rpartition(".")
    fits = stem and dot and len(suffix) <= MAX_EXTENSION and _EXTENSION.fullmatch(suffix)
    return suffix.lower() if fits else ""


def name_of(file: str | os.PathLike[str]) -> str:
    """Return the last part of a path; bytes that are no UTF-8 become U+FFFD, and a long name keeps its end."""
    name = os.path.basename(os.fspath(file)).encode("utf-8", "surrogateescape").decode("utf-8", "replace")  # noqa: PTH119
    return name[-MAX_NAME:]


def tag(field: str, value: object) -> str:
    """Return a tag of 1 to 50 characters."""
    return text(field, value, longest=MAX_TAG, shortest=1)


def tags(value: object) -> tuple[str, ...]:
    """Return at most 50 different tags of 1 to 50 characters, in the order given; `value` is a list or tuple.

    Tags that differ only by ASCII capitals are not different.
    """
    # Not any sequence: text is one of characters, and never meant so.
    if not isinstance(value, list | tuple) or len(value) > MAX_TAGS:
        raise InvalidInputError.of("tags", f"a list of at most {MAX_TAGS} tags", value)
    checked = tuple(tag("tags", each) for each in value)
    folded = [fold(each) for each in checked]
    twice = next((each for place, each in enumerate(checked) if folded.index(folded[place]) < place), None)
    if twice is not None:
        raise InvalidInputError.of("tags", "free of duplicates, also of those that differ by ASCII capitals", twice)
    return checked


def unite_tags(values: Iterable[str]) -> dict[str, str]:
    """Return the first of the tags that differ only by ASCII capitals, by their small letters."""
    united: dict[str, str] = {}
    for each in values:
        united.setdefault(fold(each), each)
    return united


def notes(value: object) -> str | None:
    """Return notes of 0 to 1000 characters, or `None` for no notes."""
    return None if value is None else text("notes", value, longest=MAX_NOTES)


def flag(field: str, value: object) -> bool:
    """Return `True` or `False`; no other type is taken for one."""
    if not isinstance(value, bool):
        raise InvalidInputError.of(field, "True or False", value)
    return value


def sha256(value: object) -> str:
    """Return the 64 hex digits of a hash as lower case."""
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise InvalidInputError.of("sha256", "64 hex digits", value)
    return value.lower()


def digits(value: object) -> str:
    """Return 8 to 64 hex digits, the beginning of a hash, as lower case."""
    if not isinstance(value, str) or not _DIGITS.fullmatch(value):
        raise InvalidInputError.of("hash", "8 to 64 hex digits of an MD5, SHA-1 or SHA-256", value)
    return value.lower()


def identity(field: str, value: object) -> int:
    """Return an id from 1; there is no upper bound, because larger ones are simply not found."""
    return _integer(field, value, "an integer from 1", lowest=1)


def position(field: str, value: object) -> int:
    """Return a `start` or `limit` from 0, at most MAX_ID, which is past the end of any table."""
    return min(_integer(field, value, "an integer from 0", lowest=0), MAX_ID)


def address(field: str, value: object) -> int:
    """Return an unsigned 64-bit address, given as an integer or as hex text such as `"0x400000"`."""
    rule = 'from 0 to 2**64 - 1, an integer or hex text such as "0x400000"'
    if isinstance(value, str):
        if not _ADDRESS.fullmatch(value):
            raise InvalidInputError.of(field, rule, value)
        value = int(value, 16)
    return _integer(field, value, rule, lowest=0, highest=MAX_U64)


def bitness(value: object) -> int:
    """Return the bitness, 32 or 64."""
    number = _integer("bitness", value, "32 or 64", lowest=32, highest=64)
    if number not in (32, 64):
        raise InvalidInputError.of("bitness", "32 or 64", value)
    return number


def choice(field: str, value: object, choices: Sequence[str]) -> str:
    """Return one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise InvalidInputError.of(field, f"one of {', '.join(choices)}", value)
    return value


def u64(field: str, value: object) -> int:
    """Return an unsigned 64-bit integer."""
    return _integer(field, value, "an integer from 0 to 2**64 - 1", lowest=0, highest=MAX_U64)


def constant(field: str, value: object) -> int:
    """Return an integer of 64 bits, signed or unsigned, as the unsigned one of the same bits."""
    return _integer(field, value, "an integer from -2**63 to 2**64 - 1", lowest=-MAX_ID - 1, highest=MAX_U64) & MAX_U64


def seconds(field: str, value: object) -> float:
    """Return seconds to wait, from 0 to a day."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 24 * 60 * 60:
        raise InvalidInputError.of(field, "seconds from 0 to 86400", value)
    return float(value)


def score(field: str, value: object) -> int:
    """Return a score of similar functions, from 1 to 100."""
    return _integer(field, value, "an integer from 1 to 100", lowest=1, highest=100)


def _integer(field: str, value: object, rule: str, *, lowest: int, highest: int | None = None) -> int:
    """Return an int, given as one or as a type that acts as one, such as NumPy's; True and False do not."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError as error:
        raise InvalidInputError.of(field, rule, value) from error
    if isinstance(value, bool):
        raise InvalidInputError.of(field, rule, value)
    if number < lowest or (highest is not None and number > highest):
        raise InvalidInputError.of(field, rule, value)
    return number


def json_object(field: str, value: object) -> dict[str, Any]:
    """Return a dict that JSON can hold unchanged: text keys, no odd types, nested at most 200 deep."""
    if not isinstance(value, dict):
        raise InvalidInputError.of(field, "a JSON object", value)
    fault = json_fault(value)
    if fault:
        raise InvalidInputError(
            f"{field} must be a JSON object: {fault}.",
            {"field": field, "rule": "a JSON object", "value": fault},
        )
    return value


def is_shallow(data: bytes) -> bool:
    """Return whether JSON is surely not nested more than 200 deep.

    Brackets inside of its texts can make it seem deeper, never shallower.
    """
    brackets = data.translate(None, delete=_NO_BRACKETS)
    # Text full of brackets would take 200 rounds through all of it; what SMDA writes takes less than two.
    patience = _ROUNDS * len(brackets)
    for _ in range(MAX_JSON_DEPTH):
        if not brackets:
            return True
        patience -= len(brackets)
        if patience < 0:
            return False
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    return not brackets


def json_fault(value: object, depth: int = 0) -> str:
    """Return why JSON cannot hold `value` unchanged; `""` if it can."""
    if isinstance(value, dict | list | tuple):
        if depth >= MAX_JSON_DEPTH:
            return f"nested more than {MAX_JSON_DEPTH} deep"
        return _object_fault(value, depth) if isinstance(value, dict) else _first_fault(value, depth)
    if isinstance(value, str):
        return "" if value.isascii() or is_clean(value.replace("\0", "")) else "text with a lone surrogate"
    if isinstance(value, int):
        return "" if value.bit_length() <= MAX_JSON_INTEGER_BITS else f"an integer of {value.bit_length()} bits"
    if value is None or (isinstance(value, float) and math.isfinite(value)):
        return ""
    return f"a value of type {type(value).__name__}"


def _object_fault(value: dict[Any, Any], depth: int) -> str:
    odd = next((key for key in value if not isinstance(key, str)), None)
    if odd is not None:
        return f"a key of type {type(odd).__name__}"
    return _first_fault([*value, *value.values()], depth)


def _first_fault(values: Sequence[object], depth: int) -> str:
    return next(filter(None, (json_fault(value, depth + 1) for value in values)), "")


def path(value: object) -> str:
    """Return the absolute path, which names the same file after a change of folder; `":memory:"` stays."""
    try:
        given = text("path", os.fspath(value), longest=4096, shortest=1)  # type: ignore[call-overload]
    except TypeError as error:
        raise InvalidInputError.of("path", "a path", value) from error
    return given if given == MEMORY else os.path.abspath(given)  # noqa: PTH100 - links must stay as they are


_RULES: Final[dict[str, Callable[[Any], Any]]] = {
    "family": partial(family, "family"),
    "version": partial(printable, "version"),
    "component": partial(printable, "component"),
    "is_library": partial(flag, "is_library"),
    "name": name,
    "extension": extension,
    "tags": tags,
    "tag": partial(tag, "tag"),
    "media_info": partial(json_object, "media_info"),
    "notes": notes,
    "label": partial(text, "name", longest=MAX_FUNCTION_LABEL),
    "comment": partial(text, "comment", longest=MAX_COMMENT),
}


def fields(values: Mapping[str, object], *, absent: object) -> dict[str, Any]:
    """Return the values that are not `absent`, each checked by the rule of its field."""
    return {field: _RULES[field](value) for field, value in values.items() if value is not absent}
