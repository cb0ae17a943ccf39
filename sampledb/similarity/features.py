"""Features of functions: each is a number, and signatures are made of how often each occurs.

A feature is a hash of what it says, in the range of its family. No name, no address, and nothing of other functions is
in it.
"""

import math
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sampledb.similarity import categories
from sampledb.similarity.code import Code, Forms, Numbers
from sampledb.similarity.instructions import Form, Values, fill_gaps, read_form

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
# Of some 300,000 forms, which take 80 MB; real code has fewer, but they may be made to be long, or all different.
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
    """Instructions of an architecture by their forms, so that each form is looked at once.

    Not for several threads at a time.

    Attributes:
        forms: Those that are known, and those that were just numbered.
    """

    def __init__(self, architecture: str) -> None:
        self._architecture = architecture
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.forms = Forms()
        self._count = self._characters = 0
        self._columns = np.zeros((0, len(Form._fields)), np.uint64)
        self._table = _tabulate(self._columns)

    def is_full(self) -> bool:
        """Tell whether so much is known that it should be forgotten before more is read."""
        return self._characters > _MOST_CHARACTERS

    def look_up(self, forms: Numbers) -> "Table":
        """Return the columns of instructions, given the numbers of their forms."""
        new = self.forms.known[self._count :]
        if new:
            columns = np.array([read_form(self._architecture, *texts) for texts in new], np.uint64)
            found = _tabulate(columns)
            self._table = Table._make(
                _put(getattr(self._table, name), self._count, getattr(found, name)) for name in Table._fields
            )
            self._columns = _put(self._columns, self._count, columns)
            self._count += len(new)
            self._characters += sum(map(len, chain.from_iterable(new)))
        return self._table.take(forms)

    def read_values(self, code: Code, table: "Table", chosen: Numbers) -> Values:
        """Return the numbers in some of the instructions of a code, whose columns are in the table."""
        before = np.cumsum(table.gaps) - table.gaps
        return fill_gaps(self._columns[code.forms[chosen]], before[chosen], code.numbers)


class Table(NamedTuple):
    """Columns of instructions."""

    token: Hashes
    mixed: Hashes  # the token, once more hashed
    unigram: Hashes
    category: NDArray[np.uint32]
    gaps: Numbers  # how many numbers were cut out
    has_values: NDArray[np.bool_]

    def take(self, rows: Numbers) -> "Table":
        """Return some rows."""
        return Table._make(column[rows] for column in self)


def _put(column: NDArray[Any], begin: int, values: NDArray[Any]) -> NDArray[Any]:
    """Return a column with values from a row on; if it has to grow, it is twice as long as it needs to be."""
    end = begin + len(values)
    if end > len(column):
        column = np.resize(column, (2 * end, *column.shape[1:]))
    column[begin:end] = values
    return column


def _tabulate(forms: NDArray[np.uint64]) -> Table:
    token, category, gaps, _, *numbers = forms.T
    token, has_values = token.astype(np.uint32), np.any(numbers, axis=0)
    unigram = choose("unigram", token)
    return Table(token, mix(token), unigram, category.astype(np.uint32), gaps.astype(np.int64), has_values)


def mix(values: Hashes) -> Hashes:
    """Return a hash of each value."""
    values = (values ^ (values >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
    values = (values ^ (values >> np.uint32(12))) * np.uint32(0x297A2D39)
    return values ^ (values >> np.uint32(15))


def choose(family: str, values: Hashes) -> Hashes:
    """Return the features of a family that values are."""
    return (mix(values) >> np.uint32(33 - FAMILIES[family].bit_length())) + np.uint32(STARTS[family])


class _Large(NamedTuple):
    """The functions that are large enough, numbered from 0, and their instructions that do something.

    Attributes:
        is_large: Of each function of the code, whether it is one.
        numbers: Of each function of the code, its new number.
        owners: The function of each block of the code.
        instructions: How many instructions each function of the code has.
        table: The columns of the instructions that are kept.
        owner: The new number of the function of each of these.
        block: The block of each of these.
        values: The numbers of some of these, all that have any.
        value_owner: The new number of the function of each of those.
    """

    is_large: NDArray[np.bool_]
    numbers: Numbers
    owners: Numbers
    instructions: Numbers
    table: Table
    owner: Numbers
    block: Numbers
    values: Values
    value_owner: Numbers


Found = tuple[Numbers, Hashes]


def extract_features(code: Code, vocabulary: Vocabulary, image: range) -> Features:
    """Return the features of all functions that are large enough.

    `image` has the addresses of the loaded program; numbers in it are no constants.
    """
    large = _choose_large(code, vocabulary, image)
    found = [*_read_sequences(large), *_read_values(large), *_read_graph(code, large), *_read_shape(code, large)]
    owners, features = map(np.concatenate, zip(*found, strict=True))
    return Features(np.array(code.positions, np.int64)[large.is_large], owners, features.astype(np.int64))


def _choose_large(code: Code, vocabulary: Vocabulary, image: range) -> _Large:
    functions = len(code.blocks)
    table = vocabulary.look_up(code.forms)
    owners = np.repeat(np.arange(functions), code.blocks)
    block = np.repeat(np.arange(len(code.sizes)), code.sizes)
    owner = owners[block]
    does_something = table.category != categories.NOTHING
    instructions = np.bincount(owner[does_something], minlength=functions)
    is_large = instructions >= LEAST_INSTRUCTIONS
    numbers = np.cumsum(is_large) - 1
    is_kept = is_large[owner] & does_something
    kept, valued = np.flatnonzero(is_kept), np.flatnonzero(is_kept & table.has_values)
    values = vocabulary.read_values(code, table, valued)
    if image.start >= _LOWEST_BASE:
        is_address = (values.number >= image.start) & (values.number < image.stop)
        first, low, high = (np.where(is_address, np.uint32(0), column) for column in values.constants)
        values = values._replace(constants=(first, low, high))
    rows = is_large, numbers, owners, instructions
    return _Large(*rows, table.take(kept), numbers[owner[kept]], block[kept], values, numbers[owner[valued]])


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
    *constants, field = *large.values.constants, large.values.field
    for family, values in (*(("constant", column) for column in constants), ("field", field)):
        some = np.flatnonzero(values)
        yield large.value_owner[some], choose(family, values[some])


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
    category, constant = large.table.category, large.values.constants[0]
    measures = [
        *(column[large.is_large] for column in (np.array(code.blocks), edges, loops, large.instructions)),
        np.bincount(large.value_owner[constant != 0], minlength=functions),
        *(np.bincount(large.owner[category == each], minlength=functions) for each in _COUNTED),
    ]
    steps = np.searchsorted(_BUCKETS, np.stack(measures), side="right").astype(np.uint32)
    steps += (np.arange(len(measures), dtype=np.uint32) * np.uint32(256))[:, None]
    owners = np.tile(np.arange(functions), len(measures))
    # In its bucket twice, and once in those beside it, so that a small difference is a small difference.
    for more in (0, 0, 1, (1 << 32) - 1):
        yield owners, choose("shape", (steps + np.uint32(more)).ravel())
