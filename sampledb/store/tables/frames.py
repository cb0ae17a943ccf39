"""The table `disassembly`, read frame by frame: which frame holds which function, and what is in it."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from sampledb.format.columns import list_names
from sampledb.format.frame import FUNCTIONS, FrameError
from sampledb.store.sqlite import Connection
from sampledb.store.tables.functions import corrupt_error, read_content

_IN_ORDER: Final = """
SELECT first_function_id, checksum, frame
FROM disassembly
WHERE first_function_id BETWEEN ? AND ?
ORDER BY first_function_id"""
# The frame that holds a function is the last one that begins at or before it.
_FROM_TO: Final = """
SELECT first_function_id, checksum, frame
FROM disassembly
WHERE first_function_id BETWEEN
    (SELECT max(first_function_id) FROM disassembly WHERE first_function_id <= :first) AND :last
ORDER BY first_function_id"""
_OF_FUNCTIONS: Final = """
SELECT first_function_id, checksum, frame
FROM disassembly
WHERE first_function_id IN (
    SELECT (SELECT max(first_function_id) FROM disassembly WHERE first_function_id <= value)
    FROM json_each(?))
ORDER BY first_function_id"""

_encode = msgspec.json.Encoder().encode


class Frame(NamedTuple):
    """A stored frame: the id of its first function, its checksum and its blob, all of which may be damaged."""

    first: int
    checksum: int
    blob: bytes


def select_of(connection: Connection, ids: Sequence[int]) -> list[tuple[Frame, list[int]]]:
    """Return the frames that hold these functions, whose ids ascend, each with the ids that it holds.

    Raises:
        CorruptFileError: There is no frame for one of them.
    """
    if not ids:
        return []
    if ids[-1] - ids[0] < FUNCTIONS * len(ids):
        rows = connection.execute(_FROM_TO, {"first": ids[0], "last": ids[-1]}).fetchall()
    else:
        rows = connection.execute(_OF_FUNCTIONS, (_encode(ids).decode(),)).fetchall()
    if not (rows and rows[0][0] <= ids[0]):
        raise corrupt_error("there is no disassembly", ids[0])
    starts = [first for first, *_ in rows]
    held: list[list[int]] = [[] for _ in rows]
    for function_id in ids:
        held[bisect_right(starts, function_id) - 1].append(function_id)
    return [(Frame(*row), found) for row, found in zip(rows, held, strict=True) if found]


def iter_names(connection: Connection, first: int, last: int) -> Iterator[tuple[int, list[str], list[str]]]:
    """Yield each function with the names of the APIs and the strings that it refers to.

    Raises:
        CorruptFileError: A frame cannot be read.
    """
    for start, checksum, blob in connection.execute(_IN_ORDER, (first, last)):
        content = read_content(start, checksum, blob)
        try:
            found = list_names(content)
        except (FrameError, MemoryError) as error:
            raise corrupt_error(str(error) or "the frame takes all memory", start) from error
        for position, (apis, strings) in enumerate(found):
            yield start + position, apis, strings
