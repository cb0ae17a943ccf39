"""The commands that find things anywhere in the file: by text, and by SQL."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import click

from sampledb import Hit, SampleDB
from sampledb.cli.program import command
from sampledb.cli.table import Column, format_table
from sampledb.cli.terminal import Answer, Screen
from sampledb.render.text import escape_unprintable

# SQLite's integers.
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1

_HITS: Final = (
    Column("sample", "cyan", is_number=True),
    Column("name", gives_way=True),
    Column("field", "dim"),
    Column("offset", "green", is_number=True, is_optional=True),
    Column("text", gives_way=True),
)


@command("search corpus.sampledb CreateRemoteThread", "search corpus.sampledb gandcrab 5 --limit 10")
@click.argument("text", metavar="TEXT...", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Largest number.")
def search(db: SampleDB, text: Sequence[str], limit: int) -> Answer:
    """Search names, families, tags, notes and function names.

    The best hits come first.
    """
    found = db.search(" ".join(text), limit=limit)
    return Answer(found.to_dicts, partial(_format_hits, hits=found))


def _format_hits(screen: Screen, hits: Sequence[Hit]) -> list[str]:
    if not hits:
        return ["Nothing was found."]
    rows = (
        (
            f"{each.sample_id}",
            each.sample,
            each.field,
            "" if each.offset is None else f"{each.offset:#x}",
            each.text,
        )
        for each in hits
    )
    return format_table(screen, _HITS, rows)


@command(
    'query corpus.sampledb "SELECT family, COUNT(*) AS samples FROM samples GROUP BY family"',
    'query corpus.sampledb "SELECT name FROM samples WHERE num_functions > ?" 1000',
)
@click.argument("sql")
@click.argument("params", metavar="[PARAM]...", nargs=-1)
def query(db: SampleDB, sql: str, params: Sequence[str]) -> Answer:
    """Run an SQL query on the file, which cannot change it.

    Each PARAM takes the place of a question mark. `sampledb schema FILE` describes the tables.
    """
    found = db.query(sql, [_convert_parameter(each) for each in params])
    return Answer(lambda: found, partial(_format_rows, rows=found))


def _convert_parameter(text: str) -> int | str:
    """Return a number as a number, which LIMIT needs, unless it would be spelled differently."""
    try:
        number = int(text)
    except ValueError:
        return text
    return number if str(number) == text and _LOWEST <= number <= _HIGHEST else text


def _format_rows(screen: Screen, rows: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    if not rows:
        return []
    columns = [
        Column(escape_unprintable(name), is_number=is_number, gives_way=not is_number)
        for name, is_number in ((name, isinstance(value, int | float)) for name, value in rows[0].items())
    ]
    return format_table(screen, columns, ([_format_value(value) for value in row.values()] for row in rows))


def _format_value(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    return "" if value is None else str(value)
