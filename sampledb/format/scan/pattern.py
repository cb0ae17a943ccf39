"""Regular expressions for instructions: what a text must contain before one is matched.

Only what a few simple rules tell of a pattern is used: literal characters outside of groups, and groups of plain
alternatives such as `(xor|rol)`. Where they tell nothing, all lines of a function are searched at once, if the pattern
can be kept from matching more than one line, and each line by itself otherwise.
"""

import re
import warnings
from collections.abc import Container, Iterator
from itertools import pairwise
from typing import Final

from sampledb.errors import InvalidInputError
from sampledb.format.columns import Listing, find_first

_WORDS: Final = re.compile(r"[\w ]+(?:\|[\w ]+)+", re.ASCII)
_TOKEN: Final = re.compile(
    r"""
    \((?:\?:)?(?P<words>[\w ]+(?:\|[\w ]+)*)\)(?![*?{])
    | (?P<open>\() | (?P<close>\)) | (?P<alternative>\|)
    | \[\^?\]?(?:\\.|[^\]\\])*\] | \\[AbBdDsSwWZ] | [.^$]
    | (?P<repeated>\+) | (?P<optional>[*?]|\{(?:[0-9,]*\})?)
    | \\(?P<escaped>[^\w]) | (?P<unknown>\\)
    | (?P<literal>.)
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
# Flags inside of a pattern, comments and conditions: not worth rules of their own.
_UNUSUAL: Final = re.compile(r"\(\?(?![:=!<P]|i\))")
# The parts of a pattern that could match the end of a line, or tell an end of the text from that.
_PIECE: Final = re.compile(
    r"""
    \[\^(?P<first>[\]-]?)(?P<rest>(?:\\.|[^\]\\])*\])
    | (?P<set>\[\]?(?:\\.|[^\]\\])*\])
    | \\(?P<escaped>.)
    | .
    """,
    re.VERBOSE,
)
_CONFINED: Final = {"A": "^", "Z": "$", "D": r"[^\d\n]", "W": r"[^\w\n]", "s": r"[^\S\n]"}
# Escapes of other letters and of digits name characters, which may be the end of a line.
_NAMED: Final = re.compile(r"\\[^\WbdSw]")
_CONTROL: Final = re.compile(r"[\x00-\x1f]")
# A literal of one letter is everywhere.
_SHORTEST: Final = 2


class Pattern:
    """Finds the instructions that a regular expression matches, as `mnemonic operands`."""

    def __init__(self, pattern: str) -> None:
        """Compile a pattern.

        Raises:
            InvalidInputError: It is no regular expression.
        """
        try:
            with warnings.catch_warnings():
                # Of what a later Python may read in another way.
                warnings.simplefilter("ignore")
                self._search = re.compile(pattern).search
                confined = confine(pattern)
                self._search_lines = None if confined is None else re.compile(confined, re.MULTILINE).search
        except (re.error, OverflowError, RecursionError) as error:
            raise InvalidInputError.of("text", f"a regular expression ({error})", pattern) from error
        self._needed = list_needed(pattern)

    def find(self, listing: Listing, numbers: Container[int]) -> Iterator[tuple[int, int]]:
        """Yield those functions of these numbers that have a match, and the place of the first instruction of each."""
        likely = listing.find_likely(self._needed)
        if likely is not None:
            yield from find_first(likely, listing.functions, numbers, lambda place: self._search(listing.say(place)))
            return
        for number, (begin, end) in enumerate(pairwise(listing.functions)):
            place = self._find(listing, begin, end) if number in numbers else None
            if place is not None:
                yield number, place

    def _find(self, listing: Listing, begin: int, end: int) -> int | None:
        """Return the first instruction from `begin` to `end` that matches."""
        text = listing.say_all(begin, end)
        has_lines = text.count("\n") == end - begin - 1
        if has_lines and self._search_lines:
            found = self._search_lines(text)
            return None if found is None else begin + text.count("\n", 0, found.start())
        lines = text.split("\n") if has_lines else map(listing.say, range(begin, end))
        return next((place for place, line in enumerate(lines, begin) if self._search(line)), None)


def confine(pattern: str) -> str | None:
    """Return what matches in lines, by `re.MULTILINE`, as a pattern does in each of them; `None` if that is unknown."""
    if _UNUSUAL.search(pattern) or _CONTROL.search(pattern):
        return None
    pieces = [_confine_piece(piece) for piece in _PIECE.finditer(pattern)]
    return None if None in pieces else "".join(filter(None, pieces))


def _confine_piece(piece: re.Match[str]) -> str | None:
    if piece["rest"]:
        return "[^\\n" + piece["first"].replace("]", r"\]").replace("-", r"\-") + piece["rest"]
    if piece["escaped"] in _CONFINED:
        return _CONFINED[piece["escaped"]]
    # In a set, `\b` is a character.
    return None if _NAMED.match(piece[0]) or (piece["set"] and _NAMED.search(piece[0].replace("b", "B"))) else piece[0]


def list_needed(pattern: str) -> list[list[str]]:
    """Return groups of words in small letters; what a pattern matches contains one of each group, capitals ignored."""
    if _WORDS.fullmatch(pattern):
        pattern = f"({pattern})"
    if _UNUSUAL.search(pattern):
        return []
    groups: list[list[str]] = []
    run, depth = "", 0
    for token in _TOKEN.finditer(pattern):
        kind, text = token.lastgroup, token.group(token.lastgroup or 0)
        depth += (kind == "open") - (kind == "close")
        if kind == "unknown" or (kind == "alternative" and not depth):
            return []
        if kind in {"literal", "escaped"} and text.isascii() and not depth:
            run += text
            continue
        # A character that is optional ends the run, and is not of it.
        groups += [[word] for word in run.removesuffix(run[-1:] if kind == "optional" else "").split()]
        run = ""
        if kind == "words" and not depth:
            groups.append([max(each.split(), key=_rate, default="") for each in text.split("|")])
    groups += [[word] for word in run.split()]
    return [list(map(str.lower, group)) for group in groups if min(map(len, group)) >= _SHORTEST]


def _rate(word: str) -> tuple[bool, int]:
    """Return how few instructions likely have a word; numbers may be in addresses, which frames have no text of."""
    return "0x" not in word, len(word)
