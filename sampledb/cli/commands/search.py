"""The commands that find things anywhere in the file: by text, and by SQL."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import click

from sampledb import Hit, SampleDB
from sampledb.cli.listing import START
from sampledb.cli.program import command
from sampledb.cli.table import Column, format_table
from sampledb.cli.terminal import Answer, Screen
from sampledb.render.text import escape_unprintable

# As they are shown: decimal, or hex digits. The file holds those from 2**63 on as negative ones, which query() knows.
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,19}|0x[0-9a-f]{1,16}", re.IGNORECASE)
_LOWEST, _HIGHEST = -(2**63), 2**64 - 1

_HITS: Final = (
    Column("sample", "cyan", is_number=True),
    Column("name", gives_way=True),
    Column("field", "dim"),
    Column("offset", "green", is_number=True, is_optional=True),
    Column("text", gives_way=True),
)


@command(
    "search corpus.sampledb CreateRemoteThread",
    "search corpus.sampledb gandcrab 5 --limit 10",
    "search corpus.sampledb 'family:win.* api:CreateFile* tag:packed'",
    "search corpus.sampledb 'string:\"user agent\" kind:function'",
    "search corpus.sampledb codec:avc extension:ts --start 50",
    columns=Hit.__struct_fields__,
)
@click.argument("text", metavar="TEXT...", nargs=-1, required=True)
@START
@click.option("--limit", type=click.IntRange(min=0), default=50, show_default=True, help="Largest number; 0 means all.")
def search(db: SampleDB, text: Sequence[str], start: int, limit: int) -> Answer:
    """Search samples and their code by words and fields.

    The best hits come first. All words, "phrases in quotes" and conditions must hold. A condition is field:value or
    field:"a value", with * for any characters. Fields of samples: name, family, tag, notes, version, component, codec,
    extension, hash, sha256; they restrict functions to these samples. Fields of functions: name, api, string, label,
    pic_hash. kind:sample and kind:function leave out the others.
    """
    found = db.search(" ".join(text), start=start, limit=limit)
    return Answer(found.to_dicts, partial(_format_hits, hits=found))


def _format_hits(screen: Screen, hits: Sequence[Hit]) -> Iterable[str]:
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
    'query corpus.sampledb "SELECT * FROM functions WHERE pic_hash = ?" 0x88400bfc6390d494',
    columns=(),
)
@click.argument("sql")
@click.argument("params", metavar="[PARAM]...", nargs=-1)
def query(db: SampleDB, sql: str, params: Sequence[str]) -> Answer:
    """Run an SQL query on the file, which cannot change it.

    Each PARAM takes the place of a question mark: a number such as 12 or 0x401000, or a text. `sampledb
    schema FILE` describes the tables.
    """
    found = db.query(sql, [_convert_parameter(each) for each in params])
    return Answer(lambda: found, partial(_format_rows, rows=found))


def _convert_parameter(text: str) -> int | str:
    """Return a number as a number, which LIMIT needs, unless it is spelled as none, as `007` is."""
    if not _INTEGER.fullmatch(text):
        return text
    number = int(text, 0)
    return number if _LOWEST <= number <= _HIGHEST else text


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
