"""The commands that put samples into a file."""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import click

import sampledb
from sampledb import Outcome, SampleDB
from sampledb.cli.program import command
from sampledb.cli.progress import Ledger
from sampledb.cli.terminal import Answer, complain

_STDIN: Final = "-"
# Seconds that people wait to learn how many reports there are.
_PATIENCE: Final = 1.0


@command(
    "add corpus.sampledb report.smda reports/ more.zip",
    "add corpus.sampledb --quiet 'reports/**/*.smda.gz'",
    "find . -name '*.smda' | sampledb add corpus.sampledb -",
    access="create",
    many=True,
)
@click.argument("reports", metavar="REPORT...", nargs=-1, required=True)
def add(db: SampleDB, ledger: Ledger, reports: Sequence[str]) -> Answer:
    """Add SMDA reports; those that are known are left alone.

    A REPORT is a file, a folder, a glob, an archive, or - for stdin, which has a path or a report (NDJSON) in each
    line.
    """
    if ledger.has_bar:
        ledger.expect(_count(reports))
    for outcome in db.add_samples(_items(reports)):
        _note(ledger, outcome)
    return ledger.answer("added", nothing="no reports were found")


def _items(reports: Sequence[str]) -> Iterator[object]:
    if _STDIN in reports and sys.stdin.isatty():
        complain("reading from the terminal: a path or a report in each line, Ctrl-D at the end", label="Note:")
    for each in reports:
        yield from sampledb.read_stream(sys.stdin.buffer) if each == _STDIN else sampledb.find_reports(each)


def _count(reports: Sequence[str]) -> int | None:
    """How many there are; `None` if only adding them will tell, or if it takes long to find out."""
    if _STDIN in reports:
        return None
    count, end = 0, time.monotonic() + _PATIENCE
    for _ in _items(reports):
        count += 1
        if time.monotonic() > end:
            return None
    return count


def _note(ledger: Ledger, outcome: Outcome) -> None:
    if outcome.sample:
        ledger.note(outcome.status, f"{outcome.sample.sample_id} {outcome.sample.name}", outcome.to_dict())
    else:
        source = outcome.source or f"report {outcome.index + 1}"
        ledger.note(outcome.status, source, outcome.to_dict(), failure=str(outcome.error))


@command(
    "add-media corpus.sampledb trailer.mp4 --tag trailer --tag hd",
    "add-media corpus.sampledb *.ts --notes 'from the broadcast'",
    access="create",
    many=True,
)
@click.argument("media", metavar="MEDIA...", nargs=-1, required=True)
@click.option("--name", help="The sample's name, of one file.")
@click.option("--tag", "tags", multiple=True, help="Give it this tag; may be given many times.")
@click.option("--notes", help="Free text.")
def add_media(db: SampleDB, ledger: Ledger, media: Sequence[str], **fields: Any) -> Answer:  # noqa: ANN401 - of add_media
    """Add media files with what MediaInfo says of them.

    Their bytes are not stored. Without the extra `media`, MediaInfo says nothing.
    """
    if fields["name"] is not None and len(media) > 1:
        raise click.UsageError("--name is for one file; these are more.")
    ledger.each("added", media, lambda source: db.add_media(source, **fields))
    return ledger.answer("added")
