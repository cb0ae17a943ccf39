"""Terms of a search: parse words, phrases and conditions on fields, and score texts."""

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from sampledb import limits
from sampledb.errors import InvalidInputError, shorten

#: Fields of samples, whose conditions hold for the samples of functions too.
SAMPLE_FIELDS: Final = ("family", "tag", "notes", "version", "component", "codec", "extension", "hash", "sha256")
#: Fields of functions.
FUNCTION_FIELDS: Final = ("api", "string", "label", "pic_hash")
#: All fields; a sample and a function have a name.
FIELDS: Final = ("name", *SAMPLE_FIELDS, *FUNCTION_FIELDS, "kind")

_KINDS: Final = ("sample", "function")

# In quotes, two quotes are one. Behind a quote that is not closed, `end` is empty.
_TERM: Final = re.compile(
    r'(?:(?P<field>[A-Za-z0-9_]+):)?"(?P<phrase>(?:[^"]|"")*)(?P<end>"?)|(?P<word>\S+)', re.DOTALL
)
# Not `C:\dir`, `std::string` and `http://host`.
_FIELD: Final = re.compile(r"([A-Za-z0-9_]{2,}):(?![:/\\])(.*)", re.DOTALL)
# What was surely meant as a field: not `localhost:80` and `error:`.
_UNKNOWN: Final = re.compile(r'[A-Za-z]+:["*A-Za-z]')

_GLOB_SPECIAL: Final = re.compile(r"[?\[]")
_WORD_START: Final = re.compile(r"(?<![A-Za-z0-9])[A-Za-z0-9]|(?<=[a-z])[A-Z]|(?<=[A-Za-z])\d|(?<=\d)[A-Za-z]")


class Condition(NamedTuple):
    """A field, and the value that it must have; hashes and kinds are in small letters."""

    field: str
    value: str

    @property
    def glob(self) -> str:
        """Return a glob for the value, in which only `*` is special. Notes and strings need only contain the value."""
        glob = _GLOB_SPECIAL.sub(r"[\g<0>]", self.value)
        return f"*{glob}*" if glob and self.field in ("notes", "string") else glob


class Terms(NamedTuple):
    """What a search asks for; all of it must hold.

    Attributes:
        words: Different words and phrases, with ASCII capitals as small letters.
        conditions: In the order given.
    """

    words: list[str]
    conditions: list[Condition]

    def holds(self, text: str) -> bool:
        """Return whether a text contains all words."""
        lower = limits.fold(text)
        return all(word in lower for word in self.words)

    def score(self, text: str) -> float:
        """Return how well a text matches, from 0 to 1. Words that begin words count more, a longer text less."""
        lower = limits.fold(text)
        held = [word for word in self.words if word in lower]
        if not held:
            return 0.0
        starts = {match.start() for match in _WORD_START.finditer(text)}
        places = sum(_weigh(lower, word, starts) for word in held) / len(self.words)
        covered = min(sum(map(len, held)) / len(lower), 1.0)
        return round(places * (1 + covered) / 2, 4)

    def select(self, *fields: str) -> Sequence[Condition]:
        """Return the conditions on these fields."""
        return [each for each in self.conditions if each.field in fields]


def _weigh(lower: str, word: str, starts: Iterable[int]) -> float:
    """Return the weight of a word's place: at the beginning of the text, of a word of it, or inside one."""
    if lower.startswith(word):
        return 1.0
    return 0.8 if any(lower.startswith(word, start) for start in starts) else 0.6


def parse_terms(text: str) -> Terms:
    """Return the terms of a text.

    Raises:
        InvalidInputError: A quote is not closed, a field is unknown or its value breaks a rule, or there are more than
            50 terms.
    """
    words: dict[str, None] = {}
    conditions: dict[Condition, None] = {}
    for term in _TERM.finditer(text):
        field, value = _split(term)
        if field:
            conditions[Condition(field, _check(field, value))] = None
        elif value:
            words[limits.fold(value)] = None
    if len(words) + len(conditions) > limits.MAX_WORDS:
        raise InvalidInputError.of("text", f"at most {limits.MAX_WORDS} different words", text)
    return Terms(list(words), list(conditions))


def _split(term: re.Match[str]) -> tuple[str, str]:
    """Return the field of a term, `""` for none, and its value."""
    if term["word"] is None:
        if not term["end"]:
            raise _error("has a quote that is not closed; inside quotes, two quotes mean one", term[0])
        value = term["phrase"].replace('""', '"')
        if term["field"] is None:
            return "", value
        name = term["field"]
    else:
        found = _FIELD.fullmatch(term["word"])
        if found is None:
            return "", term["word"]
        name, value = found[1], found[2]
    if name.lower() in FIELDS:
        if not value and term["word"] is not None:
            raise _error('has a field without a value; write it right behind the colon, or "" for none', term[0])
        return name.lower(), value
    if _UNKNOWN.match(term[0]):
        # For this error only.
        from difflib import get_close_matches  # noqa: PLC0415

        nearest = get_close_matches(name.lower(), FIELDS, 1, 0.4)
        hint = f" (did you mean {nearest[0]}:?)" if nearest else ""
        raise _error(f"has an unknown field{hint}; there are {', '.join(FIELDS)}", term[0])
    return "", f"{name}:{value}"


def _error(rule: str, term: str) -> InvalidInputError:
    """Return the error for a term."""
    shown = shorten(term, 60)
    message = (
        f'text {rule}. A search has words, "quoted phrases", field:value and field:"a value", with * for any '
        f"characters in a value; quotes around a term make it a phrase. Not understood: {shown}"
    )
    return InvalidInputError(message, {"field": "text", "rule": rule, "value": shown})


def _check(field: str, value: str) -> str:
    if field == "kind":
        return limits.choice("kind", value.lower(), _KINDS)
    if field == "pic_hash":
        return f"{limits.address('pic_hash', value):#018x}"
    return limits.digits(value) if field in ("hash", "sha256") else value
