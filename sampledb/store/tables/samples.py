"""The tables `samples` and `sample_tags`: rows in, frozen Samples out."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, Final, Literal, NamedTuple

import msgspec

from sampledb import limits
from sampledb.errors import CorruptFileError, InvalidInputError, NotFoundError
from sampledb.format import codec
from sampledb.format.report import Report
from sampledb.intake.media import Media, list_formats
from sampledb.model import Problem, Sample, SampleId, find_hash_era
from sampledb.store.sqlite import Connection
from sampledb.store.tables import labels, trigrams, values

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

#: SQL for each filter of samples, with a parameter of its name.
FILTERS: Final = {
    "sample_id": "sample_id = :sample_id",
    "family": "family = :family",
    "tag": "sample_id IN (SELECT sample_id FROM sample_tags WHERE tag = :tag)",
    "name": "name = :name",
    "extension": "extension = :extension",
    "is_library": "is_library = :is_library",
    "after": "sample_id > :after",
}

# From a prefix of hex digits to the first text that sorts after all with this prefix; each column has an index.
_HASHES: Final = """
    SELECT sample_id, 'sha256', sha256 FROM samples WHERE sha256 BETWEEN :prefix AND :end
    UNION ALL SELECT sample_id, 'md5', md5 FROM samples WHERE md5 BETWEEN :prefix AND :end AND md5 <> ''
    UNION ALL SELECT sample_id, 'sha1', sha1 FROM samples WHERE sha1 BETWEEN :prefix AND :end AND sha1 <> ''"""
_BY_HASH: Final = f"""
{_SELECT}
WHERE sample_id IN (SELECT sample_id FROM ({_HASHES}))
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

# An analysis knows the hashes and the size of its file; without one, they are those of the media file.
_FILL_FROM_FILE: Final = """
UPDATE samples
SET md5 = CASE md5 WHEN '' THEN ? ELSE md5 END,
    sha1 = CASE sha1 WHEN '' THEN ? ELSE sha1 END,
    binary_size = CASE binary_size WHEN 0 THEN ? ELSE binary_size END
WHERE sample_id = ?"""

# Fields of a Report that are columns, besides `sha256` and `name`.
_ANALYSIS: Final = tuple(
    field
    for field in Report.__struct_fields__
    if field not in {"sha256", "name", "header", "functions", "frames", "references", "labels"}
)

# The arguments of update_sample.
_EDITABLE: Final = (
    *("family", "version", "component", "is_library", "name", "extension", "tags", "media_info", "notes"),
)

# How columns become values, by position; all others stay as SQLite returns them.
_CONVERSIONS: Final[tuple[tuple[int, Callable[[Any], object]], ...]] = (
    (_FIELDS.index("tags"), msgspec.json.Decoder(tuple[str, ...]).decode),
    (_FIELDS.index("media_info"), values.parse_object),
    (_FIELDS.index("statistics"), values.parse_object),
    (_FIELDS.index("is_library"), bool),
    (_FIELDS.index("base_addr"), codec.unsigned),
    (_FIELDS.index("binary_size"), codec.unsigned),
    (_FIELDS.index("added_at"), values.parse_time),
)


class Stored(NamedTuple):
    """The facts about a stored sample that writing needs."""

    sample_id: SampleId
    name: str
    extension: str
    is_analyzed: int
    has_media: int
    first_function_id: Any  # int | None, unless somebody tampered with the file: STRICT binds only SQLite
    num_functions: Any  # int

    @property
    def function_ids(self) -> tuple[int, int]:
        """Return the first and the last id of its functions; `(1, 0)` if it has none."""
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


# A sample of which nothing is known.
_NOTHING: Final = Stored(SampleId(0), "", "", 0, 0, None, 0)
_UNKNOWN: Final[Mapping[str, object]] = {
    **dict.fromkeys(("name", "extension", "md5", "sha1", "formats", *_ANALYSIS), ""),
    **dict.fromkeys(("is_library", "base_addr", "binary_size", "binweight", "num_functions", "has_media"), 0),
    "bitness": None,
    "statistics": "{}",
    "media_info": "{}",
}


