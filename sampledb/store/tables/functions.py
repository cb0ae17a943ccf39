"""The tables `functions` and `disassembly`: rows and frames in, frozen Functions out.

A sample's functions have consecutive ids in unsigned offset order, so a range of ids is a range of a sample,
a page of it needs no sorting, and no index but the primary key.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import msgspec

from sampledb import limits
from sampledb.errors import CorruptFileError, InvalidInputError
from sampledb.format import codec
from sampledb.format.codec import MASK
from sampledb.format.decoder import count_functions, decode_frame
from sampledb.format.frame import FrameError, Row, pause_garbage_collection
from sampledb.format.xcfg import FunctionRow, derive_row
from sampledb.model import Function, Problem
from sampledb.store.sqlite import Connection, sqlite3
from sampledb.store.tables import labels, trigrams, values

_FIELDS: Final = [field for field in Function.__struct_fields__ if field not in {"disassembly", "label", "comment"}]
_COLUMNS: Final = ", ".join(f'functions."{field}"' for field in _FIELDS)
_RANGE: Final = f"SELECT {_COLUMNS} FROM functions WHERE function_id BETWEEN ? AND ? ORDER BY function_id LIMIT ?"  # noqa: S608

# The frame that holds a function is the last one that begins at or before it.
_FRAME_OF: Final = "SELECT max(first_function_id) FROM disassembly WHERE first_function_id <= "
# With its label, because every further SELECT takes the lock of the file again.
_ONE: Final = f"""
SELECT {_COLUMNS}, labels.name, labels.comment, disassembly.first_function_id, checksum, frame
FROM functions LEFT JOIN disassembly ON disassembly.first_function_id = ({_FRAME_OF} functions.function_id)
               LEFT JOIN labels USING (sample_id, "offset")
WHERE function_id = ?"""  # noqa: S608
_FRAMES: Final = f"""
SELECT first_function_id, checksum, frame
FROM disassembly
WHERE first_function_id BETWEEN coalesce(({_FRAME_OF} :first), 1) AND :last
ORDER BY first_function_id"""  # noqa: S608

_STORED: Final = ", ".join(f'"{field}"' for field in FunctionRow.__struct_fields__)
_ROWS: Final = f"SELECT {_STORED} FROM functions WHERE function_id BETWEEN ? AND ? ORDER BY function_id"  # noqa: S608
_INSERT: Final = f"""
INSERT INTO functions (function_id, sample_id, {_STORED})
VALUES (?, ?, {", ".join("?" * len(FunctionRow.__struct_fields__))})"""  # noqa: S608

# What frames leave to the rows of functions.
_FRAME_ROWS: Final = """
SELECT function_id, "offset", name, binweight, pic_hash
FROM functions
WHERE function_id BETWEEN ? AND ?
ORDER BY function_id"""

# Frames that compact() writes in one transaction: a few megabytes, some seconds of work.
_FRAMES_AT_ONCE: Final = 256
_SOME_FRAMES: Final = """
SELECT first_function_id, checksum, frame
FROM disassembly
WHERE first_function_id > ?
ORDER BY first_function_id
LIMIT ?"""

# Reading


def select(
    connection: Connection, first: int, last: int, *, limit: int = -1, disassembly: bool = False
) -> list[Function]:
    """Return the functions from `first` to `last`, inclusive, in id order; at most `limit` unless it is negative."""
    functions = labels.add_labels(connection, _make_functions(connection.execute(_RANGE, (first, last, limit))))
    if not disassembly:
        return functions
    ids = [function.function_id for function in functions]
    return list(map(_attach, functions, _read_dicts(connection, ids, _rows_of(functions))))


def get(connection: Connection, sample_id: int, function_id: int) -> Function | None:
    """Return a function of a sample with its disassembly, or `None`."""
    if function_id > limits.MAX_ID:
        return None
    row = connection.execute(_ONE, (function_id,)).fetchone()
    if row is None or row[1] != sample_id:
        return None
    *fields, label, comment, first, checksum, frame = row
    if frame is None:
        raise corrupt_error("there is no disassembly", function_id)
    (found,) = _decode(first, checksum, frame, _make_functions([fields]))
    return found if label is None else msgspec.structs.replace(found, label=label, comment=comment)


def read_dicts(connection: Connection, first: int, last: int) -> list[tuple[int, dict[str, Any]]]:
    """Return the unsigned offsets and the disassembly of the functions from `first` to `last`, in id order."""
    stored = connection.execute(_FRAME_ROWS, (first, last)).fetchall()
    rows = [
        Row(offset & MASK, name, binweight, None if pic_hash is None else pic_hash & MASK)
        for _, offset, name, binweight, pic_hash in stored
    ]
    dicts = _read_dicts(connection, [function_id for function_id, *_ in stored], rows)
    return [(row.offset, function) for row, function in zip(rows, dicts, strict=True)]


def select_ids(connection: Connection, ids: Iterable[int]) -> list[Function]:
    """Return the functions of these ids, in id order, without their disassembly."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM functions WHERE function_id IN (SELECT value FROM json_each(?)) ORDER BY function_id",  # noqa: S608
        (values.to_json(list(ids)),),
    )
    return labels.add_labels(connection, _make_functions(rows))


