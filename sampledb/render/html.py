"""HTML of records, for notebooks: cards and tables, without scripts, styles or resources of their own.

Names, tags and operands come from malware. What of them is no printable character is shown as an escape, so that
nothing hides or turns the text around it; markup is escaped; and everything has a bound.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Final

from sampledb.errors import shorten

MAX_ROWS: Final = 50
# Characters of a value: in a card, and in a table.
_LONG: Final = 1000
_SHORT: Final = 80
_MAX_TAGS: Final = 50

# What people know by its hex digits.
_HEX: Final = frozenset({"offset", "base_addr", "pic_hash"})
# Colours are left to the notebook's theme, dark or light.
_LEFT: Final = ' style="text-align: left; vertical-align: top"'
_TAG: Final = '<span style="border: 1px solid; border-radius: 4px; padding: 0 4px">{}</span>'


def card(title: str, fields: Mapping[str, object]) -> str:
    """A record: a line for each field."""
    rows = (
        f"<tr><th{_LEFT}>{text(name, _LONG)}</th><td{_LEFT}>{_value(name, value, _LONG)}</td></tr>"
        for name, value in fields.items()
    )
    return f"<table><caption{_LEFT}>{text(title, _LONG)}</caption><tbody>{''.join(rows)}</tbody></table>"


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], count: int) -> str:
    """Records, a row each; of the `count` there are, no more than MAX_ROWS."""
    head = "".join(f"<th{_LEFT}>{text(column, _SHORT)}</th>" for column in columns)
    body = "".join(f"<tr>{_cells(columns, row)}</tr>" for row, _ in zip(rows, range(MAX_ROWS), strict=False))
    rest = f"<p>… and {count - MAX_ROWS:,} more</p>" if count > MAX_ROWS else ""
    caption = f"<caption{_LEFT}>{text(title, _LONG)}</caption>"
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"


def _cells(columns: Sequence[str], row: Sequence[object]) -> str:
    return "".join(
        f"<td{_LEFT}>{_value(column, value, _SHORT)}</td>" for column, value in zip(columns, row, strict=True)
    )


def note(words: str) -> str:
    """A paragraph."""
    return f"<p>{text(words, _LONG)}</p>"


def folded(summary: str, lines: Sequence[str], *, unfolded: bool) -> str:
    """Lines of code, below a summary that folds them away."""
    opened = " open" if unfolded else ""
    code = "\n".join(text(line, _LONG) for line in lines)
    return f"<details{opened}><summary>{text(summary, _LONG)}</summary><pre>{code}</pre></details>"


def text(words: str, limit: int) -> str:
    """Words as HTML and XML, at most `limit` characters of them."""
    return escape(visible(words, limit))


def visible(words: str, limit: int) -> str:
    """At most `limit` characters, those that are not printable as Python escapes them."""
    shown = shorten(words, limit)
    if shown.isprintable():
        return shown
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in shown)


def _value(name: str, value: object, limit: int) -> str:
    """A field's value as HTML; nothing for `None` and what is empty."""
    if isinstance(value, int) and not isinstance(value, bool) and name in _HEX:
        return f"{value:#x}"
    if isinstance(value, list | tuple):
        return " ".join(_TAG.format(text(str(each), limit)) for each in value[:_MAX_TAGS])
    if isinstance(value, dict):
        # Media have thousands of fields at most; json leaves out no text, text() does.
        return text(json.dumps(value, ensure_ascii=False, default=str) if value else "", limit)
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return "" if value is None else text(str(value), limit)
