"""The tables `labels` and `label_history`: the names and comments that people give to functions.

A label belongs to a sample and an offset, not to a function, whose id changes when a sample is analyzed again. It goes
with its sample only.
"""

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from sampledb.errors import CorruptFileError
from sampledb.format import codec
from sampledb.format.references import compile_glob
from sampledb.format.report import GivenLabel
from sampledb.model import Function, FunctionHit, FunctionId, Label, SampleId
from sampledb.store.sqlite import Connection
from sampledb.store.tables import trigrams, values

_Found = TypeVar("_Found", Function, FunctionHit)

_COLUMNS: Final = 'sample_id, "offset", name, comment, username, updated_at'
_GET: Final = 'SELECT name, comment FROM labels WHERE sample_id = :sample AND "offset" = :offset'
_BETWEEN: Final = """
SELECT "offset", name, comment
FROM labels
WHERE sample_id = :sample AND {range}"""
_RANGE: Final = '"offset" BETWEEN :low AND :high'
# Of functions that begin on both sides of 2**63.
_TWO_RANGES: Final = '("offset" >= :low OR "offset" <= :high)'
_CURRENT: Final = f"SELECT {_COLUMNS}, 1 AS is_current FROM labels"  # noqa: S608
_FORMER: Final = f"SELECT {_COLUMNS}, 0 AS is_current FROM label_history"  # noqa: S608
_LIST: Final = """
SELECT listed.*, function_id
FROM ({rows}) AS listed LEFT JOIN functions USING (sample_id, "offset")
ORDER BY listed.sample_id, listed."offset" < 0, listed."offset", is_current, updated_at"""
_KEEP: Final = f"""
INSERT INTO label_history ({_COLUMNS})
SELECT {_COLUMNS} FROM labels WHERE sample_id = :sample AND "offset" = :offset"""  # noqa: S608
_TAKE_BACK: Final = """
DELETE FROM label_history
WHERE sample_id = ? AND "offset" = ? AND name = ? AND comment = ? AND username = ? AND updated_at = ?"""
_DELETE: Final = 'DELETE FROM labels WHERE sample_id = :sample AND "offset" = :offset RETURNING label_id, name, comment'
_LABELLED: Final = 'SELECT "offset" FROM labels WHERE sample_id = :sample'
_KNOWN: Final = """
SELECT "offset", name, username FROM labels WHERE sample_id = :sample
UNION
SELECT "offset", name, username FROM label_history WHERE sample_id = :sample"""
_TEXTS: Final = 'SELECT sample_id, "offset", name, comment FROM labels'
_FOUND: Final = "label_id IN (SELECT rowid FROM label_search WHERE label_search MATCH :trigrams)"


class Text(NamedTuple):
    """The text of a label; `""` for none."""

    name: str = ""
    comment: str = ""


# Reading


def get(connection: Connection, sample_id: int, offset: int) -> Text:
    """Return the current label at an unsigned offset; two empty texts for none."""
    row = connection.execute(_GET, {"sample": sample_id, "offset": codec.signed(offset)}).fetchone()
    return Text() if row is None else Text(*row)


def select(
    connection: Connection, sample_id: int | None = None, offset: int | None = None, *, history: bool = False
) -> list[Label]:
    """Return the labels of a sample, at one offset of it, or all, by unsigned offset.

    With `history`, each follows its former ones.
    """
    place = {"sample_id": sample_id, "offset": None if offset is None else codec.signed(offset)}
    # A condition for each value: with `:sample IS NULL OR …`, SQLite reads the labels of all samples.
    where = " AND ".join(f'"{column}" = :{column}' for column, value in place.items() if value is not None) or "TRUE"
    rows = " UNION ALL ".join(f"{table} WHERE {where}" for table in ([_CURRENT, _FORMER] if history else [_CURRENT]))
    return [_make_label(row) for row in connection.execute(_LIST.format(rows=rows), place)]


def _make_label(row: Sequence[Any]) -> Label:
    sample_id, offset, name, comment, username, updated_at, is_current, function_id = row
    try:
        return Label(
            SampleId(sample_id),
            offset & codec.MASK,
            name,
            comment,
            username,
            values.parse_time(updated_at),
            bool(is_current),
            None if function_id is None else FunctionId(function_id),
        )
    except (TypeError, ValueError) as error:
        raise CorruptFileError.of(f"a value cannot be read: {error}", f"labels, sample_id {sample_id}") from error


def find_next_sample(connection: Connection, begin: int) -> int | None:
    """Return the first sample from an id on that has labels, `None` if there is none."""
    ((found,),) = connection.execute("SELECT min(sample_id) FROM labels WHERE sample_id >= ?", (begin,))
    return None if found is None else int(found)


