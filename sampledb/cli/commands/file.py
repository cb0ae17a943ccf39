"""The commands that look after the file."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import click

import sampledb
from sampledb import Problem, RecordList, SampleDB, Stats
from sampledb.cli.live import show_waiting
from sampledb.cli.program import command
from sampledb.cli.progress import INCOMPLETE
from sampledb.cli.table import Column, format_card, format_table
from sampledb.cli.terminal import Answer, Screen
from sampledb.cli.views import answer_written, format_size
from sampledb.render.text import escape_lines, escape_unprintable

_PROBLEMS: Final = (
    Column("sample", "cyan", is_number=True),
    Column("where", gives_way=True),
    Column("what", "red", gives_way=True),
)


@command("stats corpus.sampledb")
def stats(db: SampleDB) -> Answer:
    """Show what the file contains, and its size."""
    found = db.stats()
    return Answer(found.to_dict, partial(_format_stats, stats=found))


def _format_stats(screen: Screen, stats: Stats) -> Iterator[str]:
    content = {
        "samples": stats.num_samples,
        "with code": stats.num_analyzed,
        "with media": stats.num_media,
        "functions": stats.num_functions,
        "in many samples": stats.num_shared,
        "families": stats.num_families,
        "tags": stats.num_tags,
    }
    file = {
        "size": format_size(stats.file_bytes),
        "disassembly": format_size(stats.disassembly_bytes),
        "free": format_size(stats.free_bytes),
        "format": f"{stats.format_version}",
        "journal": stats.journal_mode,
        "SQLite": stats.sqlite_version,
    }
    return format_card(screen, {"Content": {name: f"{count:,}" for name, count in content.items()}, "File": file})


@command("check corpus.sampledb --deep && echo whole", columns=Problem.__struct_fields__)
@click.option("--deep", is_flag=True, help="Read and decode everything, and compare all checksums.")
def check(db: SampleDB, *, deep: bool) -> Answer:
    """Look for damage, and exit with 3 if there is any."""
    with show_waiting("checking"):
        found = RecordList(db.check(deep=deep))
    return Answer(found.to_dicts, partial(_format_check, problems=found), INCOMPLETE if found else 0)


def _format_check(screen: Screen, problems: Sequence[Problem]) -> Iterable[str]:
    return _format_problems(screen, problems) if problems else [screen.paint("The file is whole.", "green")]


def _format_problems(screen: Screen, problems: Iterable[Problem]) -> Iterator[str]:
    rows = (("" if each.sample_id is None else f"{each.sample_id}", each.where, each.what) for each in problems)
    return format_table(screen, _PROBLEMS, rows)


@command("backup corpus.sampledb copy.sampledb")
@click.argument("copy", type=click.Path(path_type=Path))
def backup(db: SampleDB, copy: Path) -> Answer:
    """Write a consistent copy to a new file."""
    with show_waiting("copying"):
        db.backup(copy)
    return answer_written(copy)


@command("compact corpus.sampledb", access="write")
def compact(db: SampleDB) -> Answer:
    """Make the file smaller.

    Compresses the content harder, and frees the space of what was deleted. Others can use the file meanwhile.
    """
    before = db.stats().file_bytes
    with show_waiting("compacting"):
        db.compact()
    after = db.stats().file_bytes

    def show(screen: Screen) -> list[str]:
        saved = screen.paint(f"{(before - after) / before:.0%} saved", "green")
        return [f"From {format_size(before)} to {format_size(after)}: {saved}"]

    return Answer(lambda: {"bytes_before": before, "bytes_after": after}, show)


@command("salvage damaged.sampledb new.sampledb", access="path", columns=Problem.__struct_fields__)
@click.argument("copy", type=click.Path(path_type=Path))
def salvage(damaged: str, copy: Path) -> Answer:
    """Copy what is readable in a damaged file to a new file.

    Lists what was lost, and exits with 3 if anything was. The damaged file is only read.
    """
    with show_waiting("salvaging"):
        lost = RecordList(sampledb.salvage(damaged, copy))
    return Answer(lost.to_dicts, partial(_format_losses, lost=lost, path=copy), INCOMPLETE if lost else 0)


def _format_losses(screen: Screen, lost: Sequence[Problem], path: Path) -> list[str]:
    wrote = f"Wrote {escape_unprintable(str(path))};"
    if not lost:
        return [screen.paint(f"{wrote} nothing was lost.", "green")]
    return [screen.paint(f"{wrote} {len(lost):,} things were lost:", "red"), *_format_problems(screen, lost)]


@command("schema corpus.sampledb")
def schema(db: SampleDB) -> Answer:
    """Print the SQL of the file's tables, with comments."""
    rows = db.query("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid")
    statements = [row["sql"] for row in rows]
    return Answer(lambda: statements, partial(_format_schema, statements=statements))


def _format_schema(screen: Screen, statements: Iterable[str]) -> Iterator[str]:
    """Yield the statements with dimmed comments."""
    for number, statement in enumerate(statements):
        if number:
            yield ""
        for line in escape_lines(f"{statement};"):
            code, dashes, comment = line.partition("--")
            yield code + (screen.paint(dashes + comment, "dim") if dashes else "")
