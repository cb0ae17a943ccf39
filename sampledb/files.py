"""Open files that users name, and write new ones that get their name when they are complete."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from sampledb.errors import InvalidInputError, StorageError


def open_regular(path: str | os.PathLike[str], field: str) -> BinaryIO:
    """Open the regular file at `path`, given as the argument `field`; the caller closes it.

    Raises:
        InvalidInputError: There is none, it is a pipe or a device, or it cannot be read.
    """
    try:
        # Without fspath, a number would be taken for a descriptor of the caller's, and closed.
        file = open(os.fspath(path), "rb", opener=_open_without_waiting)  # noqa: SIM115 - closed by the caller
    except (OSError, ValueError, TypeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInputError.of(field, f"a file that can be read ({reason})", path) from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise InvalidInputError.of(field, "a regular file", path)
    return file


def open_readable(path: str | os.PathLike[str], name: str) -> BinaryIO:
    """Open the file or pipe at `path`; the caller closes it.

    Raises:
        OSError: It is missing, or cannot be opened.
        InvalidInputError: It is a device, or no file can have such a path; the error calls it `name`.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115, PTH123 - closed by the caller
    except (ValueError, TypeError) as error:
        raise InvalidInputError.in_file(name, f"cannot be read: {error}") from error
    if stat.S_ISCHR(os.fstat(file.fileno()).st_mode):
        file.close()
        raise InvalidInputError.in_file(name, "is a device, which may have no end; give a file")
    return file


def _open_without_waiting(path: str, flags: int) -> int:
    # A pipe that nobody writes to would never open.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


@contextmanager
def new_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty file that is renamed to `path` at the end, and removed on any exception.

    It lies beside `path` as `.NAME.….partial`, where a process that is killed leaves it.

    Raises:
        InvalidInputError: There is a file at `path` already.
        StorageError: The file cannot be written.
    """
    # Imports a dozen modules that nothing else here needs.
    import tempfile  # noqa: PLC0415

    target = Path(path)
    try:
        if target.exists():
            raise InvalidInputError.of("path", "a path where no file is", str(path))
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
        os.close(handle)
        partial = Path(name)
        try:
            yield partial
            partial.replace(target)
            _sync(target.parent)
        finally:
            # SQLite leaves a journal where it could not write.
            for left in (partial.with_name(f"{partial.name}-journal"), partial):
                with suppress(OSError):
                    left.unlink()
    except StorageError:
        raise
    except OSError as error:
        raise StorageError.not_written(str(path), error) from error


def _sync(folder: Path) -> None:
    """Write the folder to disk, so that a power cut cannot lose the new name; Windows has no such call."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
