"""Bars, without a terminal."""

from hypothesis import given
from hypothesis import strategies as st

from sampledb.cli.live import Bar
from sampledb.cli.table import count_cells


@given(st.integers(0, 30), st.none() | st.integers(0, 20), st.integers(2, 200))
def test_a_bar_fits_its_width_whatever_it_expects(done: int, total: int | None, width: int) -> None:
    bar = Bar()
    bar.done, bar.total = done, total
    drawn = bar.format(width)
    assert count_cells(drawn) <= width
    assert f" {done}/" in drawn or width < 20
    assert "-" not in drawn


def test_a_bar_is_as_long_as_what_is_done() -> None:
    bar = Bar()
    bar.set(0, 4)
    assert bar.format(79).startswith("─" * 40 + " 0/4 ")
    bar.set(1, 4)
    assert bar.format(79).startswith("━" * 10 + "─" * 30 + " 1/4 ")
