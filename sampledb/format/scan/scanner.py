"""Find functions by their instructions: numbers, runs of mnemonics or bytes, patterns, names.

A Scan is plain data, which goes to worker processes; a Scanner is what one is compiled to. It looks at all functions of
a frame together: most frames have nothing of what is looked for, which a few searches of long texts tell.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Container, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Final, NamedTuple, Protocol

import msgspec

from sampledb.format import codec, references
from sampledb.format.columns import Listing, Place, find_first, list_frame, refuse_misfits
from sampledb.format.frame import FrameError
from sampledb.format.scan.pattern import Pattern

ANY_MNEMONIC: Final = "*"
ANY_BYTE: Final = "??"
# Displacements are no immediate operands, nor are numbers in the text that a .NET program loads.
_NOT_IMMEDIATE: Final = re.compile(r'\[[^\]]*\]|"[^"]*"')


class Scan(msgspec.Struct, frozen=True):
    """The conditions that a function must meet, all of them; `None` for none.

    Attributes:
        api: A glob for an API it refers to.
        string: A part of a string it refers to.
        constant: An immediate operand, unsigned.
        mnemonics: A run of mnemonics in one block; ANY_MNEMONIC stands for any.
        code: A run of bytes in one block, as small hex digits; ANY_BYTE stands for any.
        text: A regular expression for an instruction, as `mnemonic operands`.
    """

    api: str | None = None
    string: str | None = None
    constant: int | None = None
    mnemonics: tuple[str, ...] | None = None
    code: str | None = None
    text: str | None = None


class Found(NamedTuple):
    """A function that meets all conditions: its number among the places, and where it first meets the last of them."""

    number: int
    address: int | None
    match: str


class _Match(NamedTuple):
    """Where a function of a listing meets a condition."""

    number: int
    address: int | None
    match: str


class _Finder(Protocol):
    def __call__(self, listing: Listing, numbers: Container[int]) -> Iterator[_Match]:
        """Yield the first match of each function of these numbers."""


class Scanner:
    """Looks through frames."""

    def __init__(self, scan: Scan) -> None:
        """Compile the conditions.

        Raises:
            InvalidInputError: `text` is no regular expression.
        """
        makers: dict[str, Callable[..., _Finder]] = {
            "api": _ApiFinder,
            "string": _StringFinder,
            "constant": _ConstantFinder,
            "mnemonics": _MnemonicFinder,
            "code": _CodeFinder,
            "text": _TextFinder,
        }
        given = ((make, getattr(scan, field)) for field, make in makers.items())
        self._finders = [make(value) for make, value in given if value is not None]

    def scan(self, blob: object, checksum: object, places: Sequence[Place]) -> list[Found]:
        """Return the functions at these places of a frame that meet all conditions.

        Raises:
            FrameError: The frame is damaged, or has no function at a place.
        """
        found: list[Found] = []
        try:
            for listing, numbers in list_frame(codec.decode(codec.FRAME, blob, checksum), places):
                with refuse_misfits():
                    matches = self._find(listing, numbers)
                found += (Found(numbers[number], address, match) for number, address, match in matches)
        except codec.DecodeError as error:
            raise FrameError(str(error)) from error
        except MemoryError as error:
            raise FrameError("the frame takes all memory") from error
        return found

    def _find(self, listing: Listing, numbers: Container[int]) -> list[_Match]:
        matches: list[_Match] = []
        for find in self._finders:
            matches = list(find(listing, numbers))
            if not matches:
                break
            numbers = {match.number for match in matches}
        return matches


# Names


class _ApiFinder:
    def __init__(self, pattern: str) -> None:
        # Few names are most of the references.
        self._matches = lru_cache(maxsize=1 << 12)(references.compile_api_glob(pattern))

    def __call__(self, listing: Listing, numbers: Container[int]) -> Iterator[_Match]:
        names = listing.api_names
        places = (place for place, name in enumerate(names) if name and self._matches(name))
        for number, place in find_first(places, listing.apis, numbers):
            yield _Match(number, listing.locate_api(number, place), names[place])


class _StringFinder:
    def __init__(self, part: str) -> None:
        self._matches = references.compile_part(part)

    def __call__(self, listing: Listing, numbers: Container[int]) -> Iterator[_Match]:
        for number, strings in enumerate(listing.strings):
            found = next((each for each in strings if self._matches(each[1])), None)
            if found and number in numbers:
                yield _Match(number, *found)


# Instructions


class _ConstantFinder:
    def __init__(self, value: int) -> None:
        # As they are spelled: from 0 to 2**64 - 1, and from -2**64 to -1.
        self._values = value, (1 << 64) - value
        self._digits = [*map("{:x}".format, self._values), *map(str, self._values)]
        numbers = [f"{sign}(?:0x0*{number:x}|0*{number})" for sign, number in zip(("", "-"), self._values, strict=True)]
        numbers += ["-(?:0x)?0+"] if value == 0 else []
        self._search = re.compile(rf"(?<![\w.$@-])#?(?:{'|'.join(numbers)})(?![\w$@]|\.\d)").search

    def __call__(self, listing: Listing, numbers: Container[int]) -> Iterator[_Match]:
        digits = {each for each in self._digits if listing.may_say(each)}
        if any(map(listing.may_name, self._values)):
            digits.update(self._digits)
        # Most operands have other digits, which is seen in a tenth of the time of a pattern.
        lower = list(map(str.lower, listing.operands)) if digits else []
        likely = {place for each in digits for place, operands in enumerate(lower) if each in operands}
        places = (place for place in sorted(likely) if self._search(lower[place]) and self._is_immediate(lower[place]))
        for number, place in find_first(places, listing.functions, numbers):
            yield _Match(number, listing.locate(number, place), listing.say(place))

    def _is_immediate(self, operands: str) -> bool:
        return self._search(_NOT_IMMEDIATE.sub("", operands)) is not None


class _TextFinder:
    def __init__(self, pattern: str) -> None:
        self._pattern = Pattern(pattern)

    def __call__(self, listing: Listing, numbers: Container[int]) -> Iterator[_Match]:
        for number, place in self._pattern.find(listing, numbers):
            yield _Match(number, listing.locate(number, place), listing.say(place))


class _MnemonicFinder:
    def __init__(self, run: Sequence[str]) -> None:
        self._length = len(run)
        self._literals = [(place, mnemonic) for place, mnemonic in enumerate(run) if mnemonic != ANY_MNEMONIC]

    def __call__(self, listing: Listing, numbers: Container[int]) -> Iterator[_Match]:
        if not all(listing.may_say(f"\n{mnemonic.lower()}\n") for _, mnemonic in self._literals):
            return
        for number, (begin, end) in enumerate(pairwise(listing.functions)):
            place = self._find(listing, begin, end) if number in numbers else None
            if place is not None:
                said = "; ".join(map(listing.say, range(place, place + self._length)))
                yield _Match(number, listing.locate(number, place), said)

    def _find(self, listing: Listing, begin: int, end: int) -> int | None:
        """Return the first place of the run from `begin` to `end`, in one block."""
        mnemonics, blocks = listing.mnemonics, listing.blocks
        for place in self._list_places(mnemonics, begin, end - self._length):
            block_end = blocks[bisect_right(blocks, place)]
            if place + self._length <= block_end and all(
                mnemonics[place + number] == mnemonic for number, mnemonic in self._literals
            ):
                return place
        return None

    def _list_places(self, mnemonics: list[str], first: int, last: int) -> Iterator[int]:
        """Yield the places from `first` to `last`, inclusive, at which the run may begin."""
        if not self._literals:
            yield from range(first, last + 1)
            return
        number, mnemonic = self._literals[0]
        place = first
        while True:
            try:
                place = mnemonics.index(mnemonic, place + number, max(last + 1 + number, 0)) - number
            except ValueError:
                return
            yield place
            place += 1


class _CodeFinder:
    def __init__(self, code: str) -> None:
        pairs = re.findall("..", code)
        pattern = b"".join(b"." if pair == ANY_BYTE else re.escape(bytes.fromhex(pair)) for pair in pairs)
        self._pattern = re.compile(pattern, re.DOTALL)

    def __call__(self, listing: Listing, numbers: Container[int]) -> Iterator[_Match]:
        code, sizes = _join_code(listing.codes, listing.sizes), listing.sizes
        if code is None:
            # Some block is no code; it has no bytes, and the others are looked at as before.
            code, sizes = _join_blocks(listing)
        if not self._pattern.search(code):
            return
        starts = list(accumulate(sizes, initial=0))
        blocks = list(map(starts.__getitem__, listing.blocks))
        for number, (begin, end) in enumerate(pairwise(listing.functions)):
            if number in numbers and (found := self._find(code, blocks, starts[begin], starts[end])):
                place = bisect_right(starts, found.start()) - 1
                address = listing.locate(number, place) + found.start() - starts[place]
                yield _Match(number, address, found[0].hex())

    def _find(self, code: bytes, blocks: Sequence[int], begin: int, end: int) -> re.Match[bytes] | None:
        """Return the first match from `begin` to `end` that lies in one block."""
        found = self._pattern.search(code, begin, end)
        while found and found.end() > blocks[bisect_right(blocks, found.start())]:
            found = self._pattern.search(code, found.start() + 1, end)
        return found


def _join_code(codes: Sequence[str], sizes: Sequence[int]) -> bytes | None:
    """Return the bytes of instructions; `None` if a report has something else than the digits of bytes."""
    digits = "".join(codes)
    try:
        code = bytes.fromhex(digits)
    except ValueError:
        return None
    # Spaces are no digits, though Python lets them in; nor may one byte have digits of two instructions.
    return code if sum(sizes) == len(code) == len(digits) / 2 else None


def _join_blocks(listing: Listing) -> tuple[bytes, list[int]]:
    """Return the bytes of all blocks that have any, and the bytes of each instruction then."""
    codes: list[bytes] = []
    sizes: list[int] = []
    for begin, end in pairwise(listing.blocks):
        code = _join_code(listing.codes[begin:end], listing.sizes[begin:end])
        codes.append(code or b"")
        sizes += [0] * (end - begin) if code is None else listing.sizes[begin:end]
    return b"".join(codes), sizes
