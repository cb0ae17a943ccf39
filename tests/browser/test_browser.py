"""What people see in a browser: they can click from table to function to caller, read it, and nothing hostile runs."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sampledb
from sampledb import Function, SampleDB
from tests.browser.chromium import PROGRAM, open_tab, serve
from tests.cli.consoles import run
from tests.database.test_similar import CHANGED, variant
from tests.strategies import HOSTILE

pytest.importorskip("playwright", reason="the browser's tests need playwright: pip install playwright")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PROGRAM, reason="there is no Chromium: apt-get install chromium"),
    pytest.mark.filterwarnings("default"),  # of uvicorn and of playwright
]

_SHOWN = HOSTILE.replace("\u202e", r"\u202e")
# Pixels between the lowest and the highest point of a line of 12.
_READABLE = 12


@pytest.fixture(scope="module")
def site(looked_at: Path) -> Iterator[str]:
    with serve(looked_at) as address:
        yield f"{address}/corpus"


@pytest.fixture(scope="module")
def large(looked_at: Path) -> Function:
    """A function of which only a part is drawn."""
    with sampledb.open(looked_at, readonly=True) as db:
        return max(db.iter_functions(), key=lambda each: each.num_blocks)


def assert_readable(tab: Any) -> None:
    """The words in all pictures have their full size, and the first block of each is in sight."""
    for picture in tab.query_selector_all(".graph"):
        words = picture.query_selector("text")
        assert words.bounding_box()["height"] >= _READABLE
        block, frame = picture.query_selector_all("rect")[1].bounding_box(), picture.bounding_box()
        assert frame["x"] <= block["x"] + block["width"] / 2 <= frame["x"] + frame["width"]
        assert frame["y"] <= block["y"] <= frame["y"] + frame["height"]


def test_one_clicks_from_a_table_to_a_function_to_its_caller(site: str) -> None:
    with open_tab() as (tab, complaints):
        tab.goto(site)
        tab.click("a:text-is('function_list')")
        tab.goto(f"{tab.url}&_sort_desc=function_id")
        assert _SHOWN in tab.inner_text("table")
        tab.click("a:text-is('0x2000')")
        assert tab.inner_text("h1") == _SHOWN
        tab.click("table:has-text('Called by 1') a")
        assert tab.inner_text("h1") == "rc4_init"
        assert_readable(tab)
        tab.click("svg a")
        assert tab.inner_text("h1") == _SHOWN
        tab.click("a:has-text('Sample 4')")
        assert "rc4_init" in tab.inner_text("table:has-text('2 functions')")
        assert not tab.query_selector("img, .sampledb script")
        assert complaints == []


def test_a_large_function_begins_in_sight_and_its_jumps_lead_somewhere(site: str, large: Function) -> None:
    assert large.num_blocks > 200
    with open_tab() as (tab, complaints):
        tab.goto(f"{site}/-/function/{large.function_id}")
        assert_readable(tab)
        tab.click("pre a[href^='#0x'] >> nth=0")
        assert tab.eval_on_selector(":target", "each => each.getBoundingClientRect().top < innerHeight")
        assert complaints == []


def test_the_page_to_send_is_searched_and_sorted_and_nothing_in_it_runs(
    looked_at: Path, large: Function, tmp_path: Path
) -> None:
    for sample_id in (large.sample_id, 4):
        run("page", looked_at, sample_id, "-o", tmp_path / f"{sample_id}.html")
    with open_tab() as (tab, complaints):
        tab.goto((tmp_path / f"{large.sample_id}.html").as_uri())
        assert_readable(tab)
        for _ in range(2):
            tab.click("th:text-is('blocks')")
        assert tab.inner_text("thead ~ tbody tr >> nth=0").split("\t")[0] == f"{large.offset:#x}"
        tab.fill("input", "no such text")
        assert not tab.is_visible("thead ~ tbody tr >> nth=0")
        tab.fill("input", f"{large.offset:#x}")
        tab.click(f"a:text-is('{large.offset:#x}')")
        assert tab.url.endswith(f"#f{large.function_id}")
        tab.goto((tmp_path / "4.html").as_uri())
        assert tab.inner_text("h1") == _SHOWN
        assert not tab.query_selector("img")
        # As if a name had got out of its place.
        tab.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=alert(1)>')")
        tab.wait_for_timeout(100)
        assert all("Content Security Policy" in each or each.endswith("/x") for each in complaints)
        assert complaints


def test_the_page_of_two_samples_shows_functions_side_by_side(tmp_path: Path) -> None:
    with sampledb.open(tmp_path / "two.sampledb") as db:
        db.add_sample(variant(), name=HOSTILE)
        db.add_sample(variant(CHANGED, pic_hash=8, at=1, function_name=HOSTILE))
    run("page", tmp_path / "two.sampledb", 1, 2, "-o", tmp_path / "page.html")
    with open_tab() as (tab, complaints):
        tab.goto((tmp_path / "page.html").as_uri())
        tab.click("tbody a >> nth=0")
        assert_readable(tab)
        one, other = (each.bounding_box() for each in tab.query_selector_all(":target .graph"))
        assert (one["y"], one["width"]) == (other["y"], other["width"])
        assert one["x"] + one["width"] <= other["x"]
        assert other["x"] + other["width"] <= 1200
        assert complaints == []


def test_the_page_to_send_can_be_read_without_scripts(looked_at: Path, large: Function, tmp_path: Path) -> None:
    run("page", looked_at, large.sample_id, "-o", tmp_path / "page.html")
    with open_tab(scripts=False) as (tab, complaints):
        tab.goto((tmp_path / "page.html").as_uri())
        assert re.search(rf"{large.offset:#x}\s", tab.inner_text("body"))
        assert not tab.is_visible("input")
        assert complaints == []


def test_a_notebook_shows_a_graph_in_full_size(filled: SampleDB, large: Function, tmp_path: Path) -> None:
    # What JupyterLab's style does to pictures that do not opt out.
    style = "<style>svg:not(.jp-mod-unconfined) { max-width: 100% }</style>"
    function = filled.get_function(large.sample_id, large.function_id)
    (tmp_path / "cell.html").write_text(f'<meta charset="utf-8">{style}{function._repr_html_()}', "utf-8")
    with open_tab(600) as (tab, complaints):
        tab.goto((tmp_path / "cell.html").as_uri())
        assert tab.query_selector("svg text").bounding_box()["height"] >= _READABLE
        assert tab.eval_on_selector("svg", "each => each.parentNode.scrollWidth > each.parentNode.clientWidth")
        assert complaints == []
