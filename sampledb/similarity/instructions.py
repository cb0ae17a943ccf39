"""What is known of an instruction by its text alone: its class, its category, and its numbers.

A class is the mnemonic with the kinds of its operands: general registers by width, vectors, the stack pointer, memory
by how it is addressed, numbers. So registers, addresses and most numbers may differ between builds.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple
from zlib import crc32

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
# Marks halves, so that the half of one number is not another number.
_HALF: Final = 1 << 31

_OPERANDS: Final = re.compile(r"\[[^\]]*\]!?|\{[^}]*\}|[^,\s\[{][^,\[]*(?:\[[^\]]*\])?")
_NUMBER: Final = re.compile(r"-?0x[0-9a-f]+|-?\b\d+\b")
_STACK: Final = re.compile(r"\b(?:rsp|esp|sp|rbp|ebp|x29)\b")
_REGISTER_INSIDE: Final = re.compile(r"\b(?:[er]?[a-ds][ipx]|[er]?[bs]pl?|[xwr]\d+[dwb]?|[er]?[sd]il?)\b")
_ARM_INDEX: Final = re.compile(r", [xw]\d")
_VECTOR: Final = re.compile(r"(?:[xyz]mm|mm|k|v|[qdshb])\d+(?:\.\d*[bhsdq](?:\[\d+\])?)?|\{.*|st\(\d\)|st")
_SIZES: Final = {"byte": "b", "word": "w", "dword": "d", "qword": "q", "xmmword": "x", "ymmword": "y"}


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


class Operand(NamedTuple):
    """What an operand is: its kind as letters, and numbers in it.

    Attributes:
        value: The number that it is, `None` for all else.
        field: The offset from a register that is not the stack's, 0 for none.
        taken: What is subtracted from a register in an address, as 32 bits without sign, 0 for none.
    """

    kind: str
    is_memory: bool = False
    value: int | None = None
    field: int = 0
    taken: int = 0


class Instruction(NamedTuple):
    """What is known of an instruction by its text.

    Attributes:
        token: A hash of its class.
        category: What it does, of `categories`.
        constants: Its numbers below 2**32, with bit 31 for halves of one; 0 where there is none.
        field: The offset of the field of a structure that it reads or writes; 0 for none.
        number: The number from which the constants are made, 64 bits without sign: it may be an address.
    """

    token: int
    category: int
    constants: tuple[int, int, int] = (0, 0, 0)
    field: int = 0
    number: int = 0


def read_instruction(architecture: str, text: str) -> Instruction:
    """Return what is known of an instruction, given its mnemonic and operands, a line each."""
    mnemonic, _, operands = text[:_LONGEST].partition("\n")
    is_arm = architecture == ARM64
    category = categorize_arm(mnemonic) if is_arm else categorize_x86(mnemonic)
    parts = _OPERANDS.findall(operands) if is_arm else operands.split(", ") if operands else []
    if category in (BRANCH, JUMP, CALL) and "[" not in operands:
        # A target says where the code lies; the encoder may have cut it off.
        parts = [part for part in parts if part.strip() in _REGISTERS]
    found = [read_operand(part.strip(), is_arm=is_arm) for part in parts]
    kinds = "".join(operand.kind for operand in found)
    constants, number = _choose_constants(mnemonic, category, found, is_arm=is_arm)
    field = next((operand.field for operand in reversed(found) if operand.field), 0)
    category = _refine_category(mnemonic, category, found, is_arm=is_arm)
    return Instruction(crc32(f"{mnemonic} {kinds}".encode("utf-8", "replace")), category, constants, field, number)


def _refine_category(mnemonic: str, category: int, operands: list[Operand], *, is_arm: bool) -> int:
    """Return the category, where operands say more than the mnemonic does."""
    if is_arm:
        return VECTOR if category in _SCALAR and operands and operands[0].kind == "v" else category
    if mnemonic.startswith(("mov", "vmov")) and any(operand.is_memory for operand in operands):
        return STORE if operands[0].is_memory else LOAD
    return category


# Operands repeat more than instructions do; malware may make them all different.
@lru_cache(maxsize=1 << 14)
def read_operand(text: str, *, is_arm: bool) -> Operand:
    """Return what an operand is."""
    if "[" in text and not _VECTOR.fullmatch(text):
        return _read_memory(text, is_arm=is_arm)
    kind = _REGISTERS.get(text)
    if kind:
        return Operand(kind)
    number = _NUMBER.match(text.removeprefix("#"))
    if number:
        value = int(number[0], 0) if "x" in number[0] else int(number[0])
        return Operand("0" if value == 0 else "1" if value == 1 else "i", value=value)
    if _VECTOR.fullmatch(text):
        return Operand("v")
    return Operand("" if "lsl" in text else "a")


def _read_memory(text: str, *, is_arm: bool) -> Operand:
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
    value = int(numbers[-1], 0) if "x" in numbers[-1] else int(numbers[-1])
    is_taken = 1 < value <= _MASK16 and f" - {numbers[-1]}" in inside
    field = value if 0 < value <= _FARTHEST_FIELD else 0
    return Operand(kind, is_memory=True, field=field, taken=-value & _MASK32 if is_taken else 0)


def _choose_constants(
    mnemonic: str, category: int, operands: list[Operand], *, is_arm: bool
) -> tuple[tuple[int, int, int], int]:
    """Return the constants of an instruction, and the number that they are made of.

    0 and 1 say nothing, sizes of frames and distances of shifts are the compiler's, and `adrp` has addresses.
    """
    taken = next((operand.taken for operand in operands if operand.taken), 0) if mnemonic == "lea" else 0
    number = next((operand.value for operand in reversed(operands) if operand.value is not None), 0)
    value = number & _MASK32
    is_distance = category == SHIFT and (not is_arm or len(operands) > len(("to", "from")))
    is_address = category in (BRANCH, JUMP, CALL) or mnemonic in ("adr", "adrp")
    # `ldr x0, [x1], #8`
    is_step = is_arm and any(operand.is_memory for operand in operands)
    if value <= 1 or is_distance or is_address or is_step or any(operand.kind == "S" for operand in operands):
        return (taken, 0, 0), 0
    low, high = _mark_half(value & _MASK16), _mark_half(value >> 16)
    if is_arm and mnemonic in ("movk", "movz", "mov"):
        # A number is put together of halves.
        return (0 if mnemonic == "movk" else value, low, 0), number & _MASK64
    # The halves of small and of negative numbers are no numbers.
    has_halves = _MASK16 < value < _MASK16 << 16
    return (value, low if has_halves else 0, high if has_halves else 0), number & _MASK64


def _mark_half(value: int) -> int:
    """Return half a constant so that it is not another constant; 0 for one byte, which too many have."""
    return value | _HALF if value > _BYTE else 0
