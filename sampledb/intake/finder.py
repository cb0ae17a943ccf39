"""Find reports in folders, by patterns, in archives, in `.mcrit` files and in streams, lazily.

A broken one is yielded too and fails on `open()`, so that it does not stop the others.
"""

import codecs
import fnmatch
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final, NoReturn

import msgspec

from sampledb.errors import InvalidInputError
from sampledb.intake.archive import is_archive, is_report_name, is_zip, list_members, open_member
from sampledb.intake.binary import is_program
from sampledb.intake.compression import Allowance, Share, is_compressed
from sampledb.intake.files import BESIDE, open_readable
from sampledb.intake.source import read_file
from sampledb.limits import MAX_REPORT

# Each part of a pattern is a generator that asks the one before, and so takes room on the stack.
_MAX_PARTS: Final = 100
_WILD: Final = re.compile(r"[*?[]")
_ANY_DEPTH: Final = "**"
_FIRST_BYTE: Final = re.compile(rb"\s*(\S?)")
_PIECE: Final = 1024 * 1024
# Bytes that tell how a file is compressed.
_MAGIC: Final = 6
# On Windows; shorter elsewhere.
_LONGEST_PATH: Final = 32767


class FoundReport(msgspec.Struct, frozen=True, eq=False):
    """A report that was found and not yet read; `SampleDB.add_sample` and `add_samples` take it.

    Attributes:
        source: The place to show to people: a path, `archive.zip/member.smda`, `libraries.mcrit/` with a SHA-256, or
            `line 17`.
        path: The path of its file; `None` where it is only a part of a file or stream, or cannot be read.
    """

    source: str
    path: str | None
    _open: Callable[[], BinaryIO]

    def open(self, mode: str = "rb") -> BinaryIO:
        """Open the report as a file of bytes, which the caller closes; `mode` is `"rb"`.

        A member of an archive is unpacked; a file may be compressed.

        Raises:
            OSError: It is missing, or cannot be read.
            InvalidInputError: It is damaged, encrypted or a device, or nothing matches; reading what is in an archive
                may raise it as well.
        """
        if mode != "rb":
            raise InvalidInputError.of("mode", '"rb"', mode)
        return self._open()

    def __str__(self) -> str:
        return self.source

    def __repr__(self) -> str:
        # `_open` may hold a whole report.
        return f"FoundReport({self.source!r})"


def find_reports(*paths: str | os.PathLike[str]) -> Iterator[FoundReport]:
    """Yield the reports in files, folders, zip archives and files that match patterns.

    - A file is taken whatever its name, and may be compressed: gzip, zstd, xz.
    - A folder yields the files in it and below, sorted by name within each folder, that end in .smda, .json or .mcrit,
      and perhaps in .gz, .zst, .xz or .zip behind that. Hidden files and folders are left out; links to folders are not
      followed.
    - A zip archive yields the members with such names, in its order, or all if there are none. They may be
      compressed, too.
    - A file that ends in .mcrit, and perhaps in .gz, .zst or .xz, is an export of MCRIT's. It yields a report for each
      sample, with what MCRIT knows besides under the key `mcrit`; when the report is added, its labels are too.
    - A pattern has `*`, `?` or `[…]` within names, or `**` for folders at any depth. It yields each matching file
      once, whatever its name; folders that cannot be read match nothing. A path that exists is no pattern.

    Missing and broken files are yielded too; opening them raises the error.

    Raises:
        InvalidInputError: An argument is no path.
    """
    names = [_decode_path(path) for path in paths]
    return (report for name in names for report in _find(name))


def read_stream(file: BinaryIO) -> Iterator[FoundReport]:
    """Yield the reports in the lines of a stream such as `sys.stdin.buffer`.

    A line that begins with `{` is a report of at most 2 GiB, whose source is `line 17`; any other is a path, as for
    `find_reports`. Blank lines are skipped. If the first line is only a brace, the whole stream is one report.

    Raises:
        OSError: The stream cannot be read.
        InvalidInputError: It is a stream of text.
    """
    number = 0
    while line := file.readline(MAX_REPORT + 1):
        if not isinstance(line, bytes):
            raise InvalidInputError.of("file", "a stream of bytes, as sys.stdin.buffer is", file)
        number += 1
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
            if is_compressed(line) or is_zip(line):
                yield _failure("the stream", "is compressed; unpack it on the way, or give the file by its path")
                return
            if line.strip() == b"{":
                # A report over many lines, as tools print it for people.
                line += file.read(MAX_REPORT)
        yield from _read_line(line, f"line {number}")
        if len(line) > MAX_REPORT:
            while line and not line.endswith(b"\n"):
                line = file.readline(_PIECE)


