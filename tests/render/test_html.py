"""Records and their lists in notebooks."""

import copy
import pickle
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sampledb
from sampledb import (
    Comparison,
    Explanation,
    Function,
    FunctionId,
    FunctionPair,
    Reason,
    RecordDict,
    RecordList,
    SampleDB,
    SampleId,
    SampleMatch,
)
from sampledb.model import RowList
from sampledb.render.html import Line, Link, render_card, render_code, render_note, render_table, render_text
from tests import strategies
from tests.strategies import U64

OURS = {"table", "caption", "thead", "tbody", "tr", "th", "td", "p", "span", "details", "summary", "pre", "div"}
DRAWN = {"svg", "rect", "text", "path"}
ATTACKS = [
    *["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</td></table><h1>", "<!--", "&lt;b&gt;", "]]>"],
    *["javascript:alert(1)", "' onmouseover='x", "\x1b[31m", "a\u202eexe.txt", "\ud800", "\0"],
]

texts = st.sampled_from(ATTACKS) | st.text()
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.just(datetime(2026, 1, 31, tzinfo=UTC)),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)


class Page(HTMLParser):
    """The tags, attributes and words of some HTML; every tag must be closed in its turn."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._open.append(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_comment(self, data: str) -> None:
        pytest.fail(f"a comment: {data}")


def html_of(shown: object) -> str:
    """What a notebook asks for."""
    html: str = shown._repr_html_()  # type: ignore[attr-defined]
    return html


def a_function(number: int, name: str = "", **fields: Any) -> Function:
    return Function(FunctionId(number), SampleId(1), 4096 + number, name, 1, 2, 0.5, U64, **fields)


@given(texts, st.dictionaries(texts, values, max_size=5))
def test_a_card_has_no_tags_but_its_own(title: str, fields: dict[str, Any]) -> None:
    page = Page(render_card(title, fields))
    assert set(page.tags) <= OURS
    assert page.attributes == {"style"}
    assert page.tags.count("tr") == len(fields)


@given(texts, st.lists(st.lists(values, min_size=2, max_size=2), max_size=5))
def test_a_table_has_no_tags_but_its_own(title: str, rows: list[list[Any]]) -> None:
    page = Page(render_table(title, ["<b>", "name"], rows, len(rows)))
    assert set(page.tags) <= OURS
    assert page.attributes == {"style"}
    assert page.tags.count("tr") == 1 + len(rows)


@given(texts, st.lists(texts))
def test_notes_and_code_have_no_tags_but_their_own(words: str, lines: list[str]) -> None:
    page = Page(render_note(words) + render_code(words, map(Line, lines), unfolded=True))
    assert page.tags == ["p", "details", "summary", "pre"]


@given(texts, texts)
def test_links_leave_neither_their_attribute_nor_their_element(words: str, href: str) -> None:
    page = Page(
        render_code("", [Line(words, href or "#", href)], unfolded=True) + render_card("", {words: Link(words, href)})
    )
    assert page.tags.count("a") == 2
    assert set(page.tags) <= OURS | {"a"}
    assert page.attributes <= {"style", "open", "href", "id"}


@given(st.text())
def test_what_is_shown_can_be_printed_and_sent(words: str) -> None:
    shown = render_text(words, 100)
    assert shown.isprintable()
    assert shown.encode("utf-8", "strict") or not words


@pytest.mark.parametrize("attack", ATTACKS)
def test_names_and_operands_from_malware_inject_nothing(db: SampleDB, attack: str) -> None:
    name = "x" + attack.encode("utf-8", "replace").decode().replace("\0", "")
    code = {"4096": [strategies.instruction(4096, "90", name, name)]}
    sample = db.add_sample(strategies.report(strategies.function(4096, code, function_name=name)), name=name)
    sample = db.update_sample(sample.sample_id, tags=[name], notes=name, media_info={name: name})
    function = db.get_function(sample.sample_id, 1)
    for shown in (sample, function, db.list_samples(), db.functions_with_pic_hash(4096), db.stats()):
        page = Page(html_of(shown))
        assert set(page.tags) <= OURS | DRAWN
        assert not any(attribute.startswith("on") or attribute in {"src", "href"} for attribute in page.attributes)


def test_hashes_and_addresses_are_shown_in_hex(filled: SampleDB) -> None:
    function = next(each for each in filled.list_functions(1).values() if each.pic_hash)
    sample = filled.get_sample(1)
    assert {f"{function.offset:#x}", f"{function.pic_hash:#x}"} <= set(Page(html_of(function)).words)
    assert f"{sample.base_addr:#x}" in Page(html_of(sample)).words


def test_a_card_shows_every_field_of_a_sample(filled: SampleDB) -> None:
    sample = filled.get_sample(1)
    words = Page(html_of(sample)).words
    assert set(sample.__struct_fields__) <= set(words)
    assert sample.sha256 in words


def test_a_tag_is_a_word_of_its_own(path: Any) -> None:
    with sampledb.open(path) as db:
        sample = db.update_sample(1, tags=["linux", "two words"])
    assert {"linux", "two words"} <= set(Page(html_of(sample)).words)


def test_a_table_shows_50_rows_and_counts_the_rest() -> None:
    shown = html_of(RecordList(a_function(number) for number in range(1, 1235)))
    assert Page(shown).tags.count("tr") == 51
    assert "<caption" in shown
    assert ">1,234 functions<" in shown
    assert "… and 1,184 more" in shown
    assert "more" not in html_of(RecordList(map(a_function, range(50))))
    assert html_of(RecordDict()) == html_of(RecordList()) == "<p>No records.</p>"


def test_what_is_similar_shows_its_scores_first_and_shares_with_one_digit() -> None:
    one, other = a_function(1, label="rc4_init"), a_function(2, "sub<2>")
    pair = FunctionPair(one, other, 91, exact=False)
    shown = Page(html_of(Comparison((pair, pair), (), (other,), 99.86060404912048, 0.5)))
    assert (
        "2 function pairs: 99.9 % of the code of a, 0.5 % of b; 0 functions are only in a, 1 only in b" in shown.words
    )
    assert Page(html_of(pair)).words[-10:] == [
        "91",
        "False",
        "1",
        "0x1001",
        "rc4_init",
        *("2", "2", "0x1002", "sub<2>", "2"),
    ]
    match = SampleMatch(SampleId(7), "a.exe", "", False, 3, 31.59, 0.0)
    assert Page(html_of(RecordList([match]))).words[-6:] == ["31.6", "0.0", "3", "7", "a.exe", "False"]
    assert "0.123" in Page(html_of(RowList([{"binweight": 0.123}]))).words
    assert "Explanation: score 5" in Page(html_of(Explanation(5, False, (Reason("order", 5, "call 1"),)))).words


def test_a_long_text_is_cut() -> None:
    assert len(html_of(a_function(1, "x" * 1_000_000))) < 5000
    assert len(html_of(RecordList([a_function(1, "x" * 1_000_000)]))) < 5000


def test_a_function_with_its_disassembly_shows_its_graph_and_its_instructions(filled: SampleDB) -> None:
    for sample in filled.list_samples():
        function = next(iter(filled.list_functions(sample, disassembly=True).values()))
        page = Page(html_of(function))
        assert page.tags.count("svg") == page.tags.count("pre") == 1
        (listing,) = [words for words in page.words if words.count("\n") >= function.num_instructions - 1]
        assert len(listing.split("\n")) >= function.num_instructions


def test_a_function_without_its_disassembly_shows_a_card() -> None:
    assert "<svg" not in html_of(a_function(1))
    assert "not SMDA" in html_of(a_function(1, disassembly={"blocks": 5}))


def test_jobs_and_statistics_have_cards_too(db: SampleDB) -> None:
    job_id = db.submit_binary(b"MZ", filename="<b>")
    assert "&lt;b&gt;" in html_of(db.get_job(job_id))
    assert Page(html_of(db.list_jobs())).tags.count("tr") == 2
    assert "journal_mode" in html_of(db.stats())


def test_the_lists_are_dicts_and_lists(filled: SampleDB) -> None:
    by_id, listed = filled.list_functions(1), filled.functions_with_pic_hash(U64)
    listed += by_id.values()
    assert by_id == dict(by_id)
    assert listed == list(by_id.values())
    assert isinstance(by_id, dict)
    assert isinstance(listed, list)
    assert repr(by_id) == repr(dict(by_id))
    for records in (by_id, listed):
        for twin in (pickle.loads(pickle.dumps(records)), copy.copy(records), copy.deepcopy(records)):  # noqa: S301
            assert twin == records
            assert type(twin) is type(records)
            assert not hasattr(records, "__dict__")


def test_a_query_gives_a_list_of_plain_dicts(filled: SampleDB) -> None:
    rows = filled.query("SELECT 1 AS one")
    assert isinstance(rows, list)
    assert rows == [{"one": 1}]
    assert type(rows[0]) is dict


def test_the_store_rows_and_numbers_by_name_show_themselves_as_tables(filled: SampleDB) -> None:
    rows, families, apis = filled.query("SELECT 1 AS one, '<b>' AS two"), filled.list_families(), filled.list_apis()
    assert Page(html_of(rows)).words == ["1 row", "one", "two", "1", "<b>"]
    assert {"family", "samples"} <= set(Page(html_of(families)).words)
    assert {"api", "functions"} <= set(Page(html_of(apis)).words)
    assert Page(html_of(filled.query("SELECT 1 WHERE FALSE"))).words == ["0 rows"]
    for counts in (families, apis):
        for twin in (pickle.loads(pickle.dumps(counts)), copy.copy(counts), copy.deepcopy(counts)):  # noqa: S301
            assert twin == counts == dict(counts)
            assert html_of(twin) == html_of(counts)
    shown = html_of(filled)
    assert f"{filled.path}: 3 samples, " in shown
    assert Page(shown).tags.count("tr") == 4
    filled.close()
    assert html_of(filled) is None


def test_people_read_the_name_before_the_64_digits_of_a_hash(filled: SampleDB) -> None:
    words = Page(html_of(filled.list_samples())).words
    assert words.index("3 samples") < words.index("name") < words.index("tags") < words.index("sha256")
    assert "Sample 1" in Page(html_of(filled.get_sample(1))).words


def test_pandas_and_polars_take_the_dicts(filled: SampleDB) -> None:
    for records in (filled.list_samples(), filled.list_functions(1)):
        rows = records.to_dicts()
        assert rows == [each.to_dict() for each in records.values()]
        assert len(pd.DataFrame(rows)) == len(records)
        assert pl.DataFrame(rows, infer_schema_length=None).height == len(records)
    function = next(each for each in filled.list_functions(1).values() if each.pic_hash)
    twins = filled.functions_with_pic_hash(function.pic_hash or 0).to_dicts()
    assert pl.DataFrame(twins)["pic_hash"].unique().to_list() == [function.pic_hash]
