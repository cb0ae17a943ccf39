"""Running jobs: claims from the queue, work for an executor, results into the file.

Only this process writes the file. Workers, wherever they are, get a binary and give back the JSON of a report.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from contextlib import contextmanager, suppress
from typing import Final

import msgspec

from sampledb.errors import AnalysisError, BusyError, InvalidInputError, MissingExtraError
from sampledb.format.report import Report, parse_report
from sampledb.model import Job, JobProgress
from sampledb.store.connection import Connections
from sampledb.store.tables import jobs
from sampledb.store.tables import reports as storing
from sampledb.store.tables.jobs import Claim
from sampledb.workers import disassembler as analysis
from sampledb.workers.pool import Workers
from sampledb.workers.process import UnavailableError

# Seconds. Often enough to notice a cancelled job soon, and for a lease to survive some that fail.
HEARTBEAT: Final = 2.0
# For an executor that does not say how many workers it has, such as Dask's.
_IN_FLIGHT: Final = 64


@contextmanager
def workers(executor: Executor | None) -> Iterator[Executor]:
    """The executor of the caller, who keeps it, or processes of our own.

    Raises:
        MissingExtraError: They would be of our own, and SMDA is not installed.
    """
    if executor is not None:
        if not isinstance(executor, Executor):
            raise InvalidInputError.of("executor", "a concurrent.futures.Executor, or None", executor)
        yield executor
        return
    analysis.require()
    own = Workers(os.cpu_count() or 1)
    try:
        yield own
    finally:
        own.shutdown(cancel_futures=True)


class Runner:
    """Does jobs of one file until there are none left, or as many as were asked for."""

    def __init__(
        self, connections: Connections, executor: Executor, timeout: float, progress: JobProgress | None = None
    ) -> None:
        self._connections = connections
        self._executor = executor
        self._timeout = timeout
        self._progress = progress
        self._name = jobs.runner_name()
        self._limit = 0
        # What was claimed, and those of it that the executor has.
        self._claims: dict[str, Claim] = {}
        self._futures: dict[Future[bytes], str] = {}
        self._ended: dict[str, Job] = {}
        self._renewed = time.time()
        # No more, so that a job which nobody has begun does not count as an attempt.
        self._slots = getattr(executor, "_max_workers", None) or _IN_FLIGHT

    def run(self, limit: int = 0, job_id: str | None = None) -> list[Job]:
        """Do at most `limit` jobs, 0 for all; or this one, if it is queued. Those that ended, as they ended."""
        self._limit = limit
        try:
            while self._fill(job_id):
                done, _ = wait(self._futures, timeout=HEARTBEAT, return_when=FIRST_COMPLETED)
                # First, so that no worker waits while results are stored.
                self._fill(job_id)
                for future in done:
                    self._patiently(self._take, future)
                    self._patiently(self._renew)
                self._patiently(self._renew)
        except BaseException:
            self._interrupt()
            raise
        return list(self._ended.values())

    def _patiently(self, step: Callable[..., object], *arguments: object) -> bool:
        """Take a step; where another process keeps the file busy, it is taken later, as long as there is work."""
        try:
            return bool(step(*arguments))
        except BusyError:
            if not self._futures:
                raise
            return False

    def _fill(self, job_id: str | None) -> bool:
        """Give the executor as many jobs as it has free workers; whether any job is not yet ended."""
        while self._has_free_worker() and not self._is_enough():
            if not self._patiently(self._begin, job_id):
                break
            self._patiently(self._renew)
        return bool(self._futures)

    def _has_free_worker(self) -> bool:
        running = sum(not future.done() for future in self._futures)
        # Results that wait to be stored take memory.
        return running < self._slots and len(self._futures) < 2 * self._slots

    def _is_enough(self) -> bool:
        return bool(self._limit) and len(self._ended) + len(self._futures) >= self._limit

    def _begin(self, job_id: str | None) -> bool:
        """Give the executor another job; whether there was one."""
        with self._connections.writing() as connection:
            claim = jobs.claim(connection, self._name, job_id)
            if claim is None:
                return False
            self._claims[claim.request.job_id] = claim
        request = msgspec.structs.replace(claim.request, timeout=self._timeout)
        try:
            future = self._executor.submit(analysis.disassemble, claim.binary, request)
        except Exception as error:
            # Whatever an executor raises when it cannot take more.
            raise AnalysisError.of(request.job_id, f"the executor takes no more work: {error}") from error
        self._futures[future] = request.job_id
        # The executor has the binary now.
        self._claims[request.job_id] = claim._replace(binary=b"")
        return True

    def _take(self, future: "Future[bytes]") -> None:
        """End a job, or queue it again."""
        job_id = self._futures[future]
        try:
            report = _report(self._claims[job_id], future.result())
        except (UnavailableError, MissingExtraError) as error:
            raise AnalysisError.of(job_id, f"there are no workers: {error}") from error
        except CancelledError:
            # By cancel_job, which has said so in the file; or by whoever else has the executor.
            self._change(jobs.give_back, job_id, "its work was cancelled")
        except AnalysisError as error:
            self._change(jobs.fail, job_id, AnalysisError.of(job_id, str(error.details.get("reason") or error)))
        except Exception as error:  # noqa: BLE001 - an executor's own word for a worker that died
            self._change(jobs.give_back, job_id, f"the worker died ({type(error).__name__}: {error})")
        else:
            self._store(self._claims[job_id], report)
        del self._futures[future], self._claims[job_id]
        self._note(job_id)

    def _store(self, claim: Claim, report: Report) -> None:
        with self._connections.writing() as connection:
            if jobs.is_held(connection, self._name, claim.request.job_id):
                sample_id, _ = storing.add(connection, report, {}, username=claim.username, exist_ok=True)
                jobs.finish(connection, self._name, claim.request.job_id, sample_id)

    def _change(self, change: Callable[..., None], job_id: str, *arguments: object) -> None:
        with self._connections.writing() as connection:
            change(connection, self._name, job_id, *arguments)

    def _note(self, job_id: str) -> None:
        with self._connections.reading() as connection:
            job = jobs.get(connection, job_id)
        if job.finished_at is None:
            return
        self._ended[job_id] = job
        if self._progress:
            with self._connections.reading() as connection:
                total = len(self._ended) + jobs.count_unfinished(connection)
            self._progress(len(self._ended), min(total, self._limit or total), job)

    def _renew(self) -> None:
        """Keep the leases, and let go of jobs that were cancelled."""
        # By the clock of the leases, which goes on while a machine sleeps.
        if abs(time.time() - self._renewed) < HEARTBEAT:
            return
        with self._connections.writing() as connection:
            held = jobs.renew(connection, self._name)
        self._renewed = time.time()
        for future, job_id in self._futures.items():
            if job_id not in held and not future.cancel() and isinstance(self._executor, Workers):
                self._executor.cancel(job_id)

    def _interrupt(self) -> None:
        """Store what is finished, and leave the rest to be done by others; where the file fails, leases run out."""
        self._progress = None
        for future in [future for future in self._futures if not future.cancel() and _has_result(future)]:
            with suppress(Exception):
                self._take(future)
        for job_id in self._claims:
            with suppress(Exception):
                self._change(jobs.interrupt, job_id)


def _has_result(future: "Future[bytes]") -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _report(claim: Claim, content: object) -> Report:
    """What a worker gave back, which need not be what was asked for."""
    job_id = claim.request.job_id
    if not isinstance(content, bytes):
        raise AnalysisError.of(job_id, "the worker gave back no report")
    try:
        report = parse_report(content)
    except InvalidInputError as error:
        raise AnalysisError.of(job_id, f"SMDA's report breaks a rule: {error}") from error
    if report.sha256 != claim.sha256 or not report.functions:
        raise AnalysisError.of(job_id, "the worker gave back the report of something else")
    return report


@contextmanager
def reporting(progress: JobProgress | bool | None) -> Iterator[JobProgress | None]:  # noqa: FBT001 - as in run_jobs
    """What is called after each job; `True` is a bar on a terminal, and nothing in a pipe."""
    if not isinstance(progress, bool):
        if progress is not None and not callable(progress):
            raise InvalidInputError.of("progress", "a callable, True or None", progress)
        yield progress
        return
    try:
        from tqdm import tqdm  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtraError.of("analysis", "A progress bar") from error
    with tqdm(unit="job", disable=None if progress and sys.stderr else True) as bar:

        def show(finished: int, total: int, _: Job) -> None:
            bar.total = total
            bar.update(finished - bar.n)

        yield show
