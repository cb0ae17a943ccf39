"""The commands that show what is in a file."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from sampledb import SampleDB
from sampledb.cli import views
from sampledb.cli.program import SAMPLE, command, sample_named
from sampledb.cli.terminal import Answer, safe_lines
from sampledb.files import new_file

_START: Final = click.option("--start", type=click.IntRange(min=0), default=0, help="Position of the first, from 0.")
_LIMIT: Final = click.option("--limit", type=click.IntRange(min=0), default=0, help="At most so many; 0, for all.")
# What SQLite takes as an integer.
_LONGEST_ID: Final = 19
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1


@command("list corpus.sampledb --family upatre --limit 20", "list corpus.sampledb --library --json")
@click.option("--family", help="Only of this family; '' for those without one.")
@click.option("--tag", help="Only with this tag.")
@click.option("--name", help="Only of this name.")
@click.option("--extension", help="Only with this extension, without the dot.")
@click.option("--library/--no-library", "is_library", default=None, help="Only libraries, or only what is none.")
@_START
@_LIMIT
def list_(db: SampleDB, **filters: Any) -> Answer:  # noqa: ANN401 - those of list_samples
    """List the samples."""
    found = db.list_samples(**filters).values()
    return Answer(partial(views.dicts, found), partial(views.samples, found=found))


@command("show corpus.sampledb 12", "show corpus.sampledb 6b4195e6 --json")
@SAMPLE
def show(db: SampleDB, sample: str) -> Answer:
    """Show all that is known of a sample."""
    found = sample_named(db, sample)
    return Answer(found.to_dict, partial(views.sample_card, sample=found))


@command("functions corpus.sampledb 12", "functions corpus.sampledb 12 --start 100 --limit 50")
@SAMPLE
@_START
@_LIMIT
def functions(db: SampleDB, sample: str, start: int, limit: int) -> Answer:
    """List the functions of a sample by address."""
    found = db.list_functions(sample_named(db, sample).sample_id, start=start, limit=limit).values()
    return Answer(partial(views.dicts, found), partial(views.functions, found=found))


@command(
    "function corpus.sampledb 12 345",
    "function corpus.sampledb 12 0x401f6b",
    "function corpus.sampledb 12 0x401f6b --dot | dot -Tsvg > graph.svg",
)
@SAMPLE
@click.argument("function_id", metavar="FUNCTION")
@click.option("--dot", "as_dot", is_flag=True, help="Print its control-flow graph for Graphviz.")
def function(db: SampleDB, sample: str, function_id: str, *, as_dot: bool) -> Answer:
    """Show the disassembly of a function.

    A FUNCTION is an id, or an address in one, such as 0x401000.
    """
    sample_id = sample_named(db, sample).sample_id
    if function_id.lower().startswith("0x"):
        found = db.find_function(sample_id, function_id)
    elif function_id.isascii() and function_id.isdecimal() and len(function_id) <= _LONGEST_ID:
        found = db.get_function(sample_id, int(function_id))
    else:
        raise click.BadParameter("it is an id, or an address such as 0x401000.", param_hint="'FUNCTION'")
    if not as_dot:
        return Answer(found.to_dict, partial(views.listing, function=found))
    # Not known to anything else here.
    from sampledb.render import graph as graphs  # noqa: PLC0415

    graph = graphs.dot(found.disassembly or {})
    return Answer(lambda: graph, lambda _: safe_lines(graph))


@command("families corpus.sampledb")
def families(db: SampleDB) -> Answer:
    """List the families, and how many samples each has."""
    found = db.list_families()
    return Answer(lambda: found, partial(views.families, found=found))


@command("search corpus.sampledb CreateRemoteThread", "search corpus.sampledb gandcrab 5 --limit 10")
@click.argument("text", metavar="TEXT...", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many.")
def search(db: SampleDB, text: Sequence[str], limit: int) -> Answer:
    """Search names, families, tags, notes and function names.

    The best come first.
    """
    found = db.search(" ".join(text), limit=limit)
    return Answer(partial(views.dicts, found), partial(views.hits, found=found))


@command("report corpus.sampledb 12 > 12.smda", "report corpus.sampledb 12 -o 12.smda")
@SAMPLE
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it to this new file.")
def report(db: SampleDB, sample: str, output: Path | None) -> Answer:
    """Print the SMDA report of a sample as it was given.

    Without --json it is the report alone, as SMDA writes and reads it.
    """
    found = db.get_report(sample_named(db, sample).sample_id)
    if output is None:
        return Answer(lambda: found, lambda _: [_compact(found)])
    with new_file(str(output)) as partial:
        partial.write_text(_compact(found), "ascii")
    return views.written(output)


def _compact(report: dict[str, Any]) -> str:
    """As SMDA reads it, in one line; what is not ASCII is escaped, so that a terminal takes it."""
    return json.dumps(report, separators=(",", ":"))


@command(
    'query corpus.sampledb "SELECT family, COUNT(*) AS samples FROM samples GROUP BY family"',
    'query corpus.sampledb "SELECT name FROM samples WHERE num_functions > ?" 1000',
)
@click.argument("sql")
@click.argument("params", metavar="[PARAM]...", nargs=-1)
def query(db: SampleDB, sql: str, params: Sequence[str]) -> Answer:
    """Run a SELECT of yours on the file's tables.

    Each PARAM takes the place of a question mark. `sampledb schema FILE` describes the tables.
    """
    found = db.query(sql, [_parameter(each) for each in params])
    return Answer(lambda: found, partial(views.rows, found=found))


def _parameter(text: str) -> int | str:
    """Numbers as numbers, which LIMIT insists on; text where that would not give the same text back."""
    try:
        number = int(text)
    except ValueError:
        return text
    return number if str(number) == text and _LOWEST <= number <= _HIGHEST else text
