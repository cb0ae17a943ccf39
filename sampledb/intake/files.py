"""Files of the user: resolve paths, look beside files, read them, and create new ones.

Whatever opens, writes or copies a store asks here first, because SQLite believes what it finds beside a name.
"""

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from sampledb.errors import InvalidInputError, SampleDBError, StorageError

#: SQLite keeps these beside a file: its write-ahead log, the memory shared for that, its rollback journal.
BESIDE: Final = ("-wal", "-shm", "-journal")

# The end of a rollback journal that names a super-journal, a file that SQLite deletes after rolling back.
_SUPER_JOURNAL: Final = bytes.fromhex("d9d505f920a163d7")
# A database header; its "write version" and "read version" are 1 with a rollback journal and 2 with a WAL.
_HEADER: Final = 100
_VERSIONS: Final = slice(18, 20)
_ROLLBACK_JOURNAL: Final = b"\1\1"
_WAL: Final = b"\2\2"
# What file systems without hard links report.
_NO_LINKS: Final = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
# What file systems without locks report.
_NO_LOCKS: Final = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}


class Identity(NamedTuple):
    """One file, whatever its names.

    Attributes:
        path: The real path, without symbolic links; what SQLite keeps beside the file stands beside this path.
        device: The number of the file's device.
        inode: The number of the file on that device.
    """

    path: str
    device: int
    inode: int

    @classmethod
    def of(cls, path: str) -> "Identity":
        """Return the identity of the file at `path`, or raise StorageError if there is none."""
        real = os.path.realpath(path)
        try:
            found = os.stat(real)
        except OSError as error:
            raise StorageError.in_file(path, error.strerror or str(error)) from error
        return cls(real, found.st_dev, found.st_ino)

    def is_same_file(self, other: "Identity") -> bool:
        """Return whether both are one file, under one name or two."""
        return self[1:] == other[1:]

    def is_replaced(self) -> bool:
        """Return whether another file has the path now."""
        try:
            return not self.is_same_file(Identity.of(self.path))
        except StorageError:
            return False

    def require(self, *, writable: bool = False) -> None:
        """Raise StorageError if the file has lost its path, or has a second name and is to be written.

        SQLite notices neither. It would write on into a file without a name, or share a file with another process
        that uses the other name and therefore another write-ahead log.
        """
        try:
            found = os.stat(self.path)
        except OSError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != self[1:]:
            raise StorageError.in_file(
                self.path, "it was moved, replaced or deleted while it was open; close this handle and open it again"
            )
        if writable and found.st_nlink > 1:
            raise StorageError.in_file(
                self.path,
                f"it has {found.st_nlink} names (hard links{self._find_other_name()}), and writes through two names "
                "would be lost; delete the other names, or write to a copy",
            )

    def _find_other_name(self) -> str:
        """Return where another name of the file is in its folder, for an error, or `""`."""
        with suppress(OSError), os.scandir(os.path.dirname(self.path)) as entries:
            return next((f"; one is {each.path}" for each in entries if self._is_other_name(each)), "")
        return ""

    def _is_other_name(self, entry: "os.DirEntry[str]") -> bool:
        return entry.inode() == self.inode and entry.path != self.path and not entry.is_symlink()


def find_real_path(path: str) -> str:
    """Return the path without symbolic links, or raise StorageError if the file has none.

    A descriptor of the system, such as `/dev/stdin` or `/proc/self/fd/3`, is a link, perhaps to what has no name.
    """
    real = os.path.realpath(path)
    if os.path.exists(path) and not os.path.exists(real):
        raise StorageError.in_file(path, "it leads to something that has no name in the file system")
    return real


def require_regular_beside(path: str) -> None:
    """Raise StorageError if a pipe or the like has the name of a journal of the real path `path`.

    SQLite would wait for it forever.
    """
    for beside in (path + suffix for suffix in BESIDE):
        # Asked once: another process may remove its journal at any time.
        try:
            mode = os.lstat(beside).st_mode
        except OSError:
            continue
        # SQLite itself refuses symbolic links here.
        if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
            raise StorageError.in_file(beside, "it is no regular file, and SQLite would use it; remove it")


def names_super_journal(journal: str) -> bool:
    """Return whether SQLite would delete another file after it has rolled back this journal."""
    try:
        with open(journal, "rb", opener=_open_without_waiting) as file:
            file.seek(-len(_SUPER_JOURNAL), os.SEEK_END)
            return file.read() == _SUPER_JOURNAL
    except OSError:  # missing, or shorter
        return False


def has_foreign_wal(path: str) -> bool:
    """Return whether the `-wal` beside the real path `path` belongs to another file that had this name.

    A file is marked as being in WAL mode before its WAL appears, until after the WAL is gone; but a journal beside it
    may be about to change the mark. No handle of this process may have the file open: closing it here drops that
    handle's POSIX locks.
    """
    try:
        before = _read_header(path)
        if before[_VERSIONS] not in (b"", _ROLLBACK_JOURNAL) or not os.path.lexists(path + "-wal"):
            return False
        if os.path.lexists(path + "-journal"):
            return False
        # Unless another process has switched the mode meanwhile.
        return before == _read_header(path) and os.path.lexists(path + "-wal")
    except OSError:
        return False


def is_marked_wal(path: str) -> bool:
    """Return whether a file is in WAL mode; as for `has_foreign_wal`, no handle of this process may have it open."""
    try:
        return _read_header(path)[_VERSIONS] == _WAL
    except OSError:
        return False


