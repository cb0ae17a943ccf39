"""The layout of frames: the disassembly of consecutive functions, as rows of text and columns.

A frame is MessagePack of `Frame`. The code, mnemonic and operands of an instruction are three lines of one text: code
says the other two, so zstd finds all three in one match, and a scan for any of them reads this text alone
(`format.columns`). Everything else is in columns, each of which all functions of the frame share, so that a step of
encoding or decoding is one call of C for all of them.

Values that follow from others are not stored: the address of an instruction follows from its block's start and
the code before it, the target of a jump from the successors of its block, the target of a call from its operands;
offset, name, binweight and pic_hash stand in the row of the function. Successors, components and references are
numbers of blocks and instructions, each relative to the one before.

Nearly all of SMDA's functions fit. One that does not (instructions with gaps between them, unknown keys, a
reference to a block that is not there) is kept whole in `odd`, as its JSON.

The law: `decode_frame(encode_frame(functions, jsons), rows)` equals what the JSONs say. Decoding anything else raises
FrameError or gives other dicts, using memory in proportion to the frame.

Chosen by measuring 49 real reports end to end (file and compacted file as a share of compact JSON):

- 16 functions a frame: 0.130 and 0.107; 12: 0.133 and 0.110; 8: 0.139 and 0.116. The median read of one function takes
  3.9, 3.6 and 3.3 times that of its JSON in a blob of its own. Limits of 64 or 32 kB instead of more frames of few
  functions cost more space (0.012 and 0.033) and gain less. Whole reports are read alike.
- A dictionary of 112 kB that belongs to the package: frames are 4 % smaller, 5 % after `compact()`; of 32 kB, 3 % and
  3 %. Trained on the file itself it would be a blob without which no frame could be read.
- Integers as bytes where each of a column fits in one, as arrays otherwise: as large as arrays only, and read in 0.4 of
  the time. A column of numbers of 1, 2, 4 or 8 bytes, as its largest needs: 0.3 % larger for each of `successors`,
  `components` and `inrefs`.
- Pages of 2048 bytes: 3 % less than 4096, of which a frame leaves half of the last one empty.
- Level 3: 9 µs a function; level 5 takes 17 µs for 3 % less.

Rejected, measured as a share of the frames at the same level:

- Columns of codes, operands and numbered mnemonics: 12 % larger. Mnemonic, operands, code: 3 % larger.
- Parsing one text of JSON joined from the columns, or MessagePack of the final shape: 1.5 times as slow as the lists
  that are made here.
- Targets of all branches and calls computed from their code: 4 % smaller, 1.3 times the time to make.
- Code as bytes with a column of lengths: as large, and slower to read, because `split` is the fastest way to cut.
- Blocks that stand twice in the file kept once: 4 % of the text, most of which zstd finds in the frame already.
"""

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, compress
from typing import Annotated, Final, NamedTuple

import msgspec
import xxhash

from sampledb.format.codec import FRAME, MAX_BYTES
from sampledb.format.smda import OPTIONAL, OPTIONAL_METADATA

# See above.
FUNCTIONS: Final = 16
# A frame ends early rather than make the reader of one function unpack megabytes of its neighbours.
JSON_BYTES: Final = 256 * 1024
# Which successor of a block the last operands end in; its address is cut off.
NONE: Final = 0
LAST: Final = 1
FIRST: Final = 2
# Objects that Python 3.12 freezes when it starts; a program that freezes its own has several thousand.
_FROZEN_BY_PYTHON: Final = 1000

# Only in text of so many characters it pays to count lines before they are cut.
_LONG: Final = 1 << 20

_HALVES: Final = bytes(number >> 1 for number in range(256))


class FrameError(ValueError):
    """The bytes are no frame, or not the frame of these rows."""


class Row(NamedTuple):
    """The values that a frame leaves to the row of a function."""

    offset: int
    name: str
    binweight: float
    pic_hash: int | None


_Count = Annotated[int, msgspec.Meta(ge=0)]
# A column of integers is bytes where each fits in one, which nearly all do: bytes are read and cut faster.
Counts = bytes | list[_Count]
Signed = memoryview | list[int]
# Each function has its own; a forged frame must not make lists by the million out of a few bytes.
_FEW: Final = msgspec.Meta(max_length=FUNCTIONS)
_OfEach = Annotated[bytes, _FEW] | Annotated[list[_Count], _FEW]
_Odd = Annotated[dict[int, bytes], _FEW]
_Absent = Annotated[list[str], msgspec.Meta(max_length=len(OPTIONAL + OPTIONAL_METADATA))]


