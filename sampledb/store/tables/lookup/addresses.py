"""Addresses in the code: the functions of one sample whose blocks contain them."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import accumulate, chain
from typing import Any, Final, NamedTuple

from sampledb import limits
from sampledb.format import codec
from sampledb.format.smda import block_range
from sampledb.model import Function
from sampledb.store.sqlite import Connection
from sampledb.store.tables import functions

# Addresses are compared as the signed integers that are stored; if only one of the two has the top bit, as floats,
# with room for their rounding. The largest distance stands for all that are larger.
_AROUND: Final = """
SELECT function_id, sample_id, "offset"
FROM functions
WHERE function_id BETWEEN :first AND :last
  AND CASE WHEN (:address < 0) = ("offset" < 0)
      THEN :address - "offset" BETWEEN -bytes_before AND bytes_after
      ELSE max(bytes_before, bytes_after) = 9223372036854775807 OR max(bytes_before, bytes_after) + 8192.0
           >= abs("offset" - :address + 18446744073709551616.0 * (("offset" < 0) - (:address < 0)))
      END"""

# The nearest entry at or below an address of the same sign.
_NEAREST: Final = """
SELECT function_id, sample_id
FROM functions
WHERE sample_id = (SELECT sample_id FROM functions WHERE function_id = :first)
  AND "offset" BETWEEN CASE WHEN :address < 0 THEN -9223372036854775808 ELSE 0 END AND :address
ORDER BY "offset" DESC
LIMIT 1"""

_RANGES: Final = """
SELECT function_id, sample_id, "offset", bytes_before, bytes_after
FROM functions
WHERE function_id BETWEEN ? AND ?
ORDER BY function_id"""


def find_containing(connection: Connection, first: int, last: int, address: int) -> Function | None:
    """Return the function, of ids from `first` to `last`, with a block that contains `address`, or `None`.

    If several functions share the block, it is the one whose entry is nearest below the address; entries above the
    address come last.
    """
    rows = connection.execute(_AROUND, {"first": first, "last": last, "address": codec.signed(address)})
    distances = [(address - codec.unsigned(offset), function_id, sample_id) for function_id, sample_id, offset in rows]
    distances.sort(key=lambda candidate: (candidate[0] < 0, abs(candidate[0])))
    for _, function_id, sample_id in distances:
        function = functions.get(connection, sample_id, function_id)
        if function is not None and _contains(_list_ranges(function), address):
            return function
    return None


def find_all_containing(connection: Connection, first: int, last: int, addresses: Iterable[int]) -> list[int]:
    """Return the ids of the functions that `find_containing` finds for any of the addresses, ascending."""
    finder = _Finder(connection, first, last)
    return sorted({found for address in set(addresses) if (found := finder.find(address)) is not None})


class _Row(NamedTuple):
    function_id: int
    sample_id: int
    offset: int
    low: int  # the lowest address that a block of the function may have
    high: int  # the end of the highest, exclusive


class _Finder:
    """Finds many addresses in the functions of one sample, reading the blocks of each function once."""

    def __init__(self, connection: Connection, first: int, last: int) -> None:
        self._connection = connection
        self._ids = first, last
        self._ranges: dict[int, list[tuple[int, int]]] = {}

    @cached_property
    def _rows(self) -> "_Rows":
        return _Rows(self._connection, *self._ids)

    def find(self, address: int) -> int | None:
        """Return the id of the function that contains an address, or `None`."""
        # Nearly always the nearest one does, so that the rows of a large sample need not be read.
        key = {"first": self._ids[0], "address": codec.signed(address)}
        candidates = chain(
            self._connection.execute(_NEAREST, key).fetchall(),
            ((row.function_id, row.sample_id) for row in self._list_others(address)),
        )
        for function_id, sample_id in candidates:
            if function_id not in self._ranges:
                function = functions.get(self._connection, sample_id, function_id)
                self._ranges[function_id] = [] if function is None else _list_ranges(function)
            if _contains(self._ranges[function_id], address):
                return int(function_id)
        return None

    def _list_others(self, address: int) -> Iterator[_Row]:
        yield from self._rows.list_candidates(address)


class _Rows:
    """The rows of one sample, and how far the blocks of each function reach."""

    def __init__(self, connection: Connection, first: int, last: int) -> None:
        self._rows = []
        for function_id, sample_id, stored, before, after in connection.execute(_RANGES, (first, last)):
            offset = codec.unsigned(stored)
            # The largest distance stands for all that are larger.
            low = 0 if before == limits.MAX_ID else offset - before
            high = limits.MAX_U64 + 1 if after == limits.MAX_ID else offset + after
            self._rows.append(_Row(function_id, sample_id, offset, low, high))
        self._offsets = [row.offset for row in self._rows]
        # How far the functions up to each one reach: before that, nothing need be looked for.
        self._reach = list(accumulate((row.high for row in self._rows), max))
        self._with_blocks_before = [row for row in self._rows if row.low < row.offset]

    def list_candidates(self, address: int) -> Iterator[_Row]:
        """Yield functions around an address: with the nearest entry below it first, then with the nearest above."""
        place = bisect_right(self._offsets, address) - 1
        while place >= 0 and self._reach[place] > address:
            if self._rows[place].high > address:
                yield self._rows[place]
            place -= 1
        yield from (row for row in self._with_blocks_before if row.low <= address < row.offset)


def _contains(ranges: Iterable[tuple[int, int]], address: int) -> bool:
    return any(start <= address < end for start, end in ranges)


def _list_ranges(function: Function) -> list[tuple[int, int]]:
    """Return the start and the end, exclusive, of each block."""
    blocks: dict[str, Any] = (function.disassembly or {})["blocks"]
    try:
        return [block_range(block, int(key)) for key, block in blocks.items()]
    except (TypeError, ValueError, LookupError) as error:
        raise functions.corrupt_error(f"the blocks are not SMDA's: {error}", function.function_id) from error
