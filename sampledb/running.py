"""Running jobs: claims from the queue, work for an executor, results into the file.

Only this process writes the file. Workers, wherever they are, get a binary and give back the JSON of a report.
"""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from contextlib import contextmanager, suppress
from typing import Final

import msgspec

from sampledb import analysis, jobs, reports, storing
from sampledb.connection import Connections
from sampledb.errors import AnalysisError, InvalidInputError, MissingExtraError, SampleDBError
from sampledb.jobs import Claim
from sampledb.model import Job, JobProgress
from sampledb.reports import Report
from sampledb.workers import Workers

# Seconds. Often enough to notice a cancelled job soon, and for a lease to survive some that fail.
HEARTBEAT: Final = 2.0
# For an executor that does not say how many workers it has, such as Dask's.
_IN_FLIGHT: Final = 64
# One more than there are workers, so that none has to wait for the file.
_AHEAD: Final = 1


@contextmanager
def workers(executor: Executor | None) -> Iterator[Executor]:
    """The executor of the caller, who keeps it, or processes of our own.

    Raises:
        MissingExtraError: They would be of our own, and SMDA is not installed.
    """
    if executor is not None:
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
        self._claims: dict[Future[bytes], Claim] = {}
        self._ended: dict[str, Job] = {}
        self._next_heartbeat = time.monotonic() + HEARTBEAT
        self._slots = getattr(executor, "_max_workers", _IN_FLIGHT) + _AHEAD

    def run(self, limit: int = 0, job_id: str | None = None) -> list[Job]:
        """Do at most `limit` jobs, 0 for all; or this one, if it is queued. Those that ended, as they ended."""
        self._limit = limit
        try:
            while True:
                while self._claim(job_id):
                    pass
                if not self._claims:
                    break
                done, _ = wait(self._claims, timeout=HEARTBEAT, return_when=FIRST_COMPLETED)
                for future in done:
                    self._take(future)
                self._renew()
        except BaseException:
            self._interrupt()
            raise
        return list(self._ended.values())

    def _claim(self, job_id: str | None) -> bool:
        """Give the executor another job; whether there was one, and a slot for it."""
        begun = len(self._ended) + len(self._claims)
        if len(self._claims) >= self._slots or (self._limit and begun >= self._limit):
            return False
        with self._connections.writing() as connection:
            claim = jobs.claim(connection, self._name, job_id)
        if claim is None:
            return False
        self._submit(claim)
        return True

    def _submit(self, claim: Claim) -> None:
        request = msgspec.structs.replace(claim.request, timeout=self._timeout)
        try:
            future = self._executor.submit(analysis.disassemble, claim.binary, request)
        except (BrokenExecutor, RuntimeError) as error:
            with self._connections.writing() as connection:
                jobs.interrupt(connection, self._name, request.job_id)
            raise AnalysisError.of(request.job_id, f"the executor takes no more work: {error}") from error
        # The executor has the binary now.
        self._claims[future] = claim._replace(binary=b"")

    def _take(self, future: "Future[bytes]") -> None:
        """End a job, or queue it again."""
        claim = self._claims[future]
        job_id = claim.request.job_id
        try:
            report = _report(claim, future.result())
        except CancelledError:
            # By cancel_job, which has said so in the file; or with the executor, and then somebody else may do it.
            self._change(jobs.interrupt, job_id)
        except (AnalysisError, InvalidInputError) as error:
            self._change(jobs.fail, job_id, error.to_dict())
        except MissingExtraError:
            self._change(jobs.interrupt, job_id)
            raise
        except Exception as error:  # noqa: BLE001 - an executor's own word for a worker that died
            self._change(jobs.give_back, job_id, f"the worker died ({type(error).__name__}: {error})"[:300])
        else:
            self._store(claim, report)
        del self._claims[future]
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
        if time.monotonic() < self._next_heartbeat:
            return
        self._next_heartbeat = time.monotonic() + HEARTBEAT
        with self._connections.writing() as connection:
            held = jobs.renew(connection, self._name)
        for future, claim in self._claims.items():
            if claim.request.job_id not in held and not future.cancel() and isinstance(self._executor, Workers):
                self._executor.cancel(claim.request.job_id)

    def _interrupt(self) -> None:
        """Store what is finished, and leave the rest to be done by others; where the file fails, leases run out."""
        for future, claim in list(self._claims.items()):
            with suppress(SampleDBError):
                if future.done() and not future.cancelled() and future.exception() is None:
                    self._take(future)
                else:
                    future.cancel()
                    self._change(jobs.interrupt, claim.request.job_id)
        self._claims.clear()


def _report(claim: Claim, content: object) -> Report:
    if not isinstance(content, bytes):
        raise AnalysisError.of(claim.request.job_id, "the worker gave back no report")
    report = reports.read(content)
    if report.sha256 != claim.sha256 or not report.functions:
        raise AnalysisError.of(claim.request.job_id, "the worker gave back the report of something else")
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
    with tqdm(unit="job", disable=None if progress else True) as bar:

        def show(finished: int, total: int, _: Job) -> None:
            bar.total = total
            bar.update(finished - bar.n)

        yield show
