"""The tables `samples`, `sample_tags` and `reports`: rows in, frozen Samples out."""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from sampledb import limits
from sampledb.errors import CorruptFileError, InvalidInputError, NotFoundError
from sampledb.format import codec
from sampledb.format.report import Report
from sampledb.intake.media import Media
from sampledb.model import Sample, SampleId
from sampledb.store.connection import Connection
from sampledb.store.tables import search

_FIELDS: Final = Sample.__struct_fields__
_TAGS: Final = """(
    SELECT json_group_array(tag) FROM (
        SELECT tag FROM sample_tags WHERE sample_tags.sample_id = samples.sample_id ORDER BY position
    )
)"""
_SELECT: Final = f"SELECT {', '.join(_TAGS if field == 'tags' else field for field in _FIELDS)} FROM samples"  # noqa: S608

_FIND: Final = """
SELECT samples.sample_id, name, extension, reports.sample_id IS NOT NULL, has_media, first_function_id, num_functions
FROM samples LEFT JOIN reports USING (sample_id)
WHERE """

_FILTERS: Final = {
    "family": "family = :family",
    "tag": "sample_id IN (SELECT sample_id FROM sample_tags WHERE tag = :tag)",
    "name": "name = :name",
    "extension": "extension = :extension",
    "is_library": "is_library = :is_library",
    "after": "sample_id > :after",
}

# A prefix of hex digits, up to which and what comes after it; all three columns have an index.
_BY_HASH: Final = f"""
{_SELECT}
WHERE sample_id IN (
    SELECT sample_id FROM samples WHERE sha256 BETWEEN :prefix AND :end
    UNION SELECT sample_id FROM samples WHERE md5 BETWEEN :prefix AND :end AND md5 <> ''
    UNION SELECT sample_id FROM samples WHERE sha1 BETWEEN :prefix AND :end AND sha1 <> '')
ORDER BY sample_id
LIMIT 2"""  # noqa: S608

_STATISTICS: Final = """
SELECT count(*)                                         AS num_samples,
       (SELECT count(*) FROM reports)                   AS num_analyzed,
       coalesce(sum(has_media), 0)                      AS num_media,
       coalesce(sum(num_functions), 0)                  AS num_functions,
       count(DISTINCT nullif(family, ''))               AS num_families,
       (SELECT count(DISTINCT tag) FROM sample_tags)    AS num_tags
FROM samples"""

# The hashes and the size of a file belong together: they are those of its analysis, or else of the file itself.
_FILL_FROM_FILE: Final = """
UPDATE samples
SET md5 = CASE md5 WHEN '' THEN ? ELSE md5 END,
    sha1 = CASE sha1 WHEN '' THEN ? ELSE sha1 END,
    binary_size = CASE binary_size WHEN 0 THEN ? ELSE binary_size END
WHERE sample_id = ?"""

# What a Report fills besides `sha256`, `name` and the blobs.
_ANALYSIS: Final = tuple(
    field for field in Report.__struct_fields__ if field not in {"sha256", "name", "header", "functions", "frames"}
)

# What update_sample can change.
_EDITABLE: Final = (
    *("family", "version", "component", "is_library", "name", "extension", "tags", "media_info", "notes"),
)

_to_json = msgspec.json.Encoder().encode
_object = msgspec.json.Decoder(dict[str, Any]).decode
_strings = msgspec.json.Decoder(tuple[str, ...]).decode


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("a time without a zone")
    return time


# How values leave their columns, by position; all others are as SQLite gives them.
_CONVERSIONS: Final[tuple[tuple[int, Callable[[Any], object]], ...]] = (
    (_FIELDS.index("tags"), _strings),
    (_FIELDS.index("media_info"), _object),
    (_FIELDS.index("statistics"), _object),
    (_FIELDS.index("is_library"), bool),
    (_FIELDS.index("base_addr"), codec.unsigned),
    (_FIELDS.index("binary_size"), codec.unsigned),
    (_FIELDS.index("added_at"), _time),
)


