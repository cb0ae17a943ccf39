"""What is known of an instruction by its text alone: its class, its category, and its numbers.

A class is the mnemonic with the kinds of its operands: general registers by width, vectors, the stack pointer, memory
by how it is addressed, numbers. So registers, addresses and most numbers may differ between builds.

Texts differ mostly in their numbers. These are cut out first; what is left, a form, is read once.
"""

import operator
import re
from functools import lru_cache
from itertools import accumulate, repeat
from typing import Final, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from sampledb.similarity.categories import (
    ADD,
    BRANCH,
    CALL,
    COMPARE,
    JUMP,
    LOAD,
    LOGIC,
    MOVE,
    MULTIPLY,
    OTHER,
    SHIFT,
    STORE,
    VECTOR,
    categorize_arm,
    categorize_x86,
)

# Architectures, as SMDA names them; a model knows no others.
X86: Final = "intel"
ARM64: Final = "aarch64"

# What AArch64 calls by the same names when it does it to vectors.
_SCALAR: Final = frozenset({MOVE, ADD, LOGIC, SHIFT, MULTIPLY, COMPARE, OTHER})

# Longer texts are no instructions; what follows is not read.
_LONGEST: Final = 200
_BYTE: Final = 0xFF
_MASK16: Final = (1 << 16) - 1
_MASK32: Final = (1 << 32) - 1
_MASK64: Final = (1 << 64) - 1
_FARTHEST_FIELD: Final = 0x7FFF
# How the number of an instruction is used: not at all, as a whole, or as half of one that AArch64 puts together.
_NOT, _WHOLE, _MOVE, _KEEP = range(4)
# Marks halves, so that the half of one number is not another number.
_HALF: Final = 1 << 31

_OPERANDS: Final = re.compile(r"\[[^\]]*\]!?|\{[^}]*\}|[^,\s\[{][^,\[]*(?:\[[^\]]*\])?")
# Numbers of more than 1 and at most 64 bits. 0 and 1 are kinds of operands; decimal ones are few, and distances too.
_split_at_numbers: Final = re.compile(r"0x([1-9a-f][0-9a-f]{1,15}|[2-9a-f])\b").split
# Stands for a number that was cut out.
GAP: Final = "\0"
_count_gaps: Final = operator.methodcaller("count", GAP)
_NUMBER: Final = re.compile(rf"-?{GAP}|-?0x[0-9a-f]+|-?\b\d+\b")
_STACK: Final = re.compile(r"\b(?:rsp|esp|sp|rbp|ebp|x29)\b")
_REGISTER_INSIDE: Final = re.compile(r"\b(?:[er]?[a-ds][ipx]|[er]?[bs]pl?|[xwr]\d+[dwb]?|[er]?[sd]il?)\b")
_ARM_INDEX: Final = re.compile(r", [xw]\d")
_VECTOR: Final = re.compile(r"(?:[xyz]mm|mm|k|v|[qdshb])\d+(?:\.\d*[bhsdq](?:\[\d+\])?)?|\{.*|st\(\d\)|st")
_SIZES: Final = {"byte": "b", "word": "w", "dword": "d", "qword": "q", "xmmword": "x", "ymmword": "y"}

# Registers of one kind, wherever they stand, and one that stands for them: so a sixth of the forms is left to read.
_SAME_REGISTERS: Final = {
    X86: (
        (re.compile(r"r(?:[a-d]x|[ds]i|[89]|1[0-5])\b").sub, "rax"),
        (re.compile(r"e(?:[a-d]x|[ds]i)\b").sub, "eax"),
    ),
    ARM64: (
        (re.compile(r"(?<!0)x(?:[12]?[0-8]|1?9|30)\b").sub, "x0"),
        (re.compile(r"w(?:[12]?[0-8]|1?9|30)\b").sub, "w0"),
    ),
}


def _name_registers() -> dict[str, str]:
    """Return the kind of each general register by its name."""
    kinds: dict[str, str] = {}
    for name in ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp"):
        kinds |= {f"r{name}": "q", f"e{name}": "d", name: "w"}
    kinds |= dict.fromkeys(["al", "bl", "cl", "dl", "sil", "dil", "bpl", "spl", "ah", "bh", "ch", "dh"], "b")
    for number in range(8, 16):
        kinds |= {f"r{number}": "q", f"r{number}d": "d", f"r{number}w": "w", f"r{number}b": "b"}
    for number in range(31):
        kinds |= {f"x{number}": "q", f"w{number}": "d"}
    return kinds | {"wzr": "z", "xzr": "z", "sp": "S", "rsp": "S", "esp": "S"}