def add_labels(connection: Connection, functions: Sequence[_Found]) -> list[_Found]:
    """Return functions, those of each sample in offset order, with their labels."""
    labelled: list[_Found] = []
    for sample_id, group in groupby(functions, attrgetter("sample_id")):
        own = list(group)
        low, high = codec.signed(own[0].offset), codec.signed(own[-1].offset)
        sql = _BETWEEN.format(range=_RANGE if low <= high else _TWO_RANGES)
        rows = connection.execute(sql, {"sample": sample_id, "low": low, "high": high})
        found = {offset & codec.MASK: {"label": name, "comment": comment} for offset, name, comment in rows}
        if found:
            own = [
                msgspec.structs.replace(function, **found[function.offset]) if function.offset in found else function
                for function in own
            ]
        labelled += own
    return labelled


def find_offsets(
    connection: Connection, matches: Callable[[Text], bool], literals: Iterable[str], sample_id: int | None
) -> Mapping[int, Sequence[int]]:
    """Return the stored offsets of the labels that match, by sample: of one sample, or of all.

    Each that matches is known to contain the literals, in any capitals.
    """
    expression = trigrams.match_all(filter(str.isascii, literals))
    conditions = [_FOUND] if expression else []
    conditions += [] if sample_id is None else ["sample_id = :sample"]
    sql = f"{_TEXTS} WHERE {' AND '.join(conditions) or 'TRUE'}"
    found: dict[int, array[int]] = {}
    for each, offset, *text in connection.execute(sql, {"trigrams": expression, "sample": sample_id}):
        if matches(Text(*text)):
            # Eight bytes each: `*` matches all labels of the file.
            found.setdefault(each, array("q")).append(offset)
    return found


def compile_globs(globs: Iterable[str]) -> Callable[[Text], bool]:
    """Return what tells whether the name of a label matches all globs, capitals ignored."""
    matchers = [compile_glob(glob) for glob in globs]
    return lambda text: bool(text.name) and all(matches(text.name) for matches in matchers)


# Writing


def put(
    connection: Connection, sample_id: int, offset: int, text: Text, *, username: str, updated_at: str = ""
) -> None:
    """Set the label at an unsigned offset, and keep the one before; two empty texts remove it.

    A removal is kept too, as an empty label that is not current.
    """
    key = {"sample": sample_id, "offset": codec.signed(offset)}
    connection.execute(_KEEP, key)
    for label_id, *former in connection.execute(_DELETE, key).fetchall():
        trigrams.remove_label(connection, label_id, *former)
    table = "labels" if any(text) else "label_history"
    row = (sample_id, key["offset"], *text, username, updated_at or values.now())
    if updated_at:
        # What was said elsewhere, and is a former label here, is the label again: it was said once.
        connection.execute(_TAKE_BACK, row)
    label_id = connection.execute(f"INSERT INTO {table} ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", row).lastrowid  # noqa: S608
    if any(text):
        trigrams.add_label(connection, label_id or 0)


def receive(connection: Connection, sample_id: int, given: Sequence[GivenLabel]) -> None:
    """Add names that were given elsewhere, oldest first, except those that the same user has given here.

    What is said here stays: where an offset has a label, they become former ones.
    """
    if not given:
        return
    known = {(row[0] & codec.MASK, row[1], row[2]) for row in connection.execute(_KNOWN, {"sample": sample_id})}
    labelled = {row[0] & codec.MASK for row in connection.execute(_LABELLED, {"sample": sample_id})}
    for offset, name, username, given_at in given:
        if (offset, name, username) in known:
            continue
        known.add((offset, name, username))
        time = values.format_time(given_at.replace(tzinfo=UTC))
        if offset in labelled:
            row = (sample_id, codec.signed(offset), name, "", username, time)
            connection.execute(f"INSERT INTO label_history ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", row)  # noqa: S608
        else:
            put(connection, sample_id, offset, Text(name), username=username, updated_at=time)


def add_former(connection: Connection, sample_id: int, label: Label) -> None:
    """Add to the history what somebody said elsewhere."""
    row = (sample_id, codec.signed(label.offset), label.name, label.comment, label.username)
    connection.execute(
        f"INSERT INTO label_history ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608
        (*row, values.format_time(label.updated_at)),
    )


def remove_from_search(connection: Connection, sample_id: int) -> None:
    """Remove the labels of a sample from the search index, before they are deleted with the sample."""
    rows = connection.execute("SELECT label_id, name, comment FROM labels WHERE sample_id = ?", (sample_id,)).fetchall()
    for row in rows:
        trigrams.remove_label(connection, *row)