# Reading


def select(connection: Connection, filters: Mapping[str, object], *, start: int = 0, limit: int = -1) -> list[Sample]:
    """Return the samples that match all filters, in `sample_id` order; at most `limit` unless it is negative."""
    conditions = " AND ".join(FILTERS[name] for name in filters) or "TRUE"
    rows = connection.execute(
        f"{_SELECT} WHERE {conditions} ORDER BY sample_id LIMIT :limit OFFSET :start",
        {**filters, "limit": limit, "start": start},
    )
    return [_make_sample(row) for row in rows]


def get(connection: Connection, sample_id: int) -> Sample:
    """Return the sample of an id, or raise NotFoundError."""
    return _make_sample(_get_row(connection, f"{_SELECT} WHERE sample_id = ?", sample_id))


def get_untagged(connection: Connection, sample_id: int) -> Sample:
    """Return the sample of an id without its tags, which may be unreadable."""
    select = _SELECT.replace(_TAGS, "'[]'")
    return _make_sample(_get_row(connection, f"{select} WHERE sample_id = ?", sample_id))


def get_by_sha256(connection: Connection, sha256: str) -> Sample:
    """Return the sample of a lower-case hash, or raise NotFoundError."""
    row = connection.execute(f"{_SELECT} WHERE sha256 = ?", (sha256,)).fetchone()
    if row is None:
        raise NotFoundError.of("sample", sha256)
    return _make_sample(row)


def get_by_hash(connection: Connection, prefix: str) -> Sample:
    """Return the only sample with a hash that begins with these lower-case digits.

    Raises:
        NotFoundError: There is none.
        InvalidInputError: There are several.
    """
    rows = connection.execute(_BY_HASH, {"prefix": prefix, "end": prefix + "g"}).fetchall()
    if not rows:
        raise NotFoundError.of("sample", prefix)
    if len(rows) > 1:
        ids = " and ".join(str(sample_id) for sample_id, *_ in rows)
        raise InvalidInputError.of(
            "hash", f"of one sample; {ids} share these digits: give more of them, or the SHA-256", prefix
        )
    return _make_sample(rows[0])


def find_by_hash(connection: Connection, prefix: str) -> list[tuple[int, Literal["sha256", "md5", "sha1"], str]]:
    """Return sample id, kind and digits of each hash that begins with these lower-case digits."""
    return connection.execute(_HASHES, {"prefix": prefix, "end": prefix + "g"}).fetchall()


def list_hashes(connection: Connection, after: int, limit: int) -> list[tuple[int, str]]:
    """Return id and SHA-256 of the samples with higher ids than `after`, in the order of the ids."""
    sql = "SELECT sample_id, sha256 FROM samples WHERE sample_id > ? ORDER BY sample_id LIMIT ?"
    return connection.execute(sql, (after, limit)).fetchall()


def find(connection: Connection, *, sha256: str) -> Stored | None:
    """Return the stored facts about the sample of a SHA-256, or `None`."""
    row = connection.execute(f"{_FIND} sha256 = ?", (sha256,)).fetchone()
    return None if row is None else Stored(*row)


def locate(connection: Connection, sample_id: int) -> Stored:
    """Return the stored facts about the sample of an id, or raise NotFoundError."""
    return Stored(*_get_row(connection, f"{_FIND} samples.sample_id = ?", sample_id))


def _get_row(connection: Connection, sql: str, sample_id: int) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = None
    if sample_id <= limits.MAX_ID:
        row = connection.execute(sql, (sample_id,)).fetchone()
    if row is None:
        raise NotFoundError.of("sample", sample_id)
    return row


