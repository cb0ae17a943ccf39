"""Tables: their columns say what the reports and records say, to polars, pandas and DuckDB, and in files."""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sampledb
from sampledb import ClosedError, CorruptFileError, InvalidInputError, MissingExtraError, NotFoundError, SampleDB
from sampledb.database.tables import pages
from tests import strategies
from tests.markers import every_platform
from tests.raw import raw
from tests.strategies import KERNEL, U64, function, instruction, report

Rows = list[dict[str, Any]]


def rows(db: SampleDB, name: str, **arguments: Any) -> Rows:
    """The rows of a table, by polars."""
    return pl.DataFrame(db.table(name, **arguments)).to_dicts()


def references(found: dict[str, Any], key: str) -> Iterator[tuple[int | None, str]]:
    """The names that a function dict refers to, in the shapes of SMDA."""
    references = found.get(key) or {}
    if isinstance(references, dict):
        yield from ((int(address), name) for address, name in references.items())
    else:
        yield from ((each["ins_addr"], each["string"]) for each in references)


def loop(db: SampleDB) -> dict[str, Rows]:
    """The rows of all tables of code, by a loop over get_report."""
    found: dict[str, Rows] = {"functions": [], "instructions": [], "apis": [], "strings": []}
    for sample in db.iter_samples():
        xcfg = db.get_report(sample.sample_id)["xcfg"].values() if sample.num_functions else ()
        own = db.list_functions(sample.sample_id).values()
        for record, each in zip(own, sorted(xcfg, key=lambda each: each["offset"]), strict=True):
            ids = {"sample_id": sample.sample_id, "function_id": record.function_id}
            fields = record.to_dict()
            assert (fields.pop("disassembly"), fields["pic_hash"]) == (None, each["metadata"].get("pic_hash"))
            found["functions"].append(fields)
            for block, instructions in each["blocks"].items():
                for address, code, mnemonic, operands, *_ in instructions:
                    place = {"block": int(block), "address": address}
                    row = {**ids, **place, "code": code, "mnemonic": mnemonic, "operands": operands}
                    found["instructions"].append(row)
            for name, column, key in (("apis", "api", "apirefs"), ("strings", "string", "stringrefs")):
                for source, text in references(each, key):
                    found[name] += [{**ids, "address": source, column: text}] if text else []
    return found


@st.composite
def functions(draw: st.DrawFn) -> dict[str, Any]:
    """Any function that columns hold or do not hold, with jumps and references."""
    made = draw(strategies.functions())
    if draw(st.booleans()):
        start = made["offset"]
        block = [instruction(start, "90", "nop"), instruction(start + 1, "ebfd", "jmp", hex(start))]
        made = function(start, {str(start): block}, pic_hash=draw(st.none() | strategies.u64s))
        made["blockrefs"] = {str(start): [start]}
        made["outrefs"] = {str(start + 1): [start]}
        made["apirefs"] = draw(st.dictionaries(st.just(str(start + 1)), st.sampled_from(["a!b", "é", ""])))
        strings = [{"string": "s", "ins_addr": place, "data_addr": 1, "type": "ascii"} for place in (start, None)]
        made["stringrefs"] = draw(st.sampled_from([{}, {str(start): "Usage\n"}, strings]))
    return made


@given(st.lists(st.lists(functions(), max_size=40, unique_by=lambda each: each["offset"]), max_size=3), st.booleans())
def test_columns_of_code_are_those_of_the_reports(samples: list[list[dict[str, Any]]], small: bool) -> None:
    with sampledb.open(":memory:") as db, pytest.MonkeyPatch.context() as patch:
        # A page for each frame or two, or one for all.
        patch.setattr(pages, "_BYTES", 64 if small else 1 << 21)
        for number, each in enumerate([[function(4096)], *samples]):
            db.add_sample(report(*each, seed=str(number)))
        db.delete_sample(1)
        assert {name: rows(db, name) for name in ("functions", "instructions", "apis", "strings")} == loop(db)


@every_platform
def test_columns_of_real_reports_are_those_of_the_reports(filled: SampleDB) -> None:
    expected = loop(filled)
    for name in ("instructions", "apis"):
        assert rows(filled, name) == expected[name]
        assert rows(filled, name, sample_id=2) == [each for each in expected[name] if each["sample_id"] == 2]


def test_samples_keep_their_fields_and_types(db: SampleDB) -> None:
    db.add_sample(report(function(KERNEL), base_addr=U64, bitness=None, statistics={"num_functions": 1}))
    db.update_sample(1, tags=["a", 'b "c"'], media_info={"é": [1]}, notes="")
    db.add_media(sha256="0" * 64)
    frame = pl.DataFrame(db.table("samples"))
    for row, sample in zip(frame.to_dicts(), db.iter_samples(), strict=True):
        row["media_info"], row["statistics"] = json.loads(row["media_info"]), json.loads(row["statistics"])
        assert row == {field: getattr(sample, field) for field in sample.__struct_fields__} | {"tags": [*sample.tags]}
    types = [frame.schema[name] for name in ("base_addr", "binary_size", "tags", "is_library", "added_at")]
    assert types == [pl.UInt64, pl.UInt64, pl.List(pl.String), pl.Boolean, pl.Datetime("us", "UTC")]
    assert rows(db, "samples", sample_id=2, columns=["sample_id", "name"]) == [{"sample_id": 2, "name": ""}]


