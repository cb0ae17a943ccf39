"""Finding reports where users have them: in folders, by patterns, in archives, and in lines of standard input.

Nothing is read before it is asked for, and what cannot be read is found all the same: opening it says why. So one
bad file does not stop the others.
"""

import codecs
import fnmatch
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final, NoReturn

import msgspec

from sampledb.errors import InvalidInputError
from sampledb.intake import compression as unpacking
from sampledb.limits import MAX_REPORT

# A pattern with more parts than this is no path of anybody's, and would exhaust the stack.
_MAX_PARTS: Final = 100
_WILD: Final = re.compile(r"[*?[]")
_ANY_DEPTH: Final = "**"
_FIRST_BYTE: Final = re.compile(rb"\s*(\S?)")
_PIECE: Final = 1024 * 1024
# Of any system.
_LONGEST_PATH: Final = 32767


class FoundReport(msgspec.Struct, frozen=True, eq=False):
    """A report that was found and not yet read; `SampleDB.add_sample` and `add_samples` take it.

    Attributes:
        source: Where it is, for people: a path, `archive.zip/member.smda` or `line 17`.
        path: The file's path, so that another process can read it; `None` where it is no file of its own.
    """

    source: str
    path: str | None
    _opened: Callable[[], BinaryIO]

    def open(self, mode: str = "rb") -> BinaryIO:
        """The report as a file, to be closed by the caller; `mode` is `"rb"`.

        What is in an archive comes unpacked; a file of its own comes as it is, perhaps compressed.

        Raises:
            OSError: It is missing, or cannot be read.
            InvalidInputError: It is damaged, encrypted or a device, or nothing matches; reading what is in an archive
                may raise it as well.
        """
        if mode != "rb":
            raise InvalidInputError.of("mode", '"rb"', mode)
        return self._opened()

    def __str__(self) -> str:
        return self.source

    def __repr__(self) -> str:
        # Without what opens it, which may hold a whole report.
        return f"FoundReport({self.source!r})"


def find_reports(*paths: str | os.PathLike[str]) -> Iterator[FoundReport]:
    """The reports in files, folders, zip archives and what matches patterns, one after the other.

    - A file is taken whatever its name, and may be compressed: gzip, zstd, xz.
    - A folder gives the files in it and below, sorted by name within each folder, that end in .smda or .json, and
      perhaps in .gz, .zst, .xz or .zip behind that. What is hidden is left out; links to folders are not followed.
    - A zip archive gives the members that have such names, in its order, or all if none has. They may be
      compressed, too.
    - A pattern has `*`, `?` or `[…]` within names, or `**` for folders at any depth. It gives files, whatever their
      names, and folders that cannot be read match nothing. A path that exists is no pattern.

    What is missing or broken is given as well, and opening it raises the error.

    Raises:
        InvalidInputError: An argument is no path.
    """
    names = [_name(path) for path in paths]
    return (report for name in names for report in _found(name))


def read_stream(file: BinaryIO) -> Iterator[FoundReport]:
    """The reports in the lines of a stream such as `sys.stdin.buffer`.

    A line that begins with `{` is a report of at most 2 GiB, whose source is `line 17`; any other is a path that is
    found as by `find_reports`. Blank lines are skipped. Where the first line is a brace alone, all of it is a report.

    Raises:
        OSError: The stream cannot be read on.
        InvalidInputError: It is a stream of text.
    """
    number = 0
    while line := file.readline(MAX_REPORT + 1):
        if not isinstance(line, bytes):
            raise InvalidInputError.of("file", "a stream of bytes, as sys.stdin.buffer is", file)
        number += 1
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
            if unpacking.is_packed(line):
                yield _failed("the stream", "is compressed; unpack it on the way, or give the file by its path")
                return
            if line.strip() == b"{":
                # A report over many lines, as tools print it for people.
                line += file.read(MAX_REPORT)
        source, first = f"line {number}", _FIRST_BYTE.match(line)
        if len(line) > MAX_REPORT:
            _skip_line(file, line)
            yield _failed(source, f"is longer than {MAX_REPORT} bytes, and no report can be")
        elif first and first[1] == b"{":
            yield FoundReport(source, None, partial(BytesIO, line))
        elif first and first[1] and (len(line) > _LONGEST_PATH or b"\0" in line):
            yield _failed(source, "is neither a report nor a path")
        elif first and first[1]:
            yield from _found(os.fsdecode(line.rstrip(b"\r\n")))


def _skip_line(file: BinaryIO, begun: bytes) -> None:
    while begun and not begun.endswith(b"\n"):
        begun = file.readline(_PIECE)


