"""Format tables and cards: cells to lines that fit a screen. Any text is accepted; the lines are printable."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain, compress, islice
from textwrap import wrap
from typing import Final, NamedTuple
from unicodedata import category, east_asian_width

from sampledb.cli.terminal import Screen
from sampledb.render.text import escape_unprintable

_GAP: Final = "  "
_ELLIPSIS: Final = "…"
# Cells that a column keeps when others need the room: enough for the beginning of a hash.
_LEAST: Final = 9
# A card is read, not scanned: longer lines would not help.
_WIDEST_CARD: Final = 100
# Rows that are held until the widths are known.
_DECISIVE: Final = 1000
_NOTHING: Final = "Nothing was found."


class Column(NamedTuple):
    """The look of a column.

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


def count_cells(text: str) -> int:
    """Return how many cells of a terminal a printable text takes."""
    return len(text) if text.isascii() else sum(map(_count_cells, text))


def _count_cells(character: str) -> int:
    # Marks combine with the character before them; so do the vowels and final consonants of decomposed Korean, as in
    # file names of macOS.
    if category(character).startswith("M") or "\u1160" <= character <= "\u11ff":
        return 0
    return 2 if east_asian_width(character) in "WF" else 1


def _count_fitting(text: str, width: int) -> int:
    """Return how many characters fit into so many cells."""
    return bisect_right(list(accumulate(map(_count_cells, text))), width)


def fit(text: str, width: int) -> str:
    """Return the text in at most `width` cells, with an ellipsis where it was cut."""
    return text if count_cells(text) <= width else text[: _count_fitting(text, width - 1)] + _ELLIPSIS


def format_table(screen: Screen, columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield a line for each row, under the titles if there are any.

    The first rows decide on the widths; a later cell that is wider is cut where columns give way, or shifts its line.
    """
    grid = ([escape_unprintable(cell) for cell in row] for row in rows)
    first = [*islice(grid, _DECISIVE)]
    titles = [column.title for column in columns]
    if not first and any(titles):
        yield fit(_NOTHING, _WIDEST_CARD if screen.width is None else screen.width)
        return
    kept = [True] * len(columns) if screen.width is None else _find_used(columns, first)
    columns, titles = [*compress(columns, kept)], [*compress(titles, kept)]
    widths = _choose_widths(screen, columns, [titles, *(list(compress(row, kept)) for row in first)])
    if any(titles):
        bold = [column._replace(style="bold") for column in columns]
        yield _format_row(screen, bold, widths, titles)
    for row in chain(first, grid):
        yield _format_row(screen, columns, widths, [*compress(row, kept)])


def _find_used(columns: Sequence[Column], grid: list[list[str]]) -> list[bool]:
    """Return which columns are shown: all but the optional ones in which there is nothing."""
    used = [any(column) for column in zip(*grid, strict=True)] or [True] * len(columns)
    return [is_used or not column.is_optional for is_used, column in zip(used, columns, strict=True)]


def _choose_widths(screen: Screen, columns: Sequence[Column], grid: Sequence[Sequence[str]]) -> list[int]:
    """Return the cells of each column: all it needs, unless columns must give way, the widest first."""
    widths = [max(map(count_cells, column)) for column in zip(*grid, strict=True)]
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


def _format_row(screen: Screen, columns: Sequence[Column], widths: Sequence[int], row: Sequence[str]) -> str:
    shown: list[str] = []
    left = screen.width
    for column, width, cell in zip(columns, widths, row, strict=True):
        wanted = width if column.gives_way and left is not None else max(width, count_cells(cell))
        space = wanted if left is None else min(wanted, left)
        if not wanted:
            continue
        if space <= 0:
            break
        shown.append(_format_cell(screen, column, space, cell))
        left = None if left is None else left - space - len(_GAP)
    return _GAP.join(shown).rstrip()


def _format_cell(screen: Screen, column: Column, width: int, text: str) -> str:
    cut = fit(text, width)
    padding = " " * (width - count_cells(cut))
    painted = screen.paint(cut, column.style) if column.style and cut else cut
    return padding + painted if column.is_number else painted + padding


def format_card(screen: Screen, groups: Mapping[str, Mapping[str, str | list[str]]]) -> Iterator[str]:
    """Yield titled groups of fields, each field on lines of its own.

    A text is one line, broken where it is too long; a list has a line for each of its texts. Fields and groups
    without a value are left out.
    """
    shown = {title: {name: value for name, value in fields.items() if value} for title, fields in groups.items()}
    label = max((count_cells(name) for fields in shown.values() for name in fields), default=0)
    for title, fields in shown.items():
        if fields:
            yield screen.paint(escape_unprintable(title), "bold")
        for name, value in fields.items():
            padding = " " * (label - count_cells(name))
            first, *more = _break_lines(screen, value, label + 2 * len(_GAP))
            yield f"{_GAP}{screen.paint(name + padding, 'cyan')}{_GAP}{first}"
            yield from (f"{_GAP}{' ' * label}{_GAP}{line}".rstrip() for line in more)


def _break_lines(screen: Screen, value: str | list[str], indent: int) -> list[str]:
    lines = [escape_unprintable(line) for line in ([value] if isinstance(value, str) else value)]
    if screen.width is None:
        return lines
    room = max(min(screen.width, _WIDEST_CARD) - indent, _LEAST)
    return [part for line in lines for words in wrap(line, room) or [""] for part in _break_wide(words, room)]


def _break_wide(text: str, width: int) -> Iterator[str]:
    """Break a text again whose characters, counted by `wrap`, take more than a cell each."""
    while count_cells(text) > width:
        end = _count_fitting(text, width)
        yield text[:end]
        text = text[end:]
    yield text
