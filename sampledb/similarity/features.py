"""Features of functions: each is a number, and how often a function has it is what signatures are made of.

A feature is a hash of what it says, in the range of its family. No name, no address, and nothing of other functions is
in it.
"""

import math
from collections.abc import Iterator
from operator import itemgetter
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampledb.similarity import categories
from sampledb.similarity.code import Code, Numbers
from sampledb.similarity.instructions import Instruction, read_instruction

Hashes = NDArray[np.uint32]

# How many features each family has; powers of two.
FAMILIES: Final = {
    "unigram": 128,  # classes of instructions
    "bigram": 256,  # of two in a row in a block
    "trigram": 256,  # of three in a row, whatever their order
    "category": 32,
    "category2": 64,
    "category3": 256,
    "constant": 256,
    "field": 128,  # offsets in structures
    "shape": 128,  # counts of blocks, edges, loops, calls and so on
    "degree": 64,  # of blocks in the control-flow graph, and of both ends of its edges
}
STARTS: Final = dict(zip(FAMILIES, np.cumsum([0, *FAMILIES.values()])[:-1].tolist(), strict=True))
DIMENSIONS: Final = sum(FAMILIES.values())
# Functions with fewer say too little; MCRIT leaves out the same.
LEAST_INSTRUCTIONS: Final = 11

# In an image that is not loaded so high, a number is not likely to be an address.
_LOWEST_BASE: Final = 0x10000
# Of some 300,000 texts, which take 60 MB; they may be made to be long, or all different.
_MOST_CHARACTERS: Final = 1 << 23
# Steps of two to the octave: the n-th bucket begins where 2 * log2(1 + count) is n - 0.5.
_BUCKETS: Final = np.array([math.ceil(2 ** ((step - 0.5) / 2) - 1) for step in range(1, 64)])
_COUNTED: Final = (
    *(categories.CALL, categories.LOAD, categories.STORE, categories.COMPARE),
    *(categories.LOGIC, categories.SHIFT, categories.MULTIPLY, categories.FLOAT),
)
_MOST_DEGREE: Final = 7


class Features(NamedTuple):
    """What functions have, one entry for each time.

    Attributes:
        positions: The functions that are large enough, by their positions in the sample.
        owners: Which of them, counted from 0, has the feature.
        features: The feature.
    """

    positions: Numbers
    owners: Numbers
    features: NDArray[np.int64]


class Vocabulary:
    """Instructions of an architecture by their texts, so that each text is looked at once.

    Not for several threads at a time.
    """

    def __init__(self, architecture: str) -> None:
        self._architecture = architecture
        self._rows: dict[str, int] = {}
        self._characters = 0
        self._table = np.zeros((len(Table._fields), 0), np.uint32)
        self._numbers = np.zeros(0, np.uint64)

    def look_up(self, texts: list[str]) -> "tuple[Table, NDArray[np.uint64]]":
        """Return the columns of these instructions, and their numbers."""
        try:
            rows = self._find(texts)
        except KeyError:
            self._learn(texts)
            rows = self._find(texts)
        return Table._make(self._table[:, rows]), self._numbers[rows]

    def _find(self, texts: list[str]) -> Numbers:
        # Faster than a look at one after the other. The empty texts are there because of one it would make no tuple.
        return np.array(itemgetter("", "", *texts)(self._rows), np.int64)[2:]

    def _learn(self, texts: list[str]) -> None:
        """Add the instructions of texts that are new."""
        missing = list({"", *texts} - self._rows.keys())
        self._characters += sum(map(len, missing))
        if self._characters > _MOST_CHARACTERS:
            self._rows.clear()
            missing = list({"", *texts})
            self._characters = sum(map(len, missing))
        begin, end = len(self._rows), len(self._rows) + len(missing)
        if end > len(self._numbers):
            self._table = np.resize(self._table.T, (2 * end, len(self._table))).T
            self._numbers = np.resize(self._numbers, 2 * end)
        found = [read_instruction(self._architecture, text) for text in missing]
        self._table[:, begin:end] = _tabulate(found)
        self._numbers[begin:end] = [instruction.number for instruction in found]
        self._rows.update(zip(missing, range(begin, end), strict=True))


class Table(NamedTuple):
    """Columns of instructions; a feature is 0 where there is none."""

    token: Hashes
    mixed: Hashes  # the token, once more hashed
    category: Hashes
    unigram: Hashes
    constant: Hashes
    constant2: Hashes
    constant3: Hashes
    field: Hashes


def _tabulate(instructions: list[Instruction]) -> Table:
    token, category, first, second, third, field = np.array(
        [(each.token, each.category, *each.constants, each.field) for each in instructions], np.uint32
    ).T
    constants = [np.where(values, choose("constant", values), 0) for values in (first, second, third)]
    fields = np.where(field, choose("field", field), 0)
    return Table._make((token, mix(token), category, choose("unigram", token), *constants, fields))