def _read_line(line: bytes, source: str) -> Iterator[FoundReport]:
    match = _FIRST_BYTE.match(line)
    first = match and match[1]
    if len(line) > MAX_REPORT:
        yield _failure(source, f"is longer than {MAX_REPORT} bytes, and no report can be")
    elif first == b"{":
        yield FoundReport(source, None, partial(BytesIO, line))
    elif first and (len(line) > _LONGEST_PATH or b"\0" in line):
        yield _failure(source, "is neither a report nor a path")
    elif first:
        yield from _find(os.fsdecode(line.rstrip(b"\r\n")))


def find_binaries(path: str, *, is_dump: bool, store: str) -> Iterator[tuple[str, bool]]:
    """Yield the files to disassemble at `path`, each with `True`, and those left out, with `False`.

    A file is always one. In a folder and below, as in `find_reports`, it is what begins as a PE, ELF, Mach-O or DEX;
    among dumps, what is not empty. What cannot be read is one too, and fails when it is submitted. The files of the
    open store are never touched: on POSIX, reading them would drop its locks.
    """
    if not os.path.isdir(path):
        yield path, True
        return
    real = os.path.realpath(store)
    kept = {os.path.normcase(real + suffix) for suffix in ("", *BESIDE)}
    for found, error in _walk_files(path):
        if error:
            yield found, True
        elif os.path.normcase(os.path.realpath(found)) not in kept:
            yield found, _is_wanted(found, is_dump=is_dump)


def _is_wanted(path: str, *, is_dump: bool) -> bool:
    try:
        return os.path.getsize(path) > 0 if is_dump else is_program(path)
    except (OSError, InvalidInputError):
        return True


def _decode_path(path: object) -> str:
    try:
        return os.fsdecode(path)  # type: ignore[arg-type]
    except TypeError as error:
        raise InvalidInputError.of("paths", "paths, each an argument", path) from error


def _find(path: str) -> Iterator[FoundReport]:
    if os.path.isdir(path):
        return _find_in_folder(path)
    if os.path.lexists(path) or not _WILD.search(path):
        return _find_in_file(path)
    return _find_by_pattern(path)


def _find_in_file(path: str) -> Iterator[FoundReport]:
    """Yield the report in a file, missing or not, or those in an archive or in a `.mcrit` file."""
    if not is_archive(path):
        yield from _find_in_content(FoundReport(path, path, partial(open_readable, path, path)))
        return
    try:
        with open_readable(path, path) as file:
            members = list_members(file, path)
    except InvalidInputError as error:
        yield FoundReport(path, None, partial(_raise, error))
        return
    except OSError as error:
        yield _failure(path, f"cannot be read: {error.strerror}")
        return
    allowance = Allowance()
    for member in members:
        source = f"{path}/{member.filename}"
        open_it = partial(open_member, path, member, source, Share(allowance))
        yield from _find_in_content(FoundReport(source, None, open_it))


def _find_in_content(found: FoundReport) -> Iterator[FoundReport]:
    """Yield what was found, or the samples in it if it is a `.mcrit` file."""
    from sampledb.intake.mcrit import reader  # noqa: PLC0415 - only those who look for reports need it

    if not reader.is_mcrit_name(found.source):
        yield found
        return
    try:
        for sample in reader.find_samples(_open_seekable(found), found.source):
            yield FoundReport(f"{found.source}/{sample.sha256}", None, sample.open)
    except InvalidInputError as error:
        yield FoundReport(found.source, None, partial(_raise, error))
    except OSError as error:
        yield _failure(found.source, f"cannot be read: {error.strerror}")


