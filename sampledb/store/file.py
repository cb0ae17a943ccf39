"""Open a file: recognize, create, upgrade or refuse it."""

import os
import stat
from pathlib import Path
from typing import Any, Final, NamedTuple

from sampledb.errors import CorruptFileError, NewerFormatError, NotASampleDBError, ReadOnlyError, StorageError
from sampledb.files import (
    BESIDE,
    Identity,
    find_left,
    find_real_path,
    has_foreign_wal,
    is_marked_wal,
    names_super_journal,
    require_regular_beside,
)
from sampledb.limits import MEMORY
from sampledb.store import forks, schema, sqlite
from sampledb.store.sqlite import Connection, sqlite3

_PRAGMAS: Final = (
    "PRAGMA foreign_keys = ON",
    # In WAL the same as FULL. With a rollback journal it also syncs the folder; without that, a power cut
    # can bring a deleted journal back, and so the state before the commit.
    "PRAGMA synchronous = EXTRA",
    # The file may be hostile: SQL in its schema may call no function that could do harm, and cells are
    # checked before they are used.
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    # One large report must not leave a WAL of its size until the handle closes.
    "PRAGMA journal_size_limit = 16777216",
)


class OpenedFile(NamedTuple):
    """A file that was recognized, created or upgraded.

    Attributes:
        connection: The first connection to it.
        identity: Which file it is; `None` in memory.
        is_immutable: It is a closed WAL file on a read-only file system. All further connections must say so too.
    """

    connection: Connection
    identity: Identity | None
    is_immutable: bool


def open_file(path: str, *, readonly: bool, timeout: float) -> OpenedFile:
    """Open the file at `path`, and create or upgrade it unless `readonly`; refuse files of other programs."""
    if path == MEMORY:
        return OpenedFile(_open(path, readonly=readonly, timeout=timeout), None, is_immutable=False)
    real = find_real_path(path)
    _look_beside(real, readonly=readonly)
    try:
        return _open_known(real, readonly=readonly, timeout=timeout)
    except sqlite3.OperationalError as error:
        if not readonly or not sqlite.may_be_read_only(error):
            raise
        if _size(real + "-journal"):
            reason = "a crash left a journal beside it; open it for writing once, which repairs it"
            raise ReadOnlyError.of(path, reason) from error
        if not _must_be_immutable(real):
            raise
        return _open_known(real, readonly=readonly, timeout=timeout, immutable=True)


def _look_beside(path: str, *, readonly: bool) -> None:
    """Raise StorageError if SQLite would use something beside the real path `path` that is not this file's."""
    require_regular_beside(path)
    if names_super_journal(path + "-journal"):
        reason = "it would have SQLite delete another file, and is no journal of a store; remove it"
        raise StorageError.in_file(path + "-journal", reason)
    left = "" if readonly else find_left(path)
    if not left and not forks.is_open(path) and has_foreign_wal(path):
        left = path + "-wal"
    if left:
        reason = "it belongs to another file that had this name; move it back beside that file, or delete it"
        raise StorageError.in_file(left, reason)
    if not readonly and path.endswith(BESIDE) and not Path(path).exists():
        raise StorageError.in_file(path, f"SQLite keeps journals under names that end in {', '.join(BESIDE)}")


def connect(
    path: str,
    *,
    readonly: bool,
    timeout: float,
    immutable: bool = False,
    create: bool = False,
    damaged: bool = False,
) -> Connection:
    """Connect to a file that is known, or that may be `damaged`; its content is not checked."""
    uri = "file::memory:"
    if path != MEMORY:
        mode = "ro" if readonly else "rwc" if create else "rw"
        uri = f"{Path(path).as_uri()}?mode={mode}{'&immutable=1' if immutable else ''}"
        if _is_special(path):
            raise NotASampleDBError.in_file(path, "it is no regular file")
    connection = sqlite3.connect(
        uri,
        uri=True,
        timeout=timeout,
        isolation_level=None,  # transactions are begun explicitly
        check_same_thread=False,  # the pool lends a connection to one thread at a time
    )
    try:
        if damaged:
            # Otherwise SQLite refuses the whole file if it is truncated or has one bad entry in its schema.
            connection.execute("PRAGMA writable_schema = ON")
        else:
            sqlite.harden(connection)
            sqlite.watch_for_interrupts(connection)
        for pragma in _PRAGMAS:
            connection.execute(pragma)
    except BaseException:
        connection.close()
        raise
    return connection


