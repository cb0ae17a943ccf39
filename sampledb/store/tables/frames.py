"""The table `disassembly`, frame by frame: which frame holds which function, and its content."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, pairwise
from typing import Final, NamedTuple, TypeVar

import msgspec

from sampledb.format.columns import Listing, Place, list_frame, list_names, refuse_misfits
from sampledb.format.frame import FUNCTIONS, FrameError
from sampledb.model import Function
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

_T = TypeVar("_T")

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


def select_all(connection: Connection, first: int, last: int) -> list[tuple[int, bytes]]:
    """Return checksum and blob of each frame of a sample, given the ids of its functions; both may be damaged.

    Raises:
        CorruptFileError: There is no frame that begins with the first function.
    """
    rows = connection.execute(_IN_ORDER, (first, last)).fetchall()
    if not rows or rows[0][0] != first:
        raise corrupt_error("there is no frame for the first function", first)
    return [(checksum, blob) for _, checksum, blob in rows]


class Run(NamedTuple):
    """Consecutive functions that stand beside each other in a listing, from the number `first` on."""

    functions: Sequence[Function]
    listing: Listing
    first: int


def iter_frames(
    connection: Connection, functions: Sequence[Function], read: Callable[[Run], _T]
) -> Iterator[tuple[int, int, list[_T]]]:
    """Yield, for each frame with some of these functions, the id of the last, its bytes, and what `read` returns of it.

    The functions are in id order. Frames are read one by one, as they are asked for, and runs in the order of ids.

    Raises:
        CorruptFileError: A frame is missing or cannot be read, or `read` raises FrameError or meets a misfit.
    """
    ids = [function.function_id for function in functions]
    done = 0
    rows = connection.execute(_FROM_TO, {"first": ids[0], "last": ids[-1]}) if ids else ()
    for (start, checksum, blob), (end, *_) in pairwise(chain(rows, [(ids[-1] + 1,)] if ids else ())):
        held = functions[done : (done := bisect_left(ids, end))]
        content = read_content(start, checksum, blob)
        with _naming_frame(start):
            found = [read(run) for run in _split_into_runs(content, start, held)]
        if held:
            yield held[-1].function_id, len(content), found
    if done < len(ids):
        raise corrupt_error("there is no disassembly", ids[done])


def _split_into_runs(content: bytes, start: int, held: Sequence[Function]) -> list[Run]:
    places = [Place(each.function_id - start, each.offset) for each in held]
    found = list_frame(content, places)
    numbered = {number: (listing, inside) for listing, numbers in found for inside, number in numbers.items()}
    begins = [number for number in range(len(held)) if not number or numbered[number][0] is not numbered[number - 1][0]]
    return [Run(held[begin:end], *numbered[begin]) for begin, end in pairwise([*begins, len(held)])]


@contextmanager
def _naming_frame(first: int) -> Iterator[None]:
    """Raise CorruptFileError, which names the frame, where it does not fit together."""
    try:
        with refuse_misfits():
            yield
    except (FrameError, MemoryError) as error:
        raise corrupt_error(str(error) or "the frame takes all memory", first) from error


def iter_names(connection: Connection, first: int, last: int) -> Iterator[tuple[int, list[str], list[str]]]:
    """Yield each function with the names of the APIs and the strings that it refers to.

    Raises:
        CorruptFileError: A frame cannot be read.
    """
    for start, checksum, blob in connection.execute(_IN_ORDER, (first, last)):
        content = read_content(start, checksum, blob)
        with _naming_frame(start):
            found = list_names(content)
        for position, (apis, strings) in enumerate(found):
            yield start + position, apis, strings