def _open_seekable(found: FoundReport) -> Callable[[], BinaryIO]:
    """Return what opens a file for reading anywhere in it; what is compressed, or no file, is kept in memory."""
    with found.open() as file:
        if found.path and file.seekable() and not is_compressed(file.read(_MAGIC)):
            return found.open
        if file.seekable():
            file.seek(0)
        return partial(BytesIO, read_file(file, found.source))


def _find_in_folder(folder: str) -> Iterator[FoundReport]:
    for path, error in _walk_files(folder):
        if error:
            yield _failure(path, f"cannot be read: {error.strerror}")
        elif is_report_name(os.path.basename(path)):
            yield from _find_in_file(path)


def _walk_files(folder: str) -> Iterator[tuple[str, OSError | None]]:
    """Yield the files in a folder and below, sorted within each; a folder that cannot be read, with its error."""
    # Not recursive, and so not os.walk() before Python 3.12: folders may be nested deeper than Python calls functions.
    pending = [iter((os.path.join(folder, ""),))]
    while pending:
        path = next(pending[-1], None)
        if path is None:
            pending.pop()
        elif not _is_folder(path):
            yield path, None
        else:
            try:
                pending.append(_list_folder(path))
            except OSError as error:
                yield path, error


def _find_by_pattern(pattern: str) -> Iterator[FoundReport]:
    parts = Path(pattern).parts
    if parts[-1] == _ANY_DEPTH:
        parts = (*parts, "*")
    if len(parts) > _MAX_PARTS:
        yield _failure(pattern, f"is a pattern of more than {_MAX_PARTS} parts")
        return
    paths = iter(("",))
    for part in parts:
        paths = _walk_folders(paths) if part == _ANY_DEPTH else _match_part(paths, part)
    found = None
    for found in paths:
        if not _is_folder(found):
            yield from _find_in_file(found)
    if found is None:
        yield _failure(pattern, "matches no file; look at it, and at the folder it starts from")


def _match_part(paths: Iterator[str], part: str) -> Iterator[str]:
    """Yield what matches one part of a pattern in those of the paths that are folders."""
    for folder in filter(_is_folder, paths):
        if _WILD.search(part):
            # A folder that cannot be read matches nothing.
            with suppress(OSError):
                listed = _list_folder(folder)
                yield from (path for path in listed if fnmatch.fnmatch(os.path.basename(path.rstrip(os.sep)), part))
        elif os.path.lexists(path := os.path.join(folder, part)):
            yield os.path.join(path, "") if os.path.isdir(path) else path


def _walk_folders(paths: Iterator[str]) -> Iterator[str]:
    """Yield those of the paths that are folders, and all folders below them, each once."""
    seen = set()
    for folder in filter(_is_folder, paths):
        pending = [folder]
        while pending:
            path = pending.pop()
            if path in seen:
                continue
            seen.add(path)
            yield path
            with suppress(OSError):
                pending += reversed([each for each in _list_folder(path) if _is_folder(each)])


def _is_folder(path: str) -> bool:
    """Return whether a path of `_list_folder` is that of a folder; `""` is the current one."""
    return not path or path.endswith(os.sep)


def _list_folder(folder: str) -> Iterator[str]:
    """Return the paths of all that is not hidden in a folder, sorted; those of folders end in a separator."""
    with os.scandir(folder or os.curdir) as entries:
        names = sorted(filter(None, map(_entry_name, entries)))
    return (os.path.join(folder, name) for name in names)


def _entry_name(entry: os.DirEntry[str]) -> str:
    """Return the name of an entry, `""` if it is hidden, a link to a folder, or neither file nor folder."""
    if entry.name.startswith("."):
        return ""
    try:
        if entry.is_dir(follow_symlinks=False):
            return entry.name + os.sep
        # A link may lead nowhere, which opening it will say.
        return entry.name if entry.is_file() or not os.path.exists(entry.path) else ""
    except OSError:
        return entry.name  # opening it will say why


def _failure(source: str, rule: str) -> FoundReport:
    return FoundReport(source, None, partial(_raise, InvalidInputError.in_file(source, rule)))


def _raise(error: InvalidInputError) -> NoReturn:
    raise error
