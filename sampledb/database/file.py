"""Public calls for the file as a whole: statistics, SQL, care."""

import os
from collections.abc import Iterable, Mapping
from typing import Any, Final

from sampledb import limits
from sampledb.database.engine.paging import require_growth
from sampledb.database.handle import Handle
from sampledb.errors import InvalidInputError
from sampledb.format import codec
from sampledb.model import Problem, RowList, Stats, render_records
from sampledb.store.file import describe_file
from sampledb.store.query import run_query
from sampledb.store.tables import functions, reports, samples, trigrams
from sampledb.store.tables.lookup import twins

# As many as a table shows.
_SHOWN: Final = 50


class File(Handle):
    """Calls on the file as a whole."""

    def _repr_html_(self) -> str | None:
        """Return the first samples as a table, for notebooks; `None` if the handle is closed."""
        if self.closed:
            return None
        with self._connections.snapshot() as connection:
            counts = samples.count(connection)
            first = samples.select(connection, {}, limit=_SHOWN)
        title = f"{self.path}: {counts['num_samples']:,} samples, {counts['num_functions']:,} functions"
        return render_records(first, title=title, count=counts["num_samples"])

    def stats(self) -> Stats:
        """Return counts and sizes of the content of the file."""
        with self._connections.snapshot() as connection:
            return Stats(
                **samples.count(connection),
                num_shared=twins.count_shared(connection, twins.LONG),
                disassembly_bytes=functions.count_bytes(connection),
                **describe_file(connection),
            )

    def query(self, sql: str, params: Iterable[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        """Run one read-only SQL statement and return its rows as dicts by column name.

        The statement can read this file and nothing else. `sampledb schema FILE` describes the tables. Addresses and
        hashes are signed 64-bit integers; `printf('0x%x', "offset")` shows them unsigned, and as parameters unsigned
        ones are bound as the signed ones of the same bits. If two columns have one
        name, the second is called `name:1`. There is no time limit; Ctrl-C ends the call.

        Raises:
            InvalidInputError: The SQL is wrong, or would do more than read.
        """
        if not isinstance(sql, str):
            raise InvalidInputError.of("sql", "text", sql)
        if not isinstance(params, Iterable):
            raise InvalidInputError.of("params", "a sequence or a mapping", params)
        # Before a connection is taken: making them may run code of the caller's.
        bound = (
            {name: _bind(value) for name, value in params.items()}
            if isinstance(params, Mapping)
            else tuple(map(_bind, params))
        )
        columns, rows = run_query(self._connections, sql, bound)
        return RowList(dict(zip(columns, row, strict=True)) for row in rows)

    def check(self, *, deep: bool = False) -> list[Problem]:
        """Check the file and return the problems found; an empty list means that the file is whole.

        `deep` also reads, hashes and decodes every blob, and rebuilds the search indexes to compare them. That takes
        a little longer than reading every report.
        """
        # Needed rarely.
        from sampledb.store.care.check import find_problems  # noqa: PLC0415

        return find_problems(self._connections, deep=limits.flag("deep", deep))

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Write a consistent copy to a new file while this one is in use; the copy appears when it is complete.

        Raises:
            InvalidInputError: `path` exists.
            StorageError: The copy cannot be written.
        """
        from sampledb.store.care.backup import backup  # noqa: PLC0415 - as in check()

        backup(self._connections, limits.path(path))

    def salvage(self, path: str | os.PathLike[str]) -> list[Problem]:
        """Copy everything readable into a new file and return a Problem for each loss; an empty list for none.

        For a damaged file; use `sampledb.salvage` if it cannot be opened. Ids stay the same, except for functions of
        damaged samples.

        Raises:
            InvalidInputError: `path` exists.
            StorageError: The new file cannot be written.
        """
        # Needed once in a lifetime.
        from sampledb.store.care.salvage import salvage_open_file  # noqa: PLC0415

        return salvage_open_file(self._connections, limits.path(path))

    def compact(self) -> None:
        """Make the file smaller: compress reports at the highest level, and free the space of deleted samples.

        Takes about half a millisecond for each function that was not compacted before, and free disk space of twice
        the size of the file. Other handles can read and write between its steps.
        """
        for compact in (functions.compact, reports.compact, trigrams.compact):
            after: int | None = 0
            while after is not None:
                with self._connections.writing() as connection:
                    before, after = after, compact(connection, after)
                    require_growth(before, after)
        with self._connections.maintaining() as connection:
            connection.execute("VACUUM")


def _bind(value: object) -> object:
    """Return a parameter as SQLite takes it: integers as they lie in the file."""
    is_unsigned = isinstance(value, int) and limits.MAX_ID < value <= limits.MAX_U64
    return codec.signed(int(value)) if is_unsigned else value  # type: ignore[call-overload]