def _name(path: object) -> str:
    try:
        return os.fsdecode(path)  # type: ignore[arg-type]
    except TypeError as error:
        raise InvalidInputError.of("paths", "paths, each an argument", path) from error


def _found(path: str) -> Iterator[FoundReport]:
    if os.path.isdir(path):
        return _in_folder(path)
    if os.path.lexists(path) or not _WILD.search(path):
        return _in_file(path)
    return _by_pattern(path)


def _in_file(path: str) -> Iterator[FoundReport]:
    """The report in a file, missing or not, or those in an archive."""
    if not unpacking.is_archive(path):
        yield FoundReport(path, path, partial(unpacking.open_file, path, path))
        return
    try:
        with unpacking.open_file(path, path) as file:
            members = unpacking.members(file, path)
    except InvalidInputError as error:
        yield FoundReport(path, None, partial(_raise, error))
        return
    except OSError as error:
        yield _failed(path, f"cannot be read: {error.strerror}")
        return
    for member in members:
        source = f"{path}/{member.name}"
        yield FoundReport(source, None, partial(unpacking.open_member, path, member, source))


def _in_folder(folder: str) -> Iterator[FoundReport]:
    # Not recursive: folders may be nested deeper than Python calls functions.
    pending = [iter((os.path.join(folder, ""),))]
    while pending:
        path = next(pending[-1], None)
        if path is None:
            pending.pop()
        elif not _is_folder(path):
            yield from _in_file(path) if unpacking.is_report(os.path.basename(path)) else ()
        else:
            try:
                pending.append(_listed(path))
            except OSError as error:
                yield _failed(path, f"cannot be read: {error.strerror}")


def _by_pattern(pattern: str) -> Iterator[FoundReport]:
    parts = Path(pattern).parts
    if parts[-1] == _ANY_DEPTH:
        parts = (*parts, "*")
    if len(parts) > _MAX_PARTS:
        yield _failed(pattern, f"is a pattern of more than {_MAX_PARTS} parts")
        return
    paths = iter(("",))
    for part, next_part in zip(parts, [*parts[1:], ""], strict=True):
        # Two in a row mean no more than one, and would find everything many times.
        if part != _ANY_DEPTH or next_part != _ANY_DEPTH:
            paths = _matching(paths, part)
    found = None
    for found in paths:
        if not _is_folder(found):
            yield from _in_file(found)
    if found is None:
        yield _failed(pattern, "matches no file; look at it, and at the folder it starts from")


def _matching(paths: Iterator[str], part: str) -> Iterator[str]:
    """What is in those of the paths that are folders, and matches one part of a pattern."""
    for path in paths:
        if part == _ANY_DEPTH and _is_folder(path):
            yield from _folders(path)
        elif _is_folder(path):
            yield from _named(path, part)


def _named(folder: str, part: str) -> Iterator[str]:
    if not _WILD.search(part):
        path = os.path.join(folder, part)
        if os.path.lexists(path):
            yield os.path.join(path, "") if os.path.isdir(path) else path
        return
    try:
        listed = _listed(folder)
    except OSError:
        return
    yield from (path for path in listed if fnmatch.fnmatch(os.path.basename(path.rstrip(os.sep)), part))


def _folders(folder: str) -> Iterator[str]:
    """A folder and those below it, whatever their depth."""
    pending = [folder]
    while pending:
        yield (path := pending.pop())
        try:
            pending += reversed([each for each in _listed(path) if _is_folder(each)])
        except OSError:
            continue


def _is_folder(path: str) -> bool:
    """Whether a path that we made is a folder's; `""` is the current one."""
    return not path or path.endswith(os.sep)


def _listed(folder: str) -> Iterator[str]:
    """The paths of what is in a folder and not hidden, sorted; those of folders end in a separator."""
    with os.scandir(folder or os.curdir) as entries:
        names = sorted(filter(None, map(_listed_name, entries)))
    return (os.path.join(folder, name) for name in names)


def _listed_name(entry: os.DirEntry[str]) -> str:
    """The name of an entry, `""` if it is hidden, a link to a folder, or neither file nor folder."""
    if entry.name.startswith("."):
        return ""
    try:
        if entry.is_dir(follow_symlinks=False):
            return entry.name + os.sep
        # A link may lead nowhere, which should not go unsaid.
        return entry.name if entry.is_file() or not os.path.exists(entry.path) else ""
    except OSError:
        return entry.name  # opening it will say why


def _failed(source: str, rule: str) -> FoundReport:
    return FoundReport(source, None, partial(_raise, InvalidInputError.in_file(source, rule)))


def _raise(error: InvalidInputError) -> NoReturn:
    raise error
