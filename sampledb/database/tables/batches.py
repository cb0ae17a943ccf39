"""Batches of Arrow: columns of Python's values in, arrays out.

arro3 is chosen for its size: 34 MB installed, in wheels for Linux, macOS and Windows that fit every Python, and typed.
pyarrow takes 171 MB, and nanoarrow writes neither Parquet nor CSV. Whoever takes a stream needs no arro3.
"""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, Final

from arro3.core import (
    Array,
    DataType,
    Field,
    RecordBatch,
    RecordBatchReader,
    Schema,
    Table,
    fixed_size_list_array,
    list_array,
)
from arro3.io import write_csv, write_parquet

from sampledb.errors import CorruptFileError
from sampledb.store.tables.signatures import COORDINATES, SIGN_BYTES
from sampledb.store.tables.values import to_json

# Of columns that are not text, in whichever table. Addresses and hashes are unsigned.
_KINDS: Final = {
    **dict.fromkeys(("sample_id", "function_id"), "int64"),
    **dict.fromkeys(("bitness", "num_functions", "num_blocks", "num_instructions"), "int64"),
    **dict.fromkeys(("address", "block", "offset", "base_addr", "binary_size", "pic_hash"), "uint64"),
    "binweight": "float64",
    "is_library": "bool",
    **dict.fromkeys(("added_at", "updated_at"), "time"),
    "tags": "texts",
    **dict.fromkeys(("media_info", "statistics"), "json"),
    "algorithm": "int64",
    "signs": "signs",
    "coordinates": "coordinates",
}
_TYPES: Final = {
    "int64": DataType.int64(),
    "uint64": DataType.uint64(),
    "float64": DataType.float64(),
    "bool": DataType.bool(),
    "time": DataType.timestamp("us", tz="UTC"),
    "texts": DataType.list(Field("item", DataType.utf8())),
    "json": DataType.utf8(),
    "text": DataType.utf8(),
    "signs": DataType.binary(SIGN_BYTES),
    "coordinates": DataType.list(Field("item", DataType.int8(), nullable=False), COORDINATES),
    "digits": DataType.binary(COORDINATES),
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Rows:
    """Makes Arrow of rows with these columns, of kinds that are the same in all batches."""

    def __init__(self, columns: Sequence[str], kinds: Mapping[str, str] = _KINDS) -> None:
        self._kinds = {column: kinds.get(column, "text") for column in columns}
        self.schema = Schema([Field(column, _TYPES[kind]) for column, kind in self._kinds.items()])

    def flatten(self) -> "Rows":
        """Return the same without lists, which CSV does not have: JSON in place of tags, and hex digits of numbers."""
        return Rows(list(self._kinds), {**_KINDS, "tags": "json", "coordinates": "digits"})

    def stream(self, batches: Iterator[RecordBatch]) -> RecordBatchReader:
        """Return a reader that takes a batch when it is asked for one."""
        return RecordBatchReader.from_batches(self.schema, batches)

    def write_parquet(self, batches: Iterator[RecordBatch], path: Path) -> None:
        """Write batches to a file of Parquet, compressed with zstd."""
        write_parquet(self.stream(batches), path, compression="zstd(3)")

    def write_csv(self, batches: Iterator[RecordBatch], path: Path) -> None:
        """Write batches to a file of CSV, names first."""
        write_csv(self.stream(batches), path)

    def join(self, batches: Sequence[RecordBatch]) -> RecordBatch:
        """Return some batches as one; who takes many small ones is slow."""
        return Table.from_batches(batches).combine_chunks().to_batches()[0]

    def make_batch(self, values: Mapping[str, Sequence[Any]]) -> RecordBatch:
        """Return rows as a batch; there must be at least one."""
        try:
            arrays = [_make_array(kind, values[column]) for column, kind in self._kinds.items()]
        except (TypeError, ValueError, OverflowError) as error:
            raise CorruptFileError.of(f"a value cannot be read: {error}", "the tables") from error
        return RecordBatch.from_arrays(arrays, schema=self.schema)


def _make_array(kind: str, values: Sequence[Any]) -> Array:
    if size := {"signs": SIGN_BYTES, "digits": COORDINATES}.get(kind):
        whole = bytes(values)
        return Array([whole[begin : begin + size] for begin in range(0, len(whole), size)], _TYPES[kind])
    if isinstance(values, array):
        found = Array.from_buffer(values)
        return fixed_size_list_array(found, COORDINATES, type=_TYPES[kind]) if kind == "coordinates" else found
    if kind == "time":
        return Array([(each - _EPOCH) // _MICROSECOND for each in values], _TYPES["int64"]).cast(_TYPES[kind])
    if kind == "texts":
        bounds = Array(list(accumulate(map(len, values), initial=0)), DataType.int32())
        return list_array(bounds, Array(list(chain.from_iterable(values)), _TYPES["text"]), type=_TYPES[kind])
    return Array(list(map(to_json, values)) if kind == "json" else values, _TYPES[kind])