_REGISTERS: Final = _name_registers()


Column = NDArray[np.uint32]
Wide = NDArray[np.uint64]


class Number(NamedTuple):
    """A number in an operand: one that was cut out, or one that is still there.

    Attributes:
        place: Twice the number of the gap, counted from 1, and one more behind a minus; 0 if nothing was cut out.
        value: What is still there.
    """

    place: int = 0
    value: int = 0


class Operand(NamedTuple):
    """What an operand is: its kind as letters, and numbers in it.

    Attributes:
        value: The number that it is, `None` for all else.
        field: The offset from a register that is not the stack's.
        taken: What is subtracted from a register in an address.
    """

    kind: str
    is_memory: bool = False
    value: Number | None = None
    field: Number = Number()
    taken: Number = Number()


class Form(NamedTuple):
    """What is known of an instruction by its text without the numbers that were cut out.

    Attributes:
        token: A hash of its class.
        category: What it does, of `categories`.
        gaps: How many numbers were cut out.
        use: How its number is used.
        place: Where that is, as of `Number`; so are the others.
        value: What it is if it was not cut out.
        field_place: Of the offset of the field of a structure that it reads or writes.
        taken_place: Of what is subtracted from a register, where only the address counts.
    """

    token: int
    category: int
    gaps: int
    use: int
    place: int = 0
    value: int = 0
    field_place: int = 0
    field: int = 0
    taken_place: int = 0
    taken: int = 0


class Values(NamedTuple):
    """The numbers of instructions, in columns.

    Attributes:
        constants: Three columns, below 2**32, with bit 31 for halves of one; 0 where there is none.
        field: The offset of the field of a structure that it reads or writes; 0 for none.
        number: The number from which the constants are made, 64 bits without sign: it may be an address.
    """

    constants: tuple[Column, Column, Column]
    field: Column
    number: Wide


def cut_numbers(text: str) -> tuple[str, list[int]]:
    """Return a text with a gap for each number that is cut out, and these numbers; NUL must not be in it."""
    parts = _split_at_numbers(text)
    return GAP.join(parts[::2]), list(map(int, parts[1::2], repeat(16)))


def fill_gaps(forms: NDArray[np.uint64], before: NDArray[np.int64], numbers: Wide) -> Values:
    """Return the numbers of instructions, given their forms, a row each.

    `numbers` are all that were cut out, and `before` says how many of them come before those of each instruction.
    """
    _, _, _, use, place, value, field_place, field, taken_place, taken = forms.T
    # One more, for those that have none.
    numbers = np.append(numbers, np.uint64(0))

    def fill(places: Wide, values: Wide) -> Wide:
        found = numbers[np.where(places, before + (places >> 1).astype(np.int64), 0) - 1]
        return np.where(places, np.where(places & 1, 0 - found, found), values)

    number, field, taken = fill(place, value), fill(field_place, field), fill(taken_place, taken)
    is_some = (use != _NOT) & (number.astype(np.uint32) > 1)
    number *= is_some
    taken *= ~is_some & (taken > 1) & (taken <= _MASK16)
    first, low, high = _list_constants(number.astype(np.uint32), use)
    constants = first + (0 - taken).astype(np.uint32), low, high
    return Values(constants, (field * (field <= _FARTHEST_FIELD)).astype(np.uint32), number)


def _list_constants(values: Column, use: Wide) -> tuple[Column, Column, Column]:
    """Return the constants that numbers are: a number and its halves, but for one byte, which too many have."""
    low, high = (np.where(half > _BYTE, half | _HALF, 0) for half in (values & _MASK16, values >> 16))
    # The halves of small and of negative numbers are no numbers. In AArch64 each stands in an instruction of its own.
    has_halves = (use == _WHOLE) & (values > _MASK16) & (values < _MASK16 << 16)
    return values * (use != _KEEP), low * (has_halves | (use > _WHOLE)), high * has_halves


def read_form(architecture: str, mnemonic: str, operands: str) -> Form:
    """Return what is known of an instruction, given its mnemonic and its operands, from which numbers were cut out."""
    for find, register in _SAME_REGISTERS[architecture]:
        operands = find(register, operands)
    return _read_form(architecture, mnemonic, operands)


