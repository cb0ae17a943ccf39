"""The layout of frames: the disassembly of consecutive functions of a sample, as columns.

A frame is MessagePack of `Frame`, whose fields are the columns: the code of all instructions, all mnemonics and so
on, function after function. Values of one kind compress far better beside each other than inside SMDA's JSON, and
take less time to make and to read.

Values that follow from others are not stored: the address of an instruction follows from its block's start and
the code before it, the target of a jump from the successors of its block; offset, name, binweight and pic_hash
stand in the row of the function. Addresses are kept relative to something near: blocks to the end of the block
before, references to where they are made, successors and components as positions of blocks.

Nearly all of SMDA's functions fit. One that does not (instructions with gaps between them, unknown keys, a
reference to a block that is not there) is kept whole in `odd`, as its JSON.

The law: `decode_frame(encode_frame(functions, jsons), rows)` equals what the JSONs say. Decoding anything else raises
FrameError or gives other dicts, using memory in proportion to the frame.

Rejected designs, measured on real reports at equal compression (space as a share of the frame, time of the whole call):

- A table of the frame's different instructions, branches relative, and numbers of rows: 8 % smaller, 15 % if
  sorted; but twice the time to make, and 1.6 times to read.
- Targets of all branches and calls computed from their code: 4 % smaller, 1.3 times the time to make.
- Code as bytes with a column of lengths: as large at level 6, 2 % larger at level 19, a tenth slower to read,
  because `split` is the fastest way that Python has to cut.
- A zstd dictionary of 110 kB trained on the file: 4 % smaller, 6 % after `compact()`; but then no frame can be read
  when that one blob is damaged.
- Blocks that stand twice in the file kept once: 4 % of the text, most of which zstd finds in the frame already.
- More functions in a frame: see FUNCTIONS.
"""

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import Annotated, Final, NamedTuple, TypeVar

import msgspec
import xxhash

from sampledb.format.codec import FRAME, MAX_BYTES
from sampledb.format.smda import OPTIONAL, OPTIONAL_METADATA

# A read decompresses and unpacks the whole frame: with 32 functions it takes 1.6 times as long, for 7 % less space;
# with 64, 1.8 times for 10 %.
FUNCTIONS: Final = 16
# A frame ends early rather than make the reader of one function unpack megabytes of its neighbours.
JSON_BYTES: Final = 256 * 1024
# These stand for the address of a block's last or first successor; `smda.parse_function` lets no such character in.
TO_LAST: Final = "\1"
TO_FIRST: Final = "\2"
# Objects that Python 3.12 freezes when it starts; a program that freezes its own has several thousand.
_FROZEN_BY_PYTHON: Final = 1000

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
_Column = TypeVar("_Column")
# A forged frame must not make lists by the million out of a few bytes: nothing is longer than a function's JSON could
# say, in which a number takes two bytes, a reference (`"0":[],`) or a block seven, an instruction twelve.
_OfEach = Annotated[list[_Column], msgspec.Meta(max_length=FUNCTIONS)]
_Instructions = Annotated[bytes, msgspec.Meta(max_length=MAX_BYTES[FRAME] // 12)]
_Odd = Annotated[dict[int, bytes], msgspec.Meta(max_length=FUNCTIONS)]
_Absent = Annotated[list[str], msgspec.Meta(max_length=len(OPTIONAL + OPTIONAL_METADATA))]
_Mnemonics = Annotated[list[str], msgspec.Meta(max_length=256)]
_Numbers = Annotated[list[_Column], msgspec.Meta(max_length=MAX_BYTES[FRAME] // 2)]
_Entries = Annotated[list[_Column], msgspec.Meta(max_length=MAX_BYTES[FRAME] // 7)]


class Frame(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """The columns of all functions of a frame. Odd functions have nothing in theirs."""

    rows_checksum: int
    odd: _Odd  # by position in the frame: JSON
    absent: _Absent  # optional keys that no regular function of the frame has
    num_instructions: _OfEach[_Entries[_Count]]  # of each block
    gaps: _OfEach[_Entries[int]]  # from the end of the block before, or the offset, to each block's start
    codes: str  # hex digits, one instruction a line, NUL between functions
    mnemonics: _Mnemonics  # those of the frame, each once
    mnemonic_of: _Instructions  # of each instruction, its place in `mnemonics`
    operands: str  # like codes; those of a jump end in a mark instead of the address of a successor
    num_successors: _OfEach[bytes]  # of each block
    successors: _OfEach[_Numbers[int]]  # positions of blocks, each relative to the one before
    component_sizes: _OfEach[_Numbers[_Count]]  # empty when every component is one block
    components: _OfEach[_Numbers[int]]  # like successors
    inrefs: _OfEach[_Numbers[int]]  # each relative to the one before, the first to the offset
    outref_addresses: _OfEach[_Entries[int]]  # likewise
    # Relative to the address; a list where they are not exactly one; 0 for the one that the operands there name.
    outref_targets: _OfEach[_Entries[int | list[int]]]
    apiref_addresses: _OfEach[_Entries[int]]  # like inrefs
    apiref_names: str  # like codes
    measures: bytes  # JSON of `Measures` of each, in which floats take the digits they have
    texts: _OfEach[tuple[bytes, bytes]]  # `architecture_metadata` and `stringrefs` as JSON; empty when all are {}


# Of one function: characteristics, confidence, tfidf, nesting depth, is_exported.
Measures = tuple[str | None, float | None, float | None, int, bool]

_unparse = msgspec.msgpack.Encoder().encode


def checksum_rows(rows: Iterable[Row]) -> int:
    """Return the xxh3 hash of the rows from which a frame's regular functions take values."""
    return xxhash.xxh3_64_intdigest(_unparse(list(rows)))


def code_sizes(codes: list[str]) -> list[int]:
    """Return the bytes of each instruction, given its hex digits."""
    return list(bytes(map(len, codes)).translate(_HALVES))


def locate_instructions(offset: int, gaps: list[int], bounds: list[int], sizes: list[int]) -> list[int]:
    """Return the addresses of instructions of these sizes, block after block; `bounds` says which begin one."""
    steps = sizes[:-1]
    for bound, gap in zip(bounds[1:-1], gaps[1:], strict=True):
        steps[bound - 1] += gap
    return list(accumulate(steps, initial=offset + gaps[0]))


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
