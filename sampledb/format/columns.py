"""Read frames in part: the text of instructions and their references, without making SMDA's dicts.

This is for looking through many functions. As in the decoder, each step is for all functions of a frame at once; it is
taken when its result is asked for.
"""

import re
from array import array
from bisect import bisect_right
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import accumulate, chain, compress
from operator import itemgetter, mul, sub
from os.path import commonprefix
from struct import Struct
from typing import Any, Final, Literal, NamedTuple

import msgspec

from sampledb.format import frame as layout
from sampledb.format import references
from sampledb.format.frame import Code, Frame, FrameError
from sampledb.format.references import Reference

_parse_code = msgspec.msgpack.Decoder(Code).decode
_parse_frame = msgspec.msgpack.Decoder(Frame).decode
_parse_json = msgspec.json.Decoder().decode
_pack = Struct("=Q").pack

# Parts of an address as `hex` writes it.
_IN_ADDRESS: Final = re.compile("x?[0-9a-f]+")
_BEGIN_OF_ADDRESS: Final = re.compile("-|-?0(?:x[0-9a-f]*)?")

# Raised where columns do not fit together.
_MISFITS: Final = (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)


class Place(NamedTuple):
    """A function in a frame: its position there, and its offset, which the frame does not hold."""

    position: int
    offset: int


class Listing:
    """The instructions of several functions, and what they refer to; functions are numbered from 0.

    Attributes:
        functions: Bounds of the functions among all instructions: where each begins, and the end of the last.
        blocks: Bounds of the blocks, likewise.
        codes: Hex digits of each instruction.
        sizes: Bytes of each, if the digits are those of bytes.
        mnemonics: Of each instruction.
        operands: Of each instruction.
        starts: The address of each block.
        addresses: Of each instruction.
        apis: Bounds of the functions among all references to APIs.
        api_names: The name of each reference.
        api_addresses: The instruction that makes each reference, `None` where the report has no address.
        strings: The references of each function to strings.
    """

    functions: list[int]
    blocks: list[int]
    codes: list[str]
    sizes: list[int]
    mnemonics: list[str]
    operands: list[str]
    starts: list[int]
    addresses: "array[int]"
    apis: list[int]
    api_names: list[str]
    api_addresses: Sequence[int | None]
    strings: list[list[Reference]]

    def may_say(self, part: str) -> bool:
        """Tell whether an instruction may contain a text without capitals, unless that is an address in the frame."""
        raise NotImplementedError

    def may_name(self, address: int) -> bool:
        """Tell whether operands may end in an address in the frame."""
        raise NotImplementedError

    def find_likely(self, groups: Sequence[Sequence[str]]) -> list[int] | None:  # noqa: ARG002 - where there is a way
        """Return the places of all instructions that may contain a text of each group, ascending; `None` for all.

        Texts are ASCII without capitals, which are ignored, and without spaces.
        """
        return None

    def locate(self, number: int, place: int) -> int:
        """Return the address of an instruction, which belongs to the function of this number."""
        raise NotImplementedError

    def locate_api(self, number: int, reference: int) -> int | None:
        """Return the address of the instruction that makes a reference to an API, `None` if there is none."""
        raise NotImplementedError

    def say(self, place: int) -> str:
        """Return an instruction as `mnemonic operands`."""
        return join_words(self.mnemonics[place], self.operands[place])

    def say_all(self, begin: int, end: int) -> str:
        """Return instructions from `begin` to `end`, a line each, unless names in a report have line ends."""
        return "".join(self._words[4 * begin : 4 * end - 1])

    @cached_property
    def _words(self) -> list[str]:
        """Return the mnemonic, a space, the operands and a line end of each instruction, if it has operands."""
        words = ["\n"] * (4 * len(self.mnemonics))
        words[0::4], words[2::4] = self.mnemonics, self.operands
        words[1::4] = [" " if each else "" for each in self.operands]
        return words

    @cached_property
    def block_of_each(self) -> "array[int]":
        """Return the address of the block that each instruction is in."""
        return repeat_each("Q", self.starts, map(sub, self.blocks[1:], self.blocks))


def repeat_each(kind: Literal["q", "Q"], values: Iterable[int], counts: Iterable[int]) -> "array[int]":
    """Return each value, from 0 to 2**64 - 1, as many times as its count says, in an array of this kind."""
    return array(kind, b"".join(map(mul, map(_pack, values), counts)))


def join_words(mnemonic: str, operands: str) -> str:
    """Return an instruction as one text."""
    return f"{mnemonic} {operands}" if operands else mnemonic


def find_first(
    places: Iterable[int],
    bounds: Sequence[int],
    numbers: Container[int],
    matches: Callable[[int], object] = lambda _: True,
) -> Iterator[tuple[int, int]]:
    """Yield those of the functions that have one of these places, which ascend, and the first place of each.

    `matches` is asked until it says so of a place.
    """
    end = 0
    for place in places:
        if place >= end and matches(place):
            number = bisect_right(bounds, place) - 1
            end = bounds[number + 1]
            if number in numbers:
                yield number, place


