"""What people typed, as text: one JSON object a line, sorted, the same for the same content.

The first line names the format and its version. Each further line is one thing that people say about a sample:

    {"sha256": "…", "kind": "family", "value": "win.emotet"}
    {"sha256": "…", "kind": "label", "offset": "0x401000", "name": "decrypt", "comment": "", "username": "alice", …}

sorted by the SHA-256, then by the kind, labels by their offset and date. What is empty has no line. All is ASCII, which
no terminal obeys.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby
from typing import Annotated, Any, BinaryIO, Final, Literal

import msgspec

from sampledb import limits
from sampledb.database.transfer.decision import Plan, Policy, decide
from sampledb.database.transfer.merge import Item
from sampledb.database.transfer.side import Side, check_label
from sampledb.errors import InvalidInputError, NewerFormatError, NotFoundError
from sampledb.model import Label, Sample, SampleId
from sampledb.store.sqlite import Connection
from sampledb.store.tables import labels, samples, values

VERSION: Final = 1
# The longest line that is written is that of a comment whose every character takes 12 bytes of ASCII.
_LONGEST_LINE: Final = 1 << 18
_LABEL: Final = "label"
_FIELDS: Final = ("component", "extension", "family", "is_library", "name", "notes", "tags", "version")


class _Head(msgspec.Struct):
    sampledb: Literal["annotations"]
    version: int


class _Hash(msgspec.Struct):
    sha256: str


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    sha256: str
    kind: Literal["component", "extension", "family", "is_library", "label", "name", "notes", "tags", "version"]
    value: str | bool | list[str] = ""
    offset: str = ""
    name: str = ""
    comment: str = ""
    username: str = ""
    updated_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    is_current: bool = True


_parse_head = msgspec.json.Decoder(_Head).decode
_parse_hash = msgspec.json.Decoder(_Hash).decode
_parse_line = msgspec.json.Decoder(_Line).decode


def write_lines(connection: Connection) -> Iterator[str]:
    """Yield the text of a store, line after line."""
    yield _write({"sampledb": "annotations", "version": VERSION})
    for sample in samples.iter_by_sha256(connection):
        lines: list[dict[str, Any]] = [
            {"sha256": sample.sha256, "kind": field, "value": value}
            for field in _FIELDS
            if (value := getattr(sample, field)) not in ("", None, False, ())
        ]
        lines += _describe_labels(connection, sample)
        yield from map(_write, sorted(lines, key=lambda line: str(line["kind"])))


def _describe_labels(connection: Connection, sample: Sample) -> Iterator[dict[str, Any]]:
    said = labels.select(connection, sample.sample_id, history=True)
    # Several may have one date.
    said.sort(key=lambda each: (each.offset, each.is_current, each.updated_at, each.name, each.comment, each.username))
    for each in said:
        yield {
            "sha256": sample.sha256,
            "kind": _LABEL,
            "offset": f"0x{each.offset:x}",
            "name": each.name,
            "comment": each.comment,
            "username": each.username,
            "updated_at": values.format_time(each.updated_at.astimezone(UTC)),
            "is_current": each.is_current,
        }


def _write(line: dict[str, Any]) -> str:
    return json.dumps(line) + "\n"


class TextItem(msgspec.Struct):
    """What a text says about a sample."""

    sha256: str
    lines: list[tuple[int, bytes]]  # with their numbers, from 1

    def plan(self, ours: Side | None, policy: Policy) -> Plan:
        """Check all lines; a sample that is not here cannot be made of them."""
        side = Side(self.sha256, {}, (), [])
        for number, line in self.lines:
            try:
                _add_line(side, _parse_line(line))
            except (ValueError, ArithmeticError, RecursionError) as error:
                raise _reject(number, str(error)) from error
        if ours is None:
            raise NotFoundError.of("sample", self.sha256)
        return decide(ours, side, policy)


def _add_line(side: Side, line: _Line) -> None:
    limits.sha256(line.sha256)
    if line.kind == _LABEL:
        side.labels.append(check_label(_make_label(line)))
    elif not line.value:
        raise ValueError("there is no value")
    elif line.kind == "tags":
        side.tags = limits.tags(line.value)
    else:
        side.values |= limits.fields({line.kind: line.value}, absent=None)


def _make_label(line: _Line) -> Label:
    if line.updated_at is None:
        raise ValueError("there is no updated_at")
    offset = limits.address("offset", line.offset)
    said = (line.name, line.comment, line.username, line.updated_at, line.is_current)
    return Label(SampleId(0), offset, *said, function_id=None)


def list_text(file: BinaryIO, path: str) -> Iterator[Item]:
    """Return the samples of a text.

    Raises:
        InvalidInputError: It is no such text, or, when its turn comes, a line is longer than any that is written.
        NewerFormatError: A later version of this package wrote it.
    """
    try:
        version = _parse_head(file.readline(_LONGEST_LINE)).version
    except (ValueError, RecursionError) as error:
        raise _reject(1, str(error)) from error
    if version > VERSION:
        raise NewerFormatError.of(path, version, VERSION)
    groups = groupby(_number_lines(file), key=lambda numbered: _peek_sha256(numbered[1]))
    return (TextItem(sha256, list(lines)) for sha256, lines in groups)


def _number_lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    number = 1
    while line := file.readline(_LONGEST_LINE):
        number += 1
        if len(line) == _LONGEST_LINE:
            raise _reject(number, "it is longer than any line of an export")
        if line.strip():
            yield number, line


def _peek_sha256(line: bytes) -> str:
    """Return the SHA-256 of a line, or what else stands there, which is rejected when it is read."""
    try:
        return limits.sha256(_parse_hash(line).sha256)
    except (ValueError, RecursionError):
        return line[:80].decode("ascii", "replace")


def _reject(number: int, reason: str) -> InvalidInputError:
    return InvalidInputError.of("other", f"a text of export_annotations; line {number} breaks a rule", reason)
