"""Tables and cards: lines that fit, whatever the text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampledb.cli.table import Column, count_cells, fit, format_card, format_table
from sampledb.cli.terminal import Screen
from sampledb.cli.views import format_short_size
from sampledb.render.text import escape_unprintable

PLAIN = Screen(None, lambda text, _: text)


@given(st.lists(st.tuples(st.text(), st.text(), st.integers().map(str)), max_size=20), st.integers(1, 200))
def test_no_line_of_a_table_or_a_card_is_wider_than_the_screen(rows: list[tuple[str, ...]], width: int) -> None:
    screen = PLAIN._replace(width=width)
    columns = [Column("name", gives_way=True), Column("text", gives_way=True), Column("number", is_number=True)]
    for line in format_table(screen, columns, rows):
        assert count_cells(line) <= width
        assert line.isprintable()
    fields = {"name": rows[0][0], "text": rows[0][1]} if rows else {}
    # A field's name is never cut, and its value keeps a few cells.
    for line in format_card(screen, {"title": fields}):
        assert count_cells(line) <= max(width, 30)


@given(st.lists(st.tuples(st.text(), st.text()), max_size=20))
def test_without_a_width_nothing_is_cut(rows: list[tuple[str, str]]) -> None:
    shown = [*format_table(PLAIN, [Column("a", gives_way=True), Column("b", gives_way=True)], rows)]
    assert len(shown) == 1 + len(rows)
    for line, (first, second) in zip(shown[1:], rows, strict=True):
        assert line.startswith(escape_unprintable(first).rstrip())
        assert line.endswith(escape_unprintable(second).rstrip())


@pytest.mark.parametrize("width", [None, 20])
def test_an_empty_column_takes_no_room_and_hides_none_behind_it(width: int | None) -> None:
    columns = [Column("", "", gives_way=True)] * 3
    assert [*format_table(PLAIN._replace(width=width), columns, [("a", "", "b")])] == ["a  b"]


@given(st.text(), st.integers(1, 100))
def test_what_is_cut_ends_with_an_ellipsis(text: str, width: int) -> None:
    cut = fit(escape_unprintable(text), width)
    assert count_cells(cut) <= width
    assert cut == escape_unprintable(text) or cut.endswith("…")


@pytest.mark.parametrize(
    ("text", "cells"),
    [("abc", 3), ("日本", 4), ("e\u0301", 1), ("\u1112\u1161\u11ab", 2), ("🦠", 2), ("ﾊﾝ", 2), ("naïve", 5)],
)
def test_characters_take_as_many_cells_as_terminals_give_them(text: str, cells: int) -> None:
    assert count_cells(text) == cells


def test_a_line_break_in_a_name_breaks_no_line_and_notes_have_several() -> None:
    fields: dict[str, str | list[str]] = {"name": "a\nb", "notes": ["one", "", "two\r"]}
    assert list(format_card(PLAIN, {"title": fields})) == [
        "title",
        "  name   a\\nb",
        "  notes  one",
        "",
        "         two\\r",
    ]


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (2**20, "1.0 MiB"), (2**63, "8192.0 PiB")],
)
def test_sizes_are_for_people(count: int, shown: str) -> None:
    assert format_short_size(count) == shown