class _Regular(Listing):
    """The functions of a frame that are columns."""

    def __init__(self, content: bytes, code: Code, offsets: dict[int, int]) -> None:
        """Take the columns, and the offsets of functions by their numbers: any of them tells all addresses."""
        self._content = content
        self._code = code
        self._offsets = offsets
        self._number, self._offset = next(iter(offsets.items()))

    @cached_property
    def _text(self) -> str:
        return self._code.lines.replace("\0", "\n").lower()

    def may_say(self, part: str) -> bool:
        return part in self._text

    @cached_property
    def _reach(self) -> int:
        """Return how far an instruction is at most from the one with a known address."""
        return sum(map(abs, self._code.gaps)) + abs(self._code.entries[self._number]) + len(self._code.lines)

    def may_name(self, address: int) -> bool:
        return abs(address - self._offset) <= self._reach

    def find_likely(self, groups: Sequence[Sequence[str]]) -> list[int] | None:
        # Other small letters may have other lengths, or be none.
        if not groups or not self._code.lines.isascii():
            return None
        texts = {text: self._may_end_in(text) for group in groups for text in group}
        if not all(any(texts[text] or text in self._text for text in group) for group in groups):
            return []
        told = [group for group in groups if not any(texts[text] for text in group)]
        # The longest words likely leave the fewest instructions.
        chosen = max(told, key=lambda group: min(map(len, group)), default=None)
        return None if chosen is None else sorted({place for text in chosen for place in self._find(text)})

    def _may_end_in(self, text: str) -> bool:
        """Tell whether an address that was cut off from operands may contain a text, or the end of one."""
        if not any(self._code.targets):
            return False
        low, high = hex(self._offset - self._reach), hex(self._offset + self._reach)
        longest = max(len(low), len(high))
        begin = commonprefix([low, high]) if len(low) == len(high) else ""  # noqa: RUF071 - characters are meant
        ends = (text[place:] for place in range(len(text)) if _BEGIN_OF_ADDRESS.fullmatch(text, place))
        return _IN_ADDRESS.fullmatch(text) is not None or any(
            len(end) <= longest and (end.startswith(begin) or begin.startswith(end)) for end in ends
        )

    def _find(self, text: str) -> Iterator[int]:
        """Yield the instructions whose mnemonics or operands contain a text, without addresses that were cut off."""
        lines, number, counted = self._text, 0, 0
        found = lines.find(text)
        while found >= 0:
            number += lines.count("\n", counted, found)
            place, field = divmod(number, 3)
            # The first of the three is the code.
            if field:
                yield place
            counted = lines.find("\n", found)
            found = lines.find(text, counted) if counted >= 0 else -1

    def say(self, place: int) -> str:
        block = bisect_right(self.blocks, place) - 1
        is_whole = place < self.blocks[block + 1] - 1 or not self._code.targets[block]
        operands = self._lines[3 * place + 2] if is_whole else self.operands[place]
        return join_words(self.mnemonics[place], operands)

    @cached_property
    def blocks(self) -> list[int]:  # type: ignore[override]
        return list(accumulate(self._code.num_instructions, initial=0))

    @cached_property
    def functions(self) -> list[int]:  # type: ignore[override]
        return [self.blocks[block] for block in accumulate(self._code.num_blocks, initial=0)]

    @cached_property
    def _lines(self) -> list[str]:
        return layout.split_lines(self._code.lines, 3 * self.blocks[-1])

    @cached_property
    def _texts(self) -> list[str]:
        return self._code.lines.split("\0")

    @cached_property
    def codes(self) -> list[str]:  # type: ignore[override]
        return self._lines[0::3]

    @cached_property
    def mnemonics(self) -> list[str]:  # type: ignore[override]
        return self._lines[1::3]

    @cached_property
    def sizes(self) -> list[int]:  # type: ignore[override]
        return list(layout.code_sizes(self.codes))

    @cached_property
    def starts(self) -> list[int]:  # type: ignore[override]
        return list(map(self.addresses.__getitem__, self.blocks[:-1]))

    @cached_property
    def addresses(self) -> "array[int]":  # type: ignore[override]
        sizes, begin = layout.code_sizes(self.codes), self.functions[self._number]
        first = self._offset + self._code.entries[self._number]
        if begin:
            first -= layout.locate_instructions(0, self._code.gaps, self.blocks, sizes)[begin]
        found = array("Q", layout.locate_instructions(first, self._code.gaps, self.blocks, sizes))
        for number, offset in self._offsets.items():
            if found[self.functions[number]] != offset + self._code.entries[number]:
                raise FrameError("an offset has changed")
        return found

    def locate(self, number: int, place: int) -> int:
        # Of this function only: the lines of the others may not have been cut yet.
        begin, block = self.functions[number], sum(self._code.num_blocks[:number])
        codes = self._texts[number].split("\n", 3 * (place - begin) + 1)[: 3 * (place - begin) : 3]
        gaps = self._code.gaps[block + 1 : bisect_right(self.blocks, place)]
        return self._offsets[number] + self._code.entries[number] + sum(layout.code_sizes(codes)) + sum(gaps)

    @cached_property
    def operands(self) -> list[str]:  # type: ignore[override]
        code, operands, starts = self._code, self._lines[2::3], self.starts
        successors, bounds = list(accumulate(code.successors)), list(accumulate(code.num_successors, initial=0))
        blocks = zip(self.blocks[1:], code.targets, bounds, bounds[1:], strict=False)
        for end, target, first, after in compress(blocks, code.targets):
            operands[end - 1] += hex(starts[successors[after - 1 if target == layout.LAST else first]])
        return operands

    @cached_property
    def _frame(self) -> Frame:
        frame = _parse_frame(self._content)
        layout.check_counts(frame)
        return frame

    @cached_property
    def apis(self) -> list[int]:  # type: ignore[override]
        return list(accumulate(self._frame.num_apirefs, initial=0))

    @cached_property
    def api_names(self) -> list[str]:  # type: ignore[override]
        return self._frame.apiref_names.split("\n") if self._frame.apiref_places else []

    @cached_property
    def api_addresses(self) -> list[int]:  # type: ignore[override]
        return list(map(self.addresses.__getitem__, accumulate(self._frame.apiref_places)))

    def locate_api(self, number: int, reference: int) -> int:
        return self.locate(number, sum(self._frame.apiref_places[: reference + 1]))

    @cached_property
    def strings(self) -> list[list[Reference]]:  # type: ignore[override]
        texts = self._frame.texts
        if not texts:
            return [[] for _ in self._frame.num_blocks]
        return [references.list_strings(_parse_json(stringrefs)) for _, stringrefs in texts]


