"""A Datasette over a real file: tables lead to pages, pages to each other, and nothing in a name is markup."""

import asyncio
import contextlib
import json
import re
import sqlite3
import sys
import tomllib
from collections.abc import Iterator
from html import unescape
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from datasette.app import Datasette
from hypothesis import given
from hypothesis import strategies as st
from sqlite_utils import Database

import sampledb
from sampledb import CorruptFileError, InvalidInputError, SampleDB
from sampledb.cli.page import write_page
from sampledb.datasette import sql
from sampledb.datasette.descriptions import describe_tables
from sampledb.datasette.pages import Paths, Source, write_comparison, write_function, write_sample
from sampledb.datasette.similar import SimilarCode
from sampledb.store.schema import STATEMENTS
from tests import strategies
from tests.database.test_similar import CHANGED, variant
from tests.raw import raw
from tests.render.test_html import DRAWN, OURS, Page

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


class Site:
    """A Datasette, asked without a server."""

    def __init__(self, path: Path, **settings: object) -> None:
        self.datasette = Datasette([str(path)], **settings)

    def ask(self, path: str, expected: int = 200) -> str:
        """Return what stands at a path below the database."""
        answer = asyncio.run(self.datasette.client.get(f"/corpus{path}"))
        assert answer.status_code == expected, answer.text
        text: str = answer.text
        return text


@pytest.fixture
def site(looked_at: Path) -> Iterator[Site]:
    made = Site(looked_at)
    yield made
    for database in made.datasette.databases.values():
        database.close()


def content(page: str) -> str:
    """The part of a page that the plugin wrote."""
    (written,) = re.findall(r'<div class="sampledb">(.*)</div>\s*<script>', page, flags=re.DOTALL)
    return str(written)


def test_every_table_opens_and_is_described_by_its_comment(site: Site) -> None:
    described = describe_tables()
    assert set(re.findall(r"^CREATE.* (?:TABLE|VIEW) (\w+)", "\n".join(STATEMENTS), re.MULTILINE)) < set(described)
    assert 'Begin with <a href="/corpus/sample_list">' in site.ask("")
    shown = set(re.findall(r'<h3><a href="/corpus/(\w+)">', site.ask("")))
    assert {"samples", "functions", "labels", "apis"} <= shown
    assert not shown & {name for name, about in described.items() if about.get("hidden")}
    for table in shown - {"sqlite_sequence"}:
        assert described[table]["description"] in unescape(site.ask(f"/{table}?_size=3"))
    assert "from 1, never used again" in site.ask("/samples?_size=1")


def test_one_can_click_from_a_table_to_a_function_to_its_caller_and_to_its_sample(site: Site, looked_at: Path) -> None:
    with sampledb.open(looked_at, readonly=True) as db:
        sample_id = max(db.list_samples())
        caller, callee = db.list_functions(sample_id)
    for table in ("functions", "function_list", "labels", "function_apis"):
        rows = site.ask(f"/{table}?sample_id={sample_id}")
        assert f'href="/corpus/-/sample/{sample_id}"' in rows
        assert (f'href="/corpus/-/function/{caller}"' in rows) == (table != "labels")
    called, calling = (site.ask(f"/-/function/{each}") for each in (callee, caller))
    assert ">Called by 1</caption>" in called
    assert f'<a href="/corpus/-/function/{caller}">0x1000</a>' in called
    # Twice in the list, in the drawing and in the listing.
    assert calling.count(f'href="/corpus/-/function/{callee}">') == 4
    assert "<h1>rc4_init</h1>" in calling
    assert "0x1000" in site.ask(f"/labels?sample_id={sample_id}")
    assert f'href="/corpus/-/function/{caller}"' in site.ask(f"/-/sample/{sample_id}")


