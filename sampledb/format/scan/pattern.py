"""Regular expressions for instructions: what their text must contain, so that most of it is never matched.

Only what a few simple rules tell of a pattern is used: literal characters outside of groups, and groups of plain
alternatives such as `(xor|rol)`. Whatever else it has, its matches are found by itself, one instruction at a time.
"""

import re
import warnings
from collections.abc import Iterator
from itertools import compress, count
from typing import Final

from sampledb.errors import InvalidInputError
from sampledb.format.columns import Listing, join_words

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
        except (re.error, OverflowError, RecursionError) as error:
            raise InvalidInputError.of("text", f"a regular expression ({error})", pattern) from error
        self._needed = list_needed(pattern)

    def find(self, listing: Listing) -> Iterator[int]:
        """Yield the places of the instructions that match, in ascending order."""
        likely = listing.find_likely(self._needed)
        if likely is None:
            lines = map(join_words, listing.mnemonics, listing.operands)
            return compress(count(), map(self._search, lines))
        return (place for place in likely if self._search(listing.say(place)))


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
