"""Define every exception that leaves this package.

SampleDBError(Exception)             code              details
├── InvalidInputError (ValueError)   invalid_input     field, rule, value (shortened), or path (a JSON path)
├── NotFoundError (LookupError)      not_found         resource ("sample", "function", "job"), id
├── ConflictError                    conflict          resource, id, sample_id, sha256
├── BusyError (TimeoutError)         busy              retry_after (seconds), path
├── ReadOnlyError (PermissionError)  read_only         path
├── ClosedError                      closed            path
├── MissingExtraError (ImportError)  missing_extra     extra, install (the pip command)
├── AnalysisError                    analysis_failed   job_id, reason
└── StorageError (OSError)           storage           path, reason
    ├── NotASampleDBError            not_a_sampledb    path, reason
    ├── NewerFormatError             newer_format      path, found, supported
    └── CorruptFileError             corrupt           what, where, path

Each also has a built-in base, so that code without this import can catch it: `except ValueError`, `except OSError`.
"""

import os
from typing import Any, ClassVar, Self

MAX_MESSAGE = 500
MAX_VALUE = 80
# Longer integers are described: Python refuses to print those of some thousand digits.
MAX_INTEGER_BITS = 256


def shorten(text: str, limit: int) -> str:
    """Return at most `limit` characters of `text`; an ellipsis shows the cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _plain(text: str) -> str:
    """Return `text` with `?` for lone surrogates, which JSON and pickles cannot hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