def read_frame(
    frame: bytes, rows: Iterable[Mapping[str, Any] | sqlite3.Row], first_function_id: int | None, checksum: int | None
) -> list[Function]:
    """Return the functions of consecutive rows with their disassembly, from the frame that holds them."""
    try:
        functions = _make_functions([[row[field] for field in _FIELDS] for row in rows])
    except (LookupError, TypeError) as error:
        rule = f"rows of the table functions, by the names of its columns ({', '.join(_FIELDS)})"
        raise InvalidInputError.of("rows", rule, error) from error
    if not isinstance(frame, bytes):
        raise InvalidInputError.of("frame", "bytes, as in disassembly.frame", frame)
    if not functions:
        return []
    first = functions[0].function_id if first_function_id is None else first_function_id
    return _decode(first, codec.checksum(frame) if checksum is None else checksum, frame, functions)


def select_by_pic_hash(connection: Connection, pic_hash: int, least: int = 0) -> list[Function]:
    """Return all functions with this hash, and at least so many instructions, in id order."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM functions WHERE pic_hash = ? AND num_instructions >= ? ORDER BY function_id",  # noqa: S608
        (codec.signed(pic_hash), least),
    )
    return labels.add_labels(connection, _make_functions(rows))


def has_offset(connection: Connection, sample_id: int, offset: int) -> bool:
    """Return whether a function of a sample begins at an unsigned offset."""
    sql = 'SELECT 1 FROM functions WHERE sample_id = ? AND "offset" = ?'
    return connection.execute(sql, (sample_id, codec.signed(offset))).fetchone() is not None


def count_bytes(connection: Connection) -> int:
    """Return the stored bytes of all frames."""
    ((size,),) = connection.execute("SELECT coalesce(sum(length(frame)), 0) FROM disassembly")
    return int(size)


def find_differences(connection: Connection, first: int, last: int) -> Iterator[Problem]:
    """Yield a Problem for each difference between the rows of one sample and their frames."""
    expected = first
    for start, checksum, frame in connection.execute(_FRAMES, {"first": first, "last": last}):
        where = f"disassembly, function_id {start}"
        if start != expected:
            yield Problem(f"the frame should begin at function_id {expected}", where)
        expected = start + _read_length(start, checksum, frame)
        functions = _make_functions(connection.execute(_RANGE, (start, expected - 1, -1)))
        stored = connection.execute(_ROWS, (start, expected - 1)).fetchall()
        if len(functions) < expected - start:
            yield Problem(f"the frame holds {expected - start} functions, but there are {len(functions)}", where)
        else:
            whole = _decode(start, checksum, frame, functions)
            yield from chain.from_iterable(map(_compare, whole, stored))
    if expected != last + 1:
        yield Problem(f"the disassembly ends before function_id {expected}", "disassembly")


def recover(connection: Connection, first: int, last: int) -> Iterator[Function | Problem]:
    """Yield the readable functions of one sample, and a Problem for each other."""
    function_id = first
    while function_id <= last:
        try:
            found = _read_frame(connection, function_id)
            yield from found
            function_id += len(found)
        except (CorruptFileError, sqlite3.Error) as error:
            # After a damaged frame, the next may begin at any id.
            what = error.details["what"] if isinstance(error, CorruptFileError) else error
            yield Problem(f"a function cannot be read: {what}", f"functions, function_id {function_id}")
            function_id += 1


def _read_frame(connection: Connection, first: int) -> list[Function]:
    """Return the functions of the frame that begins with this id."""
    row = connection.execute("SELECT checksum, frame FROM disassembly WHERE first_function_id = ?", (first,)).fetchone()
    if row is None:
        raise corrupt_error("there is no frame", first)
    checksum, frame = row
    length = _read_length(first, checksum, frame)
    functions = _make_functions(connection.execute(_RANGE, (first, first + length - 1, -1)))
    if len(functions) < length:
        raise corrupt_error("there is a frame, but not all of its rows", first)
    return _decode(first, checksum, frame, functions)


def _compare(function: Function, stored: Sequence[Any]) -> Iterator[Problem]:
    where = f"functions, function_id {function.function_id}"
    try:
        derived = _signed(derive_row(function.offset, function.disassembly or {}))
    except InvalidInputError as error:
        yield Problem(f"the disassembly is not that of the row: {error.message}", where)
        return
    for field, was, should in zip(FunctionRow.__struct_fields__, stored, derived, strict=True):
        if was != should:
            yield Problem(f"{field} is {was}, but by the disassembly {should}", where)


def _read_dicts(connection: Connection, ids: Sequence[int], rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the disassembly of functions, whose ids ascend."""
    if not ids:
        return []
    stored = connection.execute(_FRAMES, {"first": ids[0], "last": ids[-1]}).fetchall()
    ends = [bisect_left(ids, start) for start, *_ in stored[1:]] + [len(ids)]
    found: list[dict[str, Any]] = []
    with pause_garbage_collection():
        for (start, checksum, frame), end in zip(stored, ends, strict=True):
            begin = len(found)
            found += _decode_frame(start, checksum, frame, rows[begin:end], ids[begin] if begin < end else start)
    if len(found) != len(ids):
        raise corrupt_error("there is no disassembly", ids[len(found)])
    return found


