"""The tables `jobs` and `binaries`: a queue that several processes may work on, and that survives all of them.

    queued ──claim──▶ running ──▶ finished · failed · cancelled
       ▲                 │
       └──── given back ─┘   by an interrupted runner, or because its worker or itself died

A runner holds each of its jobs by a lease that it renews. What it does to a job, it does only while it holds it: a
runner that slept through its lease finds the job taken, and what it brings is thrown away.
"""

import os
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from sampledb.errors import AnalysisError, ConflictError, CorruptFileError, NotFoundError
from sampledb.format import codec
from sampledb.intake.binary import Submission
from sampledb.model import Job, Problem, SampleId
from sampledb.store.connection import Connection
from sampledb.workers.disassembler import Request

MAX_ATTEMPTS: Final = 3
# Seconds. Long enough for a runner that waits for a busy file, short enough to wait for after a crash.
LEASE: Final = 30.0
STATES: Final = ("queued", "running", "finished", "failed", "cancelled")

_FIELDS: Final = Job.__struct_fields__
_SELECT: Final = f"SELECT {', '.join(_FIELDS)} FROM jobs"  # noqa: S608
_REQUEST: Final = ("job_id", "filename", "family", "version", "is_dump", "base_addr", "bitness", "sha256", "username")
# What the index `jobs_unfinished` is of, word for word, or SQLite reads the past.
_UNFINISHED: Final = "state IN ('queued', 'running')"
_HELD: Final = "job_id = :job_id AND state = 'running' AND runner IS :runner"
_END: Final = "runner = NULL, lease_until = NULL, finished_at = :now"
_CLAIM: Final = f"""
UPDATE jobs
SET state = 'running', runner = :runner, lease_until = :lease, started_at = :now, attempts = attempts + 1
WHERE job_number = (
    SELECT min(job_number) FROM jobs
    WHERE {_UNFINISHED} AND state = 'queued' AND (:job_id IS NULL OR job_id = :job_id)
)
RETURNING {", ".join(_REQUEST)}"""  # noqa: S608

_to_json = msgspec.json.Encoder().encode
_object = msgspec.json.Decoder(dict[str, Any]).decode


class Claim(NamedTuple):
    """A job that a runner holds, with all it takes to do it."""

    request: Request
    sha256: str
    username: str
    binary: bytes


# Submitting


def insert(connection: Connection, submission: Submission, blob: bytes) -> str:
    """Queue a binary, of which `blob` is what is stored, and return the new job's id.

    Raises:
        ConflictError: An unfinished job has the same binary.
    """
    row = connection.execute(
        f"SELECT job_id FROM jobs WHERE sha256 = ? AND {_UNFINISHED}",  # noqa: S608
        (submission.sha256,),
    ).fetchone()
    if row:
        raise ConflictError.of_job(row[0], submission.sha256)
    job_id = _random()
    columns = {
        **submission._asdict(),
        "base_addr": codec.signed(submission.base_addr),
        "job_id": job_id,
        "state": "queued",
        "attempts": 0,
        "submitted_at": _now(),
    }
    del columns["binary"]
    connection.execute(
        f"INSERT INTO jobs ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",  # noqa: S608
        tuple(columns.values()),
    )
    # One that was kept of an earlier analysis stays kept.
    connection.execute(
        "INSERT OR IGNORE INTO binaries (sha256, is_kept, checksum, binary) VALUES (?, 0, ?, ?)",
        (submission.sha256, codec.checksum(blob), blob),
    )
    return job_id


# Reading


def get(connection: Connection, job_id: str) -> Job:
    """The job of that id, or NotFoundError."""
    row = connection.execute(f"{_SELECT} WHERE job_id = ?", (job_id,)).fetchone()
    if row is None:
        raise NotFoundError.of("job", job_id)
    return _job(row)


def select(connection: Connection, state: str | None) -> list[Job]:
    """The jobs in a state, or all, in the order of submission."""
    rows = connection.execute(f"{_SELECT} WHERE :state IS NULL OR state = :state ORDER BY job_number", {"state": state})
    return [_job(row) for row in rows]


def count_unfinished(connection: Connection) -> int:
    """How many jobs are queued or running."""
    ((count,),) = connection.execute(f"SELECT count(*) FROM jobs WHERE {_UNFINISHED}")  # noqa: S608
    return int(count)


def binary(connection: Connection, sha256: str) -> bytes | None:
    """A binary that was kept, or `None`."""
    row = connection.execute(
        "SELECT sha256, checksum, binary FROM binaries WHERE sha256 = ? AND is_kept", (sha256,)
    ).fetchone()
    return None if row is None else verify(*row)


