"""The page to send: one file that is whole, that can be searched and sorted, and in which no name does anything."""

import base64
import hashlib
import re
from html import unescape
from pathlib import Path

import sampledb
from sampledb import SampleDB
from tests.cli.consoles import answered, run, run_here
from tests.database.test_similar import CHANGED, variant
from tests.render.test_html import DRAWN, OURS, Page
from tests.strategies import HOSTILE

#: What is written once around the content.
FRAME = {"html", "head", "title", "style", "body", "h1", "h2", "section", "script"}
VOID = re.compile(r"<(meta|input)[^>]*>|<!DOCTYPE html>")


def parse(html: str) -> Page:
    """The elements of a page; those that have no end are left out."""
    return Page(VOID.sub("", html))


def test_a_page_shows_a_sample_and_its_largest_functions(filled_path: Path, filled: SampleDB) -> None:
    sample = next(each for each in filled.iter_samples() if each.name == "t32.exe")
    html = run("page", filled_path, sample.sample_id, "--graphs", 3).output
    page, functions = unescape(html), list(filled.iter_functions(sample.sample_id))
    assert sample.sha256 in page
    assert all(f">{each.offset:#x}<" in page for each in functions)
    assert all(f">{api}<" in page for api in filled.list_apis(sample.sample_id))
    tags = parse(html).tags
    assert tags.count("svg") == tags.count("section") == 3
    largest = max(functions, key=lambda each: each.num_instructions)
    shown = filled.get_function(sample.sample_id, largest.function_id)
    assert all(f"{each.mnemonic} {each.operands}".rstrip() in page for each in shown.instructions)
    assert f'<a href="#f{largest.function_id}">' in page
    for link in re.findall(r'href="#([^"]+)"', html):
        assert f'id="{link}"' in html
    assert answered("page", filled_path, sample.sample_id, "--graphs", 3) == html.rstrip("\n")


def test_a_page_loads_nothing_and_runs_only_what_its_policy_names(looked_at: Path, tmp_path: Path) -> None:
    with sampledb.open(looked_at, readonly=True) as db:
        sample_id = max(db.list_samples())
    run("page", looked_at, sample_id, "-o", tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text("ascii")
    page = parse(html)
    assert set(page.tags) == FRAME | (OURS | DRAWN | {"a"}) - {"p", "span", "path"}
    assert page.attributes.isdisjoint({"src", "style", "onclick", "onerror"})
    assert all(link.startswith("#") for link in re.findall(r' href="([^"]*)"', html))
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for element in ("script", "style"):
        (content,) = re.findall(rf"<{element}>(.*?)</{element}>", html, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in policy
    assert HOSTILE not in unescape(html)
    assert HOSTILE.replace("\u202e", r"\u202e") in unescape(html)


def test_functions_with_labels_come_first(looked_at: Path) -> None:
    with sampledb.open(looked_at, readonly=True) as db:
        sample_id = max(db.list_samples())
    assert re.findall("<h2>(.*)</h2>", run("page", looked_at, sample_id, "--graphs", 1).output) == ["rc4_init"]
    assert "<section" not in run("page", looked_at, sample_id, "--graphs", 0).output


def test_a_sample_without_code_has_a_page_too(tmp_path: Path) -> None:
    with sampledb.open(tmp_path / "media.sampledb") as db:
        db.add_media(sha256="0" * 64, name="a.mp4", tags=["clip"])
    assert "clip" in run("page", tmp_path / "media.sampledb", 1).output


def test_a_page_of_two_samples_shows_what_changed_most_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "changes.sampledb"
    with sampledb.open(path) as db:
        for name, each in (
            (HOSTILE, variant()),
            ("new.exe", variant(CHANGED, pic_hash=8, at=1, function_name=HOSTILE)),
        ):
            db.add_sample(each, name=name)
        found = db.compare(1, 2)
    assert [pair.exact for pair in found.pairs] == [True, False]
    html = run_here("page", path, 1, "new.exe").output
    page, tags = unescape(html), parse(html).tags
    assert set(tags) == FRAME | (OURS | DRAWN | {"a"}) - {"span", "pre", "details", "summary"}
    assert tags.count("section") == 1
    assert tags.count("svg") == page.count(">~ changed<") // 2 == 2
    assert f'<a href="#f{found.pairs[1].a.function_id}">{found.pairs[1].score}</a>' in html
    assert HOSTILE not in page
    assert page.count(HOSTILE.replace("\u202e", r"\u202e")) > 3
    assert "<section" not in run_here("page", path, 1, 2, "--graphs", 0).output