def _decode(first: int, checksum: object, frame: object, functions: Sequence[Function]) -> list[Function]:
    """Return functions with their disassembly, from the frame that begins with the id `first`."""
    begin = functions[0].function_id if functions else first
    return list(map(_attach, functions, _decode_frame(first, checksum, frame, _rows_of(functions), begin)))


def _rows_of(functions: Sequence[Function]) -> list[Row]:
    return [Row(each.offset, each.name, each.binweight, each.pic_hash) for each in functions]


def _decode_frame(first: int, checksum: object, frame: object, rows: Sequence[Row], begin: int) -> list[dict[str, Any]]:
    """Return the dicts of the functions of these rows, of which `begin` is the first id; `first` is the frame's."""
    content = read_content(first, checksum, frame)
    try:
        return decode_frame(content, rows, begin - first)
    except (FrameError, MemoryError) as error:
        # A frame that needs more memory than there is cannot be from SMDA's report of a program.
        raise corrupt_error(str(error) or "the frame takes all memory", first) from error


def _read_length(first: int, checksum: object, frame: object) -> int:
    try:
        return count_functions(read_content(first, checksum, frame))
    except (FrameError, MemoryError) as error:
        raise corrupt_error(str(error) or "the frame takes all memory", first) from error


def read_content(first: int, checksum: object, frame: object) -> bytes:
    """Return the content of the frame that begins with the id `first`."""
    try:
        return codec.decode(codec.FRAME, frame, checksum)
    except codec.DecodeError as error:
        raise corrupt_error(str(error), first) from error


