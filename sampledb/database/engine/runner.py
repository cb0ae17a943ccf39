"""Run jobs: claim them from the queue, have them disassembled, store the results.

Only this process writes the file. Workers, wherever they are, take a binary and return the JSON of a report.
"""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from contextlib import contextmanager, suppress
from functools import partial
from operator import methodcaller
from typing import Any, Final, NamedTuple, TextIO

import msgspec

from sampledb.errors import AnalysisError, BusyError, InvalidInputError, MissingExtraError
from sampledb.format.report import Report, parse_report
from sampledb.intake.binary import Request
from sampledb.model import Job, JobProgress
from sampledb.store.connection import Connections
from sampledb.store.tables import jobs
from sampledb.store.tables.jobs import Claim
from sampledb.store.tables.reports import add_report
from sampledb.workers.disassembler import ask_for_report, disassemble, require_smda
from sampledb.workers.memory import share_memory
from sampledb.workers.pool import Pool
from sampledb.workers.process import UnavailableError, can_start_python

# Seconds. Often enough to notice a cancelled job soon, and for a lease to survive a few heartbeats that fail.
HEARTBEAT: Final = 2.0
# For an executor that does not say how many workers it has, such as Dask's.
_IN_FLIGHT: Final = 64


class Workers(NamedTuple):
    """The place where SMDA runs.

    Attributes:
        cancel: Ends the work of a future, or at least lets go of it.
        size: How many binaries they disassemble at a time.
    """

    submit: Callable[[bytes, Request], Future[bytes]]
    cancel: Callable[[Future[Any]], object]
    size: int


@contextmanager
def use_workers(executor: Executor | None) -> Iterator[Workers]:
    """Yield the workers of an executor, or child processes that end with the context if it is `None`.

    Raises:
        InvalidInputError: `executor` is something else, or `None` in a program that cannot start Python.
        MissingExtraError: SMDA is not installed, so that child processes cannot run it.
    """
    if executor is None:
        require_smda()
        _require_python()
        size, memory = share_memory(os.cpu_count() or 1)
        with Pool("disassembler", size, memory_limit=memory) as pool:
            yield Workers(lambda *task: pool.submit(partial(ask_for_report, *task)), pool.cancel, size)
    elif isinstance(executor, Executor):
        size = getattr(executor, "_max_workers", None) or _IN_FLIGHT
        yield Workers(lambda *task: executor.submit(disassemble, *task), methodcaller("cancel"), size)
    else:
        raise InvalidInputError.of("executor", "a concurrent.futures.Executor, or None", executor)


def _require_python() -> None:
    """Raise InvalidInputError in a program that is no Python interpreter and has none to start."""
    if not can_start_python():
        raise InvalidInputError(
            "run_jobs() and analyze() start Python processes, but this program "
            f"({sys.executable or 'sys.executable is empty'}) is no Python interpreter. Pass an executor: "
            "db.run_jobs(concurrent.futures.ThreadPoolExecutor(1)); call submit_binary() before, instead of analyze().",
            {"field": "executor", "rule": "an executor in a program that is no Python interpreter", "value": "None"},
        )