class Stored(NamedTuple):
    """What a write needs to know of a sample that is in the file."""

    sample_id: SampleId
    name: str
    extension: str
    is_analyzed: int
    has_media: int
    first_function_id: Any  # int | None, unless somebody has tampered with the file: STRICT binds only SQLite
    num_functions: Any  # int

    @property
    def function_ids(self) -> tuple[int, int]:
        """The first and the last id of its functions; an empty range for none."""
        first, count = self.first_function_id, self.num_functions
        if first is None:
            return 1, 0
        if (
            not isinstance(first, int)
            or not isinstance(count, int)
            or not (1 <= first < first + count <= limits.MAX_ID + 1)
        ):
            raise CorruptFileError.of("impossible function ids", f"samples, sample_id {self.sample_id}")
        return first, first + count - 1


# Reading


def select(connection: Connection, filters: Mapping[str, object], *, start: int = 0, limit: int = -1) -> list[Sample]:
    """The samples that match all filters, in `sample_id` order; at most `limit` if not negative."""
    conditions = " AND ".join(_FILTERS[name] for name in filters) or "TRUE"
    rows = connection.execute(
        f"{_SELECT} WHERE {conditions} ORDER BY sample_id LIMIT :limit OFFSET :start",
        {**filters, "limit": limit, "start": start},
    )
    return [_sample(row) for row in rows]


def get(connection: Connection, sample_id: int) -> Sample:
    """The sample of that id, or NotFoundError."""
    return _sample(_row(connection, f"{_SELECT} WHERE sample_id = ?", sample_id))


def get_untagged(connection: Connection, sample_id: int) -> Sample:
    """The same where its tags cannot be read."""
    select = _SELECT.replace(_TAGS, "'[]'")
    return _sample(_row(connection, f"{select} WHERE sample_id = ?", sample_id))


def get_by_sha256(connection: Connection, sha256: str) -> Sample:
    """The sample of that lower-case hash, or NotFoundError."""
    row = connection.execute(f"{_SELECT} WHERE sha256 = ?", (sha256,)).fetchone()
    if row is None:
        raise NotFoundError.of("sample", sha256)
    return _sample(row)


def get_by_hash(connection: Connection, prefix: str) -> Sample:
    """The only sample with a hash that begins with these lower-case digits, or NotFoundError."""
    rows = connection.execute(_BY_HASH, {"prefix": prefix, "end": prefix + "g"}).fetchall()
    if not rows:
        raise NotFoundError.of("sample", prefix)
    if len(rows) > 1:
        ids = " and ".join(str(sample_id) for sample_id, *_ in rows)
        raise InvalidInputError.of(
            "hash", f"of one sample; {ids} share these digits: give more of them, or the SHA-256", prefix
        )
    return _sample(rows[0])


def find(connection: Connection, *, sha256: str) -> Stored | None:
    """What is stored of a SHA-256, or `None`."""
    row = connection.execute(f"{_FIND} sha256 = ?", (sha256,)).fetchone()
    return None if row is None else Stored(*row)


def locate(connection: Connection, sample_id: int) -> Stored:
    """What is stored under an id, or NotFoundError."""
    return Stored(*_row(connection, f"{_FIND} samples.sample_id = ?", sample_id))


def _row(connection: Connection, sql: str, sample_id: int) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = None
    if sample_id <= limits.MAX_ID:
        row = connection.execute(sql, (sample_id,)).fetchone()
    if row is None:
        raise NotFoundError.of("sample", sample_id)
    return row


def report_header(connection: Connection, sample_id: int) -> bytes:
    """The JSON of a sample's report without its `xcfg`, or NotFoundError."""
    row = connection.execute("SELECT checksum, report FROM reports WHERE sample_id = ?", (sample_id,)).fetchone()
    if row is None:
        raise NotFoundError(
            f"Sample {sample_id} has no SMDA report: it is known by its media metadata only.",
            {"resource": "sample", "id": sample_id},
        )
    checksum, blob = row
    try:
        return codec.decode(codec.JSON, blob, checksum)
    except codec.DecodeError as error:
        raise CorruptFileError.of(str(error), f"reports, sample_id {sample_id}") from error


