"""The commands that change samples and delete them."""

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import click

from sampledb import Sample, SampleDB
from sampledb.cli import views
from sampledb.cli.program import SAMPLE, command, sample_named
from sampledb.cli.terminal import Answer


@command(
    "update corpus.sampledb 12 --family upatre --version 2.1",
    "update corpus.sampledb 12 --notes 'packed' --library",
    "update corpus.sampledb 12 --no-notes",
    access="write",
)
@SAMPLE
@click.option("--family", "family_name", help="The malware family or the library; '' for none.")
@click.option("--version", help="The version of the family.")
@click.option("--component", help="The component of the family.")
@click.option("--library/--no-library", "is_library", default=None, help="Whether it is a library.")
@click.option("--name", help="The file's name.")
@click.option("--extension", help="Without the dot.")
@click.option("--notes", help="Free text, instead of what there is.")
@click.option("--no-notes", is_flag=True, help="Remove the notes.")
@click.option("--media-info", metavar="JSON", help="A JSON object, instead of what there is.")
def update(db: SampleDB, sample: str, *, no_notes: bool, media_info: str | None, **fields: Any) -> Answer:  # noqa: ANN401 - of update_sample
    """Change fields of a sample; the others stay."""
    changes = {field: value for field, value in fields.items() if value is not None}
    if no_notes and "notes" in changes:
        raise click.UsageError("--notes and --no-notes contradict each other.")
    if no_notes:
        changes["notes"] = None
    if media_info is not None:
        changes["media_info"] = _parsed(media_info)
    if not changes:
        raise click.UsageError("There is nothing to change; give an option such as --family.")
    return _changed(db.update_sample(sample_named(db, sample).sample_id, **changes))


def _parsed(media_info: str) -> object:
    try:
        return json.loads(media_info)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"it is not JSON: {error}", param_hint="'--media-info'") from error


@command("tag corpus.sampledb 12 packed reviewed", "tag corpus.sampledb 12 --remove packed", access="write")
@SAMPLE
@click.argument("tags", metavar="[TAG]...", nargs=-1)
@click.option("--remove", metavar="TAG", multiple=True, help="Take this tag away; may be given many times.")
def tag(db: SampleDB, sample: str, tags: Sequence[str], remove: Sequence[str]) -> Answer:
    """Give a sample tags, and take others away."""
    if not tags and not remove:
        raise click.UsageError("There is nothing to change; give a tag, or --remove TAG.")
    return _changed(db.tag_sample(sample_named(db, sample).sample_id, *tags, remove=remove))


def _changed(sample: Sample) -> Answer:
    return Answer(sample.to_dict, partial(views.sample_card, sample=sample))


@command("delete corpus.sampledb 12 13", access="write")
@click.argument("samples", metavar="SAMPLE...", nargs=-1, required=True)
def delete(db: SampleDB, samples: Sequence[str]) -> Answer:
    """Delete samples with all they have.

    None is deleted if one of them does not exist.
    """
    found = {sample.sample_id: sample for sample in (sample_named(db, each) for each in samples)}
    deleted = [sample for sample in found.values() if db.delete_sample(sample.sample_id)]
    return Answer(partial(views.dicts, deleted), partial(views.deleted, found=deleted))