def has_locks(path: str) -> bool:
    """Return whether the file system can lock the file at `path`; as for `has_foreign_wal`, no handle may have it open.

    SQLite takes a file system without locks, such as NFS without its lock daemon, for a busy one.
    """
    try:
        # Windows has no such module, and no file system without locks.
        import fcntl  # noqa: PLC0415

        with open(path, "rb") as file:
            # SQLite locks no byte so near to the beginning.
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB, 1)
    except ImportError:
        return True
    except OSError as error:
        return error.errno not in _NO_LOCKS
    return True


def _read_header(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(_HEADER)


def find_left(path: str) -> str:
    """Return the path of a journal beside `path` that belongs to a former file of this name, or `""`.

    If there is a file at `path`, it is that file's.
    """
    # In this order: a process that creates the file now creates it before its journal.
    left = next((path + suffix for suffix in BESIDE if os.path.lexists(path + suffix)), "")
    return "" if os.path.lexists(path) else left


def create_empty(path: str) -> None:
    """Create an empty file at `path` unless there is one, readable as SQLite would make it.

    Its name is on disk before SQLite creates its journal: a journal that outlives its file in a power cut would be
    taken for that of another one. Errors are left to SQLite, which meets them too and says more.
    """
    with suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644))
        _sync(Path(path).parent)


def require_new_name(path: str) -> None:
    """Raise InvalidInputError if something at `path`, or beside it, forbids a new file there.

    SQLite would apply the journal of a file that is gone to the new file, or take the new file for a journal.
    """
    if path.endswith(BESIDE):
        rule = f"cannot be created, for SQLite keeps its own files by names that end in {', '.join(BESIDE)}"
        raise InvalidInputError.in_file(path, rule, field="path")
    left = find_left(os.path.realpath(path))
    if left:
        raise InvalidInputError(
            f"{left} is left from another file of that name, and would damage a new one; move it back beside its file, "
            "or delete it.",
            {"field": "path", "rule": "a path beside which no journal is left", "value": left},
        )
    if os.path.lexists(path):
        raise _exists(path)


def _exists(path: str) -> InvalidInputError:
    return InvalidInputError.in_file(path, "exists already; choose another name, or delete it", field="path")


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
        raise InvalidInputError.in_file(str(path), f"cannot be read: {reason}", field=field) from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise InvalidInputError.in_file(str(path), "is no regular file", field=field)
    return file


def open_readable(path: str | os.PathLike[str], name: str) -> BinaryIO:
    """Open the file or pipe at `path`; the caller closes it.

    Raises:
        OSError: It is missing, or cannot be opened.
        InvalidInputError: It is a device, or no file can have such a path; the error calls it `name`.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed by the caller
    except (ValueError, TypeError) as error:
        raise InvalidInputError.in_file(name, f"cannot be read: {error}") from error
    if stat.S_ISCHR(os.fstat(file.fileno()).st_mode):
        file.close()
        raise InvalidInputError.in_file(name, "is a device, which may have no end; give a file")
    return file


def _open_without_waiting(path: str, flags: int) -> int:
    # Opening a pipe without a writer would never return.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


@contextmanager
def new_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty file that is renamed to `path` at the end, and removed on any exception.

    It never replaces a file that appeared at `path` meanwhile. Until then it lies beside `path` as `.NAME.….partial`,
    where a process that is killed leaves it.

    Raises:
        InvalidInputError: There is a file at `path`, or something is left beside it of a file that had this name.
        StorageError: The file cannot be written.
    """
    # Imports a dozen modules that nothing else here needs.
    import tempfile  # noqa: PLC0415

    target = Path(path)
    require_new_name(str(target))
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
        os.close(handle)
        partial = Path(name)
        beside = [partial.with_name(partial.name + suffix) for suffix in BESIDE]
        try:
            yield partial
            if any(each.exists() for each in beside):
                # A part of the database is in a journal.
                raise StorageError.in_file(name, "it could not be completed; the disk may be full or failing")
            require_new_name(str(target))
            _give_name(partial, target)
            _sync(target.parent)
        finally:
            # SQLite leaves a journal where it could not write.
            for left in (*beside, partial):
                with suppress(OSError):
                    left.unlink()
    except SampleDBError:
        raise
    except OSError as error:
        raise StorageError.not_written(str(path), error) from error


def _give_name(partial: Path, target: Path) -> None:
    """Name a file; of two processes that choose one name, the second fails."""
    try:
        if os.name == "nt":
            partial.rename(target)  # fails if the name exists, as it does not elsewhere
        else:
            os.link(partial, target)
            # At once: a file with two names is not written to.
            with suppress(OSError):
                partial.unlink()
    except FileExistsError as error:
        raise _exists(str(target)) from error
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _take_name(partial, target)


def _take_name(partial: Path, target: Path) -> None:
    """Name a file on a file system without hard links: an empty file takes the name first, and is replaced."""
    try:
        target.open("xb").close()
    except FileExistsError as error:
        raise _exists(str(target)) from error
    partial.replace(target)


def _sync(folder: Path) -> None:
    """Write the folder to disk, so that a power cut cannot lose the new name; Windows has no such call."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        _sync_drive(handle)
    finally:
        os.close(handle)


def _sync_drive(handle: int) -> None:
    """Write a file or folder to disk; on macOS, also what the drive has in its cache, of any file."""
    if sys.platform == "darwin":
        import fcntl  # noqa: PLC0415 - Windows has no such module

        # Some file systems, such as those of other machines, lack the call.
        with suppress(OSError):
            fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
            return
    os.fsync(handle)