def find_hash_eras(connection: Connection, sample_ids: Iterable[int]) -> dict[int, tuple[object, ...]]:
    """Return the `find_hash_era` of each sample."""
    sql = (
        "SELECT sample_id, architecture, smda_version FROM samples WHERE sample_id IN (SELECT value FROM json_each(?))"
    )
    rows = connection.execute(sql, (values.to_json(sorted(set(sample_ids))),))
    return {sample_id: find_hash_era(*analysis) for sample_id, *analysis in rows}


def count(connection: Connection) -> dict[str, Any]:
    """Return the counts of Stats."""
    cursor = connection.execute(_STATISTICS)
    return dict(zip((name for name, *_ in cursor.description), cursor.fetchone(), strict=True))


def iter_by_sha256(connection: Connection) -> Iterator[Sample]:
    """Yield all samples in the order of their hashes."""
    return map(_make_sample, connection.execute(f"{_SELECT} ORDER BY sha256"))


# Writing


def insert(connection: Connection, sha256: str, username: str, sample_id: int | None = None) -> Stored:
    """Insert a sample without analysis and media metadata, under a new id unless one is given."""
    columns = {"sample_id": sample_id, "sha256": sha256, "username": username}
    return _NOTHING._replace(sample_id=_insert(connection, columns))


def put_analysis(
    connection: Connection,
    stored: Stored | None,
    report: Report,
    first_function_id: int | None,
    overrides: Mapping[str, object],
    *,
    changes: Mapping[str, object],
) -> SampleId:
    """Set the columns of an analysis, in place of those of an earlier one; return the id of the sample.

    Columns that the report has no value for stay the same: hashes and size always; the name, unless an override
    gives it; family, version, component and is_library if the sample had only media metadata. Values of `changes`
    win over all others. A sample that is not stored is inserted.
    """
    before = stored or _NOTHING
    columns = {field: getattr(report, field) for field in _ANALYSIS}
    unknown = {"md5", "sha1", "binary_size"}
    if not before.is_analyzed:
        unknown |= {"family", "version", "component", "is_library"} - overrides.keys()
    columns = {field: value for field, value in columns.items() if value or field not in unknown}
    columns["statistics"] = values.to_json(report.statistics)
    columns["base_addr"] = codec.signed(report.base_addr)
    if report.binary_size:
        columns["binary_size"] = codec.signed(report.binary_size)
    columns["num_functions"] = len(report.functions)
    columns["first_function_id"] = first_function_id
    if "name" in overrides or not before.name:
        columns |= _name_columns(before, report.name)
    columns |= changes
    if stored is None:
        return _insert(connection, {"sha256": report.sha256, **columns})
    update(connection, stored.sample_id, columns)
    return stored.sample_id


def put_media(connection: Connection, stored: Stored, media: Media) -> None:
    """Set media metadata: values given by the user win, values found in the file fill gaps."""
    name = media.given.get("name", stored.name or media.found_name)
    columns: dict[str, object] = {**_name_columns(stored, name), **media.given, "has_media": 1}
    if media.media_info:
        columns |= _media_columns(media.media_info)
    with _reindexing(connection, stored.sample_id):
        _set(connection, stored.sample_id, columns)
        _set_tags(connection, stored.sample_id, _merge_tags(connection, stored.sample_id, media.tags))
    connection.execute(_FILL_FROM_FILE, (media.md5, media.sha1, media.size, stored.sample_id))


def update(connection: Connection, sample_id: SampleId, changes: Mapping[str, Any]) -> None:
    """Set some columns, and the tags, of a stored sample."""
    columns, tags = _divide(changes)
    is_indexed = not {*changes, *columns}.isdisjoint(trigrams.SAMPLE_FIELDS)
    with _reindexing(connection, sample_id) if is_indexed else nullcontext():
        if columns:
            _set(connection, sample_id, columns)
        if tags is not None:
            _set_tags(connection, sample_id, tags)


def _insert(connection: Connection, changes: Mapping[str, Any]) -> SampleId:
    """Insert a sample with some columns, and the tags; the search index takes it once."""
    columns, tags = _divide(changes)
    sample_id = SampleId(values.insert_row(connection, "samples", {**_UNKNOWN, "added_at": values.now(), **columns}))
    if tags:
        _set_tags(connection, sample_id, tags)
    trigrams.add_sample(connection, sample_id)
    return sample_id


