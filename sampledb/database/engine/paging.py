"""Pages of rows: positions as SQLite takes them, and streams that hold one page at a time."""

from collections.abc import Callable, Iterator
from typing import TypeVar

from sampledb import limits
from sampledb.errors import CorruptFileError

_T = TypeVar("_T")


def window(start: int, limit: int) -> tuple[int, int]:
    """Return `start` and `limit` checked, as SQLite takes them: -1 for all."""
    return limits.position("start", start), limits.position("limit", limit) or -1


def paged(page_after: Callable[[_T | None], list[_T]]) -> Iterator[_T]:
    """Yield the records of all pages; `page_after(last)` reads the page behind a record, `None` for the first."""
    last = None
    while page := page_after(last):
        yield from page
        last = page[-1]


def require_growth(before: int, after: int | None) -> None:
    """Raise CorruptFileError unless ids grow: in a damaged tree, one may follow itself without end."""
    if after is not None and after <= before:
        raise CorruptFileError.of(f"after the id {before} comes {after}", "the tables")
