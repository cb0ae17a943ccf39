"""The commands about labels: the names and comments that people give to functions."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

import click

from sampledb import Label, RecordList, SampleDB, SampleId
from sampledb.cli.commands.similar import make_signatures
from sampledb.cli.names import FUNCTION, SAMPLE, SAMPLES_OR_ALL, get_function, get_sample, get_samples
from sampledb.cli.program import command
from sampledb.cli.table import Column, format_table
from sampledb.cli.terminal import Answer, Screen
from sampledb.cli.views import format_time

_LABELS: Final = (
    Column("sample", "cyan", is_number=True),
    Column("file", gives_way=True),
    Column("offset", "green", is_number=True),
    Column("label", "bold", gives_way=True),
    Column("comment", gives_way=True),
    Column("by", "dim", gives_way=True),
    Column("at", "dim"),
)
_SUGGESTIONS: Final = (
    Column("score", "green", is_number=True),
    Column("sample", "cyan", is_number=True),
    Column("offset", "green", is_number=True),
    Column("label", "bold", gives_way=True),
    Column("of sample", "cyan", is_number=True),
    Column("function", "cyan", is_number=True),
)


@command(
    "label corpus.sampledb setup.exe 0x401f6b --name rc4_init",
    "label corpus.sampledb 12 rc4_init --comment 'the key is in ecx' --user alice",
    "label corpus.sampledb 12 0x401f6b --remove",
    access="write",
)
@SAMPLE
@FUNCTION
@click.option("--name", help="The name; '' for none.")
@click.option("--comment", help="The comment; '' for none.")
@click.option("--remove", is_flag=True, help="Remove the name and the comment; the history stays.")
@click.option("--user", "username", default="anonymous", show_default=True, help="Who says so.")
def label(
    db: SampleDB, sample: str, function: str, *, name: str | None, comment: str | None, remove: bool, username: str
) -> Answer:
    """Give a function a name, a comment, or both.

    They stay when the sample is analyzed again, and are found by `search` and `find`. What was said before is kept;
    `labels --history` shows it.
    """
    if remove == (name is not None or comment is not None):
        raise click.UsageError("Give --name, --comment or both, or --remove alone.")
    found = get_function(db, get_sample(db, sample), function)
    if remove:
        db.delete_label(found.sample_id, found.offset, username=username)
    else:
        db.label_function(found.sample_id, found.offset, name=name, comment=comment, username=username)
    now = [each for each in db.list_labels(found.sample_id) if each.offset == found.offset]
    return _answer_labels(db, now)


@command(
    "labels corpus.sampledb",
    "labels corpus.sampledb setup.exe --history",
    "labels corpus.sampledb setup.exe --suggest",
    access=lambda arguments: "keep" if arguments["suggest"] else "read",
    columns=(),
)
@SAMPLES_OR_ALL
@click.option("--history", is_flag=True, help="Show the former ones too, each before the one that replaced it.")
@click.option("--suggest", is_flag=True, help="Show names for functions without one, from those like them.")
def labels(db: SampleDB, samples: Sequence[str], *, history: bool, suggest: bool) -> Answer:
    """List the labels of functions, by sample and address.

    Names that are suggested are not given; `sampledb label` gives one.
    """
    if suggest:
        return _answer_suggestions(db, samples, history=history)
    if not samples:
        return _answer_labels(db, db.list_labels(history=history))
    found = [db.list_labels(each.sample_id, history=history) for each in get_samples(db, samples)]
    return _answer_labels(db, [label for each in found for label in each])


def _answer_suggestions(db: SampleDB, samples: Sequence[str], *, history: bool) -> Answer:
    if history or not samples:
        raise click.UsageError("Give --suggest with the samples whose functions shall be named, and without --history.")
    chosen = get_samples(db, samples)
    make_signatures(db)
    found = [one for each in chosen for one in db.suggest_labels(each.sample_id)]
    rows = (
        (
            "same" if each.exact else f"{each.score}",
            *(f"{each.sample_id}", f"{each.offset:#x}", each.name),
            *(f"{each.source_sample_id}", f"{each.source_function_id}"),
        )
        for each in found
    )
    return Answer(RecordList(found).to_dicts, lambda screen: format_table(screen, _SUGGESTIONS, rows))


def _answer_labels(db: SampleDB, labels: Sequence[Label]) -> Answer:
    return Answer(RecordList(labels).to_dicts, partial(_format_labels, db=db, labels=labels))


def _format_labels(screen: Screen, db: SampleDB, labels: Sequence[Label]) -> Iterator[str]:
    names = {sample_id: db.get_sample(sample_id).name for sample_id in {each.sample_id for each in labels}}
    return format_table(screen, _LABELS, _format_rows(labels, names))


def _format_rows(labels: Iterable[Label], names: Mapping[SampleId, str]) -> Iterator[Sequence[str]]:
    for each in labels:
        # Of a former label, and of a removal.
        name = each.name or ("" if each.comment else "(removed)")
        user, time = each.username, format_time(each.updated_at)
        yield f"{each.sample_id}", names[each.sample_id], f"{each.offset:#x}", name, each.comment, user, time