def _divide(changes: Mapping[str, Any]) -> tuple[dict[str, Any], Iterable[str] | None]:
    """Return the columns of changes, with those that follow from them, and the tags; `None` if they stay."""
    columns = dict(changes)
    tags = columns.pop("tags", None)
    if "media_info" in columns:
        columns |= _media_columns(columns["media_info"])
    return columns, tags


def restore(connection: Connection, sample: Sample) -> None:
    """Restore user edits, username and time of a salvaged sample whose analysis was stored anew."""
    kept: dict[str, Any] = {field: getattr(sample, field) for field in (*_EDITABLE, "username")}
    kept["added_at"] = values.format_time(sample.added_at)
    kept["has_media"] = bool(sample.media_info) or not sample.smda_version
    update(connection, sample.sample_id, kept)


def retag(connection: Connection, sample_id: SampleId, add: Iterable[str], remove: Iterable[str]) -> None:
    """Add tags after those that the sample has, and remove others."""
    with _reindexing(connection, sample_id):
        _set_tags(connection, sample_id, _merge_tags(connection, sample_id, add, remove))


def _merge_tags(
    connection: Connection, sample_id: SampleId, add: Iterable[str], remove: Iterable[str] = ()
) -> list[str]:
    kept = connection.execute("SELECT tag FROM sample_tags WHERE sample_id = ? ORDER BY position", (sample_id,))
    together = limits.unite_tags([*(tag for (tag,) in kept), *add])
    for tag in remove:
        together.pop(limits.fold(tag), None)
    if len(together) > limits.MAX_TAGS:
        raise InvalidInputError.of("tags", f"at most {limits.MAX_TAGS} with those the sample has", [*together])
    return [*together.values()]


def delete(connection: Connection, sample_id: SampleId) -> None:
    """Delete a sample that has no functions, with its tags and its report."""
    trigrams.remove_sample(connection, sample_id)
    labels.remove_from_search(connection, sample_id)
    connection.execute("DELETE FROM samples WHERE sample_id = ?", (sample_id,))


def _media_columns(media_info: dict[str, Any]) -> dict[str, str]:
    return {"media_info": values.to_json(media_info), "formats": "\n".join(list_formats(media_info))}


def _name_columns(stored: Stored, name: str) -> dict[str, str]:
    """Return the columns of a new name. Its extension replaces the old one unless a user has set that."""
    if stored.extension != limits.extension_of(stored.name):
        return {"name": name}
    return {"name": name, "extension": limits.extension_of(name)}


@contextmanager
def _reindexing(connection: Connection, sample_id: SampleId) -> Iterator[None]:
    """Keep the search index in step with a change of the sample's text."""
    trigrams.remove_sample(connection, sample_id)
    yield
    trigrams.add_sample(connection, sample_id)


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


def _make_sample(row: tuple[Any, ...]) -> Sample:
    try:
        fields = list(row)
        for position, convert in _CONVERSIONS:
            fields[position] = convert(fields[position])
    except (TypeError, ValueError, RecursionError) as error:
        raise CorruptFileError.of(f"a value cannot be read: {error}", f"samples, sample_id {row[0]}") from error
    return Sample(*fields)


# Checking


def find_differences(connection: Connection) -> Iterator[Problem]:
    """Yield a Problem for each sample whose formats are not those of its media metadata."""
    for sample_id, media_info, formats in connection.execute(
        "SELECT sample_id, media_info, formats FROM samples WHERE media_info <> '{}' OR formats <> ''"
    ):
        # What is no JSON is found by the check of JSON.
        with suppress(ValueError):
            if _media_columns(values.parse_object(media_info))["formats"] != formats:
                where = f"samples, sample_id {sample_id}"
                yield Problem("formats are not those of media_info", where, sample_id)
