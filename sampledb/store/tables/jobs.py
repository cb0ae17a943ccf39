"""The tables `jobs` and `binaries`: a queue for several processes, which survives them.

    queued ──claim──▶ running ──▶ finished · failed · cancelled
       ▲                 │
       └──── given back ─┘   after an interrupt, or the death of a worker or a runner

A runner holds each of its jobs by a lease that it renews, and changes a job only while it holds it. If a runner
misses the end of its lease, another may take the job; the result of the first is then discarded. A lease ends by two
clocks: runners of one machine read the monotonic one, which nobody can set; others can compare only Unix time.
"""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from sampledb.errors import AnalysisError, ConflictError, CorruptFileError, NotFoundError
from sampledb.format import codec
from sampledb.intake.binary import Request, Submission
from sampledb.model import Job, Problem, SampleId
from sampledb.store.sqlite import Connection
from sampledb.store.tables import values

MAX_ATTEMPTS: Final = 3
# Seconds. Long enough for a runner to wait for a busy file, short enough for others to wait after a crash.
LEASE: Final = 30.0
STATES: Final = ("queued", "running", "finished", "failed", "cancelled")

_FIELDS: Final = Job.__struct_fields__
_SELECT: Final = f"SELECT {', '.join(_FIELDS)} FROM jobs"  # noqa: S608
_REQUEST: Final = (
    *("job_id", "filename", "family", "version", "is_dump", "base_addr", "bitness", "strings", "sha256", "username"),
)
# Must repeat the WHERE of index `jobs_unfinished`; otherwise SQLite scans all finished jobs.
_UNFINISHED: Final = "state IN ('queued', 'running')"
_HELD: Final = "job_id = :job_id AND state = 'running' AND runner IS :runner"
_NO_LEASE: Final = "runner = NULL, lease_until = NULL, lease_uptime = NULL"
_LEASE: Final = "lease_until = :until, lease_uptime = :uptime"
_END: Final = f"{_NO_LEASE}, finished_at = :now"
_CLAIM: Final = f"""
UPDATE jobs
SET state = 'running', runner = :runner, {_LEASE}, started_at = :now, attempts = attempts + 1
WHERE job_number = (
    SELECT min(job_number) FROM jobs
    WHERE {_UNFINISHED} AND state = 'queued' AND (:job_id IS NULL OR job_id = :job_id)
)
RETURNING {", ".join(_REQUEST)}"""  # noqa: S608

_KEPT: Final = "SELECT sha256, checksum, binary FROM binaries WHERE sha256 = ? AND is_kept"


class Claim(NamedTuple):
    """A job that a runner holds, with everything needed to run it."""

    request: Request
    sha256: str
    username: str
    binary: bytes


# Submitting