class Runner:
    """Runs jobs of one file until none is left, or as many as asked for."""

    def __init__(
        self, connections: Connections, workers: Workers, timeout: float, progress: JobProgress | None = None
    ) -> None:
        self._connections = connections
        self._workers = workers
        self._timeout = timeout
        self._progress = progress
        self._name = jobs.runner_name()
        self._limit = 0
        # All jobs that this runner holds, and those of them that the workers have.
        self._claims: dict[str, Claim] = {}
        self._futures: dict[Future[bytes], str] = {}
        self._ended: dict[str, Job] = {}
        self._renewed = time.time()

    def run(self, limit: int = 0, job_id: str | None = None) -> list[Job]:
        """Run at most `limit` jobs, 0 for all, or only that of `job_id`, if it is queued; return those that ended."""
        self._limit = limit
        try:
            while self._submit_jobs(job_id):
                done, _ = wait(self._futures, timeout=HEARTBEAT, return_when=FIRST_COMPLETED)
                # First, so that no worker waits while results are stored.
                self._submit_jobs(job_id)
                for future in done:
                    self._try(self._finish, future)
                    self._try(self._renew_leases)
                self._try(self._renew_leases)
        except BaseException:
            self._give_up()
            raise
        return list(self._ended.values())

    def _try(self, step: Callable[..., object], *arguments: object) -> bool:
        """Take a step; postpone it if another process keeps the file busy, unless it is the only work left."""
        try:
            return bool(step(*arguments))
        except BusyError:
            if not self._futures:
                raise
            return False

    def _submit_jobs(self, job_id: str | None) -> bool:
        """Submit as many jobs as there are free workers; return whether any job has not ended."""
        while self._may_submit() and self._try(self._submit_job, job_id):
            self._try(self._renew_leases)
        return bool(self._futures)

    def _may_submit(self) -> bool:
        # Only as many as can begin: a job that waits for a worker would count as attempted.
        running = sum(not future.done() for future in self._futures)
        # Results that wait to be stored take memory.
        has_room = running < self._workers.size and len(self._futures) < 2 * self._workers.size
        return has_room and (not self._limit or len(self._ended) + len(self._futures) < self._limit)

    def _submit_job(self, job_id: str | None) -> bool:
        """Claim and submit a job; return whether there was one."""
        with self._connections.writing() as connection:
            claim = jobs.claim(connection, self._name, job_id)
            if claim is None:
                return False
            self._claims[claim.request.job_id] = claim
        request = msgspec.structs.replace(claim.request, timeout=self._timeout)
        try:
            future = self._workers.submit(claim.binary, request)
        except Exception as error:
            # Executors raise errors of any class when they take no more work.
            raise AnalysisError.of(request.job_id, f"the executor takes no more work: {error}") from error
        self._futures[future] = request.job_id
        # The workers have the binary now.
        self._claims[request.job_id] = claim._replace(binary=b"")
        return True

    def _finish(self, future: Future[bytes]) -> None:
        """End a job with its result, or queue it again."""
        job_id = self._futures[future]
        claim = self._claims[job_id]
        try:
            report = _check_result(claim, future.result())
        except (UnavailableError, MissingExtraError) as error:
            raise AnalysisError.of(job_id, f"there are no workers: {error}") from error
        except CancelledError:
            # By cancel_job, which has changed the job already, or by the owner of the executor.
            self._change(jobs.give_back, job_id, "its work was cancelled")
        except AnalysisError as error:
            self._change(jobs.fail, job_id, AnalysisError.of(job_id, str(error.details.get("reason") or error)))
        except Exception as error:  # noqa: BLE001 - each executor has an error of its own for a worker that died
            self._change(jobs.give_back, job_id, f"the worker died ({type(error).__name__}: {error})")
        else:
            self._store(claim, report)
        del self._futures[future], self._claims[job_id]
        self._note_end(job_id)

    def _store(self, claim: Claim, report: Report) -> None:
        with self._connections.writing() as connection:
            if jobs.is_held(connection, self._name, claim.request.job_id):
                sample_id, _ = add_report(connection, report, {}, username=claim.username, exist_ok=True)
                jobs.finish(connection, self._name, claim.request.job_id, sample_id)

    def _change(self, change: Callable[..., None], job_id: str, *arguments: object) -> None:
        with self._connections.writing() as connection:
            change(connection, self._name, job_id, *arguments)

    def _note_end(self, job_id: str) -> None:
        """Count a job and tell `progress`, unless the job was queued again."""
        with self._connections.reading() as connection:
            job = jobs.get(connection, job_id)
        if job.finished_at is None:
            return
        self._ended[job_id] = job
        if self._progress:
            with self._connections.reading() as connection:
                total = len(self._ended) + jobs.count_unfinished(connection)
            self._progress(len(self._ended), min(total, self._limit or total), job)

    def _renew_leases(self) -> None:
        """Renew the leases if a heartbeat is due, and cancel the work of jobs that were cancelled."""
        # By the clock of the leases, which goes on while a machine sleeps.
        if abs(time.time() - self._renewed) < HEARTBEAT:
            return
        with self._connections.writing() as connection:
            held = jobs.renew(connection, self._name)
        self._renewed = time.time()
        for future, job_id in self._futures.items():
            if job_id not in held:
                self._workers.cancel(future)

    def _give_up(self) -> None:
        """Store what is finished and requeue the rest; where the file fails, leases run out."""
        self._progress = None
        for future in [each for each in self._futures if not each.cancel() and each.done() and not each.exception()]:
            with suppress(Exception):
                self._finish(future)
        for job_id in self._claims:
            with suppress(Exception):
                self._change(jobs.interrupt, job_id)


def _check_result(claim: Claim, content: object) -> Report:
    """Return the report that a worker made; raise AnalysisError if it is none of this job's binary."""
    job_id = claim.request.job_id
    if not isinstance(content, bytes):
        raise AnalysisError.of(job_id, "the worker returned no report")
    try:
        report = parse_report(content)
    except InvalidInputError as error:
        raise AnalysisError.of(job_id, f"SMDA's report breaks a rule: {error}") from error
    if report.sha256 != claim.sha256 or not report.functions:
        raise AnalysisError.of(job_id, "the worker returned the report of another binary")
    return report


@contextmanager
def show_progress(progress: JobProgress | bool | None) -> Iterator[JobProgress | None]:  # noqa: FBT001 - as in run_jobs
    """Yield what to call after each job; for `True`, it draws a bar on a terminal, and nothing in a pipe."""
    if not isinstance(progress, bool):
        if progress is not None and not callable(progress):
            raise InvalidInputError.of("progress", "a callable, True or None", progress)
        yield progress
    # Python has no stderr where the caller closed it.
    elif progress and sys.stderr and sys.stderr.isatty():
        try:
            yield partial(_draw_bar, sys.stderr)
        finally:
            sys.stderr.write("\n")
    else:
        yield None


def _draw_bar(terminal: TextIO, finished: int, total: int, _: Job) -> None:
    counts = f" {finished:,}/{total:,} jobs"
    # The last column stays free: some terminals wrap a full line.
    width = max(shutil.get_terminal_size().columns - len(counts) - 1, 0)
    terminal.write(f"\r{'#' * (width * finished // total):.<{width}}{counts}")
    terminal.flush()
