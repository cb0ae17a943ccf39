"""The commands that look after the file."""

from functools import partial
from pathlib import Path

import click

import sampledb
from sampledb import SampleDB
from sampledb.cli import views
from sampledb.cli.program import command
from sampledb.cli.progress import INCOMPLETE
from sampledb.cli.terminal import Answer, waiting


@command("stats corpus.sampledb")
def stats(db: SampleDB) -> Answer:
    """Show how much of what is in the file, and how large it is."""
    found = db.stats()
    return Answer(found.to_dict, partial(views.statistics, stats=found))


@command("check corpus.sampledb --deep && echo whole")
@click.option("--deep", is_flag=True, help="Read and decode everything, and compare all checksums.")
def check(db: SampleDB, *, deep: bool) -> Answer:
    """Look for damage; exit with 3 if there is some."""
    with waiting("checking"):
        found = db.check(deep=deep)
    return Answer(partial(views.dicts, found), partial(views.problems, found=found), INCOMPLETE if found else 0)


@command("backup corpus.sampledb copy.sampledb")
@click.argument("copy", type=click.Path(path_type=Path))
def backup(db: SampleDB, copy: Path) -> Answer:
    """Write a consistent copy to a new file."""
    with waiting("copying"):
        db.backup(copy)
    return views.written(copy)


@command("salvage damaged.sampledb new.sampledb", access="path")
@click.argument("copy", type=click.Path(path_type=Path))
def salvage(damaged: str, copy: Path) -> Answer:
    """Put what can be read of a damaged file into a new one.

    Lists what was lost, and exits with 3 if that is anything. The damaged file is only read.
    """
    with waiting("salvaging"):
        lost = sampledb.salvage(damaged, copy)
    return Answer(partial(views.dicts, lost), partial(views.losses, lost=lost, path=copy), INCOMPLETE if lost else 0)


@command("compact corpus.sampledb", access="write")
def compact(db: SampleDB) -> Answer:
    """Make the file smaller.

    Compresses harder, and gives back the space of what was deleted. Others can use the file meanwhile.
    """
    before = db.stats().file_bytes
    with waiting("compacting"):
        db.compact()
    after = db.stats().file_bytes
    return Answer(
        lambda: {"bytes_before": before, "bytes_after": after}, partial(views.compacted, before=before, after=after)
    )


@command("schema corpus.sampledb")
def schema(db: SampleDB) -> Answer:
    """Print the file's schema, which documents it."""
    rows = db.query("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid")
    statements = [row["sql"] for row in rows]
    return Answer(lambda: statements, partial(views.schema, statements=statements))
