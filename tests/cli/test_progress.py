"""Bars, without a terminal."""

from hypothesis import given
from hypothesis import strategies as st

from sampledb import SampleDB
from sampledb.cli.progress import Progress
from sampledb.cli.table import count_cells


@given(st.integers(0, 30), st.none() | st.integers(0, 20), st.integers(2, 200))
def test_a_bar_fits_its_width_whatever_it_expects(db: SampleDB, done: int, total: int | None, width: int) -> None:
    progress = Progress(db, as_json=True, quiet=False)
    progress.expect(total)
    for _ in range(done):
        progress.note("added", "x.smda", {})
    bar = progress._format_bar(width)
    assert count_cells(bar) <= width
    assert f" {done}/" in bar or width < 20
    assert "-" not in bar


def test_a_bar_is_as_long_as_what_is_done(db: SampleDB) -> None:
    progress = Progress(db, as_json=True, quiet=False)
    progress.expect(4)
    assert progress._format_bar(79).startswith("─" * 40 + " 0/4 ")
    progress.note("added", "x.smda", {})
    assert progress._format_bar(79).startswith("━" * 10 + "─" * 30 + " 1/4 ")
