"""Regular expressions: words that their matches must contain, and matches in many lines at once."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sampledb.format.scan.pattern import confine, list_needed

PIECES = [
    *["mov", " ", "ab?", "ab*c", "ab+c", "a{0,2}b", "a{,1}", "x{2}y", "{sae}", "}", "]", "|", ".", "^", "$", "xy"],
    *["(xor|rol)", "(?:je|jne)+", "(ab|cd)?", "(ab|cd){0}", "(nop(a|b)c)", "(?P<n>ab)", "(?=ab)", "(?!zz)", "(?>ab)"],
    *[
        "[]^a]",
        r"[^\]]",
        "[ab(]",
        r"\[",
        r"\.",
        r"\d+",
        r"\x41",
        r"\u0041",
        r"\bab",
        r"\101",
        "a++",
        "(?#a)",
        "(?x: a)",
    ],
    *["\u017f", "\u212a", "(?-i:MOV)", r"\(ab|", "(s|k)", "(?x: a)"],
]


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=4), st.sampled_from(["", "", "(?i)"]), st.data())
def test_what_matches_has_a_word_of_each_group(pieces: list[str], flags: str, data: st.DataObject) -> None:
    pattern = flags + "".join(pieces)
    try:
        compiled = re.compile(pattern)
    except re.error:
        assume(False)
    words = st.sampled_from(
        ["mov", "xor eax", "ab", "a", "b", "c", "xxy", "ABC", "je", "nopac", "[", "A", "1", "S", "{"]
    )
    text = "".join(data.draw(st.lists(words | st.sampled_from(" .]}"), max_size=6)))
    if compiled.search(text):
        assert all(any(word in text.lower() for word in group) for group in list_needed(pattern)), pattern


# What may match the end of a line, or tell it from the end of a text.
ENDS = [
    *[
        r"\A",
        r"\Z",
        "^",
        "$",
        r"\b",
        r"\B",
        r"\s+",
        r"\S+",
        r"\W*",
        r"\D+",
        ".*",
        "[^a]*",
        "[^]a]+",
        "[^-a]+",
        r"[^\S]*",
    ],
    *[
        r"[\s,]+",
        r"[\b-z]+",
        r"[\x00-z]+",
        "[\t-z]+",
        r"[\]-a]",
        "[]a]",
        r"\n",
        r"\x0a",
        r"\012",
        r"\\n",
        r"\-",
        "\n",
        "(?s).+",
    ],
    *["(?m:^)", "(?!.)", r"(?![^a])", r"(?<!\s)", "(?=a|$)", "(a)?", r"(?(1)a|\s)", "(?i)A", "|", "a", ",", " ", "x*"],
]


@given(
    st.lists(st.sampled_from(ENDS), min_size=1, max_size=4).map("".join),
    st.lists(st.text("aA ,]-nx", max_size=4), min_size=1, max_size=4),
)
def test_a_confined_pattern_matches_lines_as_the_pattern_matches_each(pattern: str, lines: list[str]) -> None:
    confined = confine(pattern)
    assume(confined is not None)
    try:
        compiled = re.compile(pattern)
    except re.error:
        assume(False)
    found = re.compile(str(confined), re.MULTILINE).search(text := "\n".join(lines))
    expected = next((number for number, line in enumerate(lines) if compiled.search(line)), None)
    assert expected == (text.count("\n", 0, found.start()) if found else None), confined


@pytest.mark.parametrize(
    ("pattern", "needed"),
    [
        ("mov.*0x67452301", [["mov"], ["0x67452301"]]),
        ("(xor|rol) e[abcd]x", [["xor", "rol"]]),
        ("syscall|int 0x80", [["syscall", "int"]]),
        (r"^CALL +qword ptr \[rips?", [["call"], ["qword"], ["ptr"], ["[rip"]]),
        (r"(?i)\bcpuid\b", [["cpuid"]]),
        (r"^\w+ \w+$", []),
        ("mov|add.*", []),
    ],
)
def test_words_are_found_where_people_write_them(pattern: str, needed: list[list[str]]) -> None:
    assert list_needed(pattern) == needed
    assert confine(pattern)
