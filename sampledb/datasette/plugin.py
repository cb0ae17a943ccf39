"""The hooks of Datasette: links in tables, pages of functions and samples, descriptions of tables."""

import re
import sqlite3
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeGuard
from weakref import WeakKeyDictionary

from datasette import Response
from datasette.utils import tilde_decode
from datasette.utils.asgi import Request
from markupsafe import Markup
from pluggy import HookimplMarker

from sampledb.datasette import pages, sql
from sampledb.datasette.descriptions import describe_tables
from sampledb.datasette.pages import Page, Paths, Source
from sampledb.datasette.similar import SimilarCode
from sampledb.errors import NotFoundError, SampleDBError, shorten
from sampledb.format.codec import MASK
from sampledb.limits import MAX_ID
from sampledb.render.html import render_link, render_note, render_text
from sampledb.render.page import SCROLL

if TYPE_CHECKING:
    # While it loads its plugins, it is not there yet.
    from datasette.app import Datasette

# As `datasette.hookimpl`, with its types.
hook: Final = HookimplMarker("datasette")

# The databases of each Datasette that are stores, and what of each is kept between pages.
_stores: Final["WeakKeyDictionary[Datasette, dict[str, SimilarCode]]"] = WeakKeyDictionary()

# What a page reads, and so must be allowed to be seen.
_TABLES: Final = (
    *("samples", "sample_tags", "functions", "disassembly", "labels"),
    *("apis", "api_references", "strings", "string_references", "signatures"),
)
# Integers that people know by their hex digits.
_HEX: Final = frozenset({"offset", "base_addr", "pic_hash"})
_LONGEST: Final = 1000
_NOTHING: Final = Page("Not found", render_note("There is no such sample or function."))
_TEMPLATE: Final = """
{% extends "base.html" %}
{% block title %}{{ title }}{% endblock %}
{% block extra_head %}
<style>
h1, .sampledb { overflow-wrap: anywhere }
.sampledb table { margin: 1em 0 }
.sampledb caption { font-weight: bold }
.sampledb th { padding: 4px 1em 4px 0 }
.sampledb tbody th { border-top: 1px solid #aaa }
.sampledb pre, .sampledb .graph { overflow: auto }
.sampledb .graph { max-height: 80vh }
.sampledb .pair { display: grid; grid-template-columns: 1fr 1fr; gap: 1em }
.sampledb .pair > div { min-width: 0 }
.sampledb pre { font-size: 12px }
.sampledb pre a:not([href]) { color: inherit; text-decoration: none }
.sampledb pre :target { background: #fff8c5 }
</style>
{% endblock %}
{% block crumbs %}{{ crumbs.nav(request=request, database=database) }}{% endblock %}
{% block content %}
<h1>{{ title }}</h1>
<div class="sampledb">{{ content }}</div>
<script>"use strict";SCROLL</script>
{% endblock %}
""".replace("SCROLL", SCROLL)


@hook
def prepare_connection(conn: sqlite3.Connection, database: str, datasette: "Datasette") -> None:
    """Add the SQL functions to connections to stores, and remember which databases these are."""
    if sql.is_store(conn):
        sql.add_functions(conn)
        _stores.setdefault(datasette, {}).setdefault(database, SimilarCode())


@hook
def get_metadata(datasette: "Datasette") -> dict[str, Any]:
    """Return the descriptions of all stores and of their tables, and where to begin."""
    described = {}
    for name in list(_stores.get(datasette, ())):
        path = datasette.urls.database(name)
        samples = render_link(f"{path}/sample_list", "sample_list")
        # To look for facets of so many rows takes longer than all else.
        functions = render_link(f"{path}/function_list?_nosuggest=1", "function_list")
        # A copy, as Datasette adds to what it gets.
        tables = deepcopy(describe_tables())
        described[name] = {"description_html": f"Begin with {samples} or {functions}.", "tables": tables}
    return {"databases": described}