def insert(connection: Connection, submission: Submission, blob: bytes) -> str:
    """Queue a binary, stored as `blob`, and return the id of the new job.

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
        "submitted_at": values.now(),
    }
    del columns["binary"]
    values.insert_row(connection, "jobs", columns)
    # A binary kept from an earlier analysis stays kept.
    connection.execute(
        "INSERT OR IGNORE INTO binaries (sha256, is_kept, checksum, binary) VALUES (?, 0, ?, ?)",
        (submission.sha256, codec.checksum(blob), blob),
    )
    return job_id


# Reading


def get(connection: Connection, job_id: str) -> Job:
    """Return the job of an id, or raise NotFoundError."""
    row = connection.execute(f"{_SELECT} WHERE job_id = ?", (job_id,)).fetchone()
    if row is None:
        raise NotFoundError.of("job", job_id)
    return _make_job(row)


def select(connection: Connection, state: str | None) -> list[Job]:
    """Return the jobs in a state, or all, in the order of submission."""
    rows = connection.execute(f"{_SELECT} WHERE :state IS NULL OR state = :state ORDER BY job_number", {"state": state})
    return [_make_job(row) for row in rows]


def count_unfinished(connection: Connection) -> int:
    """Return the number of jobs that are queued or running."""
    ((count,),) = connection.execute(f"SELECT count(*) FROM jobs WHERE {_UNFINISHED}")  # noqa: S608
    return int(count)


def get_binary(connection: Connection, sha256: str) -> bytes | None:
    """Return a kept binary, or `None`."""
    row = connection.execute(_KEPT, (sha256,)).fetchone()
    return None if row is None else verify(*row)


def read_kept(connection: Connection, sha256: str) -> bytes | None:
    """Return the blob of a kept binary, which was checked, or `None`."""
    row = connection.execute(_KEPT, (sha256,)).fetchone()
    if row is None:
        return None
    verify(*row)
    return bytes(row[2])


def has_kept(connection: Connection, sha256: str) -> bool:
    """Return whether the binary of a SHA-256 is kept."""
    return connection.execute("SELECT 1 FROM binaries WHERE sha256 = ? AND is_kept", (sha256,)).fetchone() is not None


def keep(connection: Connection, sha256: str, blob: bytes) -> None:
    """Keep a binary, stored as `blob`; one that waits to be disassembled is kept too."""
    connection.execute(
        """INSERT INTO binaries (sha256, is_kept, checksum, binary) VALUES (?, 1, ?, ?)
        ON CONFLICT (sha256) DO UPDATE SET is_kept = 1""",
        (sha256, codec.checksum(blob), blob),
    )


def drop_incomplete(connection: Connection) -> list[str]:
    """Delete unfinished jobs without a binary, and binaries without a job; return the ids of these jobs."""
    gone = connection.execute(
        f"DELETE FROM jobs WHERE {_UNFINISHED} AND sha256 NOT IN (SELECT sha256 FROM binaries) RETURNING job_id"  # noqa: S608
    ).fetchall()
    connection.execute(
        f"DELETE FROM binaries WHERE NOT is_kept AND sha256 NOT IN (SELECT sha256 FROM jobs WHERE {_UNFINISHED})"  # noqa: S608
    )
    return [job_id for (job_id,) in gone]


def find_damage(connection: Connection) -> Iterator[Problem]:
    """Yield a Problem for each damaged binary; raise CorruptFileError if a job cannot be read."""
    select(connection, None)
    for (binary_id,) in connection.execute("SELECT binary_id FROM binaries").fetchall():
        row = connection.execute("SELECT sha256, checksum, binary FROM binaries WHERE binary_id = ?", (binary_id,))
        try:
            verify(*row.fetchone())
        except CorruptFileError as error:
            yield Problem(str(error.details["what"]), str(error.details["where"]))


def verify(sha256: str, checksum: object, blob: object) -> bytes:
    """Return the binary of a blob; raise CorruptFileError if it is not that of the SHA-256."""
    # Loads OpenSSL, which only jobs and media need.
    import hashlib  # noqa: PLC0415

    try:
        content = codec.decode(codec.BINARY, blob, checksum)
    except codec.DecodeError as error:
        raise CorruptFileError.of(str(error), f"binaries, sha256 {sha256}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise CorruptFileError.of("the binary is another file", f"binaries, sha256 {sha256}")
    return content


def _make_job(row: Sequence[Any]) -> Job:
    fields = dict(zip(_FIELDS, row, strict=True))
    try:
        times = {
            name: None if fields[name] is None else values.parse_time(fields[name])
            for name in ("submitted_at", "started_at", "finished_at")
        }
        error = None if fields["error"] is None else values.parse_object(fields["error"])
        job: Job = msgspec.convert({**fields, **times, "error": error, "filename": fields["filename"] or ""}, Job)
    except (TypeError, ValueError, RecursionError) as found:
        raise CorruptFileError.of(f"a value cannot be read: {found}", "jobs") from found
    return job


# Running


def runner_name() -> str:
    """Return a new name for a runner in this process."""
    return f"{_host()}/{os.getpid()}/{_random()}"


def claim(connection: Connection, runner: str, job_id: str | None = None) -> Claim | None:
    """Lease the oldest queued job, or that of `job_id`, to `runner`; return `None` if there is none."""
    _release_abandoned(connection, runner)
    while True:
        lease = {"runner": runner, "now": values.now(), "job_id": job_id, **_new_lease()}
        row = connection.execute(_CLAIM, lease).fetchone()
        if row is None:
            return None
        try:
            return _read_claim(connection, dict(zip(_REQUEST, row, strict=True)))
        except CorruptFileError as error:
            # One damaged binary must not block the queue.
            fail(connection, runner, row[0], AnalysisError.of(row[0], str(error.details["what"])))


def _read_claim(connection: Connection, fields: dict[str, Any]) -> Claim:
    sha256, username = fields.pop("sha256"), fields.pop("username")
    stored = connection.execute("SELECT checksum, binary FROM binaries WHERE sha256 = ?", (sha256,)).fetchone()
    if stored is None:
        raise CorruptFileError.of("the binary of a job is missing", f"jobs, job_id {fields['job_id']}")
    fields["base_addr"] = codec.unsigned(fields["base_addr"])
    fields |= {flag: bool(fields[flag]) for flag in ("is_dump", "strings")}
    return Claim(Request(**fields, timeout=0.0), sha256, username, verify(sha256, *stored))


def _release_abandoned(connection: Connection, runner: str) -> None:
    """Requeue jobs of dead runners, but not those of `runner` itself, whose leases may merely be late."""
    rows = connection.execute(
        f"""SELECT job_id, runner, lease_until, lease_uptime
        FROM jobs
        WHERE {_UNFINISHED} AND state = 'running' AND runner IS NOT ?""",  # noqa: S608
        (runner,),
    ).fetchall()
    for job_id, other, *lease in rows:
        if not _is_valid(other, *lease) or _is_dead(other):
            give_back(connection, other, job_id, "the process that ran it died")


def _new_lease() -> dict[str, float]:
    """Return the end of a lease that begins now, by both clocks."""
    return {"until": time.time() + LEASE, "uptime": time.monotonic() + LEASE}


def _is_valid(runner: object, lease_until: object, lease_uptime: object) -> bool:
    """Return whether a runner's lease has not ended, by the best clock that this process shares with it."""
    clock = _clock_of(_host())
    end, now = lease_until, time.time()
    if clock and clock == _clock_of(str(runner).partition("/")[0]):
        end, now = lease_uptime, time.monotonic()
    # A lease in the far future comes from a wrong clock, or was forged.
    return isinstance(end, int | float) and now <= end <= now + 2 * LEASE


