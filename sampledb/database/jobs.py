"""The public calls for jobs; like those of `database`, each is checks, one transaction, and a call of a table."""

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from sampledb import limits
from sampledb.database.handle import Handle
from sampledb.errors import AnalysisError, BusyError, ConflictError, NotFoundError
from sampledb.format import codec
from sampledb.intake.binary import read_submission
from sampledb.model import Job, JobProgress, JobState, RecordList, Sample
from sampledb.store.tables import jobs, samples

if TYPE_CHECKING:
    from concurrent.futures import Executor

# Seconds: what analyze() gives SMDA, and how often wait_job() looks.
_TIMEOUT: Final = 300.0
_FIRST_PAUSE: Final = 0.01
_LONGEST_PAUSE: Final = 0.5


class JobQueue(Handle):
    """Binaries in, samples out."""

    def submit_binary(
        self,
        binary: bytes | str | os.PathLike[str],
        *,
        filename: str | None = None,
        family: str = "",
        version: str = "",
        is_dump: bool = False,
        base_addr: int | str | None = None,
        bitness: int = 32,
        username: str = "anonymous",
        keep_binary: bool = False,
    ) -> str:
        """Queue a binary to be disassembled by `run_jobs` (MCRIT's `POST /samples/binary`); the id of its job.

        The binary and the request are in the file when this returns.

        Args:
            binary: Bytes, or a path.
            filename: The sample's name; that of the path where none is given.
            family: The sample's family, as `version` is its version.
            version: The version of the family.
            is_dump: Whether it is a memory dump, to be disassembled at `base_addr` with `bitness`. Everything else
                is disassembled by its format, which says both.
            base_addr: Where the dump was mapped, an integer or hex text; 0 where none is given, as in MCRIT.
            bitness: Of the dump, 32 or 64.
            username: Who submits it.
            keep_binary: Whether to keep the binary after success, for `get_binary`.

        Raises:
            InvalidInputError: A value breaks a rule, or the path cannot be read.
            ConflictError: The binary has an analysis, or an unfinished job.
        """
        self._connections.require_writable()
        submission = read_submission(
            binary, filename=filename, family=family, version=version, is_dump=is_dump, base_addr=base_addr,
            bitness=bitness, username=username, keep_binary=keep_binary,
        )  # fmt: skip
        blob = codec.encode(codec.BINARY, submission.binary)
        with self._connections.writing() as connection:
            stored = samples.find(connection, sha256=submission.sha256)
            if stored and stored.is_analyzed:
                raise ConflictError.of_sample(stored.sample_id, submission.sha256, "an analysis")
            return jobs.insert(connection, submission, blob)

    def run_jobs(
        self,
        executor: "Executor | None" = None,
        *,
        limit: int = 0,
        timeout: float = 300.0,
        progress: JobProgress | bool | None = None,
    ) -> list[Job]:
        """Disassemble what is queued with SMDA, and store the samples; the jobs that ended, as they ended.

        Returns when nothing is queued. Several processes may do this on one file at once. A job whose worker died is
        queued again, 3 attempts at most; so are those of a process that died, at once on the same machine, else when
        its lease has run out. On KeyboardInterrupt, what is finished is stored, and the rest is queued again.

        Args:
            executor: Where SMDA runs: any `concurrent.futures.Executor`, which gets bytes and gives back bytes.
                `None` starts a process for each core, which is ended when it takes too long or too much memory.
            limit: How many jobs at most, 0 for all.
            timeout: Seconds for each binary. With an executor of yours SMDA itself looks at the clock, and nothing
                ends it in between.
            progress: Called after each job with how many have ended, how many there are, and the job; `True` shows a
                bar on a terminal.

        Raises:
            MissingExtraError: SMDA is not installed (extra `analysis`).
            AnalysisError: The executor is broken. Binaries that cannot be disassembled are failed jobs instead.
        """
        # Threads and processes, which only jobs need.
        from sampledb.database import runner as running  # noqa: PLC0415

        limit = limits.position("limit", limit)
        timeout = limits.seconds("timeout", timeout)
        self._connections.require_writable()
        with running.reporting(progress) as report, running.workers(executor) as workers:
            return running.Runner(self._connections, workers, timeout, report).run(limit)

    def get_job(self, job_id: str) -> Job:
        """One job, or NotFoundError."""
        job_id = limits.text("job_id", job_id, longest=limits.MAX_LABEL)
        with self._connections.reading() as connection:
            return jobs.get(connection, job_id)

    def list_jobs(self, state: JobState | None = None) -> RecordList[Job]:
        """The jobs in a state, or all, in the order of submission."""
        if state is not None:
            limits.choice("state", state, jobs.STATES)
        with self._connections.reading() as connection:
            return RecordList(jobs.select(connection, state))

    def cancel_job(self, job_id: str) -> Job:
        """End a job that has not ended, running or not; the job as it is then. One that has ended stays as it is.

        Raises:
            NotFoundError: There is no such job.
        """
        job_id = limits.text("job_id", job_id, longest=limits.MAX_LABEL)
        with self._connections.writing() as connection:
            return jobs.cancel(connection, job_id)

    def wait_job(self, job_id: str, timeout: float | None = None) -> Job:
        """The job when it has ended: finished, failed or cancelled. It is run by somebody else, or never ends.

        Args:
            job_id: What `submit_binary` returned.
            timeout: Seconds; `None` waits for as long as it takes.

        Raises:
            NotFoundError: There is no such job.
            BusyError: It had not ended after `timeout`.
        """
        end = None if timeout is None else time.monotonic() + limits.seconds("timeout", timeout)
        pause = _FIRST_PAUSE
        while (job := self.get_job(job_id)).finished_at is None:
            left = _LONGEST_PAUSE if end is None else end - time.monotonic()
            if left <= 0:
                raise BusyError(f"Job {job_id} is still {job.state}.", {"retry_after": timeout})
            time.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)
        return job

    def analyze(
        self,
        file: bytes | str | os.PathLike[str],
        *,
        filename: str | None = None,
        family: str = "",
        version: str = "",
        is_dump: bool = False,
        base_addr: int | str | None = None,
        bitness: int = 32,
        username: str = "anonymous",
        keep_binary: bool = False,
    ) -> Sample:
        """Disassemble a binary and store it: `submit_binary` and `run_jobs` for this one, in a process of its own.

        Raises:
            AnalysisError: It cannot be disassembled.
            MissingExtraError: SMDA is not installed (extra `analysis`).
            InvalidInputError: A value breaks a rule, or the path cannot be read.
            ConflictError: The binary has an analysis, or an unfinished job.
        """
        from sampledb.database import runner as running  # noqa: PLC0415 - as above

        with running.workers(None) as workers:
            job_id = self.submit_binary(
                file, filename=filename, family=family, version=version, is_dump=is_dump, base_addr=base_addr,
                bitness=bitness, username=username, keep_binary=keep_binary,
            )  # fmt: skip
            try:
                job = self.get_job(job_id)
                while job.finished_at is None:
                    running.Runner(self._connections, workers, _TIMEOUT).run(job_id=job_id)
                    # Another runner may have been faster; or may have been, and died.
                    with suppress(BusyError):
                        job = self.wait_job(job_id, timeout=_LONGEST_PAUSE)
            except BaseException:
                self.cancel_job(job_id)
                raise
        if job.sample_id is None:
            details = job.error["details"] if job.error else {"job_id": job_id, "reason": job.state}
            raise AnalysisError.of(job_id, details.get("reason") or str(job.error))
        with self._connections.reading() as connection:
            return samples.get(connection, job.sample_id)

    def get_binary(self, sample_id: int) -> bytes:
        """The binary of a sample that was submitted with `keep_binary`, checked against its SHA-256.

        Raises:
            NotFoundError: There is no such sample, or its binary was not kept.
        """
        sample_id = limits.identity("sample_id", sample_id)
        with self._connections.snapshot() as connection:
            binary = jobs.get_binary(connection, samples.get(connection, sample_id).sha256)
        if binary is None:
            raise NotFoundError.of("binary", sample_id)
        return binary
