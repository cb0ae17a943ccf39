"""The commands that carry samples, and what people know of them, from one file to another."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from sampledb import Difference, Sample, SampleDB
from sampledb.cli.live import show_waiting
from sampledb.cli.names import SAMPLES_OR_ALL, get_samples
from sampledb.cli.program import command
from sampledb.cli.progress import Progress
from sampledb.cli.terminal import Answer
from sampledb.cli.views import answer_written
from sampledb.errors import shorten

# Characters of a value in a line about a difference.
_SHOWN: Final = 60
_MCRIT: Final = ".mcrit"


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