def test_the_page_of_a_real_function_has_its_code_its_apis_and_its_twins(site: Site, looked_at: Path) -> None:
    with sampledb.open(looked_at, readonly=True) as db:
        function = next(each for each in db.iter_functions(disassembly=True) if each.num_blocks > 5 and each.comments)
        twin = next(each for each in db.iter_functions() if db.twins(each.sample_id, each.function_id))
        other, *_ = db.twins(twin.sample_id, twin.function_id)
        callers = db.callers(function.sample_id, function.function_id)
    page = unescape(content(site.ask(f"/-/function/{function.function_id}")))
    assert all(each.operands in page for each in function.instructions)
    assert all(comment in page for comment in function.comments.values())
    assert page.count('stroke="black"') == function.num_blocks
    assert all(f"/-/function/{each.function_id}" in page for each in callers)
    twins = content(site.ask(f"/-/function/{twin.function_id}")).split("The same code elsewhere")[1]
    assert f'href="/corpus/-/function/{other.function_id}"' in twins
    assert site.ask(re.findall(r'href="/corpus(/functions\?pic_hash=[-0-9]+)"', twins)[0])
    beside = content(site.ask(f"/-/compare/{twin.function_id}/{other.function_id}"))
    assert beside.count("<svg") == 2
    assert beside.count("= same") == 2 * twin.num_blocks


def test_a_sample_is_read_page_by_page(site: Site, filled: SampleDB) -> None:
    sample = max(filled.list_samples().values(), key=lambda each: each.num_functions)
    path, seen = f"/-/sample/{sample.sample_id}", set()
    while path:
        page = content(site.ask(path))
        seen |= set(re.findall(r"/corpus/-/function/(\d+)", page))
        path = next(iter(re.findall(r'href="/corpus(\S+)">next', page)), "")
    assert len(seen) == sample.num_functions > 200


def test_nothing_in_a_name_is_markup_or_turns_the_text_around(site: Site, looked_at: Path) -> None:
    with sampledb.open(looked_at, readonly=True) as db:
        sample_id = max(db.list_samples())
        ids = list(db.list_functions(sample_id))
    for path in (f"/-/sample/{sample_id}", *(f"/-/function/{each}" for each in ids)):
        page = site.ask(path)
        written = Page(content(page))
        assert set(written.tags) <= OURS | DRAWN | {"a"}
        assert written.attributes.isdisjoint({"src", "onerror"})
    for table in ("samples", "sample_list", "sample_tags", "labels", "functions?_sort_desc=function_id"):
        page = site.ask(f"/{table}")
        assert "alert(" in page
        assert "\u202e" not in re.sub(r"(?s)<(select|textarea|form).*?</\1>", "", page)
        assert "<img src=x" not in page
        assert "<script>alert" not in page


@given(st.lists(strategies.functions(), min_size=1, max_size=4, unique_by=lambda each: each["offset"]))
def test_whatever_can_be_stored_has_pages_in_datasette_and_to_send(found: list[dict[str, Any]]) -> None:
    with sampledb.open(":memory:") as db:
        db.add_sample(strategies.report(*found))
        assert write_page(db, db.get_sample(1), 4).isascii()
        with db._connections.reading() as connection:
            source = Source(connection, Paths("/db"), SimilarCode())
            pages = [write_sample(source, 1, start=0)]
            pages += filter(None, (write_function(source, each + 1) for each in range(len(found))))
            pages += filter(None, [write_comparison(source, 1, other_id=len(found))])
    assert len(pages) == 2 + len(found)
    for page in pages:
        assert page.title.isprintable()
        assert set(Page(page.content).tags) <= OURS | DRAWN | {"a", "h2"}


def test_similar_code_is_on_the_pages_once_its_signatures_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "corpus.sampledb"
    with sampledb.open(path) as db:
        for each in (variant(), variant(at=2), variant(CHANGED, pic_hash=8, at=1)):
            db.add_sample(each)
        site = Site(path)
        for page in ("/-/function/1", "/-/sample/1"):
            assert "3 of 3 samples have no signatures" in site.ask(page)
        db.update_signatures()
        (changed,) = (each for each in db.similar_functions(1, 1) if not each.exact)
    # The page shows those with the same code by themselves.
    similar = site.ask("/-/function/1").split("Similar functions")[1]
    assert re.findall('/-/function/([0-9]+)"', similar) == [str(changed.function_id)]
    assert f'href="/corpus/-/compare/1/{changed.function_id}"' in similar
    assert set(
        re.findall(
            '/-/sample/([0-9])"', site.ask("/-/sample/1").split("Related samples, by its 1 largest functions")[1]
        )
    ) == {*("2", "3")}
    with raw(path) as connection:
        connection.execute("UPDATE signatures SET details = x'00' WHERE sample_id = 1")
    assert "details of signatures do not match" in site.ask("/-/function/1")
    monkeypatch.setitem(sys.modules, "sampledb.database.engine.matcher", None)
    assert "needs the extra similarity" in site.ask("/-/sample/1")
    for database in site.datasette.databases.values():
        database.close()


