"""The public call for tables: what the file holds, as columns for data frames, Parquet and CSV."""

from collections.abc import Sequence
from importlib.util import find_spec

from sampledb import limits
from sampledb.database.handle import Handle
from sampledb.database.tables.table import Table
from sampledb.errors import InvalidInputError, MissingExtraError


class Tables(Handle):
    """The store as columns."""

    def table(self, name: str, *, sample_id: int | None = None, columns: Sequence[str] | None = None) -> Table:
        """Return a table that polars, pandas, DuckDB and pyarrow take as it is: `polars.DataFrame(db.table("apis"))`.

        Nothing is read before they ask for it. `SampleDB.query` answers what needs no data frame.

        Args:
            name: One of these. Rows come in the order of samples and functions, which is that of offsets.
                `"samples"`: a row for each, with the fields of Sample; `media_info` and `statistics` are JSON.
                `"functions"`: a row for each, with the fields of Function except its disassembly.
                `"instructions"`: `sample_id`, `function_id`, `block` (the address of its block), `address`, `code` (its
                bytes, as hex digits), `mnemonic`, `operands`; functions have them in the order of SMDA's report.
                `"apis"` and `"strings"`: a row for each reference, with `sample_id`, `function_id`, `address` (of the
                instruction that refers, or null) and `api` or `string`.
                `"signatures"`: those that are made, which `update_signatures` completes: `sample_id`, `function_id`,
                `architecture`, `algorithm`, `signs` (32 bytes), and `coordinates` (256 int8, whose cosine in hundredths
                is the score). Only those of one algorithm compare; the signs of 256 bits, by how many differ.
                `"labels"`: `sample_id`, `offset`, `name`, `comment`, `username`, `updated_at`.
            sample_id: Only the rows of this sample.
            columns: Only these, in this order; the others are not read.

        Raises:
            InvalidInputError: There is no such table, or it has no such column.
            NotFoundError: There is no such sample.
            MissingExtraError: The extra `arrow` is not installed, or for `coordinates` the extra `similarity`.
        """
        # Columns and their types, which nothing else here needs.
        from sampledb.database.tables.pages import TABLES  # noqa: PLC0415

        name = limits.choice("name", name, list(TABLES))
        chosen = TABLES[name] if columns is None else _check_columns(columns, TABLES[name])
        if "coordinates" in chosen and not find_spec("numpy"):
            raise MissingExtraError.of("similarity", "The column coordinates")
        if sample_id is not None:
            sample_id = limits.identity("sample_id", sample_id)
        return Table(self._connections, name, chosen, sample_id)


def _check_columns(columns: object, known: Sequence[str]) -> tuple[str, ...]:
    rule = f"a list of different names among {', '.join(known)}"
    # Not any sequence: text is one of characters, and never meant so.
    if not isinstance(columns, list | tuple) or not columns:
        raise InvalidInputError.of("columns", rule, columns)
    for place, column in enumerate(columns):
        if column not in known or column in columns[:place]:
            raise InvalidInputError.of("columns", rule, column)
    return tuple(columns)
