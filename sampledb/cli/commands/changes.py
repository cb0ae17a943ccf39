"""The commands that change samples: update, tag and delete them."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import click

from sampledb import RecordList, Sample, SampleDB
from sampledb.cli.commands.samples import answer_samples
from sampledb.cli.live import Bar, show_line
from sampledb.cli.names import SAMPLES, get_samples
from sampledb.cli.program import command
from sampledb.cli.terminal import Answer, Screen
from sampledb.render.text import escape_unprintable


@command(
    "update corpus.sampledb 12 --family upatre --version 2.1",
    "update corpus.sampledb 12 13 '*.dll' --notes 'packed' --library",
    "update corpus.sampledb 12 --no-notes",
    access="write",
)
@SAMPLES
@click.option("--family", "family_name", help="The malware family or the library; '' for none.")
@click.option("--version", help="The version of the family.")
@click.option("--component", help="The component of the family.")
@click.option("--library/--no-library", "is_library", default=None, help="Whether it is a library.")
@click.option("--name", help="The file's name.")
@click.option("--extension", help="Without the dot.")
@click.option("--notes", help="Free text that replaces the notes.")
@click.option("--no-notes", is_flag=True, help="Remove the notes.")
@click.option("--media-info", metavar="JSON", help="A JSON object that replaces the media info.")
def update(db: SampleDB, samples: Sequence[str], *, no_notes: bool, media_info: str | None, **fields: Any) -> Answer:  # noqa: ANN401 - of update_sample
    """Change fields of samples; the others stay unchanged.

    None is changed if one of the samples does not exist.
    """
    changes = {field: value for field, value in fields.items() if value is not None}
    if no_notes and "notes" in changes:
        raise click.UsageError("--notes and --no-notes exclude each other; give one of them.")
    if no_notes:
        changes["notes"] = None
    if media_info is not None:
        changes["media_info"] = _parse_json(media_info)
    if not changes:
        raise click.UsageError("There is nothing to change; give an option such as --family.")
    return answer_samples(
        db, [db.update_sample(each.sample_id, **changes) for each in _take_each(db, samples)], samples
    )


def _take_each(db: SampleDB, names: Sequence[str]) -> Iterator[Sample]:
    """Find all samples, then yield each to be changed, and show how far that is."""
    found, bar = get_samples(db, names), Bar()
    bar.total = len(found)
    with show_line(bar.format):
        for each in found:
            yield each
            bar.done += 1


def _parse_json(media_info: str) -> object:
    try:
        return json.loads(media_info)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"give JSON: {error}", param_hint="'--media-info'") from error


@command(
    "tag corpus.sampledb 12 13 --add packed --add reviewed",
    "tag corpus.sampledb '*.dll' --add library --remove packed",
    access="write",
)
@SAMPLES
@click.option("--add", metavar="TAG", multiple=True, help="Add this tag; can be given many times.")
@click.option("--remove", metavar="TAG", multiple=True, help="Remove this tag; can be given many times.")
def tag(db: SampleDB, samples: Sequence[str], add: Sequence[str], remove: Sequence[str]) -> Answer:
    """Add tags to samples, and remove others.

    None is changed if one of the samples does not exist.
    """
    if not add and not remove:
        raise click.UsageError("There is nothing to change; give --add TAG or --remove TAG.")
    changed = [db.tag_sample(each.sample_id, *add, remove=remove) for each in _take_each(db, samples)]
    return answer_samples(db, changed, samples)


@command("delete corpus.sampledb 12 13", "delete corpus.sampledb 'setup*.exe'", access="write")
@SAMPLES
def delete(db: SampleDB, samples: Sequence[str]) -> Answer:
    """Delete samples with their functions and metadata.

    None is deleted if one of them does not exist.
    """
    deleted = RecordList(each for each in _take_each(db, samples) if db.delete_sample(each.sample_id))

    def show(screen: Screen) -> Iterator[str]:
        red = screen.paint("deleted", "red")
        return (f"{red} {sample.sample_id} {escape_unprintable(sample.name)}" for sample in deleted)

    return Answer(deleted.to_dicts, show)
