"""The commands that carry samples and what people know to other files: stores, texts, tables, pages."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from sampledb import Difference, Sample, SampleDB
from sampledb.cli.live import show_waiting
from sampledb.cli.names import SAMPLE, SAMPLES_OR_ALL, get_sample, get_samples
from sampledb.cli.program import command
from sampledb.cli.progress import Progress
from sampledb.cli.terminal import Answer
from sampledb.cli.views import answer_written
from sampledb.errors import shorten
from sampledb.intake.files import new_file

# Characters of a value in a line about a difference.
_SHOWN: Final = 60
_MCRIT: Final = ".mcrit"
_SUFFIXES: Final = (".parquet", ".csv")


@command(
    "merge corpus.sampledb colleague.sampledb",
    "merge corpus.sampledb notes.jsonl --policy theirs",
    access="create",
    many=True,
)
@click.argument("others", metavar="OTHER...", nargs=-1, required=True, type=click.Path())
@click.option(
    "--policy",
    type=click.Choice(["keep", "theirs", "newest"]),
    default="keep",
    show_default=True,
    help="What to do where both say something different.",
)
def merge(db: SampleDB, progress: Progress, others: Sequence[str], policy: str) -> Answer:
    """Merge other stores, or exported texts, into this one.

    What is here stays, gaps are filled, and each difference is printed. An interrupted merge goes on when it is begun
    again.
    """
    done = 0
    for other in others:
        before = done
        for outcome in db.merge(
            other,
            policy=policy,  # type: ignore[arg-type]
            progress=lambda _, total, __, before=before: progress.expect(total and before + total),  # type: ignore[misc]
        ):
            done += 1
            sample, data = outcome.sample, outcome.to_dict()
            if sample is None:
                progress.note(outcome.status, outcome.source, data, failure=str(outcome.error))
                continue
            progress.note(outcome.status, f"{sample.sample_id} {sample.name}", data)
            for each in outcome.differences:
                progress.remark(_format_difference(sample, each))
    return progress.summarize("added")


def _format_difference(sample: Sample, difference: Difference) -> str:
    """Return a line that says what is here now, and what is not."""
    kept, other = difference.ours, difference.theirs
    verb = "kept"
    if difference.kept == "theirs":
        kept, other, verb = other, kept, "took"
    place = "" if difference.offset is None else f" at {difference.offset:#x}"
    return f"  sample {sample.sample_id}, {difference.field}{place}: {verb} {_format(kept)}, not {_format(other)}"


def _format(value: object) -> str:
    return shorten(json.dumps(value, ensure_ascii=False), _SHOWN)


@command(
    "export corpus.sampledb corpus.mcrit",
    "export corpus.sampledb two.mcrit 12 6b4195e6",
    "export corpus.sampledb notes.jsonl && git add notes.jsonl",
)
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@SAMPLES_OR_ALL
def export(db: SampleDB, output: Path, samples: Sequence[str]) -> Answer:
    """Write samples for MCRIT, or what people typed as text for git.

    If the new file's name ends in .mcrit, it has samples with their functions and labels, all or some, for MCRIT and
    `sampledb add`. Otherwise it has tags, notes, labels and families of all samples, one JSON object a line, sorted,
    for `sampledb merge`.
    """
    if output.suffix.lower() == _MCRIT:
        with show_waiting("exporting"):
            db.export_mcrit(output, [each.sample_id for each in get_samples(db, samples)] if samples else None)
    elif samples:
        raise click.UsageError("A text has all samples; name the file *.mcrit to write some of them for MCRIT.")
    else:
        db.export_annotations(output)
    return answer_written(output)


@command(
    "table corpus.sampledb functions -o functions.parquet",
    "table corpus.sampledb instructions --sample 12 --columns address,mnemonic -o 12.csv",
)
@click.argument("name")
@click.option("--sample", help="Only the rows of this sample.")
@click.option("--columns", help="Only these, in this order, with commas between them.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="Write it to this new file, whose name ends in .parquet or .csv.",
)
def table(db: SampleDB, name: str, sample: str | None, columns: str | None, output: Path) -> Answer:
    """Write a table to a new file of Parquet or CSV.

    A NAME is samples, functions, instructions, apis, strings or labels.
    """
    if output.suffix.lower() not in _SUFFIXES:
        raise click.BadParameter("give a name that ends in .parquet or .csv.", param_hint="'--output'")
    sample_id = None if sample is None else get_sample(db, sample).sample_id
    found = db.table(name, sample_id=sample_id, columns=None if columns is None else columns.split(","))
    (found.write_csv if output.suffix.lower() == ".csv" else found.write_parquet)(output)
    return answer_written(output)


@command(
    "page corpus.sampledb 12 > report.html",
    "page corpus.sampledb 12 --graphs 50 -o report.html",
    "page corpus.sampledb old.exe new.exe -o changes.html",
    access=lambda arguments: "read" if arguments["other"] is None else "keep",
)
@SAMPLE
@click.argument("other", metavar="[OTHER]", required=False)
@click.option(
    "--graphs", type=click.IntRange(min=0), default=12, help="Number of functions to show in full, 12 by default."
)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it to this new file.")
def page(db: SampleDB, sample: str, other: str | None, graphs: int, output: Path | None) -> Answer:
    """Print an HTML page to send: about a sample, or what two share.

    It needs nothing else, and runs no script but its own. It shows in full the functions with labels, then the largest
    ones; of two samples, it shows those that changed most side by side.
    """
    html = _write_page(db, get_sample(db, sample), None if other is None else get_sample(db, other), graphs)
    if output is None:
        return Answer(lambda: html, lambda _: html.split("\n"))
    with new_file(output) as partial:
        partial.write_text(html, "ascii")
    return answer_written(output)


def _write_page(db: SampleDB, sample: Sample, other: Sample | None, graphs: int) -> str:
    # They load all that draws.
    if other is None:
        from sampledb.cli.page import write_page  # noqa: PLC0415 - as above

        return write_page(db, sample, graphs)
    from sampledb.cli.comparison import write_comparison  # noqa: PLC0415 - as above

    return write_comparison(db, sample, other, graphs)
