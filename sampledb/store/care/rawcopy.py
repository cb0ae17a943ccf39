"""Copy a damaged file and its journals, byte by byte, as they were at one moment.

Another process may be writing it. Where SQLite can read the file, a read transaction keeps it still enough; elsewhere
the copy is made again until nothing changed meanwhile.
"""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from sampledb.errors import BusyError, SampleDBError, StorageError
from sampledb.intake.files import has_foreign_wal, is_marked_wal, names_super_journal, require_regular_beside
from sampledb.model import Problem
from sampledb.store import file
from sampledb.store.sqlite import sqlite3

_JOURNALS: Final = ("-wal", "-journal")
# Seconds to wait for a writer.
_TIMEOUT: Final = 60.0
# Seconds; a file system may give all writes within fewer the same time.
_TICK: Final = 0.05
_ATTEMPTS: Final = 5
_PIECE: Final = 1024 * 1024


def copy_raw(path: str, copy: str) -> list[Problem]:
    """Copy the file at the real path `path`, and its journals. Returns a Problem for each journal of another file.

    No handle of this process may have the file open.

    Raises:
        BusyError: Another process writes it without a pause.
        StorageError: It cannot be read.
    """
    require_regular_beside(path)
    foreign = [path + "-wal"] if has_foreign_wal(path) else []
    foreign += [path + "-journal"] if names_super_journal(path + "-journal") else []
    suffixes = ["", *(suffix for suffix in _JOURNALS if path + suffix not in foreign)]
    with ExitStack() as opened:
        is_still = not foreign and opened.enter_context(_keep_still(path))
        for _ in range(_ATTEMPTS):
            before = _stamp(path)
            time.sleep(_TICK)
            _copy_files(path, copy, suffixes)
            if is_still or before == _stamp(path):
                return [Problem("it belongs to another file, and was left out", journal) for journal in foreign]
    raise BusyError.of(path, "another process writes it without a pause", _TIMEOUT)


@contextmanager
def _keep_still(path: str) -> Iterator[bool]:
    """Hold a read transaction on a file, and yield whether that was possible.

    It keeps writers of a rollback journal from committing, and a WAL from starting again. SQLite is not asked to open
    a file in WAL mode that nobody has open, because it would leave a WAL beside it.
    """
    with ExitStack() as opened:
        is_still = False
        if not is_marked_wal(path) or (Path(path + "-wal").exists() and Path(path + "-shm").exists()):
            try:
                connection = file.connect(path, readonly=True, timeout=_TIMEOUT)
                opened.callback(connection.close)
                connection.execute("BEGIN")
                connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
                is_still = True
            except (sqlite3.Error, SampleDBError):
                is_still = False
        yield is_still


def _stamp(path: str) -> list[tuple[int, ...]]:
    """Return something that changes when a file or one of its journals is written, appears or disappears."""
    stamps: list[tuple[int, ...]] = []
    for suffix in ("", *_JOURNALS):
        try:
            found = Path(path + suffix).stat()
            stamps.append((found.st_ino, found.st_size, found.st_mtime_ns))
        except OSError:
            stamps.append(())
    return stamps


def _copy_data(source: BinaryIO, target: BinaryIO) -> None:
    """Copy a file, and its holes as holes: a forged journal may pretend to be larger than the disk."""
    for start, end in _find_data(source.fileno()):
        source.seek(start)
        target.seek(start)
        while start < end and (piece := source.read(min(_PIECE, end - start))):
            start += target.write(piece)  # noqa: PLW2901 - what is left of the part
    target.truncate(os.fstat(source.fileno()).st_size)


def _find_data(descriptor: int) -> Iterator[tuple[int, int]]:
    """Yield the start and the end of each part of a file that is no hole, where the system tells."""
    size, end = os.fstat(descriptor).st_size, 0
    try:
        while end < size and hasattr(os, "SEEK_DATA"):
            start = os.lseek(descriptor, end, os.SEEK_DATA)
            end = os.lseek(descriptor, start, os.SEEK_HOLE)
            yield start, end
    except OSError as error:
        if error.errno == errno.ENXIO:  # the rest is a hole
            return
    if end < size:
        yield end, size


def _copy_files(path: str, copy: str, suffixes: list[str]) -> None:
    try:
        with ExitStack() as opened:
            # Closed together at the end, because closing the file drops this process's locks on it.
            for suffix in suffixes:
                Path(copy + suffix).unlink(missing_ok=True)
                if not suffix or Path(path + suffix).exists():
                    source = opened.enter_context(Path(path + suffix).open("rb"))
                    with Path(copy + suffix).open("wb") as target:
                        _copy_data(source, target)
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno == errno.EIO:
            reason += "; copy the file with ddrescue first, which skips bad sectors, and salvage that copy"
        raise StorageError.in_file(path, reason) from error
