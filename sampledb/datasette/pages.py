"""The pages of functions and samples: read by the connection that Datasette has, and written as HTML.

Everything in them comes from malware, and goes through `render`, which escapes it.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

from sampledb.datasette.similar import SimilarCode
from sampledb.format.codec import MASK, signed
from sampledb.model import Function
from sampledb.render.comparison import mark_blocks
from sampledb.render.graph import Called, read_graph
from sampledb.render.html import Link, render_card, render_link, render_note, render_table, render_text
from sampledb.render.notebook import render_disassembly
from sampledb.render.svg import draw_graph
from sampledb.render.text import escape_unprintable
from sampledb.store.sqlite import Connection
from sampledb.store.tables import functions, labels, references, samples
from sampledb.store.tables.lookup import addresses, twins
from sampledb.store.tables.references import Kind

# Functions on a page of a sample.
_PAGE: Final = 100
# Rows of the other tables; and addresses for which functions are looked for, each of which must be read: a stub can
# have thousands of callers.
_MOST: Final = 50
_MOST_ADDRESSES: Final = 200
_LONG: Final = 200

_FIELDS: Final = ("offset", "name", "label", "num_blocks", "num_instructions", "function_id")
_HASHES: Final = frozenset({"sha256", "sha1", "md5"})
_ABSENT: Final[tuple[object, ...]] = ("", None, (), {})
_TWINS: Final = """
SELECT function_id, functions.name, sample_id, samples.name, family, "offset"
FROM functions JOIN samples USING (sample_id)
WHERE pic_hash = ? AND num_instructions >= ? AND function_id <> ?
LIMIT ?"""


class Page(NamedTuple):
    """A page: its title as text, and its content as HTML."""

    title: str
    content: str


class Paths(NamedTuple):
    """The paths of pages, below that of their database."""

    database: str

    def function(self, function_id: int) -> str:
        """Return the path of a function's page."""
        return f"{self.database}/-/function/{function_id}"

    def sample(self, sample_id: int) -> str:
        """Return the path of a sample's page."""
        return f"{self.database}/-/sample/{sample_id}"

    def comparison(self, function_id: int, other_id: int) -> str:
        """Return the path of the page of two functions."""
        return f"{self.database}/-/compare/{function_id}/{other_id}"


class Source(NamedTuple):
    """What pages are made of: a connection in a transaction, paths to other pages, and what finds similar code."""

    connection: Connection
    paths: Paths
    similar: SimilarCode


def write_function(source: Source, function_id: int) -> Page | None:
    """Return the page of a function, or `None` if there is none."""
    connection, paths, _ = source
    function = _get_function(connection, function_id)
    if not function:
        return None
    code: Mapping[str, Any] = function.disassembly or {}
    inrefs, outrefs = _list_addresses(code["inrefs"]), _list_calls(function)
    callers, callees = (_find_functions(connection, function.sample_id, each) for each in (inrefs, outrefs))
    content = [
        _render_sample_link(connection, paths, function.sample_id),
        _render_fields(function),
        render_disassembly(code, _make_calls(paths, callees)),
        _render_functions(paths, _count_calls("Called by", callers, inrefs), callers),
        _render_functions(paths, _count_calls("Calls", callees, outrefs), callees),
        _render_twins(connection, paths, function),
        _render_similar_functions(source, function),
    ]
    return Page(escape_unprintable(_name(function)), "\n".join(content))


def write_comparison(source: Source, function_id: int, *, other_id: int) -> Page | None:
    """Return the page of two functions side by side, or `None` if there are not both."""
    connection, paths, _ = source
    one, other = (_get_function(connection, each) for each in (function_id, other_id))
    if not one or not other:
        return None
    halves = (_render_half(connection, paths, each, beside) for each, beside in ((one, other), (other, one)))
    title = escape_unprintable(f"{_name(one)} and {_name(other)}")
    return Page(title, f'<div class="pair">{"".join(halves)}</div>')