def _is_dead(runner: object) -> bool:
    """Return whether the process of a runner has ended. `False` if it cannot be seen from here."""
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
    """Renew the leases of a runner's jobs and return the ids of those that it still holds."""
    rows = connection.execute(
        f"UPDATE jobs SET {_LEASE} WHERE {_UNFINISHED} AND runner = :runner RETURNING job_id",  # noqa: S608
        {"runner": runner, **_new_lease()},
    )
    return {job_id for (job_id,) in rows.fetchall()}


def is_held(connection: Connection, runner: str, job_id: str) -> bool:
    """Return whether a runner still holds a job."""
    held = connection.execute(f"SELECT 1 FROM jobs WHERE {_HELD}", {"job_id": job_id, "runner": runner}).fetchone()  # noqa: S608
    return held is not None


def finish(connection: Connection, runner: str, job_id: str, sample_id: SampleId) -> None:
    """End a held job with its sample; delete its binary unless it was submitted with `keep_binary`."""
    connection.execute(
        f"UPDATE jobs SET state = 'finished', sample_id = :sample_id, error = NULL, {_END} WHERE {_HELD}",  # noqa: S608
        {"job_id": job_id, "runner": runner, "sample_id": sample_id, "now": values.now()},
    )
    connection.execute(
        """UPDATE binaries SET is_kept = 1
        WHERE sha256 = (SELECT sha256 FROM jobs WHERE job_id = ? AND keep_binary)""",
        (job_id,),
    )
    _drop_binary(connection, job_id)


def fail(connection: Connection, runner: str, job_id: str, error: AnalysisError) -> None:
    """End a held job with an error."""
    done = connection.execute(
        f"UPDATE jobs SET state = 'failed', error = :error, {_END} WHERE {_HELD}",  # noqa: S608
        {"job_id": job_id, "runner": runner, "error": values.to_json(error.to_dict()), "now": values.now()},
    )
    if done.rowcount:
        _drop_binary(connection, job_id)


def give_back(connection: Connection, runner: str, job_id: str, reason: str) -> None:
    """Requeue a held job; after MAX_ATTEMPTS it fails for `reason`."""
    job = get(connection, job_id)
    if job.attempts >= MAX_ATTEMPTS:
        fail(connection, runner, job_id, AnalysisError.of(job_id, f"{reason}, {MAX_ATTEMPTS} times"))
    else:
        _queue_again(connection, runner, job_id, attempts=job.attempts)


def interrupt(connection: Connection, runner: str, job_id: str) -> None:
    """Requeue a held job, not counting the attempt."""
    _queue_again(connection, runner, job_id, attempts=max(get(connection, job_id).attempts - 1, 0))


def _queue_again(connection: Connection, runner: str, job_id: str, *, attempts: int) -> None:
    connection.execute(
        f"UPDATE jobs SET state = 'queued', {_NO_LEASE}, attempts = :attempts WHERE {_HELD}",  # noqa: S608
        {"job_id": job_id, "runner": runner, "attempts": attempts},
    )


def cancel(connection: Connection, job_id: str) -> Job:
    """Cancel a job unless it has ended; its runner notices when it next renews its leases."""
    if get(connection, job_id).finished_at is None:
        connection.execute(
            f"UPDATE jobs SET state = 'cancelled', {_END} WHERE job_id = :job_id",  # noqa: S608
            {"job_id": job_id, "now": values.now()},
        )
        _drop_binary(connection, job_id)
    return get(connection, job_id)


def _drop_binary(connection: Connection, job_id: str) -> None:
    connection.execute(
        "DELETE FROM binaries WHERE sha256 = (SELECT sha256 FROM jobs WHERE job_id = ?) AND NOT is_kept", (job_id,)
    )


def delete_binary(connection: Connection, sample_id: SampleId) -> None:
    """Delete the kept binary of a sample, if there is one."""
    connection.execute(
        "DELETE FROM binaries WHERE is_kept AND sha256 = (SELECT sha256 FROM samples WHERE sample_id = ?)",
        (sample_id,),
    )


def _random() -> str:
    return os.urandom(16).hex()


def _host() -> str:
    """Return a name for this boot of this machine, and the namespaces of its clock and its processes; or `""`."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot}.{_namespace('time')}.{_namespace('pid')}"
    except OSError:
        return ""


def _namespace(kind: str) -> int:
    """Return the number of one of this process's namespaces, or 0 if this Linux has no such kind."""
    path = Path("/proc/self/ns", kind)
    return path.stat().st_ino if kind == "pid" or path.exists() else 0


def _clock_of(host: str) -> str:
    """Return the part of a host's name that tells which monotonic clock its processes have, or `""`."""
    # Containers of one machine share it, though they do not see each other's processes.
    return host.rpartition(".")[0]
