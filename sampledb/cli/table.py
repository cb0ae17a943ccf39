"""Tables and cards: cells to lines that fit a screen. Cells may hold anything; what comes out is safe to show."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress
from textwrap import wrap
from typing import Final, NamedTuple

from sampledb.cli.terminal import Screen, cells, fit, safe, safe_lines

_GAP: Final = "  "
# Cells that a column keeps when others need the room: enough for the beginning of a hash.
_LEAST: Final = 9
# A card is read, not scanned: longer lines would not help.
_WIDEST_CARD: Final = 100


class Column(NamedTuple):
    """How a column of a table looks.

    Attributes:
        title: Above it; `""` in a table without titles.
        style: Of its cells.
        is_number: Right-aligned.
        gives_way: May be cut where the screen is narrow.
        is_optional: Left out on a screen where all its cells are empty.
    """

    title: str
    style: str = ""
    is_number: bool = False
    gives_way: bool = False
    is_optional: bool = False


def table(screen: Screen, columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> list[str]:
    """A line for each row, under the titles if there are any."""
    grid = [[safe(cell) for cell in row] for row in rows]
    if screen.width is not None:
        columns, grid = _without_empty(columns, grid)
    titles = [column.title for column in columns]
    widths = _widths(screen, columns, [titles, *grid])
    lines = [_line(screen, columns, widths, row) for row in grid]
    if any(titles):
        bold = [column._replace(style="bold") for column in columns]
        lines.insert(0, _line(screen, bold, widths, titles))
    return lines


def _without_empty(columns: Sequence[Column], grid: list[list[str]]) -> tuple[Sequence[Column], list[list[str]]]:
    """Less the optional columns in which there is nothing."""
    used = [any(column) for column in zip(*grid, strict=True)] or [True] * len(columns)
    kept = [is_used or not column.is_optional for is_used, column in zip(used, columns, strict=True)]
    return [*compress(columns, kept)], [[*compress(row, kept)] for row in grid]


def _widths(screen: Screen, columns: Sequence[Column], grid: Sequence[Sequence[str]]) -> list[int]:
    """The cells of each column: all it needs, unless the columns that can must give way, the widest first."""
    widths = [max(map(cells, column)) for column in zip(*grid, strict=True)]
    if screen.width is None:
        return widths
    widths = [min(width, screen.width) for width in widths]
    soft = [index for index, column in enumerate(columns) if column.gives_way]
    while soft and sum(widths) + len(_GAP) * (len(widths) - 1) > screen.width:
        widest = max(soft, key=lambda index: widths[index])
        if widths[widest] <= _LEAST:
            break
        widths[widest] -= 1
    return widths


def _line(screen: Screen, columns: Sequence[Column], widths: Sequence[int], row: Sequence[str]) -> str:
    shown: list[str] = []
    left = screen.width
    for column, width, cell in zip(columns, widths, row, strict=True):
        space = width if left is None else min(width, left)
        if space <= 0:
            break
        shown.append(_cell(screen, column, space, cell))
        left = None if left is None else left - space - len(_GAP)
    return _GAP.join(shown).rstrip()


def _cell(screen: Screen, column: Column, width: int, text: str) -> str:
    cut = fit(text, width)
    padding = " " * (width - cells(cut))
    painted = screen.paint(cut, column.style) if column.style and cut else cut
    return padding + painted if column.is_number else painted + padding


def card(screen: Screen, groups: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Titled groups of fields, each field on lines of its own; fields and groups without a value are left out."""
    shown = {title: {name: value for name, value in fields.items() if value} for title, fields in groups.items()}
    label = max((len(name) for fields in shown.values() for name in fields), default=0)
    for title, fields in shown.items():
        if not fields:
            continue
        yield screen.paint(safe(title), "bold")
        for name, value in fields.items():
            first, *more = _wrapped(screen, value, label + 2 * len(_GAP)) or [""]
            yield f"{_GAP}{screen.paint(name.ljust(label), 'cyan')}{_GAP}{first}"
            yield from (f"{_GAP}{' ' * label}{_GAP}{line}" for line in more)


def _wrapped(screen: Screen, value: str, indent: int) -> list[str]:
    """The lines of a value, those that are too long broken."""
    lines = safe_lines(value)
    if screen.width is None:
        return lines
    room = max(min(screen.width, _WIDEST_CARD) - indent, _LEAST)
    return [part for line in lines for part in wrap(line, room) or [""]]
