"""Times, JSON and rows, as columns hold them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from sampledb.store.sqlite import Connection

_encode = msgspec.json.Encoder().encode
parse_object = msgspec.json.Decoder(dict[str, Any]).decode


def to_json(value: object) -> str:
    """Return a value as JSON text."""
    return _encode(value).decode()


def format_time(time: datetime) -> str:
    """Return a time as ISO 8601, to the microsecond."""
    return time.isoformat(timespec="microseconds")


def now() -> str:
    """Return the present time, in UTC."""
    return format_time(datetime.now(UTC))


def parse_time(text: str) -> datetime:
    """Return the time of a text; ValueError if it has no zone."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("a time without a zone")
    return time


def insert_row(connection: Connection, table: str, columns: Mapping[str, object]) -> int:
    """Insert a row and return its rowid."""
    names = ", ".join(columns)
    marks = ", ".join("?" * len(columns))
    cursor = connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(columns.values()))  # noqa: S608
    return cursor.lastrowid or 0
