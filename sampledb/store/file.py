"""Open a file: recognize, create, upgrade or refuse it."""

import os
import stat
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, NamedTuple

from sampledb.errors import (
    CorruptFileError,
    NewerFormatError,
    NotASampleDBError,
    ReadOnlyError,
    StorageError,
    shorten,
)
from sampledb.intake.files import (
    BESIDE,
    Identity,
    create_empty,
    find_left,
    find_real_path,
    has_foreign_wal,
    has_locks,
    is_marked_wal,
    names_super_journal,
    require_regular_beside,
)
from sampledb.limits import MEMORY
from sampledb.store import forks, inspection, schema, sqlite
from sampledb.store.sqlite import Connection, sqlite3

_PRAGMAS: Final = (
    f"PRAGMA page_size = {schema.PAGE_BYTES}",
    "PRAGMA foreign_keys = ON",
    # In WAL the same as FULL. With a rollback journal it also syncs the folder; without that, a power cut
    # can bring a deleted journal back, and so the state before the commit.
    "PRAGMA synchronous = EXTRA",
    # The file may be hostile: SQL in its schema may call no function that could do harm, and cells are
    # checked before they are used.
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    # As many bytes as SQLite's default of 1000 is of pages of 4096 bytes: each checkpoint waits for the disk twice.
    "PRAGMA wal_autocheckpoint = 2000",
    # One large report must not leave a WAL of its size until the handle closes.
    "PRAGMA journal_size_limit = 16777216",
    # On macOS a sync leaves data in the drive's cache, which a power cut empties. Elsewhere these do nothing.
    "PRAGMA fullfsync = ON",
    "PRAGMA checkpoint_fullfsync = ON",
)
# Real paths that threads of this process are opening. On POSIX, closing a file drops all locks that the process has on
# it, also those of another thread that is just creating it.
_opening: Final[list[str]] = []
# Characters of names, and of SQL that removes them, in the message of an error.
_SHOWN_NAMES: Final = 150
_SHOWN_SQL: Final = 150


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
    _opening.append(real)
    try:
        _look_beside(real, readonly=readonly)
        if not readonly:
            create_empty(real)
        return _open_real(real, readonly=readonly, timeout=timeout)
    finally:
        _opening.remove(real)


def _is_in_use(path: str) -> bool:
    """Return whether this process has the file open, or is opening it; then no other descriptor of it may be closed."""
    return forks.is_open(path) or _opening.count(path) > 1


def _open_real(real: str, *, readonly: bool, timeout: float) -> OpenedFile:
    try:
        return _open_known(real, readonly=readonly, timeout=timeout)
    except sqlite3.OperationalError as error:
        if sqlite.result_code(error) in sqlite.BUSY and not _is_in_use(real) and not has_locks(real):
            reason = "its file system has no locks, without which processes would damage it; copy it to a local disk"
            raise StorageError.in_file(real, reason) from error
        if not readonly or not sqlite.may_be_read_only(error):
            raise
        if _size(real + "-journal"):
            reason = "a crash left a journal beside it; open it for writing once, which repairs it"
            raise ReadOnlyError.of(real, reason) from error
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
    if not left and not _is_in_use(path) and has_foreign_wal(path):
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
        _refuse_damage(_find_truncation(connection, path))
        _refuse_schema(connection, path, readonly=readonly)
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
    # Not the functions pragma_…(): a view of this name in the file would answer instead.
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
            _refuse_schema(connection, path, is_current=False)
            schema.upgrade(connection, version)


def _refuse_damage(fault: str) -> None:
    if fault:
        raise CorruptFileError.of(fault, "the file as a whole")


def _refuse_schema(connection: Connection, path: str, *, readonly: bool = False, is_current: bool = True) -> None:
    """Raise CorruptFileError for a schema that is damaged, and StorageError for one that could run foreign SQL."""
    fault, added = inspection.inspect(connection, is_current=is_current)
    _refuse_damage(fault)
    # No statement of a readonly handle writes a table that could have a trigger.
    added = [each for each in added if not readonly or each.kind != "trigger"]
    if added:
        is_readable = is_current and all(each.kind == "trigger" for each in added)
        raise _report_additions(path, added, is_readable=is_readable)


def _report_additions(path: str, added: list[inspection.Addition], *, is_readable: bool) -> StorageError:
    """Return the error for a file to which others added what could run their SQL; its details name all of it."""
    names = ", ".join(f"{each.kind} {each.name}" for each in added)
    removals = [each.removal for each in added]
    ends = accumulate(len(removal) + 1 for removal in removals)
    shown = max(1, sum(end <= _SHOWN_SQL for end in ends))
    reason = f"for safety it is not opened, because these additions could run SQL of their author's: {names}"
    remedy = "If they are yours, remove them with sqlite3 or sqlite-utils: " + " ".join(removals[:shown])
    if shown < len(removals):
        remedy += f" (open it again for the other {len(removals) - shown})"
    if is_readable:
        remedy += " Until then, readonly=True opens it."
    message = f"{path}: {shorten(reason, _SHOWN_NAMES)}. {remedy}"
    return StorageError(message, {"path": path, "reason": reason, "what": names, "remove": removals})


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
    return not _is_in_use(path) and is_marked_wal(path) and not _size(path + "-wal")


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
