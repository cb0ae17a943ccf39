"""What a power cut may leave of files: a model of a disk that keeps nothing it was not told to sync.

Stricter than any file system is. Of what was written since a file's last sync, any part may be missing, down to
single sectors, in any order; what lies between parts that are there, and was never written, holds anything. A new,
removed or renamed file is so only after a sync of its folder. What SQLite builds upon is left: a write leaves alone
the bytes that it is not for ("powersafe overwrite"), and a sync that has returned is true.
"""

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple, TypeAlias

SECTOR = 512


class Write(NamedTuple):
    path: str
    offset: int
    content: bytes


class Truncate(NamedTuple):
    path: str
    size: int


class Sync(NamedTuple):
    """Of a file, or of the folder, which is `""`."""

    path: str


class Create(NamedTuple):
    path: str


class Remove(NamedTuple):
    path: str


class Rename(NamedTuple):
    path: str
    target: str


class Link(NamedTuple):
    """A second name of a file."""

    path: str
    target: str


class Acknowledge(NamedTuple):
    """A call returned, and somebody was told."""

    what: str


Event: TypeAlias = Write | Truncate | Sync | Create | Remove | Rename | Link | Acknowledge
Change: TypeAlias = Write | Truncate


@dataclass(eq=False)
class _File:
    """What is safe of a file, and what came after it."""

    safe: bytes = b""
    pending: list[Change] = field(default_factory=list)

    def sync(self) -> None:
        self.safe = self.after(self.pending)
        self.pending = []

    def after(self, changes: list[Change], filler: bytes = b"\0") -> bytes:
        """The content with some of the changes; gaps are filled with repetitions of `filler`."""
        content = bytearray(self.safe)
        for change in changes:
            end = change.size if isinstance(change, Truncate) else change.offset
            gap = max(end - len(content), 0)
            content += (filler * (gap // len(filler) + 1))[:gap]
            if isinstance(change, Truncate):
                del content[change.size :]
            else:
                content[change.offset : change.offset + len(change.content)] = change.content
        return bytes(content)


class Disk:
    """The files of one folder, as programs see them and as they would be found after a power cut."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._names = {path: _File(content) for path, content in files.items()}
        self._safe_names = dict(self._names)
        # Each with the file that it is about; `None` where a name goes.
        self._pending: list[tuple[str, _File | None]] = []

    def apply(self, event: Event) -> None:
        """Do what a program did."""
        match event:
            case Write() | Truncate():
                self._names[event.path].pending.append(event)
            case Sync(""):
                self._safe_names, self._pending = dict(self._names), []
            case Sync():
                self._names[event.path].sync()
            case Create():
                self._name(event.path, _File())
            case Remove():
                self._name(event.path, None)
            case Rename():
                file = self._names[event.path]
                self._name(event.path, None)
                self._name(event.target, file)
            case Link():
                self._name(event.target, self._names[event.path])
            case Acknowledge():
                pass

    def play(self, events: Iterable[Event]) -> Iterator[list[str]]:
        """Do what a program did, pausing before each event and after the last: what was acknowledged by then."""
        said: list[str] = []
        for event in events:
            yield said
            self.apply(event)
            said = [*said, event.what.strip()] if isinstance(event, Acknowledge) else said
        yield said

    def _name(self, path: str, file: _File | None) -> None:
        self._pending.append((path, file))
        _point(self._names, path, file)

    def written(self) -> dict[str, bytes]:
        """What a program finds: all of it."""
        return {path: file.after(file.pending) for path, file in self._names.items()}

    def synced(self) -> dict[str, bytes]:
        """What is left when nothing was kept that did not have to be."""
        return {path: file.safe for path, file in self._safe_names.items()}

    def cut(self, chance: random.Random) -> dict[str, bytes]:
        """What may be left: some of what was not synced."""
        names = dict(self._safe_names)
        share = _share(chance)
        for path, file in self._pending:
            if chance.random() < share:
                _point(names, path, file)
        return {path: _torn(file, chance) for path, file in names.items()}


def _point(names: dict[str, _File], path: str, file: _File | None) -> None:
    if file is None:
        names.pop(path, None)
    else:
        names[path] = file


def _share(chance: random.Random) -> float:
    """How much is kept: in half of all cases nearly nothing or nearly everything, which even chances never leave."""
    return chance.choice([0.0, 0.05, 0.5, 0.95, 1.0, chance.random()])


def _torn(file: _File, chance: random.Random) -> bytes:
    """A file with some of what was not synced: whole writes, or single sectors."""
    share = _share(chance)
    pending = file.pending if chance.random() < 0.5 else [part for each in file.pending for part in sectors(each)]
    kept = [change for change in pending if chance.random() < share]
    return file.after(kept, filler=chance.choice([b"\0", chance.randbytes(SECTOR)]))


def sectors(change: Change) -> list[Change]:
    """A change as the disk does it: a write sector by sector."""
    if isinstance(change, Truncate):
        return [change]
    end = change.offset + len(change.content)
    edges = [change.offset, *range((change.offset // SECTOR + 1) * SECTOR, end, SECTOR), end]
    return [
        Write(change.path, start, change.content[start - change.offset : stop - change.offset])
        for start, stop in pairwise(edges)
    ]
