"""The commands about SMDA reports: add them, print them, and write them for MCRIT."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import click

import sampledb
from sampledb import InvalidInputError, NotFoundError, Sample, SampleDB, limits
from sampledb.cli.marking import Marks, take_marks
from sampledb.cli.names import SAMPLES, get_samples, is_one
from sampledb.cli.program import command
from sampledb.cli.progress import Progress
from sampledb.cli.terminal import Answer
from sampledb.cli.views import answer_written
from sampledb.intake.files import new_file

_STDIN: Final = "-"
# Seconds to wait until the number of reports is known.
_PATIENCE: Final = 1.0


@command(
    "add corpus.sampledb report.smda reports/ more.zip",
    "add corpus.sampledb --quiet 'reports/**/*.smda.gz'",
    "add corpus.sampledb upatre/ --family upatre --tag 2026-11",
    "find . -name '*.smda' | sampledb add corpus.sampledb -",
    access="create",
    many=True,
)
@click.argument("reports", metavar="REPORT...", nargs=-1, required=True)
@take_marks()
def add(db: SampleDB, progress: Progress, reports: Sequence[str], **marks: Any) -> Answer:  # noqa: ANN401 - of Marks
    """Add SMDA reports; stored samples stay unchanged.

    A REPORT is a file, a folder, a glob, an archive, a .mcrit file, or - for stdin, which has a path or a report
    (NDJSON) in each line. The options are set on the samples that are added, and not on those that are stored already;
    the labels of a .mcrit file are added to these too.
    """
    checked = Marks(**marks)
    if progress.has_bar:
        progress.expect(_count_reports(reports))
    if _STDIN in reports and sys.stdin.isatty():
        progress.tell("type a path or a report in each line, and Ctrl-D at the end", word="Note:")
    for outcome in db.add_samples(_find_reports(reports)):
        sample = outcome.sample
        if sample and outcome.status == "added":
            sample = checked.set(db, sample)
        data = outcome.to_dict() | {"sample": sample and sample.to_dict()}
        if sample:
            progress.note(outcome.status, f"{sample.sample_id} {sample.name}", data)
        else:
            source = outcome.source or f"report {outcome.index + 1}"
            progress.note(outcome.status, source, data, failure=str(outcome.error))
    checked.advise(progress)
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


@command(
    "report corpus.sampledb 12 > 12.smda",
    "report corpus.sampledb 12 -o 12.smda",
    "report corpus.sampledb '*.dll' -o reports/",
    "report corpus.sampledb '*.dll' | sampledb add other.sampledb -",
    many=True,
)
@SAMPLES
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Write it to this new file; many, to files in this folder."
)
def report(db: SampleDB, progress: Progress, samples: Sequence[str], output: Path | None) -> Answer:
    """Print the SMDA reports of samples, equal to the added ones.

    Without --json, each is a line as SMDA writes and reads it. In a folder, their names are the SHA-256 and `.smda`.
    Existing files are never replaced. Samples without a report are left out of many.
    """
    found = get_samples(db, samples)
    if output is None and is_one(samples):
        single = db.get_report(found[0].sample_id)
        return Answer(lambda: single, lambda _: [_format_report(single)])
    if output is None:
        reports = (each for _, each in _read_reports(db, found))
        return Answer(lambda: reports, lambda _: map(_format_report, reports))
    if is_one(samples) and not output.is_dir():
        _write_report(db.get_report(found[0].sample_id), output)
        return answer_written(output)
    output.mkdir(exist_ok=True)
    progress.expect(len(found))
    for sample, each in _read_reports(db, found):
        # Checked, because a forged file may have any path there.
        _note_written(progress, sample, each, output / f"{limits.sha256(sample.sha256)}.smda")
    return progress.summarize("written", empty="none of these samples has a report")


def _read_reports(db: SampleDB, samples: Sequence[Sample]) -> Iterator[tuple[Sample, dict[str, Any]]]:
    """Yield the samples that have a report, and it."""
    for sample in samples:
        # Media have none, and a glob may be of their names too.
        with suppress(NotFoundError):
            yield sample, db.get_report(sample.sample_id)


def _note_written(progress: Progress, sample: Sample, report: dict[str, Any], path: Path) -> None:
    """Write a report to a new file, and note whether there was one."""
    status = "written"
    try:
        _write_report(report, path)
    except InvalidInputError:
        status = "existed"
    progress.note(
        status, f"{sample.sample_id} {path}", {"sample_id": sample.sample_id, "path": str(path), "status": status}
    )


def _write_report(report: dict[str, Any], path: Path) -> None:
    with new_file(path) as partial:
        partial.write_text(_format_report(report), "ascii")


def _format_report(report: dict[str, Any]) -> str:
    """Return a report as SMDA reads it, in one line of ASCII, which no terminal obeys."""
    return json.dumps(report, separators=(",", ":"))