@hook
def render_cell(
    row: Mapping[str, Any],
    value: object,
    column: str,
    database: str,
    datasette: "Datasette",
) -> Markup | None:
    """Return a cell of a store with its link, in hex, or escaped; `None` where Datasette's own is right."""
    if database not in _stores.get(datasette, ()):
        return None
    # Where a foreign key is shown by a name.
    text, value = (value["label"], value["value"]) if isinstance(value, dict) else (value, value)
    href = _find_page(Paths(datasette.urls.database(database)), row, value, column)
    if column in _HEX and isinstance(value, int):
        text = f"{value & MASK:#x}"
    elif not href and (not isinstance(text, str) or text.isprintable()):
        return None
    html = "<br>".join(render_text(line, _LONGEST) for line in (shorten(str(text), _LONGEST) or "-").splitlines())
    return Markup(render_link(href, html) if href else html)  # noqa: S704 - escaped


def _find_page(paths: Paths, row: Mapping[str, Any], value: object, column: str) -> str:
    """Return the path of what a cell is about, `""` for none."""
    columns = set(row.keys())
    if column == "function_id" and _is_id(value):
        return paths.function(value)
    if column == "sample_id" and _is_id(value):
        return paths.sample(value)
    if column == "offset" and "function_id" in columns and _is_id(function_id := row["function_id"]):
        return paths.function(function_id)
    is_sample = column == "sample" or (column == "name" and "sha256" in columns)
    if is_sample and "sample_id" in columns and _is_id(sample_id := row["sample_id"]):
        return paths.sample(sample_id)
    return ""


def _is_id(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and 0 < value <= MAX_ID


@hook
def register_routes() -> list[tuple[str, Callable[..., Any]]]:
    """Return the pages."""
    return [
        (r"^/(?P<database>[^/]+)/-/function/(?P<identity>[0-9]{1,19})$", show_function),
        (r"^/(?P<database>[^/]+)/-/compare/(?P<identity>[0-9]{1,19})/(?P<other>[0-9]{1,19})$", show_comparison),
        (r"^/(?P<database>[^/]+)/-/sample/(?P<identity>[0-9]{1,19})$", show_sample),
    ]


async def show_function(datasette: "Datasette", request: Request) -> Response:
    """Answer with the page of a function."""
    return await _show(datasette, request, pages.write_function)


async def show_comparison(datasette: "Datasette", request: Request) -> Response:
    """Answer with the page of two functions side by side."""
    other = min(int(request.url_vars["other"]), MAX_ID)
    return await _show(datasette, request, partial(pages.write_comparison, other_id=other))


async def show_sample(datasette: "Datasette", request: Request) -> Response:
    """Answer with the page of a sample; `start` is the position of the first function on it."""
    start = request.args.get("start") or "0"
    first = int(start) if re.fullmatch("[0-9]{1,18}", start) else MAX_ID
    return await _show(datasette, request, partial(pages.write_sample, start=first))


async def _show(datasette: "Datasette", request: Request, write: Callable[..., Page | None]) -> Response:
    route, identity = tilde_decode(request.url_vars["database"]), int(request.url_vars["identity"])
    database = next((each for each in datasette.databases.values() if each.route == route), None)
    page, status = _NOTHING, 404
    if database:
        for table in _TABLES:
            allowed = [("view-table", (database.name, table)), ("view-database", database.name), "view-instance"]
            await datasette.ensure_permissions(request.actor, allowed)
        paths = Paths(datasette.urls.database(database.name))

        def read(connection: sqlite3.Connection) -> tuple[Page, int]:
            similar = _stores.get(datasette, {}).get(database.name)
            if similar is None:
                return _NOTHING, 404
            return _read(connection, partial(write, Source(connection, paths, similar), min(identity, MAX_ID)))

        # In the thread and with the connection that Datasette has for it: to open the file again would drop locks.
        page, status = await database.execute_fn(read)
    content = {
        "title": page.title,
        "content": Markup(page.content),  # noqa: S704 - escaped
        "database": database and database.name,
    }
    template = datasette.jinja_env.from_string(_TEMPLATE)
    return Response.html(await datasette.render_template(template, content, request=request), status=status)


def _read(connection: sqlite3.Connection, write: Callable[[], Page | None]) -> tuple[Page, int]:
    """Return a page, and the status of HTTP. To raise NotFound would have Datasette print a traceback."""
    # One state of the file for all of the page.
    connection.execute("BEGIN")
    try:
        page = write()
    except NotFoundError:
        page = None
    except (SampleDBError, connection.Error) as error:
        return Page("Error", render_note(str(error))), 500
    finally:
        connection.rollback()
    return (page, 200) if page else (_NOTHING, 404)
