"""Read the instructions of a frame as text: for scans, which make no objects but for what they find."""

from functools import cached_property
from itertools import accumulate
from typing import Any, Final, NamedTuple

import msgspec

from sampledb.format import frame as layout
from sampledb.format.decoder import parse_frame, parse_odd
from sampledb.format.frame import Frame, FrameError, Head

_parse_head = msgspec.msgpack.Decoder(Head).decode
_SEPARATORS: Final = {ord("\n"): " ", ord("\0"): " "}


class Place(NamedTuple):
    """The instruction that a part of the text belongs to."""

    function: int  # its position in the frame
    distance: int  # from the function's offset to the instruction, in bytes; may be negative
    instruction: int  # its number in the function
    line: int  # of the instruction: 0 for code, 1 for mnemonic, 2 for operands


class Listing:
    r"""The text of a frame.

    Attributes:
        text: Three lines for each instruction: code in hex digits, mnemonic and operands. `"\0"` stands between
            functions, `"\n"` between lines. A jump at the end of a block lacks its target if that is a block of the
            same function: its operands end where the address would begin.
    """

    def __init__(self, content: bytes) -> None:
        """Raise FrameError if the content is no frame."""
        try:
            head = _parse_head(content)
        except (ValueError, RecursionError) as error:
            raise FrameError(f"no frame: {error}") from error
        self._content = content
        self._odd = head.odd
        self.text = head.lines
        if head.odd:
            regular = [head.lines] if self._frame.num_blocks else []
            self.text = "\0".join(regular + [_text_of(function) for function in self._functions])

    def locate(self, index: int) -> Place:
        """Return the instruction that the character at `index` belongs to.

        Raises:
            FrameError: The frame does not say where it is.
        """
        number = self.text.count("\0", 0, index)
        begin = self.text.rfind("\0", 0, index) + 1
        instruction, line = divmod(self.text.count("\n", begin, index), 3)
        odd = number - len(self._frame.num_blocks)
        try:
            if odd >= 0:
                function = self._functions[odd]
                distance = _list_instructions(function)[instruction][0] - function["offset"]
                return Place(sorted(self._odd)[odd], distance, instruction, line)
            codes = self.text[begin:].split("\n", 3 * instruction + 1)[: 3 * instruction : 3]
            return Place(self._position(number), self._distance(number, codes), instruction, line)
        except (LookupError, TypeError, ValueError) as error:
            raise FrameError(f"the columns do not fit together: {error}") from error

    @cached_property
    def _frame(self) -> Frame:
        return parse_frame(self._content)

    @cached_property
    def _functions(self) -> list[dict[str, Any]]:
        """The functions that are kept as JSON."""
        try:
            return [parse_odd(self._odd[position]) for position in sorted(self._odd)]
        except (ValueError, RecursionError) as error:
            raise FrameError(f"an odd function is no JSON: {error}") from error

    def _position(self, number: int) -> int:
        """Return the position in the frame of a regular function, given its number among those."""
        for position in sorted(self._odd):
            number += position <= number
        return number

    def _distance(self, number: int, codes: list[str]) -> int:
        """Return how far from the offset of a function the instruction is that follows those of these codes."""
        frame = self._frame
        block = sum(frame.num_blocks[:number])
        ends = accumulate(frame.num_instructions[block : block + frame.num_blocks[number]])
        begun = sum(end <= len(codes) for end in ends)
        gaps = frame.gaps[block + 1 : block + 1 + begun]
        return frame.entries[number] + sum(layout.code_sizes(codes)) + sum(gaps)


def _text_of(function: dict[str, Any]) -> str:
    try:
        fields = [field for instruction in _list_instructions(function) for field in instruction[1:4]]
        return "\n".join(field.translate(_SEPARATORS) for field in fields)
    except (LookupError, TypeError, AttributeError) as error:
        raise FrameError(f"an odd function has no instructions: {error}") from error


def _list_instructions(function: dict[str, Any]) -> list[Any]:
    return [instruction for block in function["blocks"].values() for instruction in block]