def describe_file(connection: Connection) -> dict[str, Any]:
    """Return the fields of Stats that describe the file itself."""

    def pragma(name: str) -> Any:  # noqa: ANN401 - integers and text
        return connection.execute(f"PRAGMA {name}").fetchone()[0]

    return {
        "file_bytes": pragma("page_size") * pragma("page_count"),
        "free_bytes": pragma("page_size") * pragma("freelist_count"),
        "format_version": pragma("user_version"),
        "journal_mode": pragma("journal_mode"),
        "sqlite_version": sqlite.VERSION,
    }


def _open_known(path: str, *, readonly: bool, timeout: float, immutable: bool = False) -> OpenedFile:
    """Open a file, unless another one takes its name meanwhile."""
    known = Identity.of(path) if os.path.lexists(path) else None
    connection = _open(path, readonly=readonly, timeout=timeout, immutable=immutable)
    try:
        identity = known or Identity.of(path)
        identity.require()
    except BaseException:
        connection.close()
        raise
    return OpenedFile(connection, identity, is_immutable=immutable)


def _open(path: str, *, readonly: bool, timeout: float, immutable: bool = False) -> Connection:
    connection = connect(path, readonly=readonly, timeout=timeout, immutable=immutable, create=True)
    try:
        # In a transaction, because another process may create the file between two answers.
        with sqlite.transaction(connection, "BEGIN", "ROLLBACK"):
            version = _read_format(connection, path)
        if version != schema.FORMAT_VERSION:
            _write_format(connection, path, version, readonly=readonly)
        _refuse(_find_truncation(connection, path) or schema.find_fault(connection))
    except BaseException:
        connection.close()
        raise
    return connection


def _read_format(connection: Connection, path: str) -> int:
    """Return the format of the file, or 0 if it is empty.

    Raises:
        NotASampleDBError: It belongs to another program.
        NewerFormatError: A later version of this package wrote it.
        StorageError: Its format is too old to be upgraded.
    """
    # Not the functions pragma_…(): a view with such a name in the file would answer instead.
    application_id, version = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_schema")
    if application_id == version == tables == 0:
        return 0
    if application_id != schema.APPLICATION_ID:
        raise NotASampleDBError.in_file(path, "another program's SQLite database")
    if version > schema.FORMAT_VERSION:
        raise NewerFormatError.of(path, version, schema.FORMAT_VERSION)
    if version < schema.OLDEST_FORMAT:
        reason = f"format {version} is from before the first release and cannot be read; add its reports to a new file"
        raise StorageError.in_file(path, reason)
    return int(version)


def _write_format(connection: Connection, path: str, version: int, *, readonly: bool) -> None:
    """Create the schema in an empty file, or upgrade an older one; wholly or not at all."""
    if readonly:
        if version == 0:
            raise NotASampleDBError.in_file(path, "it is empty")
        raise ReadOnlyError.of(path, "it has an older format; open it once for writing to upgrade it")
    if path != MEMORY:
        Identity.of(path).require(writable=True)
    with sqlite.transaction(connection, "BEGIN IMMEDIATE", "COMMIT"):
        # Asked again under the lock, because another process may have done it meanwhile.
        version = _read_format(connection, path)
        if version == 0:
            # SQLite takes a file of a few bytes for an empty database, and would overwrite them.
            if path != MEMORY and _size(path):
                raise NotASampleDBError.in_file(path, "another program's file")
            schema.create(connection)
        elif version < schema.FORMAT_VERSION:
            # A trigger in the file would run during the upgrade.
            _refuse(schema.find_planted(connection))
            schema.upgrade(connection, version)


def _refuse(fault: str) -> None:
    if fault:
        raise CorruptFileError.of(fault, "the file as a whole")


def _find_truncation(connection: Connection, path: str) -> str:
    """Return what is wrong with the size of a file, or `""`.

    SQLite notices missing pages itself, but reads the missing part of the last page as zeros.
    """
    if path == MEMORY or _size(path + "-wal"):
        return ""
    ((page_size,),) = connection.execute("PRAGMA page_size")
    return "the last page is cut off" if _size(path) % page_size else ""


def _must_be_immutable(path: str) -> bool:
    """Return whether a closed WAL file cannot be opened because its `-shm` cannot be created, as on read-only media."""
    # A hot WAL is part of the file's content, and SQLite ignores it with immutable=1.
    return not forks.is_open(path) and is_marked_wal(path) and not _size(path + "-wal")


def _is_special(path: str) -> bool:
    """Return whether `path` is a pipe, a device or a folder. SQLite would wait for a pipe forever."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116 - microseconds of each opening
    except OSError:
        # SQLite's own error says more.
        return False


def _size(path: str) -> int:
    """Return the bytes of a file, or 0 if there is none. It may disappear at any time."""
    try:
        return Path(path).stat().st_size
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise StorageError.in_file(path, error.strerror or str(error)) from error