class _Odd(Listing):
    """A function that is kept as its JSON."""

    def __init__(self, json: bytes) -> None:
        function: dict[str, Any] = _parse_json(json)
        blocks: list[list[Any]] = list(function["blocks"].values())
        instructions = list(chain.from_iterable(blocks))
        self.blocks = list(accumulate(map(len, blocks), initial=0))
        self.functions = [0, len(instructions)]
        self.starts = list(map(int, function["blocks"]))
        self.addresses = array("Q", map(itemgetter(0), instructions))
        self.codes, self.mnemonics, self.operands = (list(map(itemgetter(field), instructions)) for field in (1, 2, 3))
        self.sizes = [len(code) // 2 for code in self.codes]
        apis = references.list_apis(function.get("apirefs"))
        self.apis = [0, len(apis)]
        self.api_names = [name for _, name in apis]
        self.api_addresses = [address for address, _ in apis]
        self.strings = [references.list_strings(function.get("stringrefs"))]

    def may_say(self, part: str) -> bool:  # noqa: ARG002 - without a look
        return True

    def may_name(self, address: int) -> bool:  # noqa: ARG002 - as above
        return True

    def locate(self, number: int, place: int) -> int:  # noqa: ARG002 - there is one
        return self.addresses[place]

    def locate_api(self, number: int, reference: int) -> int | None:  # noqa: ARG002 - as above
        return self.api_addresses[reference]


def list_frame(content: bytes, places: Sequence[Place]) -> list[tuple[Listing, dict[int, int]]]:
    """Return listings that have the functions at these places, each with their numbers in it and among the places.

    What is asked of a listing raises what `refuse_misfits` catches where columns do not fit together.

    Raises:
        FrameError: The content is no frame, or it has no function at a place.
    """
    with refuse_misfits():
        code = _parse_code(content)
        layout.check_code(code)
        count = len(code.num_blocks) + len(code.odd)
        if not all(0 <= place.position < count for place in places):
            raise FrameError("the frame ends before the function")
        found: list[tuple[Listing, dict[int, int]]] = []
        regular: dict[int, int] = {}
        for number, (position, _) in enumerate(places):
            if position in code.odd:
                found.append((_Odd(code.odd[position]), {0: number}))
            else:
                regular[position - sum(odd < position for odd in code.odd)] = number
        if regular:
            offsets = {inside: places[number].offset for inside, number in regular.items()}
            found.append((_Regular(content, code, offsets), regular))
        return found


def list_names(content: bytes) -> list[tuple[list[str], list[str]]]:
    """Return the names of the APIs and of the strings that each function of a frame refers to.

    Raises:
        FrameError: The content is no frame.
    """
    with refuse_misfits():
        code = _parse_code(content)
        count = len(code.num_blocks) + len(code.odd)
        found: list[tuple[list[str], list[str]]] = [([], [])] * count
        for listing, numbers in list_frame(content, [Place(position, 0) for position in range(count)]):
            names, bounds, strings = listing.api_names, listing.apis, listing.strings
            for inside, position in numbers.items():
                own = names[bounds[inside] : bounds[inside + 1]]
                found[position] = own, [string for _, string in strings[inside]]
        return found


@contextmanager
def refuse_misfits() -> Iterator[None]:
    """Raise FrameError where columns do not fit together."""
    try:
        yield
    except FrameError:
        raise
    except _MISFITS as error:
        raise FrameError(f"the columns do not fit together: {error}") from error
