"""Text from malware, shown to people."""

from hypothesis import given
from hypothesis import strategies as st

from sampledb.render.text import escape_lines, escape_unprintable


@given(st.text())
def test_escaped_text_is_printable_and_printable_text_stays(text: str) -> None:
    assert escape_unprintable(text).isprintable()
    assert escape_unprintable(text) == text or not text.isprintable()


def test_control_characters_become_pythons_escapes() -> None:
    assert escape_unprintable("a\n\x1b[2J\u202e\ud800") == r"a\n\x1b[2J\u202e\ud800"
    assert escape_lines("a\nb\x1b\n") == ["a", r"b\x1b"]
