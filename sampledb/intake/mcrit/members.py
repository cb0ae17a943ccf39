"""Locate the members of a large JSON object in a file, in the memory of a piece of it.

Only the structure is read here. Whoever parses a member finds what is wrong inside of it.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

from sampledb.limits import MAX_REPORT

_PIECE: Final = 1024 * 1024
# Keys are hashes, or the few that MCRIT has.
_MAX_KEY: Final = 1024
_IN_SPACE: Final = re.compile(rb"[^ \t\r\n]")
_IN_TEXT: Final = re.compile(rb'["\\]')
_IN_VALUE: Final = re.compile(rb'["{}\[\]]')
_IN_SCALAR: Final = re.compile(rb"[,}\] \t\r\n]")


class Span(NamedTuple):
    """The place of a value in the file: its first byte, and the one behind its last."""

    start: int
    end: int

    def read(self, file: BinaryIO) -> bytes:
        """Return the JSON of the value."""
        file.seek(self.start)
        return file.read(self.end - self.start)


class Reader:
    """Reads an object from the beginning of a file; ValueError where its structure is not that of JSON."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._piece = b""
        self._begin = 0  # of the piece, in the file
        self._at = 0  # in the piece

    def members(self) -> Iterator[str]:
        """Yield the keys of the object that comes next; the caller takes the value of each before the next key."""
        self._take(b"{")
        if self._peek() == b"}":
            self._take(b"}")
            return
        while True:
            yield self._take_key()
            if self._take(b",}") == b"}":
                return

    def skip(self) -> Span:
        """Pass over the value that comes next, and return its place."""
        first = self._peek()
        start = self._begin + self._at
        if first == b'"':
            self._skip_text(start)
        elif first in b"{[":
            self._skip_nested(start)
        else:
            self._search(_IN_SCALAR, start)
        return Span(start, self._begin + self._at)

    def read(self, span: Span) -> bytes:
        """Return the JSON of a value that was passed over; what comes next stays the same."""
        position = self._file.tell()
        content = span.read(self._file)
        self._file.seek(position)
        return content

    def _peek(self) -> bytes:
        return self._search(_IN_SPACE, self._begin + self._at)

    def _take(self, marks: bytes) -> bytes:
        found = self._peek()
        if found not in marks:
            raise ValueError(f"is no JSON at byte {self._begin + self._at}")
        self._at += 1
        return found

    def _take_key(self) -> str:
        span = self.skip()
        key = self.read(span) if span.end - span.start <= _MAX_KEY else b""
        if not key.startswith(b'"'):
            raise ValueError(f"has no key of MCRIT's at byte {span.start}")
        self._take(b":")
        return key[1:-1].decode("ascii", "replace")

    def _skip_text(self, start: int) -> None:
        self._at += 1
        while self._search(_IN_TEXT, start) == b"\\":
            # Together with the byte that it escapes, which the next piece may begin with.
            self._at += 2
        self._at += 1

    def _skip_nested(self, start: int) -> None:
        depth = 0
        while True:
            mark = self._search(_IN_VALUE, start)
            if mark == b'"':
                self._skip_text(start)
                continue
            self._at += 1
            depth += 1 if mark in b"{[" else -1
            if not depth:
                return

    def _search(self, pattern: re.Pattern[bytes], start: int) -> bytes:
        """Go on to the next byte of a value from `start` on that matches, and return it."""
        while not (match := pattern.search(self._piece, self._at)):
            # An escape may have led beyond the piece.
            beyond = max(self._at - len(self._piece), 0)
            self._begin += len(self._piece)
            self._piece, self._at = self._file.read(_PIECE), beyond
            if not self._piece:
                raise ValueError("is cut off; make or fetch it again")
            if self._begin - start > MAX_REPORT:
                raise ValueError(f"has a value of more than {MAX_REPORT} bytes, and no sample can")
        self._at = match.start()
        return match[0]
