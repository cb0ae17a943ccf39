"""The command that writes a table to a file for other programs: Parquet or CSV."""

from pathlib import Path
from typing import Final

import click

from sampledb import SampleDB
from sampledb.cli.names import get_sample
from sampledb.cli.program import command
from sampledb.cli.terminal import Answer
from sampledb.cli.views import answer_written

_SUFFIXES: Final = (".parquet", ".csv")


@command(
    "table corpus.sampledb functions -o functions.parquet",
    "table corpus.sampledb instructions --sample 12 --columns address,mnemonic -o 12.csv",
)
@click.argument("name")
@click.option("--sample", help="Only the rows of this sample.")
@click.option("--columns", help="Only these, in this order, with commas between them.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="Write it to this new file, whose name ends in .parquet or .csv.",
)
def table(db: SampleDB, name: str, sample: str | None, columns: str | None, output: Path) -> Answer:
    """Write a table to a new file of Parquet or CSV.

    A NAME is samples, functions, instructions, apis, strings or labels.
    """
    if output.suffix.lower() not in _SUFFIXES:
        raise click.BadParameter("give a name that ends in .parquet or .csv.", param_hint="'--output'")
    sample_id = None if sample is None else get_sample(db, sample).sample_id
    found = db.table(name, sample_id=sample_id, columns=None if columns is None else columns.split(","))
    (found.write_csv if output.suffix.lower() == ".csv" else found.write_parquet)(output)
    return answer_written(output)