def statistics(connection: Connection) -> dict[str, Any]:
    """The counts of Stats."""
    cursor = connection.execute(_STATISTICS)
    return dict(zip((name for name, *_ in cursor.description), cursor.fetchone(), strict=True))


def families(connection: Connection) -> dict[str, int]:
    """Samples per family, in alphabetical order; samples without a family under `""`."""
    return dict(connection.execute("SELECT family, count(*) FROM samples GROUP BY family ORDER BY family"))


# Writing


def insert(connection: Connection, sha256: str, username: str, sample_id: int | None = None) -> Stored:
    """A new sample that has neither analysis nor media metadata yet; its id is a new one if none is given."""
    columns = {
        "sample_id": sample_id,
        **dict.fromkeys(("name", "extension", "md5", "sha1", *_ANALYSIS), ""),
        **dict.fromkeys(("is_library", "base_addr", "binary_size", "binweight", "num_functions", "has_media"), 0),
        "bitness": None,
        "statistics": "{}",
        "media_info": "{}",
        "sha256": sha256,
        "username": username,
        "added_at": _now(),
    }
    cursor = connection.execute(
        f"INSERT INTO samples ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",  # noqa: S608
        tuple(columns.values()),
    )
    new_id = SampleId(cursor.lastrowid or 0)
    search.add_sample(connection, new_id)
    return Stored(new_id, "", "", 0, 0, None, 0)


def put_analysis(
    connection: Connection,
    stored: Stored,
    report: Report,
    first_function_id: int | None,
    overrides: Mapping[str, object],
) -> None:
    """Give a sample the analysis of a report in place of any it had.

    What the report does not know is left as it was: hashes and size always; the name, unless it is given; and when
    the analysis joins media metadata, the family and what belongs to it.
    """
    columns = {field: getattr(report, field) for field in _ANALYSIS}
    unknown = {"md5", "sha1", "binary_size"}
    if not stored.is_analyzed:
        unknown |= {"family", "version", "component", "is_library"} - overrides.keys()
    columns = {field: value for field, value in columns.items() if value or field not in unknown}
    columns["statistics"] = _to_json(report.statistics).decode()
    columns["base_addr"] = codec.signed(report.base_addr)
    if report.binary_size:
        columns["binary_size"] = codec.signed(report.binary_size)
    columns["num_functions"] = len(report.functions)
    columns["first_function_id"] = first_function_id
    if "name" in overrides or not stored.name:
        columns |= _names(stored, report.name)
    with _indexed(connection, stored.sample_id):
        _set(connection, stored.sample_id, columns)
    connection.execute(
        "INSERT OR REPLACE INTO reports (sample_id, checksum, report) VALUES (?, ?, ?)",
        (stored.sample_id, codec.checksum(report.header), report.header),
    )


def put_media(connection: Connection, stored: Stored, media: Media) -> None:
    """Give a sample media metadata: what was given wins, what was found in the file fills what is missing."""
    name = media.given.get("name", stored.name or media.found_name)
    columns: dict[str, object] = {**_names(stored, name), **media.given, "has_media": 1}
    if media.media_info:
        columns["media_info"] = _to_json(media.media_info).decode()
    with _indexed(connection, stored.sample_id):
        _set(connection, stored.sample_id, columns)
        _set_tags(connection, stored.sample_id, _retagged(connection, stored.sample_id, media.tags))
    connection.execute(_FILL_FROM_FILE, (media.md5, media.sha1, media.size, stored.sample_id))


def update(connection: Connection, sample_id: SampleId, changes: dict[str, Any]) -> None:
    """Set some columns, and the tags, of a sample that exists; values are checked already."""
    columns = dict(changes)
    tags = columns.pop("tags", None)
    if "media_info" in columns:
        columns["media_info"] = _to_json(columns["media_info"]).decode()
    with _indexed(connection, sample_id):
        if columns:
            _set(connection, sample_id, columns)
        if tags is not None:
            _set_tags(connection, sample_id, tags)