def _make_functions(rows: Iterable[Sequence[Any]]) -> list[Function]:
    try:
        return [
            Function(
                function_id,
                sample_id,
                offset & MASK,
                name,
                num_blocks,
                num_instructions,
                binweight,
                None if pic_hash is None else pic_hash & MASK,
            )
            for function_id, sample_id, offset, name, num_blocks, num_instructions, binweight, pic_hash in rows
        ]
    except TypeError as error:
        # STRICT tables have no other types unless somebody tampered with the file.
        raise CorruptFileError.of(f"a value cannot be read: {error}", "functions") from error


def _attach(function: Function, disassembly: dict[str, Any]) -> Function:
    return Function(
        function.function_id,
        function.sample_id,
        function.offset,
        function.name,
        function.num_blocks,
        function.num_instructions,
        function.binweight,
        function.pic_hash,
        disassembly,
        function.label,
        function.comment,
    )


def corrupt_error(what: str, function_id: int) -> CorruptFileError:
    """Return the error for the frame of a function."""
    return CorruptFileError.of(what, f"disassembly, function_id {function_id}")


# Writing


def next_id(connection: Connection) -> int:
    """Return the id of the next function; ids of deleted functions are not reused."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'functions'").fetchone()
    last = 0 if row is None else row[0]
    if not isinstance(last, int) or not 0 <= last < limits.MAX_ID // 2:
        raise CorruptFileError.of(f"the last id of functions is {last!r}", "sqlite_sequence")
    return last + 1


def insert(
    connection: Connection,
    sample_id: int,
    first: int,
    rows: Sequence[FunctionRow],
    frames: Sequence[tuple[int, bytes]],
) -> None:
    """Insert functions, which are in unsigned offset order, under ids from `first` on."""
    connection.executemany(
        _INSERT,
        ((function_id, sample_id, *_signed(row)) for function_id, row in enumerate(rows, first)),
    )
    connection.executemany(
        "INSERT INTO disassembly (first_function_id, checksum, frame) VALUES (?, ?, ?)",
        ((first + start, codec.checksum(frame), frame) for start, frame in frames),
    )
    trigrams.add_functions(connection, first, first + len(rows) - 1)


def compact(connection: Connection, after: int) -> int | None:
    """Compress the next frames after an id harder. Returns the id of the last, or `None` at the end."""
    rows = connection.execute(_SOME_FRAMES, (after, _FRAMES_AT_ONCE)).fetchall()
    loose = [
        (first, read_content(first, checksum, frame)) for first, checksum, frame in rows if not codec.is_compact(frame)
    ]
    blobs = codec.encode_many(codec.FRAME, [content for _, content in loose], compact=True)
    connection.executemany(
        "UPDATE disassembly SET checksum = ?, frame = ? WHERE first_function_id = ?",
        [(codec.checksum(blob), blob, first) for (first, _), blob in zip(loose, blobs, strict=True)],
    )
    return rows[-1][0] if rows else None


def _signed(row: FunctionRow) -> tuple[int, str, int, int, float, int | None, int, int]:
    """Return a row with integers signed, as SQLite stores them."""
    return (
        codec.signed(row.offset),
        row.name,
        row.num_blocks,
        row.num_instructions,
        row.binweight,
        None if row.pic_hash is None else codec.signed(row.pic_hash),
        row.bytes_before,
        row.bytes_after,
    )


def delete(connection: Connection, first: int, last: int) -> None:
    """Delete the functions of one sample, with ids from `first` to `last`."""
    trigrams.remove_functions(connection, first, last)
    connection.execute("DELETE FROM disassembly WHERE first_function_id BETWEEN ? AND ?", (first, last))
    connection.execute("DELETE FROM functions WHERE function_id BETWEEN ? AND ?", (first, last))
