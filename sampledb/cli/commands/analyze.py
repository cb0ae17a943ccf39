"""The commands that make samples of binaries."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, get_args

import click

from sampledb import Job, SampleDB
from sampledb.cli import views
from sampledb.cli.program import command
from sampledb.cli.progress import Ledger
from sampledb.cli.terminal import Answer
from sampledb.model import JobState

# Those of submit_binary and analyze.
_OPTIONS: Final = (
    click.option("--family", default="", help="The malware family or the library."),
    click.option("--version", default="", help="The version of the family."),
    click.option("--dump", "is_dump", is_flag=True, help="They are memory dumps, without a format."),
    click.option("--base-addr", metavar="HEX", help="Where a dump was mapped, such as 0x400000."),
    click.option("--bitness", type=click.Choice([32, 64]), default=32, show_default=True, help="Of a dump."),
    click.option("--keep-binary", is_flag=True, help="Keep the binary in the file when it is disassembled."),
    click.option("--username", default="anonymous", show_default=True, help="Who submits it."),
)


def _takes_binaries(call: Callable[..., Answer]) -> Callable[..., Answer]:
    for option in reversed(_OPTIONS):
        call = option(call)
    return click.argument("binaries", metavar="BINARY...", nargs=-1, required=True)(call)


@command(
    "submit corpus.sampledb *.exe --family upatre",
    "submit corpus.sampledb memory.bin --dump --base-addr 0x400000 --bitness 32",
    access="create",
    many=True,
)
@_takes_binaries
def submit(db: SampleDB, ledger: Ledger, binaries: Sequence[str], **request: Any) -> Answer:  # noqa: ANN401 - of submit_binary
    """Queue binaries to be disassembled by `sampledb run`.

    They are in the file when this ends.
    """
    ledger.expect(len(binaries))
    ledger.each("queued", binaries, lambda source: db.get_job(db.submit_binary(Path(source), **request)))
    return ledger.answer("queued")


@command("run corpus.sampledb", "run corpus.sampledb --limit 100 --timeout 60", access="write", many=True)
@click.option("--limit", type=click.IntRange(min=0), default=0, help="At most so many; 0, for all.")
@click.option("--timeout", type=float, default=300.0, show_default=True, help="Seconds for each binary.")
def run(db: SampleDB, ledger: Ledger, limit: int, timeout: float) -> Answer:
    """Disassemble what is queued, on all cores.

    Needs the extra `analysis`. What an interrupted run had begun is queued again.
    """

    def note(_: int, total: int, job: Job) -> None:
        ledger.expect(total)
        ledger.note(
            job.state, f"{job.sample_id or job.job_id} {job.filename}", job.to_dict(), failure=views.reason(job)
        )

    db.run_jobs(limit=limit, timeout=timeout, progress=note)
    return ledger.answer("finished")


@command(
    "jobs corpus.sampledb --state failed",
    "jobs corpus.sampledb --cancel e3ff6bd639303680f3294c5bf467004a",
    access=lambda arguments: "read" if arguments["cancel"] is None else "write",
)
@click.option("--state", type=click.Choice(get_args(JobState)), help="Only those in this state.")
@click.option("--cancel", metavar="JOB_ID", help="End this job, queued or running, and show it.")
def jobs(db: SampleDB, state: JobState | None, cancel: str | None) -> Answer:
    """List the jobs in the order of submission, or cancel one."""
    found = db.list_jobs(state) if cancel is None else [db.cancel_job(cancel)]
    return Answer(partial(views.dicts, found), partial(views.jobs, found=found))


@command("analyze corpus.sampledb suspicious.exe --family upatre", access="create", many=True)
@_takes_binaries
def analyze(db: SampleDB, ledger: Ledger, binaries: Sequence[str], **request: Any) -> Answer:  # noqa: ANN401 - of analyze
    """Disassemble binaries, one after another, and add them.

    For many, `submit` and `run` are faster: they use all cores. Needs the extra `analysis`.
    """
    ledger.expect(len(binaries))
    ledger.each("added", binaries, lambda source: db.analyze(Path(source), **request))
    return ledger.answer("added")
