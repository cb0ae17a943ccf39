"""Files of the user: opened to be read without waiting, and new ones that appear when they are complete."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from sampledb.errors import InvalidInputError, SampleDBError, StorageError


def open_regular(path: str | os.PathLike[str], field: str) -> BinaryIO:
    """Open the regular file that the argument `field` names; the caller closes it.

    Raises:
        InvalidInputError: There is none, it is a pipe or a device, or it cannot be read.
    """
    try:
        # A number would be taken for a descriptor of the caller's, and closed.
        file = open(os.fspath(path), "rb", opener=_open_without_waiting)  # noqa: SIM115 - closed by the caller
    except (OSError, ValueError, TypeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInputError.of(field, f"a file that can be read ({reason})", path) from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise InvalidInputError.of(field, "a regular file", path)
    return file


def _open_without_waiting(path: str, flags: int) -> int:
    # A pipe that nobody writes to would never open.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


@contextmanager
def new_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty file beside `path`, which takes this name at the end; on any exception it is removed.

    A process that is killed leaves the empty file's name behind: `.NAME.….partial`.

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
            # The journal is there where a database could not be written.
            for left in (partial.with_name(f"{partial.name}-journal"), partial):
                with suppress(OSError):
                    left.unlink()
    except SampleDBError:
        raise
    except OSError as error:
        raise StorageError.not_written(str(path), error) from error


def _sync(folder: Path) -> None:
    """Write the folder to disk, or a power cut could take the new name away; Windows has no such call."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
