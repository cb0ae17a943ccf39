"""What a store, or a text, says about a sample, checked by the rules of the way in."""

import re
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from sampledb import limits
from sampledb.errors import CorruptFileError
from sampledb.format.xcfg import FunctionRow
from sampledb.model import Label, Sample
from sampledb.store.sqlite import Connection
from sampledb.store.tables import jobs, labels, samples
from sampledb.store.tables.reports import read_rows

#: Fields of a sample that people change; tags are not among them, because those of both sides are united.
FIELDS: Final = ("family", "version", "component", "is_library", "name", "extension", "media_info", "notes")

_DIGESTS: Final = {"md5": re.compile("(?:[0-9a-f]{32})?"), "sha1": re.compile("(?:[0-9a-f]{40})?")}


class Side(msgspec.Struct):
    """A sample on one side of a merge.

    Attributes:
        sha256: Its hash, lower-case.
        values: Its fields of FIELDS that are known.
        tags: Its tags.
        labels: The labels of its functions with their history.
        rows: The rows of its functions; `None` without an analysis.
        smda_version: Of its analysis.
        has_media: Whether media metadata was added.
        has_binary: Whether its binary is kept.
        file: `md5`, `sha1` and `binary_size`, where known.
        username: The user who added it; `""` in a text, as is `added_at`.
        added_at: The time when it was added.
    """

    sha256: str
    values: dict[str, Any]
    tags: tuple[str, ...]
    labels: list[Label]
    rows: list[FunctionRow] | None = None
    smda_version: str = ""
    has_media: bool = False
    has_binary: bool = False
    file: dict[str, Any] = {}
    username: str = ""
    added_at: datetime | None = None


def read_side(connection: Connection, sample_id: int) -> Side:
    """Return what a store says about a sample; its report and its binary are left where they are.

    Raises:
        InvalidInputError: A value breaks a rule.
        CorruptFileError: A value cannot be read.
    """
    sample = samples.get(connection, sample_id)
    stored = samples.locate(connection, sample_id)
    sha256 = limits.sha256(sample.sha256)
    # Nobody need have said that it is no library: all samples begin so.
    known = {field: getattr(sample, field) for field in FIELDS if getattr(sample, field) not in ("", None, {}, False)}
    return Side(
        sha256=sha256,
        values=limits.fields(known, absent=None),
        tags=limits.tags(sample.tags),
        labels=[check_label(each) for each in labels.select(connection, sample_id, history=True)],
        rows=read_rows(connection, stored) if stored.is_analyzed else None,
        smda_version=limits.printable("smda_version", sample.smda_version),
        has_media=bool(stored.has_media),
        has_binary=jobs.has_kept(connection, sha256),
        file=_check_file(sample),
        username=limits.username(sample.username),
        added_at=sample.added_at.astimezone(UTC),
    )


def check_label(label: Label) -> Label:
    """Return a label from elsewhere, with its time in UTC; raise InvalidInputError if a value breaks a rule."""
    limits.fields({"label": label.name, "comment": label.comment}, absent=None)
    limits.username(label.username)
    return msgspec.structs.replace(label, updated_at=label.updated_at.astimezone(UTC))


def _check_file(sample: Sample) -> dict[str, Any]:
    for field, pattern in _DIGESTS.items():
        if not pattern.fullmatch(getattr(sample, field)):
            raise CorruptFileError.of(f"{field} is no hash", f"samples, sample_id {sample.sample_id}")
    limits.u64("binary_size", sample.binary_size)
    return {field: value for field in (*_DIGESTS, "binary_size") if (value := getattr(sample, field))}
