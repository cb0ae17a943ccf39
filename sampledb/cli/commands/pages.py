"""The command that writes pages to send."""

from pathlib import Path

import click

from sampledb import SampleDB
from sampledb.cli.names import SAMPLE, get_sample
from sampledb.cli.program import command
from sampledb.cli.terminal import Answer
from sampledb.cli.views import answer_written
from sampledb.intake.files import new_file


@command("page corpus.sampledb 12 > report.html", "page corpus.sampledb 12 --graphs 50 -o report.html")
@SAMPLE
@click.option(
    "--graphs", type=click.IntRange(min=0), default=12, help="Number of functions to show in full, 12 by default."
)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it to this new file.")
def page(db: SampleDB, sample: str, graphs: int, output: Path | None) -> Answer:
    """Print a page about a sample to send: one HTML file.

    It needs nothing else, and runs no script but its own. It shows in full the functions with labels, then the largest
    ones.
    """
    from sampledb.cli.page import write_page  # noqa: PLC0415 - it loads all that draws

    html = write_page(db, get_sample(db, sample), graphs)
    if output is None:
        return Answer(lambda: html, lambda _: html.split("\n"))
    with new_file(output) as partial:
        partial.write_text(html, "ascii")
    return answer_written(output)