def mix(values: Hashes) -> Hashes:
    """Return a hash of each value."""
    values = (values ^ (values >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
    values = (values ^ (values >> np.uint32(12))) * np.uint32(0x297A2D39)
    return values ^ (values >> np.uint32(15))


def choose(family: str, values: Hashes) -> Hashes:
    """Return the features of a family that values are."""
    return (mix(values) >> np.uint32(33 - FAMILIES[family].bit_length())) + np.uint32(STARTS[family])


class _Large(NamedTuple):
    """The functions that are large enough, numbered anew, and their instructions without what does nothing.

    Attributes:
        is_large: Of each function of the code, whether it is one.
        numbers: The new number of each function of the code, where it is one.
        owners: The function of each block of the code.
        instructions: How many instructions each function of the code has.
        table: The columns of the instructions that are kept.
        owner: The new number of the function of each of these.
        block: The block of each of these.
    """

    is_large: NDArray[np.bool_]
    numbers: Numbers
    owners: Numbers
    instructions: Numbers
    table: Table
    owner: Numbers
    block: Numbers


Found = tuple[Numbers, Hashes]


def extract_features(code: Code, vocabulary: Vocabulary, image: range) -> Features:
    """Return the features of all functions that are large enough.

    `image` has the addresses of the loaded program; numbers in it are no constants.
    """
    large = _choose_large(code, *vocabulary.look_up(code.texts), image)
    found = [*_read_sequences(large), *_read_values(large), *_read_graph(code, large), *_read_shape(code, large)]
    owners, features = map(np.concatenate, zip(*found, strict=True))
    return Features(np.array(code.positions, np.int64)[large.is_large], owners, features.astype(np.int64))


def _choose_large(code: Code, table: Table, numbers: NDArray[np.uint64], image: range) -> _Large:
    functions = len(code.blocks)
    owners = np.repeat(np.arange(functions), code.blocks)
    block = np.repeat(np.arange(len(code.sizes)), code.sizes)
    owner = owners[block]
    does_something = table.category != categories.NOTHING
    instructions = np.bincount(owner[does_something], minlength=functions)
    is_large = instructions >= LEAST_INSTRUCTIONS
    kept = np.flatnonzero(is_large[owner] & does_something)
    table = Table._make(column[kept] for column in table)
    if image.start >= _LOWEST_BASE:
        number = numbers[kept]
        keeps = (number < image.start) | (number >= image.stop)
        constants = {name: getattr(table, name) * keeps for name in Table._fields if name.startswith("constant")}
        table = table._replace(**constants)
    renumbered = np.cumsum(is_large) - 1
    return _Large(is_large, renumbered, owners, instructions, table, renumbered[owner[kept]], block[kept])


def is_constant(number: int, image: range) -> bool:
    """Tell whether a number in an instruction is no address."""
    return image.start < _LOWEST_BASE or number not in image


def _read_sequences(large: _Large) -> Iterator[Found]:
    """Yield instructions and categories, alone and several in a row."""
    table, owner, block = large.table, large.owner, large.block
    yield owner, table.unigram
    token, mixed = table.token, table.mixed
    two = np.flatnonzero(block[1:] == block[:-1])
    pairs = token[:-1] * np.uint32(0x9E3779B1) + token[1:] * np.uint32(0x85EBCA77)
    yield owner[two], choose("bigram", pairs[two])
    three = np.flatnonzero(block[2:] == block[:-2])
    yield owner[three], choose("trigram", (mixed[:-2] + mixed[1:-1] + mixed[2:])[three])
    yield owner, table.category + np.uint32(STARTS["category"])
    # Compilers differ most in these.
    kept = np.flatnonzero((table.category != categories.STACK) & (table.category != categories.MOVE))
    category, owner = table.category[kept], owner[kept]
    same = np.flatnonzero(owner[1:] == owner[:-1])
    yield owner[same], choose("category2", (category[:-1] * np.uint32(32) + category[1:])[same])
    same = np.flatnonzero(owner[2:] == owner[:-2])
    runs = category[:-2] * np.uint32(1024) + category[1:-1] * np.uint32(32) + category[2:]
    yield owner[same], choose("category3", runs[same])


def _read_values(large: _Large) -> Iterator[Found]:
    """Yield constants and offsets in structures."""
    for features in large.table[Table._fields.index("constant") :]:
        some = np.flatnonzero(features)
        yield large.owner[some], features[some]


def _read_graph(code: Code, large: _Large) -> Iterator[Found]:
    """Yield degrees of blocks, and of both ends of edges."""
    blocks = len(code.sizes)
    leaving, entering = np.bincount(code.sources, minlength=blocks), np.bincount(code.targets, minlength=blocks)
    degree = (np.minimum(leaving, _MOST_DEGREE) * 8 + np.minimum(entering, _MOST_DEGREE)).astype(np.uint32)
    kept = np.flatnonzero(large.is_large[large.owners])
    yield large.numbers[large.owners[kept]], choose("degree", degree[kept])
    owner = large.owners[code.sources]
    kept = np.flatnonzero(large.is_large[owner])
    ends = degree[code.sources] * np.uint32(64) + degree[code.targets] + np.uint32(1 << 20)
    yield large.numbers[owner[kept]], choose("degree", ends[kept])


def _read_shape(code: Code, large: _Large) -> Iterator[Found]:
    """Yield how many blocks, edges, loops and instructions of several kinds there are, roughly."""
    functions = int(large.is_large.sum())
    owner = large.owners[code.sources]
    edges = np.bincount(owner, minlength=len(code.blocks))
    loops = np.bincount(owner[code.targets <= code.sources], minlength=len(code.blocks))
    category, constant = large.table.category, large.table.constant
    measures = [
        *(column[large.is_large] for column in (np.array(code.blocks), edges, loops, large.instructions)),
        np.bincount(large.owner[constant != 0], minlength=functions),
        *(np.bincount(large.owner[category == each], minlength=functions) for each in _COUNTED),
    ]
    steps = np.searchsorted(_BUCKETS, np.stack(measures), side="right").astype(np.uint32)
    steps += (np.arange(len(measures), dtype=np.uint32) * np.uint32(256))[:, None]
    owners = np.tile(np.arange(functions), len(measures))
    # In its bucket twice, and once in those beside it, so that a small difference is a small difference.
    for more in (0, 0, 1, (1 << 32) - 1):
        yield owners, choose("shape", (steps + np.uint32(more)).ravel())