def test_duckdb_and_pandas_take_tables(db: SampleDB) -> None:
    for seed in "ab":
        db.add_sample(report(function(4096, pic_hash=None), function(KERNEL, pic_hash=U64), seed=seed))
    functions = db.table("functions")  # noqa: F841 - DuckDB finds it by its name
    instructions = db.table("instructions", columns=["mnemonic", "function_id"])
    assert repr(instructions) == f"<Table instructions of {db.path!r}: mnemonic, function_id>"
    joined = "SELECT mnemonic, max(pic_hash) FROM functions JOIN instructions USING (function_id) GROUP BY 1 ORDER BY 1"
    assert duckdb.sql(joined).fetchall() == [("nop", U64), ("ret", U64)]
    # A stream that is left early; and one that pandas takes by way of DuckDB, because its own way needs pyarrow.
    assert duckdb.sql("SELECT function_id FROM instructions LIMIT 1").fetchall() == [(1,)]
    data = duckdb.sql("FROM functions").df()
    assert data["offset"].tolist() == [4096, KERNEL] * 2
    assert str(data["offset"].dtype) == "uint64"


@pytest.mark.parametrize("name", pages.TABLES)
def test_an_empty_table_has_its_columns(db: SampleDB, name: str, tmp_path: Path) -> None:
    table = db.table(name)
    frame = pl.DataFrame(table)
    assert (frame.height, tuple(frame.columns), tuple(pages.TABLES[name])) == (0, table.columns, table.columns)
    table.write_parquet(tmp_path / "empty.parquet")
    assert pl.read_parquet(tmp_path / "empty.parquet").schema == frame.schema
    db.add_media(sha256="0" * 64)
    assert pl.DataFrame(db.table(name, sample_id=1)).height == (name == "samples")


def test_files_have_all_rows_and_appear_whole(filled: SampleDB, tmp_path: Path) -> None:
    table, path = filled.table("instructions", sample_id=1), tmp_path / "1.parquet"
    table.write_parquet(path)
    assert pl.read_parquet(path).equals(pl.DataFrame(table))
    table.write_csv(tmp_path / "1.csv")
    with (tmp_path / "1.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == [
            {column: str(value) for column, value in row.items()} for row in pl.DataFrame(table).iter_rows(named=True)
        ]
    filled.table("samples", columns=["sample_id", "tags", "bitness"]).write_csv(str(tmp_path / "samples.csv"))
    assert (tmp_path / "samples.csv").read_text().splitlines()[:2] == ["sample_id,tags,bitness", "1,[],32"]
    before = path.read_bytes()
    with pytest.raises(InvalidInputError, match="exists already"):
        table.write_csv(path)
    with pytest.raises(sampledb.StorageError, match="could not be written"):
        table.write_parquet(tmp_path / "none" / "1.parquet")
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 3


def test_columns_come_in_the_order_asked_for_and_others_are_not_read(db: SampleDB) -> None:
    db.add_sample(report(function(4096)))
    assert pl.DataFrame(db.table("apis", columns=("api", "sample_id"))).columns == ["api", "sample_id"]
    for columns in ([], "api", ["api", "api"], ["offset"], [1], {"api"}, [["api"]]):
        with pytest.raises(InvalidInputError, match="columns must be a list of different names among sample_id"):
            db.table("apis", columns=columns)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="name must be one of samples, functions"):
        db.table("blocks")
    for name in pages.TABLES:
        with pytest.raises(NotFoundError):
            db.table(name, sample_id=2)
    with pytest.raises(InvalidInputError):
        db.table("apis", sample_id=0)


# What happens to the store meanwhile


def test_a_stream_goes_on_while_the_store_changes_until_it_is_closed(
    db: SampleDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_BYTES", 1)
    for seed in "abc":
        db.add_sample(report(function(4096), function(8192), seed=seed))
    table = db.table("instructions", columns=["sample_id"])
    batches = table.iter_batches()
    assert next(batches).num_rows == 4
    db.delete_sample(2)
    assert [batch["sample_id"][0].as_py() for batch in batches] == [3]
    own, batches = db.table("functions", sample_id=1), table.iter_batches()
    next(batches)
    db.delete_sample(1)
    with pytest.raises(NotFoundError):
        list(own.iter_batches())
    db.close()
    with pytest.raises(ClosedError):
        list(batches)
    with pytest.raises(pl.exceptions.ComputeError, match="ClosedError"):
        pl.DataFrame(table)


DAMAGE = {
    "UPDATE disassembly SET checksum = 0 WHERE first_function_id = 17": "does not match its checksum",
    "DELETE FROM disassembly WHERE first_function_id = 17": "the frame ends before the function",
    "DELETE FROM disassembly": "there is no disassembly",
    'UPDATE functions SET "offset" = 1 WHERE function_id = 18': "an offset has changed",
    "UPDATE functions SET num_instructions = 1 WHERE function_id = 18": "another number of instructions",
}


@pytest.mark.parametrize("statement", DAMAGE)
def test_damage_ends_a_stream_with_an_error_and_leaves_no_file(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "damaged.sampledb"
    with sampledb.open(path) as db:
        db.add_sample(report(*(function(4096 * place) for place in range(1, 40))))
    with raw(path) as connection:
        connection.execute(statement)
    with sampledb.open(path, readonly=True) as db:
        instructions = db.table("instructions")
        with pytest.raises(CorruptFileError, match=DAMAGE[statement]) as raised:
            list(instructions.iter_batches())
        assert raised.value.details["path"] == str(path)
        for write in (instructions.write_parquet, instructions.write_csv):
            with pytest.raises(CorruptFileError, match=DAMAGE[statement]):
                write(tmp_path / "new")
        with pytest.raises(duckdb.Error, match=DAMAGE[statement]):
            duckdb.sql("SELECT max(address) FROM instructions").fetchall()
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_without_the_extra_the_error_names_it(db: SampleDB, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "sampledb.database.tables.batches", raising=False)
    monkeypatch.setitem(sys.modules, "arro3.io", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sampledb\[arrow\]'"):
        db.table("functions")