def restore(connection: Connection, sample: Sample) -> None:
    """Set what a sample had besides its analysis, which it has again: what people changed, who added it, and when."""
    kept: dict[str, Any] = {field: getattr(sample, field) for field in (*_EDITABLE, "username")}
    kept["added_at"] = sample.added_at.isoformat(timespec="microseconds")
    kept["has_media"] = bool(sample.media_info) or not sample.smda_version
    update(connection, sample.sample_id, kept)


def retag(connection: Connection, sample_id: SampleId, add: Iterable[str], remove: Container[str]) -> None:
    """Add tags behind those that the sample has, and take some away."""
    with _indexed(connection, sample_id):
        _set_tags(connection, sample_id, _retagged(connection, sample_id, add, remove))


def _retagged(
    connection: Connection, sample_id: SampleId, add: Iterable[str], remove: Container[str] = ()
) -> list[str]:
    kept = connection.execute("SELECT tag FROM sample_tags WHERE sample_id = ? ORDER BY position", (sample_id,))
    together = [tag for tag in dict.fromkeys([*(tag for (tag,) in kept), *add]) if tag not in remove]
    if len(together) > limits.MAX_TAGS:
        raise InvalidInputError.of("tags", f"at most {limits.MAX_TAGS} with those the sample has", together)
    return together


def compact(connection: Connection, after: int) -> int | None:
    """Compress the report behind the id `after` harder; its id, or `None` at the end."""
    row = connection.execute(
        "SELECT sample_id, report FROM reports WHERE sample_id > ? ORDER BY sample_id LIMIT 1", (after,)
    ).fetchone()
    if row is None:
        return None
    sample_id, blob = row
    if not codec.is_compact(blob):
        (smaller,) = codec.encode_many(codec.JSON, [report_header(connection, sample_id)], compact=True)
        connection.execute(
            "UPDATE reports SET checksum = ?, report = ? WHERE sample_id = ?",
            (codec.checksum(smaller), smaller, sample_id),
        )
    return int(sample_id)


def delete(connection: Connection, sample_id: SampleId) -> None:
    """Delete a sample whose functions are gone, with its tags and its report."""
    search.remove_sample(connection, sample_id)
    connection.execute("DELETE FROM samples WHERE sample_id = ?", (sample_id,))


def _names(stored: Stored, name: str) -> dict[str, str]:
    """A new name, and its extension, unless somebody has given the sample another one than its name shows."""
    if stored.extension != limits.extension_of(stored.name):
        return {"name": name}
    return {"name": name, "extension": limits.extension_of(name)}


@contextmanager
def _indexed(connection: Connection, sample_id: SampleId) -> Iterator[None]:
    """Around a change of what search() finds samples by."""
    search.remove_sample(connection, sample_id)
    yield
    search.add_sample(connection, sample_id)


def _set(connection: Connection, sample_id: SampleId, columns: Mapping[str, object]) -> None:
    assignments = ", ".join(f"{column} = :{column}" for column in columns)
    connection.execute(
        f"UPDATE samples SET {assignments} WHERE sample_id = :sample_id",  # noqa: S608
        {**columns, "sample_id": sample_id},
    )


def _set_tags(connection: Connection, sample_id: SampleId, tags: Iterable[str]) -> None:
    connection.execute("DELETE FROM sample_tags WHERE sample_id = ?", (sample_id,))
    connection.executemany(
        "INSERT INTO sample_tags (sample_id, position, tag) VALUES (?, ?, ?)",
        [(sample_id, position, tag) for position, tag in enumerate(tags)],
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _sample(row: tuple[Any, ...]) -> Sample:
    try:
        values = list(row)
        for position, convert in _CONVERSIONS:
            values[position] = convert(values[position])
    except (TypeError, ValueError, RecursionError) as error:
        raise CorruptFileError.of(f"a value cannot be read: {error}", f"samples, sample_id {row[0]}") from error
    return Sample(*values)