def drop_incomplete(connection: Connection) -> list[str]:
    """Forget unfinished jobs that have no binary, and binaries that nobody waits for; the ids of those jobs."""
    gone = connection.execute(
        f"DELETE FROM jobs WHERE {_UNFINISHED} AND sha256 NOT IN (SELECT sha256 FROM binaries) RETURNING job_id"  # noqa: S608
    ).fetchall()
    connection.execute(
        f"DELETE FROM binaries WHERE NOT is_kept AND sha256 NOT IN (SELECT sha256 FROM jobs WHERE {_UNFINISHED})"  # noqa: S608
    )
    return [job_id for (job_id,) in gone]


def damaged(connection: Connection) -> Iterator[Problem]:
    """What is wrong with binaries, and jobs that cannot be read."""
    select(connection, None)
    for (binary_id,) in connection.execute("SELECT binary_id FROM binaries").fetchall():
        row = connection.execute("SELECT sha256, checksum, binary FROM binaries WHERE binary_id = ?", (binary_id,))
        try:
            verify(*row.fetchone())
        except CorruptFileError as error:
            yield Problem(str(error.details["what"]), str(error.details["where"]))


def verify(sha256: str, checksum: object, blob: object) -> bytes:
    """The binary of a blob, which is that of the SHA-256, or CorruptFileError."""
    # Loads OpenSSL, which nothing but jobs and media needs.
    import hashlib  # noqa: PLC0415

    try:
        content = codec.decode(codec.BINARY, blob, checksum)
    except codec.DecodeError as error:
        raise CorruptFileError.of(str(error), f"binaries, sha256 {sha256}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise CorruptFileError.of("the binary is another file", f"binaries, sha256 {sha256}")
    return content


def _job(row: Sequence[Any]) -> Job:
    fields = dict(zip(_FIELDS, row, strict=True))
    try:
        times = {
            name: None if fields[name] is None else datetime.fromisoformat(fields[name])
            for name in ("submitted_at", "started_at", "finished_at")
        }
        error = None if fields["error"] is None else _object(fields["error"])
        job: Job = msgspec.convert({**fields, **times, "error": error, "filename": fields["filename"] or ""}, Job)
    except (TypeError, ValueError, RecursionError) as found:
        raise CorruptFileError.of(f"a value cannot be read: {found}", "jobs") from found
    return job


# Running


def runner_name() -> str:
    """A new name for a runner in this process."""
    return f"{_host()}/{os.getpid()}/{_random()}"


def claim(connection: Connection, runner: str, job_id: str | None = None) -> Claim | None:
    """The oldest queued job, or the one that is asked for, now held by `runner`; `None` when there is none."""
    _release_abandoned(connection, runner)
    while True:
        values = {"runner": runner, "lease": time.time() + LEASE, "now": _now(), "job_id": job_id}
        row = connection.execute(_CLAIM, values).fetchone()
        if row is None:
            return None
        try:
            return _claim(connection, dict(zip(_REQUEST, row, strict=True)))
        except CorruptFileError as error:
            # One damaged binary must not keep all behind it waiting.
            fail(connection, runner, row[0], AnalysisError.of(row[0], error.message))


def _claim(connection: Connection, fields: dict[str, Any]) -> Claim:
    sha256, username = fields.pop("sha256"), fields.pop("username")
    stored = connection.execute("SELECT checksum, binary FROM binaries WHERE sha256 = ?", (sha256,)).fetchone()
    if stored is None:
        raise CorruptFileError.of("the binary of a job is missing", f"jobs, job_id {fields['job_id']}")
    fields["base_addr"] = codec.unsigned(fields["base_addr"])
    fields["is_dump"] = bool(fields["is_dump"])
    return Claim(Request(**fields, timeout=0.0), sha256, username, verify(sha256, *stored))


def _release_abandoned(connection: Connection, runner: str) -> None:
    """Take jobs from runners that have died, but for this one, which just has not renewed its leases yet."""
    rows = connection.execute(
        f"SELECT job_id, runner, lease_until FROM jobs WHERE {_UNFINISHED} AND state = 'running' AND runner IS NOT ?",  # noqa: S608
        (runner,),
    ).fetchall()
    now = time.time()
    for job_id, other, lease_until in rows:
        # A lease of tomorrow is of a clock that was wrong.
        is_valid = isinstance(lease_until, int | float) and now <= lease_until <= now + 2 * LEASE
        if not is_valid or _is_dead(other):
            give_back(connection, other, job_id, "the process that ran it died")


def _is_dead(runner: object) -> bool:
    """Whether a runner was a process that this one could see, and is no more; others have to be waited for."""
    host, _, rest = str(runner).partition("/")
    process = rest.partition("/")[0]
    if not host or host != _host() or not process.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def renew(connection: Connection, runner: str) -> set[str]:
    """Move the leases of a runner's jobs on; the jobs that it still holds."""
    rows = connection.execute(
        f"UPDATE jobs SET lease_until = ? WHERE {_UNFINISHED} AND runner = ? RETURNING job_id",  # noqa: S608
        (time.time() + LEASE, runner),
    )
    return {job_id for (job_id,) in rows.fetchall()}


def is_held(connection: Connection, runner: str, job_id: str) -> bool:
    """Whether the runner still holds the job."""
    held = connection.execute(f"SELECT 1 FROM jobs WHERE {_HELD}", {"job_id": job_id, "runner": runner}).fetchone()  # noqa: S608
    return held is not None


def finish(connection: Connection, runner: str, job_id: str, sample_id: SampleId) -> None:
    """End a job that the runner holds with the sample that came of it; keep its binary if that was asked for."""
    connection.execute(
        f"UPDATE jobs SET state = 'finished', sample_id = :sample_id, error = NULL, {_END} WHERE {_HELD}",  # noqa: S608
        {"job_id": job_id, "runner": runner, "sample_id": sample_id, "now": _now()},
    )
    connection.execute(
        """UPDATE binaries SET is_kept = 1
        WHERE sha256 = (SELECT sha256 FROM jobs WHERE job_id = ? AND keep_binary)""",
        (job_id,),
    )
    _drop_binary(connection, job_id)


def fail(connection: Connection, runner: str, job_id: str, error: AnalysisError) -> None:
    """End a job that the runner holds with an error."""
    done = connection.execute(
        f"UPDATE jobs SET state = 'failed', error = :error, {_END} WHERE {_HELD}",  # noqa: S608
        {"job_id": job_id, "runner": runner, "error": _to_json(error.to_dict()).decode(), "now": _now()},
    )
    if done.rowcount:
        _drop_binary(connection, job_id)


def give_back(connection: Connection, runner: str, job_id: str, reason: str) -> None:
    """Queue a job again that the runner holds; after the last attempt, it has failed for that reason."""
    job = get(connection, job_id)
    if job.attempts >= MAX_ATTEMPTS:
        fail(connection, runner, job_id, AnalysisError.of(job_id, f"{reason}, {MAX_ATTEMPTS} times"))
    else:
        _queue_again(connection, runner, job_id, attempts=job.attempts)


def interrupt(connection: Connection, runner: str, job_id: str) -> None:
    """Queue a job again that the runner holds, as if it had not been begun."""
    _queue_again(connection, runner, job_id, attempts=max(get(connection, job_id).attempts - 1, 0))


def _queue_again(connection: Connection, runner: str, job_id: str, *, attempts: int) -> None:
    connection.execute(
        f"""UPDATE jobs SET state = 'queued', runner = NULL, lease_until = NULL, attempts = :attempts
        WHERE {_HELD}""",  # noqa: S608
        {"job_id": job_id, "runner": runner, "attempts": attempts},
    )


def cancel(connection: Connection, job_id: str) -> Job:
    """End a job that has not ended; its runner finds out when it next renews its lease."""
    if get(connection, job_id).finished_at is None:
        connection.execute(
            f"UPDATE jobs SET state = 'cancelled', {_END} WHERE job_id = :job_id",  # noqa: S608
            {"job_id": job_id, "now": _now()},
        )
        _drop_binary(connection, job_id)
    return get(connection, job_id)


def _drop_binary(connection: Connection, job_id: str) -> None:
    connection.execute(
        "DELETE FROM binaries WHERE sha256 = (SELECT sha256 FROM jobs WHERE job_id = ?) AND NOT is_kept", (job_id,)
    )


def delete_binary(connection: Connection, sample_id: SampleId) -> None:
    """Delete the binary of a sample, if it was kept."""
    connection.execute(
        "DELETE FROM binaries WHERE is_kept AND sha256 = (SELECT sha256 FROM samples WHERE sample_id = ?)",
        (sample_id,),
    )


def _random() -> str:
    return os.urandom(16).hex()


def _host() -> str:
    """This boot of this machine, and whose processes can be seen here; `""` where that cannot be known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot}.{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
