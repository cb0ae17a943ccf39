"""The commands that disassemble binaries: at once, or as jobs."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, get_args

import click

from sampledb import Job, RecordList, SampleDB
from sampledb.cli.listing import LIMIT
from sampledb.cli.marking import Marks, take_marks
from sampledb.cli.program import command
from sampledb.cli.progress import Progress
from sampledb.cli.table import Column, format_table
from sampledb.cli.terminal import Answer, Screen
from sampledb.cli.views import format_time
from sampledb.intake.finder import find_binaries
from sampledb.model import JobState

# Those of submit_binary and analyze.
_OPTIONS: Final = (
    click.option("--family", default="", help="The malware family or the library."),
    click.option("--version", default="", help="The version of the family."),
    click.option("--dump", "is_dump", is_flag=True, help="The binaries are memory dumps, without a file format."),
    click.option("--base-addr", metavar="HEX", help="The address where a dump was mapped, such as 0x400000."),
    click.option("--bitness", type=click.Choice([32, 64]), default=32, show_default=True, help="Of a dump."),
    click.option("--keep-binary", is_flag=True, help="Keep the binary in the file after its disassembly."),
    click.option(
        "--strings/--no-strings", default=True, show_default=True, help="Collect strings, in about twice the time."
    ),
    click.option("--username", default="anonymous", show_default=True, help="Who submits it."),
)
_NO_BINARIES: Final = "no PE, ELF, Mach-O or DEX files were found; name other files one by one, or add --dump"
_JOBS: Final = (
    Column("job_id", "cyan"),
    Column("state"),
    Column("file", gives_way=True),
    Column("attempts", is_number=True),
    Column("sample", is_number=True, is_optional=True),
    Column("submitted", "dim"),
    Column("error", "red", gives_way=True, is_optional=True),
)


def _take_binaries(call: Callable[..., Answer]) -> Callable[..., Answer]:
    for option in reversed(_OPTIONS):
        call = option(call)
    return click.argument("binaries", metavar="BINARY...", nargs=-1, required=True)(call)


def _find_binaries(db: SampleDB, progress: Progress, paths: Sequence[str], *, is_dump: bool) -> Iterator[str]:
    """Yield the files and those in the folders; count what is left out."""
    for path in paths:
        for found, is_wanted in find_binaries(path, is_dump=is_dump, store=db.path):
            if is_wanted:
                yield found
            else:
                progress.skip()


def _expect(progress: Progress, paths: Sequence[str]) -> None:
    """Tell how many binaries there are, unless they are in folders."""
    progress.expect(None if any(map(os.path.isdir, paths)) else len(paths))


@command(
    "analyze corpus.sampledb suspicious.exe --family upatre",
    "analyze corpus.sampledb /usr/lib/libz.so.1 --family zlib --library --tag debian",
    access="create",
    many=True,
)
@_take_binaries
@take_marks(known=True)
def analyze(
    db: SampleDB,
    progress: Progress,
    binaries: Sequence[str],
    *,
    is_library: bool | None,
    tags: Sequence[str],
    **request: Any,  # noqa: ANN401 - of analyze
) -> Answer:
    """Disassemble binaries one by one and add them.

    A BINARY is a file, or a folder with PE, ELF, Mach-O and DEX files, or with --dump of any files. For many binaries,
    `submit` and `run` are faster: they use all cores. Samples that are stored already stay as they are. Needs the
    extra `analysis`.
    """
    marks = Marks(is_library=is_library, tags=tags)
    _expect(progress, binaries)
    found = _find_binaries(db, progress, binaries, is_dump=request["is_dump"])
    progress.run_each("added", found, lambda source: marks.set(db, db.analyze(Path(source), **request)))
    marks.advise(progress)
    return progress.summarize("added", empty=_NO_BINARIES)


@command(
    "submit corpus.sampledb *.exe samples/ --family upatre",
    "submit corpus.sampledb memory.bin --dump --base-addr 0x400000 --bitness 32",
    access="create",
    many=True,
)
@_take_binaries
def submit(db: SampleDB, progress: Progress, binaries: Sequence[str], **request: Any) -> Answer:  # noqa: ANN401 - of submit_binary
    """Queue binaries for `sampledb run`.

    A BINARY is a file, or a folder with PE, ELF, Mach-O and DEX files, or with --dump of any files. They are stored in
    the file when the command ends.
    """
    _expect(progress, binaries)
    found = _find_binaries(db, progress, binaries, is_dump=request["is_dump"])
    progress.run_each("queued", found, lambda source: db.get_job(db.submit_binary(Path(source), **request)))
    return progress.summarize("queued", empty=_NO_BINARIES)


@command("run corpus.sampledb", "run corpus.sampledb --limit 100 --timeout 60", access="write", many=True)
@LIMIT
@click.option("--timeout", type=float, default=300.0, show_default=True, help="Seconds for each binary.")
def run(db: SampleDB, progress: Progress, limit: int, timeout: float) -> Answer:
    """Disassemble the queued binaries on all cores.

    Needs the extra `analysis`. Jobs that are running when it is interrupted are queued again.
    """

    def note(_: int, total: int, job: Job) -> None:
        progress.expect(total)
        progress.note(
            job.state, f"{job.sample_id or job.job_id} {job.filename}", job.to_dict(), failure=_get_reason(job)
        )

    db.run_jobs(limit=limit, timeout=timeout, progress=note)
    return progress.summarize("finished")


def _get_reason(job: Job) -> str:
    """Return why a job failed, `""` if it did not."""
    return str(job.error["message"]) if job.error else ""


@command(
    "jobs corpus.sampledb --state failed",
    "jobs corpus.sampledb --cancel e3ff6bd639303680f3294c5bf467004a",
    access=lambda arguments: "read" if arguments["cancel"] is None else "write",
    columns=Job.__struct_fields__,
)
@click.option("--state", type=click.Choice(get_args(JobState)), help="Only jobs in this state.")
@click.option("--cancel", metavar="JOB_ID", help="Cancel this job, queued or running, and show it.")
def jobs(db: SampleDB, state: JobState | None, cancel: str | None) -> Answer:
    """List jobs in the order of submission, or cancel one."""
    found = RecordList(db.list_jobs(state) if cancel is None else [db.cancel_job(cancel)])
    return Answer(found.to_dicts, partial(_format_jobs, jobs=found))


def _format_jobs(screen: Screen, jobs: Iterable[Job]) -> Iterator[str]:
    rows = (
        (
            each.job_id,
            each.state,
            each.filename,
            f"{each.attempts}",
            "" if each.sample_id is None else f"{each.sample_id}",
            format_time(each.submitted_at),
            _get_reason(each),
        )
        for each in jobs
    )
    return format_table(screen, _JOBS, rows)