def _render_half(connection: Connection, paths: Paths, function: Function, other: Function) -> str:
    name = render_link(paths.function(function.function_id), render_text(_name(function), _LONG))
    sample = _render_sample_link(connection, paths, function.sample_id)
    calls = _make_calls(paths, _find_functions(connection, function.sample_id, _list_calls(function)))
    graph = mark_blocks(read_graph(function.disassembly, calls), read_graph(other.disassembly))
    return f'<div><h2>{name}</h2>{sample}<div class="graph">{draw_graph(graph)}</div></div>'


def _get_function(connection: Connection, function_id: int) -> Function | None:
    row = next(iter(functions.select_ids(connection, [function_id])), None)
    return row and functions.get(connection, row.sample_id, function_id)


def write_sample(source: Source, sample_id: int, *, start: int) -> Page:
    """Return the page of a sample, with its functions from position `start` on.

    Raises:
        NotFoundError: There is no such sample.
    """
    connection, paths, _ = source
    sample = samples.get(connection, sample_id)
    first, last = samples.locate(connection, sample_id).function_ids
    begin = min(first + start, last + 1)
    listed = functions.select(connection, begin, last, limit=_PAGE)
    # What people know a sample by comes before its hashes.
    names = sorted(sample.__struct_fields__, key=lambda name: name in _HASHES)
    fields = {name: value for name in names if (value := getattr(sample, name)) not in _ABSENT}
    content = [
        render_card(f"Sample {sample_id}", fields),
        _render_functions(paths, f"{sample.num_functions:,} functions", listed),
        _render_steps(paths.sample(sample_id), start, sample.num_functions),
        _render_similar_samples(source, sample_id) if sample.num_functions else "",
        _render_labels(connection, paths, sample_id),
        _render_names(connection, paths, sample_id, references.APIS),
        _render_names(connection, paths, sample_id, references.STRINGS),
    ]
    return Page(escape_unprintable(sample.name) or sample.sha256, "\n".join(content))


def _name(function: Function) -> str:
    return function.label or function.name or f"sub_{function.offset:x}"


def _render_sample_link(connection: Connection, paths: Paths, sample_id: int) -> str:
    words = f"Sample {sample_id}: {samples.get(connection, sample_id).name}"
    return f"<p>{render_link(paths.sample(sample_id), render_text(words, _LONG))}</p>"


def _render_fields(function: Function) -> str:
    """Return a row, so that the graph is in sight, and the comment, which may be long."""
    fields = {name: getattr(function, name) for name in (*_FIELDS, "binweight", "pic_hash")}
    shown = {name: value for name, value in fields.items() if value not in _ABSENT}
    row = render_table("", list(shown), [list(shown.values())], 1)
    return row + (render_note(function.comment) if function.comment else "")


def _make_calls(paths: Paths, callees: Iterable[Function]) -> dict[int, Called]:
    return {each.offset: Called(_name(each), paths.function(each.function_id)) for each in callees}


def _list_calls(function: Function) -> list[int]:
    code: Mapping[str, Any] = function.disassembly or {}
    return _list_addresses(chain.from_iterable(code["outrefs"].values()))


def _list_addresses(found: Iterable[object]) -> list[int]:
    return list(dict.fromkeys(each for each in found if isinstance(each, int)))


def _find_functions(connection: Connection, sample_id: int, wanted: Sequence[int]) -> list[Function]:
    """Return the functions of a sample that contain the first of these addresses, by offset."""
    first, last = samples.locate(connection, sample_id).function_ids
    ids = addresses.find_all_containing(connection, first, last, wanted[:_MOST_ADDRESSES])
    return functions.select_ids(connection, ids)


def _count_calls(title: str, found: Sequence[Function], references: Sequence[int]) -> str:
    """Return a title with the number of functions, and from how many references they are if not from all."""
    is_cut = len(references) > _MOST_ADDRESSES
    rest = f", by the first {_MOST_ADDRESSES} of {len(references):,} references" if is_cut else ""
    return f"{title} {len(found):,}{rest}"


def _render_functions(paths: Paths, title: str, found: Sequence[Function]) -> str:
    rows = (
        [
            Link(value, paths.function(each.function_id)) if name in {"offset", "function_id"} else value
            for name in _FIELDS
            if (value := getattr(each, name)) is not None
        ]
        for each in found
    )
    return render_table(title, _FIELDS, rows, len(found), most=_PAGE) if found else ""


