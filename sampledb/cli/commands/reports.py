"""The commands about SMDA reports: add them, print them, and write them for MCRIT."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click

import sampledb
from sampledb import SampleDB
from sampledb.cli.live import show_waiting
from sampledb.cli.program import SAMPLE, command, get_sample
from sampledb.cli.progress import Progress
from sampledb.cli.terminal import Answer
from sampledb.cli.views import answer_written
from sampledb.files import new_file

_STDIN: Final = "-"
# Seconds to wait until the number of reports is known.
_PATIENCE: Final = 1.0


@command(
    "add corpus.sampledb report.smda reports/ more.zip",
    "add corpus.sampledb --quiet 'reports/**/*.smda.gz'",
    "find . -name '*.smda' | sampledb add corpus.sampledb -",
    access="create",
    many=True,
)
@click.argument("reports", metavar="REPORT...", nargs=-1, required=True)
def add(db: SampleDB, progress: Progress, reports: Sequence[str]) -> Answer:
    """Add SMDA reports; stored samples stay unchanged.

    A REPORT is a file, a folder, a glob, an archive, a .mcrit file, or - for stdin, which has a path or a report
    (NDJSON) in each line. The labels of a .mcrit file are added to stored samples, too.
    """
    if progress.has_bar:
        progress.expect(_count_reports(reports))
    if _STDIN in reports and sys.stdin.isatty():
        progress.tell("type a path or a report in each line, and Ctrl-D at the end", word="Note:")
    for outcome in db.add_samples(_find_reports(reports)):
        sample, data = outcome.sample, outcome.to_dict()
        if sample:
            progress.note(outcome.status, f"{sample.sample_id} {sample.name}", data)
        else:
            source = outcome.source or f"report {outcome.index + 1}"
            progress.note(outcome.status, source, data, failure=str(outcome.error))
    return progress.summarize("added", empty="no reports were found")


def _find_reports(reports: Sequence[str]) -> Iterator[object]:
    for each in reports:
        yield from sampledb.read_stream(sys.stdin.buffer) if each == _STDIN else sampledb.find_reports(each)


def _count_reports(reports: Sequence[str]) -> int | None:
    """Return how many reports there are; `None` for stdin, and if counting takes long."""
    if _STDIN in reports:
        return None
    count, end = 0, time.monotonic() + _PATIENCE
    for _ in _find_reports(reports):
        count += 1
        if time.monotonic() > end:
            return None
    return count


@command("report corpus.sampledb 12 > 12.smda", "report corpus.sampledb 12 -o 12.smda")
@SAMPLE
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it to this new file.")
def report(db: SampleDB, sample: str, output: Path | None) -> Answer:
    """Print the SMDA report of a sample, equal to the added one.

    Without --json it is the report alone, as SMDA writes and reads it.
    """
    found = db.get_report(get_sample(db, sample).sample_id)
    if output is None:
        return Answer(lambda: found, lambda _: [_format_report(found)])
    with new_file(output) as partial:
        partial.write_text(_format_report(found), "ascii")
    return answer_written(output)


@command("export corpus.sampledb corpus.mcrit", "export corpus.sampledb two.mcrit 12 6b4195e6")
@click.argument("output", metavar="OUT.mcrit", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("samples", metavar="[SAMPLE]...", nargs=-1)
def export(db: SampleDB, output: Path, samples: Sequence[str]) -> Answer:
    """Write samples to a new file for MCRIT, all or some.

    Their functions and labels go with them. `sampledb add` reads such a file.
    """
    with show_waiting("exporting"):
        db.export_mcrit(output, [get_sample(db, each).sample_id for each in samples] if samples else None)
    return answer_written(output)


def _format_report(report: dict[str, Any]) -> str:
    """Return a report as SMDA reads it, in one line of ASCII, which no terminal obeys."""
    return json.dumps(report, separators=(",", ":"))