# Malware may make them all different.
@lru_cache(maxsize=1 << 14)
def _read_form(architecture: str, mnemonic: str, operands: str) -> Form:
    is_arm = architecture == ARM64
    before, count = mnemonic.count(GAP), operands.count(GAP)
    mnemonic, operands = mnemonic[:_LONGEST], operands[:_LONGEST]
    category = categorize_arm(mnemonic) if is_arm else categorize_x86(mnemonic)
    parts = _OPERANDS.findall(operands) if is_arm else operands.split(", ") if operands else []
    gaps = accumulate(map(_count_gaps, parts), initial=before)
    if category in (BRANCH, JUMP, CALL) and "[" not in operands:
        # A target says where the code lies; the encoder may have cut it off.
        parts = [part for part in parts if part.strip() in _REGISTERS]
    found = [read_operand(part.strip(), gap, is_arm=is_arm) for gap, part in zip(gaps, parts, strict=False)]
    kinds = "".join(operand.kind for operand in found)
    use = _choose_use(mnemonic, category, found, is_arm=is_arm)
    value = next((operand.value for operand in reversed(found) if operand.value), Number())
    field = next((operand.field for operand in reversed(found) if any(operand.field)), Number())
    taken = next((operand.taken for operand in found if mnemonic == "lea" and any(operand.taken)), Number())
    token = crc32(f"{mnemonic} {kinds}".encode("utf-8", "replace"))
    category = _refine_category(mnemonic, category, found, is_arm=is_arm)
    return Form(token, category, before + count, use, *value, *field, *taken)


def _refine_category(mnemonic: str, category: int, operands: list[Operand], *, is_arm: bool) -> int:
    """Return the category, where operands say more than the mnemonic does."""
    if is_arm:
        return VECTOR if category in _SCALAR and operands and operands[0].kind == "v" else category
    if mnemonic.startswith(("mov", "vmov")) and any(operand.is_memory for operand in operands):
        return STORE if operands[0].is_memory else LOAD
    return category


def _choose_use(mnemonic: str, category: int, operands: list[Operand], *, is_arm: bool) -> int:
    """Return how the number of an instruction is used.

    Sizes of frames and distances of shifts are the compiler's, and `adrp` has addresses.
    """
    is_distance = category == SHIFT and (not is_arm or len(operands) > len(("to", "from")))
    is_address = category in (BRANCH, JUMP, CALL) or mnemonic in ("adr", "adrp")
    # `ldr x0, [x1], #8`
    is_step = is_arm and any(operand.is_memory for operand in operands)
    if is_distance or is_address or is_step or any(operand.kind == "S" for operand in operands):
        return _NOT
    return {"movk": _KEEP, "movz": _MOVE, "mov": _MOVE}.get(mnemonic, _WHOLE) if is_arm else _WHOLE


def read_operand(text: str, gaps: int, *, is_arm: bool) -> Operand:
    """Return what an operand is, in front of which as many numbers were cut out."""
    if "[" in text and not _VECTOR.fullmatch(text):
        return _read_memory(text, gaps, is_arm=is_arm)
    kind = _REGISTERS.get(text)
    if kind:
        return Operand(kind)
    match = _NUMBER.match(text.removeprefix("#"))
    if match:
        number = _read_number(match[0], gaps + 1)
        is_kind = not number.place and number.value in (0, 1)
        return Operand(f"{number.value}" if is_kind else "i", value=number)
    if _VECTOR.fullmatch(text):
        return Operand("v")
    return Operand("" if "lsl" in text else "a")


def _read_number(text: str, gap: int) -> Number:
    if GAP in text:
        return Number(2 * gap + text.startswith("-"))
    return Number(0, int(text, 16 if "x" in text else 10) & _MASK64)


def _read_memory(text: str, gaps: int, *, is_arm: bool) -> Operand:
    size = _SIZES.get(text.partition(" ")[0], "")
    inside = text[text.index("[") :]
    if "rip" in inside or not _REGISTER_INSIDE.search(inside):
        return Operand(f"Mg{size}", is_memory=True)
    if _STACK.search(inside):
        return Operand(f"Ms{size}", is_memory=True)
    is_indexed = "*" in inside or inside.count("+") > 1 or (is_arm and bool(_ARM_INDEX.search(inside)))
    kind = f"M{'n' if is_indexed else 'm'}{size}"
    # The last number of `[x0, w1, uxtw #2]` is a distance.
    numbers = [] if is_arm and is_indexed else _NUMBER.findall(inside)
    if not numbers or f"*{numbers[-1]}" in inside:
        return Operand(kind, is_memory=True)
    number = _read_number(numbers[-1], gaps + text.count(GAP))
    is_taken = f" - {numbers[-1]}" in inside
    return Operand(kind, is_memory=True, field=number, taken=number if is_taken else Number())
