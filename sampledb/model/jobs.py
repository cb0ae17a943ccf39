"""Jobs: binaries that are submitted and disassembled."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, TypeAlias

from sampledb.model.record import Record, SampleId

JobState: TypeAlias = Literal["queued", "running", "finished", "failed", "cancelled"]


class Job(Record, frozen=True):
    """The disassembly of a submitted binary.

    Attributes:
        job_id: Returned by `submit_binary`.
        state: `queued`, `running`, `finished` (there is a sample), `failed` (there is an error) or `cancelled`.
        sha256: Of the binary, 64 lower-case hex digits.
        filename: As submitted; `""` when unknown.
        attempts: Number of attempts, at most 3.
        sample_id: The resulting sample; `None` before it exists, and after it was deleted.
        error: The reason why it failed, as an error's `to_dict()`; `None` if it did not.
        submitted_at: Time of submission, UTC.
        started_at: Start of the last attempt, UTC; `None` before.
        finished_at: End, whether finished, failed or cancelled, UTC; `None` before.
    """

    job_id: str
    state: JobState
    sha256: str
    filename: str
    attempts: int
    sample_id: SampleId | None
    error: dict[str, Any] | None
    submitted_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


#: Called after each job with the number of jobs that have ended, the number of all, and the job.
JobProgress: TypeAlias = Callable[[int, int, Job], object]
