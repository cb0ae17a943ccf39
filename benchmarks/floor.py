"""The floor: the same work done by bare `sqlite3`, with as few steps as possible.

It checks nothing, knows one kind of report, keeps one JSON text for each function, and returns tuples.
"""

from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from sampledb.format.codec import signed
from sampledb.format.zstd import zstd
from sampledb.store.sqlite import sqlite3

_SCHEMA = """
CREATE TABLE samples (sample_id INTEGER PRIMARY KEY, sha256 TEXT UNIQUE, report BLOB);
CREATE TABLE functions (
    function_id INTEGER PRIMARY KEY, sample_id INTEGER, "offset" INTEGER, name TEXT,
    num_blocks INTEGER, num_instructions INTEGER, binweight REAL, pic_hash INTEGER
);
CREATE TABLE disassembly (function_id INTEGER PRIMARY KEY, function BLOB);
"""
_COLUMNS = 'function_id, sample_id, "offset", name, num_blocks, num_instructions, binweight, pic_hash'


class _Metadata(msgspec.Struct):
    function_name: str
    binweight: float
    pic_hash: int | None = None


class _Function(msgspec.Struct):
    offset: int
    blocks: dict[str, list[msgspec.Raw]]
    metadata: _Metadata


class _Report(msgspec.Struct):
    sha256: str
    xcfg: dict[str, msgspec.Raw]


class Floor:
    """One file with one connection, as durable as the store that it is compared with."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = FULL")
        self._parse_report = msgspec.json.Decoder(_Report).decode
        self._parse_function = msgspec.json.Decoder(_Function).decode
        compressor = zstd.ZstdCompressor(level=3)
        self._compress = partial(compressor.compress, mode=compressor.FLUSH_FRAME)
        self._decompress = zstd.decompress

    def create(self) -> None:
        """Create the tables."""
        self.connection.executescript(_SCHEMA)

    def add(self, data: bytes) -> None:
        """Store a report in one durable transaction: decode, slice, compress each function, `executemany`."""
        report = self._parse_report(msgspec.json.format(data, indent=-1))
        rows, blobs = [], []
        for raw in report.xcfg.values():
            function = self._parse_function(raw)
            metadata = function.metadata
            instructions = sum(map(len, function.blocks.values()))
            pic_hash = None if metadata.pic_hash is None else signed(metadata.pic_hash)
            rows.append(
                (signed(function.offset), metadata.function_name, len(function.blocks), instructions,
                 metadata.binweight, pic_hash)
            )  # fmt: skip
            blobs.append(self._compress(raw))
        execute = self.connection.execute
        execute("BEGIN IMMEDIATE")
        sample_id = execute("INSERT INTO samples (sha256) VALUES (?)", (report.sha256,)).lastrowid
        ((first,),) = execute("SELECT coalesce(max(function_id), 0) + 1 FROM functions")
        self.connection.executemany(
            "INSERT INTO functions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            ((function_id, sample_id, *row) for function_id, row in enumerate(rows, first)),
        )
        self.connection.executemany("INSERT INTO disassembly VALUES (?, ?)", enumerate(blobs, first))
        execute("COMMIT")

    def list_functions(self, first: int, last: int) -> list[tuple[Any, ...]]:
        """Return the rows of the functions from `first` to `last`."""
        return self.connection.execute(
            f"SELECT {_COLUMNS} FROM functions WHERE function_id BETWEEN ? AND ?",  # noqa: S608
            (first, last),
        ).fetchall()

    def get_function(self, function_id: int) -> tuple[Any, ...]:
        """Return a row and its parsed function."""
        row = self.connection.execute(
            f"SELECT {_COLUMNS}, function FROM functions JOIN disassembly USING (function_id) WHERE function_id = ?",  # noqa: S608
            (function_id,),
        ).fetchone()
        return (*row, msgspec.json.decode(self._decompress(row[-1])))

    def count_text(self, text: str) -> int:
        """Return how often a text stands in any function."""
        blobs = self.connection.execute("SELECT function FROM disassembly")
        return sum(self._decompress(blob).count(text.encode()) for (blob,) in blobs)
