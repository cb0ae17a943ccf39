"""The command that writes tables."""

from pathlib import Path

import polars as pl

from sampledb import SampleDB
from tests.cli.consoles import answered, run


def test_a_table_is_written_in_the_form_that_the_name_says(filled_path: Path, filled: SampleDB, tmp_path: Path) -> None:
    path, listing = tmp_path / "functions.parquet", tmp_path / "1.CSV"
    assert answered("table", filled_path, "functions", "-o", path) == {"path": str(path), "bytes": path.stat().st_size}
    assert pl.read_parquet(path).equals(pl.DataFrame(filled.table("functions")))
    shown = run("table", filled_path, "apis", "--sample", 1, "--columns", "api,address", "-o", listing)
    assert (shown.code, shown.output.split(",")[0]) == (0, f"Wrote {listing}")
    assert listing.read_text().startswith("api,address\n")
    for arguments, code, error in (
        (("blocks", "-o", tmp_path / "b.csv"), 1, "name must be one of samples, functions"),
        (("apis", "--columns", "api,x", "-o", tmp_path / "b.csv"), 1, "columns must be a list"),
        (("apis", "-o", listing), 1, "exists already"),
        (("apis", "-o", tmp_path / "b.txt"), 2, "ends in .parquet or .csv"),
        (("apis",), 2, "--output"),
    ):
        shown = run("table", filled_path, *arguments)
        assert (shown.code, error in shown.errors, shown.output) == (code, True, "")
    assert len(list(tmp_path.iterdir())) == 2