class SampleDBError(Exception):
    """Base of all errors of this package.

    Attributes:
        code: The kind of error, snake_case, fixed for each class.
        message: One sentence for people, at most 500 characters; `str()` returns it too.
        details: Plain JSON values for programs; empty, never `None`.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str, details: dict[str, Any] | None = None) -> None:
        self.message = shorten(_plain(message), MAX_MESSAGE)
        self.details = {} if details is None else details
        super().__init__(self.message)

    def __reduce__(self) -> tuple[type[Self], tuple[str, dict[str, Any]]]:
        return type(self), (self.message, self.details)

    def __str__(self) -> str:
        # OSError would print its errno, which is never set here.
        return self.message

    def to_dict(self) -> dict[str, Any]:
        """Return `code`, `message` and `details` in plain JSON types."""
        return {"code": self.code, "message": self.message, "details": self.details}


class InvalidInputError(SampleDBError, ValueError):
    """An argument or a report breaks a rule; nothing was stored."""

    code = "invalid_input"

    @classmethod
    def of(cls, field: str, rule: str, value: object) -> Self:
        """Return the error for an argument `field` that must be `rule`, and is `value`."""
        shown = _plain(shorten(_repr(value), MAX_VALUE))
        return cls(f"{field} must be {rule}, not {shown}.", {"field": field, "rule": rule, "value": shown})

    @classmethod
    def in_report(cls, path: str, rule: str) -> Self:
        """Return the error for a place in a report, named by its JSON path."""
        path, rule = shorten(_plain(path), MAX_MESSAGE // 2), shorten(_plain(rule), MAX_MESSAGE // 2)
        return cls(f"SMDA report, {path}: {rule}.", {"field": "smda_report", "rule": rule, "path": path})

    @classmethod
    def in_file(cls, name: str, rule: str, *, field: str = "smda_report") -> Self:
        """Return the error for a file, given as the argument `field`; `rule` says what to do about it."""
        name, rule = _plain(shorten(name, MAX_MESSAGE // 2)), shorten(_plain(rule), MAX_MESSAGE // 2)
        return cls(f"{name}: {rule}.", {"field": field, "rule": rule, "value": name})


def _repr(value: object) -> str:
    """Return `repr(value)`, shortened first where the value is huge."""
    if isinstance(value, os.PathLike):
        value = os.fsdecode(value)
    if isinstance(value, str | bytes | bytearray):
        return repr(value[:MAX_VALUE]) + ("…" if len(value) > MAX_VALUE else "")
    if isinstance(value, int) and value.bit_length() > MAX_INTEGER_BITS:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, bool | int | float | None):
        return repr(value)
    return f"a {type(value).__name__}"


class NotFoundError(SampleDBError, LookupError):
    """There is no sample, function or job of that id, hash or address."""

    code = "not_found"

    @classmethod
    def of(cls, resource: str, identity: int | str) -> Self:
        """Return the error for a `resource` that is not in the file."""
        if isinstance(identity, int) and identity.bit_length() > MAX_INTEGER_BITS:
            identity = _repr(identity)
        return cls(f"{resource.capitalize()} {identity} not found.", {"resource": resource, "id": identity})


class ConflictError(SampleDBError):
    """The SHA-256 is in the file already."""

    code = "conflict"

    @classmethod
    def of_sample(
        cls, sample_id: int, sha256: str, has: str, *, advice: str = "pass exist_ok=True to get it as it is stored"
    ) -> Self:
        """Return the error for a sample that already `has` an analysis or media metadata."""
        return cls(
            f"Sample {sample_id} ({sha256}) already has {has}; {advice}.",
            {"resource": "sample", "id": sample_id, "sample_id": sample_id, "sha256": sha256},
        )

    @classmethod
    def of_job(cls, job_id: str, sha256: str) -> Self:
        """Return the error for a binary that is in the queue already."""
        return cls(
            f"Job {job_id} is about to disassemble {sha256} already; wait for it, or cancel it.",
            {"resource": "job", "id": job_id, "sha256": sha256},
        )


class BusyError(SampleDBError, TimeoutError):
    """Another connection kept the file locked for longer than `timeout`."""

    code = "busy"

    @classmethod
    def of(cls, path: str, reason: str, timeout: float) -> Self:
        """Return the error for a lock that was not free within `timeout` seconds."""
        details = {"retry_after": max(timeout, 0.1), "path": path}
        return cls(f"{path} is busy: {reason}; try again.", details)


class ReadOnlyError(SampleDBError, PermissionError):
    """The file was opened read-only, or the file system allows no writing."""

    code = "read_only"

    @classmethod
    def of(cls, path: str, reason: str = "it was opened with readonly=True") -> Self:
        """Return the error for a file that may not be written."""
        return cls(f"{path} is read-only: {reason}.", {"path": path})


class ClosedError(SampleDBError):
    """The SampleDB was closed before this call."""

    code = "closed"


class MissingExtraError(SampleDBError, ImportError):
    """The call needs an optional dependency that is not installed."""

    code = "missing_extra"

    @classmethod
    def of(cls, extra: str, purpose: str) -> Self:
        """Return the error for an extra that `purpose` needs."""
        install = f"pip install 'sampledb[{extra}]'"
        return cls(f"{purpose} needs the extra {extra}: {install}", {"extra": extra, "install": install})


class AnalysisError(SampleDBError):
    """A binary could not be disassembled."""

    code = "analysis_failed"

    @classmethod
    def of(cls, job_id: str, reason: str) -> Self:
        """Return the error of a job; `reason` may be text from SMDA or an executor, of any length."""
        reason = _plain(shorten(reason, MAX_MESSAGE - 50))
        return cls(f"The binary could not be disassembled: {reason}", {"job_id": job_id, "reason": reason})


class StorageError(SampleDBError, OSError):
    """The operating system or SQLite could not read or write the file: disk full, I/O error, no such folder."""

    code = "storage"

    @classmethod
    def in_file(cls, path: str, reason: str) -> Self:
        """Return the error for a file that cannot be used."""
        return cls(f"{path}: {reason}.", {"path": path, "reason": reason})

    @classmethod
    def not_written(cls, path: str, error: Exception) -> "StorageError":
        """Return the error for a new file that cannot be written."""
        reason = getattr(error, "strerror", None) or str(error)
        return StorageError(f"{path} could not be written: {reason}.", {"path": path, "reason": reason})


class NotASampleDBError(StorageError):
    """The file is something else: no SQLite file, or another program's."""

    code = "not_a_sampledb"

    @classmethod
    def in_file(cls, path: str, reason: str) -> Self:
        """Return the error for a file that is something else."""
        return cls(f"{path} is not a sampledb file: {reason}.", {"path": path, "reason": reason})


class NewerFormatError(StorageError):
    """The file was written by a later version of this package."""

    code = "newer_format"

    @classmethod
    def of(cls, path: str, found: int, supported: int) -> Self:
        """Return the error for a file of format `found`."""
        return cls(
            f"{path} has format {found}, but this sampledb reads formats up to {supported}. Upgrade sampledb.",
            {"path": path, "found": found, "supported": supported},
        )


class CorruptFileError(StorageError):
    """The file is damaged: this package cannot have written what it contains."""

    code = "corrupt"

    @classmethod
    def of(cls, what: str, where: str, path: str | None = None) -> Self:
        """Return the error for damage in the content of a file; the connection adds the path if none is given."""
        return cls(
            f"{path or 'The file'} is damaged: {what} ({where}). check(deep=True) lists all damage, salvage() saves "
            "the rest.",
            {"what": what, "where": where} | ({"path": path} if path else {}),
        )
