"""Public calls for jobs: submit, run, watch, cancel."""

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from sampledb import limits
from sampledb.database.handle import Handle, refuse_open_store
from sampledb.errors import AnalysisError, BusyError, ConflictError, NotFoundError
from sampledb.format import codec
from sampledb.intake.binary import read_submission
from sampledb.model import Job, JobProgress, JobState, RecordList, Sample
from sampledb.store.tables import jobs, samples

if TYPE_CHECKING:
    from concurrent.futures import Executor

# Seconds: the time limit of analyze(), and the pauses of wait_job(), which double.
_TIMEOUT: Final = 300.0
_FIRST_PAUSE: Final = 0.01
_LONGEST_PAUSE: Final = 0.5
# These calls return no sample that others have stored.
_ADVICE: Final = "get_sample_by_sha256() returns it, and after delete_sample() the binary can be submitted again"


class Jobs(Handle):
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
        strings: bool = True,
    ) -> str:
        """Queue a binary for `run_jobs` and return the id of its job (MCRIT's `POST /samples/binary`).

        When this returns, the binary and the request are in the file.

        Args:
            binary: Bytes, or a path.
            filename: The name of the sample, by default that of the path.
            family: The family of the sample.
            version: The version of the family.
            is_dump: Whether it is a memory dump, to be disassembled with `base_addr` and `bitness`. Other files are
                disassembled by their format, which says both.
            base_addr: Where the dump was mapped, an integer or hex text; 0 by default, as in MCRIT.
            bitness: The bitness of the dump, 32 or 64.
            username: Who submits it.
            keep_binary: Whether `get_binary` can return the binary after its analysis.
            strings: Whether SMDA collects the strings that functions refer to. For five programs of Linux, this takes
                1.9 times the time, and their samples take 1.3 times the space in the file.

        Raises:
            InvalidInputError: A value breaks a rule, the path cannot be read, or the binary is empty.
            ConflictError: The binary has an analysis, or an unfinished job.
        """
        self._connections.require_writable()
        refuse_open_store(binary, "binary")
        submission = read_submission(
            binary, filename=filename, family=family, version=version, is_dump=is_dump, base_addr=base_addr,
            bitness=bitness, username=username, keep_binary=keep_binary, strings=strings,
        )  # fmt: skip
        blob = codec.encode(codec.BINARY, submission.binary)
        with self._connections.writing() as connection:
            stored = samples.find(connection, sha256=submission.sha256)
            if stored and stored.is_analyzed:
                raise ConflictError.of_sample(stored.sample_id, submission.sha256, "an analysis", advice=_ADVICE)
            return jobs.insert(connection, submission, blob)

    def run_jobs(
        self,
        executor: "Executor | None" = None,
        *,
        limit: int = 0,
        timeout: float = 300.0,
        progress: JobProgress | bool | None = None,
    ) -> list[Job]:
        """Disassemble queued binaries with SMDA, store the samples, and return the jobs in the order they ended.

        Returns when the queue is empty. Several processes may run jobs of one file at the same time. If a worker
        dies, its job is queued again, for at most 3 attempts. The jobs of a process that died are queued again too:
        at once on the same machine, otherwise when their leases end. On KeyboardInterrupt, finished work is stored
        and the rest is queued again.

        Args:
            executor: Where SMDA runs: any `concurrent.futures.Executor`; its workers take and return bytes. `None`
                starts a process for each core, and kills one that takes too much time or memory.
            limit: The most jobs to run, 0 for all.
            timeout: Seconds for each binary. In an executor, only SMDA itself looks at the clock, now and then.
            progress: Called after each job with the number of jobs that ended, the number in all, and the job;
                `True` shows a bar on a terminal.

        Raises:
            MissingExtraError: SMDA is not installed (extra `analysis`).
            InvalidInputError: A value breaks a rule, or the program cannot start Python, because it is a frozen
                application or a host such as IDA; pass `concurrent.futures.ThreadPoolExecutor(1)` there.
            AnalysisError: The executor is broken. A binary that cannot be disassembled is a failed job instead.
        """
        # Threads and processes, which only jobs need.
        from sampledb.database.engine.runner import Runner, show_progress, use_workers  # noqa: PLC0415

        limit = limits.position("limit", limit)
        timeout = limits.seconds("timeout", timeout)
        self._connections.require_writable()
        with show_progress(progress) as report, use_workers(executor) as workers:
            return Runner(self._connections, workers, timeout, report).run(limit)

    def get_job(self, job_id: str) -> Job:
        """Return a job, or raise NotFoundError."""
        job_id = limits.text("job_id", job_id, longest=limits.MAX_LABEL)
        with self._connections.reading() as connection:
            return jobs.get(connection, job_id)

    def list_jobs(self, state: JobState | None = None) -> RecordList[Job]:
        """Return the jobs in a state, or all, in the order of submission."""
        if state is not None:
            limits.choice("state", state, jobs.STATES)
        with self._connections.reading() as connection:
            return RecordList(jobs.select(connection, state))

    def cancel_job(self, job_id: str) -> Job:
        """Cancel a job, running or not, and return it; a job that has ended stays unchanged.

        Raises:
            NotFoundError: There is no such job.
        """
        job_id = limits.text("job_id", job_id, longest=limits.MAX_LABEL)
        with self._connections.writing() as connection:
            return jobs.cancel(connection, job_id)

    def wait_job(self, job_id: str, timeout: float | None = None) -> Job:
        """Wait until another thread or process has run a job, and return it finished, failed or cancelled.

        Args:
            job_id: The id that `submit_binary` returned.
            timeout: Seconds to wait; `None` waits without end.

        Raises:
            NotFoundError: There is no such job.
            BusyError: The job has not ended after `timeout`.
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
        strings: bool = True,
    ) -> Sample:
        """Disassemble a binary in a child process and return its sample: `submit_binary` and `run_jobs` in one call.

        Raises:
            AnalysisError: The binary cannot be disassembled.
            MissingExtraError: SMDA is not installed (extra `analysis`).
            InvalidInputError: A value breaks a rule, the path cannot be read, or the program cannot start Python, as
                described at `run_jobs`.
            ConflictError: The binary has an analysis, or an unfinished job.
        """
        from sampledb.database.engine.runner import Runner, use_workers  # noqa: PLC0415 - as above

        with use_workers(None) as workers:
            job_id = self.submit_binary(
                file, filename=filename, family=family, version=version, is_dump=is_dump, base_addr=base_addr,
                bitness=bitness, username=username, keep_binary=keep_binary, strings=strings,
            )  # fmt: skip
            try:
                job = self.get_job(job_id)
                while job.finished_at is None:
                    Runner(self._connections, workers, _TIMEOUT).run(job_id=job_id)
                    # Another runner may have claimed the job, and may have died since.
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
        """Return the binary of a sample that was submitted with `keep_binary`; its SHA-256 is checked.

        Raises:
            NotFoundError: There is no such sample, or its binary was not kept.
        """
        sample_id = limits.identity("sample_id", sample_id)
        with self._connections.snapshot() as connection:
            binary = jobs.get_binary(connection, samples.get(connection, sample_id).sha256)
        if binary is None:
            raise NotFoundError.of("binary", sample_id)
        return binary
