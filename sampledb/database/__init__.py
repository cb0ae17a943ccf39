"""SampleDB: the public calls, a module for each subject. Each call checks, opens one transaction, asks the tables."""

import os

from sampledb import limits
from sampledb.database.file import File
from sampledb.database.find import Find
from sampledb.database.functions import Functions, read_frame
from sampledb.database.jobs import Jobs
from sampledb.database.labels import Labels
from sampledb.database.samples import Samples
from sampledb.database.search import Search
from sampledb.database.similar import Similar
from sampledb.database.tables import Tables
from sampledb.database.transfer.calls import Transfer
from sampledb.model import Problem

__all__ = ["SampleDB", "open", "read_frame", "salvage"]


def open(path: str | os.PathLike[str], *, readonly: bool = False, timeout: float = 5.0) -> "SampleDB":  # noqa: A001
    """Open a file, creating it if it is missing.

    Opening an up-to-date file writes nothing. With `readonly`, no call writes, and a missing file is an error.

    Args:
        path: The file, or `":memory:"` for a store that exists only as long as the handle.
        readonly: Never write; works on read-only media.
        timeout: Seconds to wait for another writer before BusyError.

    Raises:
        NotASampleDBError: The file is not a store.
        NewerFormatError: A later version of this package wrote the file.
        CorruptFileError: The file is damaged.
        ReadOnlyError: The file has an older format and must be upgraded, which `readonly` forbids.
        StorageError: The file cannot be opened or created.
    """
    return SampleDB(path, readonly=readonly, timeout=timeout)


def salvage(damaged: str | os.PathLike[str], path: str | os.PathLike[str]) -> list[Problem]:
    """Copy everything readable from a damaged file into a new one and return a Problem for each loss.

    The damaged file is only read; a copy of it needs free space beside the new one. No handle of this process may
    have it open: call `SampleDB.salvage` of that handle instead.

    Raises:
        InvalidInputError: `path` exists, or a handle has the damaged file open.
        NotASampleDBError: Nothing of a store can be read in it.
        StorageError: It cannot be read at all, or the new file cannot be written.
    """
    from sampledb.store.care.salvage import salvage_file  # noqa: PLC0415 - as above

    return salvage_file(limits.path(damaged), limits.path(path))


class SampleDB(Samples, Transfer, Functions, Labels, Search, Find, Similar, Tables, Jobs, File):
    """A store of samples and their functions in one SQLite file.

    A handle can be shared by threads, survives `fork`, and pickles to its path. Every call that writes is one
    transaction: when it returns, the change is on disk; when it raises, nothing has changed. Any call can raise
    ClosedError after `close()`, BusyError if another connection holds the file for longer than `timeout`,
    CorruptFileError for a damaged file, and StorageError if the disk fails.
    """
