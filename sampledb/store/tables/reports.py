"""The table `reports`: SMDA's reports without their functions.

`add_report` stores a whole report, in this table and those of samples, functions and references; `read_report` reads
one there, ready to be stored elsewhere.
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from operator import lt
from typing import Any, Final

import msgspec

from sampledb import limits
from sampledb.errors import ConflictError, CorruptFileError, NotFoundError
from sampledb.format import codec
from sampledb.format.frame import FUNCTIONS
from sampledb.format.report import Report, restore_report
from sampledb.format.xcfg import FunctionRow, Functions, check_frame
from sampledb.model import SampleId
from sampledb.store.sqlite import Connection
from sampledb.store.tables import functions, labels, references, samples, signatures
from sampledb.store.tables.functions import corrupt_error, read_content
from sampledb.store.tables.samples import Stored

_ROWS: Final = f"""
SELECT {", ".join(f'"{column}"' for column in FunctionRow.__struct_fields__)}, function_id, sample_id
FROM functions
WHERE function_id BETWEEN ? AND ?
ORDER BY function_id"""  # noqa: S608
_COLUMNS: Final = len(FunctionRow.__struct_fields__)
_OFFSET: Final = FunctionRow.__struct_fields__.index("offset")
_PIC_HASH: Final = FunctionRow.__struct_fields__.index("pic_hash")
_FRAMES: Final = """
SELECT first_function_id, checksum, frame
FROM disassembly
WHERE first_function_id BETWEEN ? AND ?
ORDER BY first_function_id"""


def add_report(
    connection: Connection,
    report: Report,
    overrides: Mapping[str, object],
    *,
    username: str,
    exist_ok: bool = False,
    replace: bool = False,
    changes: Mapping[str, object] | None = None,
) -> tuple[SampleId, bool]:
    """Store a report by the rules of `SampleDB.add_sample`; with `exist_ok`, at least the labels that it brings.

    `changes` are columns of the sample, and its tags, that go before what the report says.

    Returns:
        The id of its sample, and whether the report was stored; it was not if the sample already had an analysis.

    Raises:
        ConflictError: The SHA-256 has an analysis, and neither `exist_ok` nor `replace` is set.
    """
    stored = samples.find(connection, sha256=report.sha256)
    if stored and stored.is_analyzed and not replace:
        if not exist_ok:
            raise ConflictError.of_sample(stored.sample_id, report.sha256, "an analysis")
        labels.receive(connection, stored.sample_id, report.labels)
        return stored.sample_id, False
    if stored and stored.is_analyzed:
        references.delete(connection, stored.sample_id)
        signatures.delete(connection, stored.sample_id)
        functions.delete(connection, *stored.function_ids)
    first = functions.next_id(connection) if report.functions else None
    changes = {**(changes or {}), **({} if stored else {"username": username})}
    sample_id = samples.put_analysis(connection, stored, report, first, overrides, changes=changes)
    connection.execute(
        "INSERT OR REPLACE INTO reports (sample_id, checksum, report) VALUES (?, ?, ?)",
        (sample_id, codec.checksum(report.header), report.header),
    )
    if first is not None:
        functions.insert(connection, sample_id, first, report.functions, report.frames)
        references.insert(connection, {sample_id: report.references})
    labels.receive(connection, sample_id, report.labels)
    return sample_id, True


def list_samples(connection: Connection) -> list[tuple[str, SampleId, str]]:
    """Return the SHA-256, the id and the family of each sample that has a report, by SHA-256."""
    rows = connection.execute(
        "SELECT sha256, sample_id, family FROM samples JOIN reports USING (sample_id) ORDER BY sha256"
    )
    return [(sha256, SampleId(sample_id), family) for sha256, sample_id, family in rows]


def get_header(connection: Connection, sample_id: int) -> bytes:
    """Return the JSON of a sample's report without its `xcfg`.

    Raises:
        NotFoundError: The sample has no report.
    """
    return _read_header(connection, sample_id)[0]


def _read_header(connection: Connection, sample_id: int) -> tuple[bytes, bytes]:
    """Return what `get_header` does, and its blob."""
    row = connection.execute("SELECT checksum, report FROM reports WHERE sample_id = ?", (sample_id,)).fetchone()
    if row is None:
        raise NotFoundError(
            f"Sample {sample_id} has no SMDA report: it is known by its media metadata only.",
            {"resource": "sample", "id": sample_id},
        )
    checksum, blob = row
    try:
        return codec.decode(codec.JSON, blob, checksum), blob
    except codec.DecodeError as error:
        raise CorruptFileError.of(str(error), f"reports, sample_id {sample_id}") from error


def read_report(
    connection: Connection, stored: Stored, rows: list[FunctionRow], overrides: Mapping[str, Any]
) -> Report:
    """Return the report of a sample in another store, with these rows, ready to be stored in this one.

    Its blobs are not encoded anew. Every value is checked; what is taken on trust is the disassembly inside of the
    frames, which each read checks again, and what is derived from it: the distances from entries to the ends of blocks,
    and the APIs and strings that functions refer to.

    Raises:
        CorruptFileError: A part of it is missing or damaged, or two parts disagree.
        InvalidInputError: A value breaks a rule.
    """
    header, blob = _read_header(connection, stored.sample_id)
    frames = _read_frames(connection, stored.function_ids[0], rows)
    found = references.read(connection, stored.sample_id, len(rows))
    return restore_report(header, blob, Functions(rows, frames, found), dict(overrides))


def read_rows(connection: Connection, stored: Stored) -> list[FunctionRow]:
    """Return the rows of a sample's functions, each checked alone.

    Raises:
        CorruptFileError: One is missing, or holds what no call stores.
    """
    first, last = stored.function_ids
    found = connection.execute(_ROWS, (first, last)).fetchall()
    rows = msgspec.convert(list(map(_unsign, found)), list[FunctionRow])
    offsets, names, weights = ([getattr(row, field) for row in rows] for field in ("offset", "name", "binweight"))
    if (
        len(rows) != last + 1 - first
        or [row[-2:] for row in found] != [(function_id, stored.sample_id) for function_id in range(first, last + 1)]
        or not all(map(lt, offsets, offsets[1:]))
        or not all(map(isfinite, weights))
        or not limits.is_clean("".join(names))
    ):
        raise CorruptFileError.of("its rows are not those of a report", f"functions, sample_id {stored.sample_id}")
    return rows


def _unsign(row: Sequence[Any]) -> list[Any]:
    """Return the columns of a row with unsigned integers."""
    columns = list(row[:_COLUMNS])
    columns[_OFFSET] &= codec.MASK
    if columns[_PIC_HASH] is not None:
        columns[_PIC_HASH] &= codec.MASK
    return columns


def _read_frames(connection: Connection, first: int, rows: Sequence[FunctionRow]) -> list[tuple[int, bytes]]:
    """Return the frames of rows, of which `first` is the id of the first, each with its position among them."""
    frames: list[tuple[int, bytes]] = []
    position = 0
    for start, checksum, blob in connection.execute(_FRAMES, (first, first + len(rows) - 1)):
        if start != first + position:
            break
        try:
            count = check_frame(read_content(start, checksum, blob), rows[position : position + FUNCTIONS])
        except (ValueError, LookupError, TypeError, RecursionError, MemoryError) as error:
            raise corrupt_error(str(error) or "the frame takes all memory", start) from error
        frames.append((position, blob))
        position += count
    if position != len(rows):
        raise corrupt_error("no frame begins here", first + position)
    return frames


def compact(connection: Connection, after: int) -> int | None:
    """Compress the next report after an id harder. Returns its id, or `None` at the end."""
    row = connection.execute(
        "SELECT sample_id, report FROM reports WHERE sample_id > ? ORDER BY sample_id LIMIT 1", (after,)
    ).fetchone()
    if row is None:
        return None
    sample_id, blob = row
    if not codec.is_compact(blob):
        (smaller,) = codec.encode_many(codec.JSON, [get_header(connection, sample_id)], compact=True)
        connection.execute(
            "UPDATE reports SET checksum = ?, report = ? WHERE sample_id = ?",
            (codec.checksum(smaller), smaller, sample_id),
        )
    return int(sample_id)