class Frame(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """The columns of all regular functions of a frame, each flat, function after function.

    Counts say which part belongs to which function or block. A column of differences says of each value how far it is
    from the one before it in the whole frame, of the first, from 0. Blocks and instructions are numbered through the
    frame.
    """

    rows_checksum: int
    odd: _Odd  # by position in the frame: JSON
    absent: _Absent  # optional keys that no regular function of the frame has
    lines: str = ""  # code, mnemonic and operands of each instruction, a line each; NUL between functions
    # Of each function.
    num_blocks: _OfEach = b""
    entries: Signed = []  # from the offset to the first block
    num_components: _OfEach = b""
    num_inrefs: _OfEach = b""
    num_outrefs: _OfEach = b""
    num_apirefs: _OfEach = b""
    # Of each block.
    num_instructions: Counts = b""
    gaps: Signed = []  # from the end of the block before, in the frame, to the start; 0 for the first
    num_successors: Counts = b""
    targets: bytes = b""  # LAST, FIRST or NONE: which successor is cut off from the operands of the last instruction
    # Numbers of blocks, as differences.
    successors: Signed = []
    components: Signed = []
    component_sizes: Counts = b""  # of each component; empty when all are one block
    # References.
    inrefs: Signed = []  # addresses, as differences
    outref_places: Signed = []  # numbers of the instructions that make them, as differences
    outref_sizes: Counts = b""  # targets of each; empty when all have one
    # From the instruction to the target, one more if that is not negative; 0 when its operands end in the target.
    outref_targets: Signed = []
    apiref_places: Signed = []  # like outref_places
    apiref_names: str = ""  # a line each
    # The rest.
    # `Measures` of each function, as JSON, in which floats take the digits they have.
    measures: Annotated[list[bytes], _FEW] = []
    # `architecture_metadata` and `stringrefs` of each function, as JSON; empty when all are {}.
    texts: Annotated[list[tuple[bytes, bytes]], _FEW] = []

    def __post_init__(self) -> None:
        """Read the bytes of signed columns as such."""
        _read_signed(self, SIGNED)


#: Columns of signed integers, and of counts, by name.
SIGNED: Final = [field.name for field in msgspec.structs.fields(Frame) if field.type == Signed]
COUNTS: Final = [field.name for field in msgspec.structs.fields(Frame) if field.type in (Counts, _OfEach)]


class Code(msgspec.Struct, array_like=True, gc=False):
    """The columns of a frame that instructions follow from; the others, half of the work, are skipped."""

    rows_checksum: int
    odd: _Odd
    absent: msgspec.Raw
    lines: str = ""
    num_blocks: _OfEach = b""
    entries: Signed = []
    num_components: msgspec.Raw = msgspec.Raw()
    num_inrefs: msgspec.Raw = msgspec.Raw()
    num_outrefs: msgspec.Raw = msgspec.Raw()
    num_apirefs: msgspec.Raw = msgspec.Raw()
    num_instructions: Counts = b""
    gaps: Signed = []
    num_successors: Counts = b""
    targets: bytes = b""
    successors: Signed = []

    def __post_init__(self) -> None:
        """Read the bytes of signed columns as such."""
        _read_signed(self, ("entries", "gaps", "successors"))


def _read_signed(columns: Frame | Code, names: Iterable[str]) -> None:
    for name in names:
        column = getattr(columns, name)
        if isinstance(column, memoryview):
            setattr(columns, name, column.cast("b"))


class Outline(msgspec.Struct, array_like=True, gc=False):
    """The columns of a frame that say how many functions, blocks and instructions it has; the others are skipped."""

    rows_checksum: int
    odd: _Odd
    absent: msgspec.Raw
    lines: msgspec.Raw
    num_blocks: _OfEach
    entries: msgspec.Raw
    num_components: msgspec.Raw
    num_inrefs: msgspec.Raw
    num_outrefs: msgspec.Raw
    num_apirefs: msgspec.Raw
    num_instructions: Counts


# Characteristics, confidence, tfidf, nesting depth, is_exported.
Measures = tuple[str | None, float | None, float | None, int, bool]

_unparse = msgspec.msgpack.Encoder().encode


def checksum_rows(rows: Iterable[tuple[int, str, float, int | None]]) -> int:
    """Return the xxh3 hash of the rows from which a frame's regular functions take values."""
    return xxhash.xxh3_64_intdigest(_unparse(list(rows)))


def code_sizes(codes: list[str]) -> bytes:
    """Return the bytes of each instruction, given its hex digits."""
    return bytes(map(len, codes)).translate(_HALVES)


def locate_instructions(first: int, gaps: Sequence[int], bounds: Sequence[int], sizes: bytes) -> list[int]:
    """Return the addresses of instructions of these sizes, of which `first` is the first.

    `bounds` say which ones begin a block, and `gaps` what lies before it.
    """
    steps = list(sizes[:-1])
    for bound, gap in compress(zip(bounds[1:-1], gaps[1:], strict=True), gaps[1:]):
        steps[bound - 1] += gap
    return list(accumulate(steps, initial=first))


def check_code(code: Code | Frame) -> int:
    """Raise FrameError unless the columns of instructions are as long as the counts say; return their least JSON.

    What is made of them then takes memory in proportion to the JSON that a frame may hold.
    """
    blocks, instructions = len(code.num_instructions), sum(code.num_instructions)
    if (
        len(code.num_blocks) != len(code.entries)
        or not blocks == sum(code.num_blocks) == len(code.gaps) == len(code.num_successors) == len(code.targets)
        or len(code.successors) != sum(code.num_successors)
        or 0 in code.num_instructions
    ):
        raise FrameError("the columns are not as long as the counts say")
    # As JSON, an instruction takes `[0,"","",""],`, a block `"0":[],` twice, a number `0,`.
    return _check_size(12 * instructions + 14 * blocks + 2 * len(code.successors))


def check_counts(frame: Frame) -> None:
    """Raise FrameError unless all columns are as long as the counts say, and no longer than JSON could make them."""
    least, functions = check_code(frame), len(frame.num_blocks)
    if (
        not functions == len(frame.num_components) == len(frame.num_inrefs) == len(frame.num_outrefs)
        or not functions == len(frame.num_apirefs) == len(frame.measures) == len(frame.texts or frame.entries)
        or len(frame.component_sizes or frame.components) != sum(frame.num_components)
        or len(frame.components) != sum(frame.component_sizes or frame.num_components)
        or len(frame.inrefs) != sum(frame.num_inrefs)
        or not len(frame.outref_places) == sum(frame.num_outrefs) == len(frame.outref_sizes or frame.outref_places)
        or len(frame.outref_targets) != sum(frame.outref_sizes or frame.num_outrefs)
        or len(frame.apiref_places) != sum(frame.num_apirefs)
    ):
        raise FrameError("the columns are not as long as the counts say")
    # A component takes `[],`.
    least += 3 * sum(frame.num_components) + 7 * (len(frame.outref_places) + len(frame.apiref_places))
    _check_size(least + 2 * (len(frame.components) + len(frame.inrefs) + len(frame.outref_targets)))


def _check_size(least: int) -> int:
    if least > MAX_BYTES[FRAME]:
        raise FrameError("the frame says more than JSON of its length limit could")
    return least


@contextmanager
def pause_garbage_collection() -> Iterator[None]:
    """Switch Python's cycle detection off during work on many frames.

    Looking through their lists for cycles takes as long as making them, and finds none.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            _spare_from_next_collection()
            gc.enable()


def _spare_from_next_collection() -> None:
    """Move all objects to the oldest generation, without a look at them.

    The next collection would otherwise walk through all that was just made, which takes as long as making it.
    """
    # What somebody else froze must stay frozen.
    if gc.get_freeze_count() <= _FROZEN_BY_PYTHON:
        gc.freeze()
        gc.unfreeze()


def split_lines(text: str, count: int) -> list[str]:
    """Return the lines of all functions of a frame; FrameError unless there are `count`."""
    text = text.replace("\0", "\n")
    # As a list, lines take up to 40 times the memory of the text.
    if len(text) > _LONG and text.count("\n") >= count:
        raise FrameError("there are more lines than instructions")
    lines = text.split("\n")
    if len(lines) != count:
        raise FrameError("there are not three lines for each instruction")
    return lines
