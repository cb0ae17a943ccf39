"""Table: rows of the store as a stream of Arrow, and as files of Parquet and CSV."""

from collections.abc import Callable, Iterator
from os import PathLike
from typing import TYPE_CHECKING

from sampledb import limits
from sampledb.database.engine.paging import require_growth
from sampledb.errors import MissingExtraError, StorageError
from sampledb.intake.files import new_file
from sampledb.store.connection import Connections

if TYPE_CHECKING:
    from pathlib import Path

    from arro3.core import RecordBatch

    from sampledb.database.tables.batches import Rows


class Table:
    """A table of the store, which is read anew, in batches, whenever somebody takes its rows.

    polars, pandas, DuckDB, pyarrow and others take it as it is. It needs memory for one batch, and holds no lock
    between two: each is of one moment, and what was deleted or replaced meanwhile is left out. Where the file is
    damaged, the stream ends with an error; in other libraries it is theirs, with the text of CorruptFileError.

    Addresses, offsets, `binary_size` and `pic_hash` are uint64, other integers int64; times are timestamps in UTC;
    `tags` is a list of text. What is unknown is null or `""`, as in the records.

    Attributes:
        name: As it was given.
        columns: Their names, in order.
    """

    def __init__(
        self, connections: Connections, name: str, columns: tuple[str, ...], sample_id: int | None = None
    ) -> None:
        try:
            from sampledb.database.tables.batches import Rows  # noqa: PLC0415 - an extra, and large
        except ImportError as error:
            raise MissingExtraError.of("arrow", "table()") from error
        self.name = name
        self.columns = columns
        self._connections = connections
        self._sample_id = sample_id
        self._rows = Rows(columns)
        self._find_range()

    def __repr__(self) -> str:
        return f"<Table {self.name} of {self._connections.path!r}: {', '.join(self.columns)}>"

    def __arrow_c_schema__(self) -> object:
        """Return the types of the columns, as the Arrow PyCapsule Interface has them."""
        return self._rows.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return a stream of all rows, as the Arrow PyCapsule Interface has it."""
        return self._rows.stream(self.iter_batches()).__arrow_c_stream__(requested_schema)

    def iter_batches(self) -> Iterator["RecordBatch"]:
        """Yield the rows, some at a time, as `arro3.core.RecordBatch`, which every library of Arrow takes.

        Raises:
            CorruptFileError: The file is damaged.
            ClosedError: The store was closed.
            NotFoundError: The sample was deleted.
        """
        return self._iter_batches(self._rows)

    def write_parquet(self, path: str | PathLike[str]) -> None:
        """Write all rows to a new file of Parquet, compressed with zstd. It appears when it is complete.

        Raises:
            InvalidInputError: There is a file at `path`.
            StorageError: It cannot be written, or the store cannot be read.
        """
        self._write(path, self._rows, self._rows.write_parquet)

    def write_csv(self, path: str | PathLike[str]) -> None:
        """Write all rows to a new file of CSV in UTF-8, names first. It appears when it is complete.

        `tags` are JSON. Nothing is escaped: text from malware may hold what a terminal or a spreadsheet obeys.

        Raises:
            InvalidInputError: There is a file at `path`.
            StorageError: It cannot be written, or the store cannot be read.
        """
        rows = self._rows.flatten()
        self._write(path, rows, rows.write_csv)

    def _write(
        self, path: str | PathLike[str], rows: "Rows", write: Callable[[Iterator["RecordBatch"], "Path"], None]
    ) -> None:
        failures: list[BaseException] = []

        def read() -> Iterator["RecordBatch"]:
            try:
                yield from self._iter_batches(rows)
            except (Exception, KeyboardInterrupt) as error:
                failures.append(error)
                raise

        path = limits.path(path)
        with new_file(path) as unfinished:
            try:
                write(read(), unfinished)
            except Exception as error:
                # arro3 raises Exception for every failure, also one of the rows that it reads.
                raise (failures[0] if failures else StorageError.not_written(path, error)) from error

    def _iter_batches(self, rows: "Rows") -> Iterator["RecordBatch"]:
        from sampledb.database.tables import pages  # noqa: PLC0415 - most programs need no table

        begin, last = self._find_range()
        while begin <= last:
            found, end = [], None
            with self._connections.snapshot() as connection:
                for end, values in pages.read_page(connection, self.name, begin, last, self.columns):  # noqa: B007
                    if values[self.columns[0]]:
                        found.append(rows.make_batch(values))
                require_growth(begin - 1, end)
            if found:
                yield rows.join(found)
            begin = last + 1 if end is None else end + 1

    def _find_range(self) -> tuple[int, int]:
        from sampledb.database.tables import pages  # noqa: PLC0415 - as above

        with self._connections.reading() as connection:
            return pages.find_range(connection, self.name, self._sample_id)