@pytest.mark.parametrize(
    "path", ["/-/function/0", "/-/function/99999999", f"/-/function/{2**63}", "/-/sample/0", "/-/compare/1/0"]
)
def test_what_is_not_there_is_not_found(site: Site, path: str) -> None:
    site.ask(path, 404)


def test_what_may_not_be_seen_in_tables_cannot_be_seen_on_pages(looked_at: Path) -> None:
    secret = Site(looked_at, metadata={"databases": {"corpus": {"tables": {"labels": {"allow": False}}}}})
    assert "alert" not in secret.ask("/-/function/1", 403)
    secret.ask("/samples")


def test_another_database_is_left_alone(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "corpus.db")) as connection:
        connection.execute("CREATE TABLE other (sample_id INTEGER, function_id INTEGER)")
        connection.execute("INSERT INTO other VALUES (1, 2)")
        connection.commit()
    other = Site(tmp_path / "corpus.db")
    assert "/-/" not in re.findall(r"(?s)<tbody>.*</tbody>", other.ask("/other"))[0]
    other.ask("/-/function/1", 404)


def test_sql_has_the_text_and_the_json_of_functions(site: Site, looked_at: Path) -> None:
    asked = (
        "SELECT sampledb_disassembly(function_id) AS code, sampledb_json(function_id) AS json FROM functions LIMIT 20"
    )
    rows = json.loads(site.ask(f".json?sql={quote(asked)}&_shape=objects"))["rows"]
    database = Database(looked_at)
    sql.prepare_connection(database.conn)
    assert list(database.query(asked)) == rows
    assert database.execute("SELECT sampledb_json(0), sampledb_disassembly('x')").fetchall() == [(None, None)]
    database.conn.close()
    with sampledb.open(looked_at, readonly=True) as db:
        for row, function in zip(rows, db.iter_functions(disassembly=True), strict=False):
            assert json.loads(row["json"]) == function.disassembly
            assert all(f"{each.mnemonic} {each.operands}".rstrip() in row["code"] for each in function.instructions)


def test_a_frame_is_read_without_a_file(looked_at: Path) -> None:
    with contextlib.closing(sqlite3.connect(looked_at)) as connection:
        connection.row_factory = sqlite3.Row
        rows = connection.execute("SELECT * FROM functions ORDER BY function_id").fetchall()
        (first, checksum, frame), (end, *_) = connection.execute("SELECT * FROM disassembly LIMIT 2").fetchall()
    with sampledb.open(looked_at, readonly=True) as db:
        expected = list(db.iter_functions(disassembly=True))[: end - first]
    assert sampledb.read_frame(frame, rows[: end - first], checksum=checksum) == expected
    assert sampledb.read_frame(frame, map(dict, rows[2:5]), first_function_id=first) == expected[2:5]
    assert sampledb.read_frame(frame, []) == []
    for wrong in ((frame[:-1], rows[:1]), (frame, rows[1 : end - first + 1]), (frame, rows[:500])):
        with pytest.raises(CorruptFileError):
            sampledb.read_frame(*wrong, checksum=checksum)
    for refused in ((frame, [{"offset": 1}]), (frame, [5]), (None, rows[:1])):
        with pytest.raises(InvalidInputError, match=r"rows of the table|bytes"):
            sampledb.read_frame(*refused)


def test_the_entry_points_lead_to_hooks() -> None:
    points = tomllib.loads(PROJECT.read_text("utf-8"))["project"]["entry-points"]
    for host, hook in (("datasette", "datasette_impl"), ("sqlite_utils", "sqlite_utils_impl")):
        module = import_module(points[host]["sampledb"])
        assert any(hasattr(each, hook) for each in vars(module).values())