def _render_steps(path: str, start: int, count: int) -> str:
    """Return links to the functions before and after those on this page of a sample."""
    before = render_link(f"{path}?start={max(start - _PAGE, 0)}", "← previous") if start else ""
    after = render_link(f"{path}?start={start + _PAGE}", "next →") if start + _PAGE < count else ""
    return f"<p>{before} {after}</p>"


def _render_twins(connection: Connection, paths: Paths, function: Function) -> str:
    if function.pic_hash is None:
        return ""
    stored = signed(function.pic_hash)
    found = connection.execute(_TWINS, (stored, twins.LONG, function.function_id, _MOST)).fetchall()
    rows = [
        (
            *(Link(offset & MASK, paths.function(each)), name, _link_sample(paths, sample_id, sample), family),
            Link("side by side", paths.comparison(function.function_id, each)),
        )
        for each, name, sample_id, sample, family, offset in found
    ]
    table = render_table("The same code elsewhere", ("offset", "name", "sample", "family", "compare"), rows, len(rows))
    every = f"{paths.database}/functions?pic_hash={stored}"
    return f"{table}<p>{render_link(every, 'All functions with this hash')}</p>" if rows else ""


def _render_similar_functions(source: Source, function: Function) -> str:
    connection, paths, similar = source
    found, note = similar.find_functions(connection, function)
    names = {each: samples.get(connection, each).name for each in {each.sample_id for each in found}}
    rows = [
        (
            each.score,
            *(Link(each.offset, paths.function(each.function_id)), each.label or each.name),
            *(_link_sample(paths, each.sample_id, names[each.sample_id]), each.family, each.num_instructions),
            Link("side by side", paths.comparison(function.function_id, each.function_id)),
        )
        for each in found
    ]
    columns = ("score", "offset", "name", "sample", "family", "num_instructions", "compare")
    return _render_found("Similar functions", columns, rows, note)


def _render_similar_samples(source: Source, sample_id: int) -> str:
    found, num_asked, note = source.similar.find_samples(source.connection, sample_id)
    rows = [
        (
            *(f"{each.percent:.1f}", f"{each.percent_without_libraries:.1f}", each.num_matched),
            *(_link_sample(source.paths, each.sample_id, each.name), each.family),
            "library" if each.is_library else "",
        )
        for each in found
    ]
    columns = ("percent", "without libraries", "functions", "sample", "family", "kind")
    return _render_found(f"Related samples, by its {num_asked:,} largest functions", columns, rows, note)


def _render_found(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], note: str) -> str:
    table = render_table(title, columns, rows, len(rows)) if rows else ""
    return table + (render_note(note) if note else "")


def _link_sample(paths: Paths, sample_id: int, name: str) -> Link:
    return Link(name or f"Sample {sample_id}", paths.sample(sample_id))


def _render_labels(connection: Connection, paths: Paths, sample_id: int) -> str:
    found = labels.select(connection, sample_id)
    rows = (
        [
            each.offset if each.function_id is None else Link(each.offset, paths.function(each.function_id)),
            *(each.name, each.comment, each.username, each.updated_at),
        ]
        for each in found
    )
    columns = ("offset", "name", "comment", "username", "updated_at")
    return render_table(f"{len(found):,} labels", columns, rows, len(found), most=_PAGE) if found else ""


def _render_names(connection: Connection, paths: Paths, sample_id: int, kind: Kind) -> str:
    """Return the APIs or strings to which most functions of a sample refer."""
    counts = references.count(connection, kind, sample_id, lambda _: True)
    every = f"{paths.database}/function_{kind.names}?sample_id={sample_id}"
    names = "APIs" if kind is references.APIS else kind.names
    table = render_table(f"{len(counts):,} {names}", (kind.field, "functions"), counts.items(), len(counts))
    return f"{table}<p>{render_link(every, f'The functions that refer to these {names}')}</p>" if counts else ""
