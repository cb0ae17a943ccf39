"""HTML for notebooks and pages: cards and tables, without scripts or resources from elsewhere.

Names, tags and operands come from malware. Unprintable characters are shown as escapes, so that nothing hides or
reverses the text around it; markup is escaped; and everything has a bound.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Final, NamedTuple

from sampledb.errors import shorten
from sampledb.render.text import escape_unprintable

MAX_ROWS: Final = 50
# Characters of a value: in a card, and in a table.
_LONG: Final = 1000
_SHORT: Final = 80
_MAX_TAGS: Final = 50

# Fields that people know by their hex digits.
_HEX: Final = frozenset({"offset", "base_addr", "pic_hash"})
# Colours are left to the notebook's theme, dark or light.
_LEFT: Final = ' style="text-align: left; vertical-align: top"'
_TAG: Final = '<span style="border: 1px solid; border-radius: 4px; padding: 0 4px">{}</span>'


class Link(NamedTuple):
    """A value that leads somewhere.

    Attributes:
        value: Shown like any other value.
        href: A URL that this package has made.
    """

    value: object
    href: str


class Line(NamedTuple):
    """A line of code.

    Attributes:
        text: What it says.
        href: Where it leads, `""` for nowhere.
        anchor: The name by which others lead to it, `""` for none.
    """

    text: str
    href: str = ""
    anchor: str = ""


def render_card(title: str, fields: Mapping[str, object]) -> str:
    """Return a table with a row for each field."""
    rows = (
        f"<tr><th{_LEFT}>{render_text(name, _LONG)}</th><td{_LEFT}>{render_value(name, value, _LONG)}</td></tr>"
        for name, value in fields.items()
    )
    return f"<table><caption{_LEFT}>{render_text(title, _LONG)}</caption><tbody>{''.join(rows)}</tbody></table>"


def render_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], count: int, *, most: int = MAX_ROWS
) -> str:
    """Return a table of at most `most` rows; `count` is how many there are."""
    head = "".join(f"<th{_LEFT}>{render_text(column, _SHORT)}</th>" for column in columns)
    body = "".join(f"<tr>{_render_cells(columns, row)}</tr>" for row, _ in zip(rows, range(most), strict=False))
    rest = f"<p>… and {count - most:,} more</p>" if count > most else ""
    caption = f"<caption{_LEFT}>{render_text(title, _LONG)}</caption>" if title else ""
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"


def _render_cells(columns: Sequence[str], row: Sequence[object]) -> str:
    return "".join(
        f"<td{_LEFT}>{render_value(column, value, _SHORT)}</td>" for column, value in zip(columns, row, strict=True)
    )


def render_note(text: str) -> str:
    """Return a paragraph."""
    return f"<p>{render_text(text, _LONG)}</p>"


def render_code(summary: str, lines: Iterable[Line], *, unfolded: bool) -> str:
    """Return lines of code below a summary that folds them away."""
    opened = " open" if unfolded else ""
    code = "\n".join(map(_render_line, lines))
    return f"<details{opened}><summary>{render_text(summary, _LONG)}</summary><pre>{code}</pre></details>"


def _render_line(line: Line) -> str:
    anchor = f' id="{escape(line.anchor)}"' if line.anchor else ""
    target = f' href="{escape(line.href)}"' if line.href else ""
    text = render_text(line.text, _LONG)
    return f"<a{anchor}{target}>{text}</a>" if anchor or target else text


def render_link(href: str, html: str) -> str:
    """Return HTML that leads to a URL which this package has made."""
    return f'<a href="{escape(href)}">{html}</a>'


def render_text(text: str, limit: int) -> str:
    """Return at most `limit` characters as HTML and XML."""
    return escape(escape_unprintable(shorten(text, limit)))


def render_value(name: str, value: object, limit: int) -> str:
    """Return a field's value; `None` and empty values show nothing."""
    if isinstance(value, Link):
        return render_link(value.href, render_value(name, value.value, limit))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _format_number(name, value)
    if isinstance(value, list | tuple):
        return " ".join(_TAG.format(render_text(str(each), limit)) for each in value[:_MAX_TAGS])
    if isinstance(value, dict):
        # Even of media, whose metadata is the longest, this is short; render_text() cuts it.
        return render_text(json.dumps(value, ensure_ascii=False, default=str) if value else "", limit)
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return "" if value is None else render_text(str(value), limit)


def _format_number(name: str, value: float) -> str:
    if isinstance(value, int):
        return f"{value:#x}" if name in _HEX else str(value)
    # Nobody needs more digits of a share; of other numbers, all that are not noise.
    return f"{value:.1f}" if name.startswith("percent") else f"{value:.12g}"
