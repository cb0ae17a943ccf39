"""The page about two samples that `sampledb page` writes."""

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from sampledb import Comparison, Function, FunctionPair, Sample, SampleDB
from sampledb.cli.views import format_name
from sampledb.render.html import Link, render_note
from sampledb.render.page import render_page, render_pair, render_section, render_sortable

_PAIRS: Final = ("score", "a", "name in a", "instructions", "b", "name in b", "instructions")
_FUNCTIONS: Final = ("offset", "name", "blocks", "instructions")
_SIGNS: Final = "Blocks are = the same but for addresses, ~ changed, or + only in one of the two."


def write_comparison(db: SampleDB, a: Sample, b: Sample, graphs: int) -> str:
    """Return the page as HTML, with so many pairs of functions in full: those that changed most.

    All it shows goes through `render`, which escapes it.
    """
    found = db.compare(a.sample_id, b.sample_id)
    ranked = sorted(found.pairs, key=lambda pair: (-_measure_change(pair), pair.a.offset))
    shown = [pair for pair in ranked if _measure_change(pair)][:graphs]
    parts = [
        _describe(a, b, found),
        _list_pairs(ranked, {_anchor(each) for each in shown}),
        _list_functions("only in a", found.only_a),
        _list_functions("only in b", found.only_b),
        *(render_section(_anchor(pair), f"{_name(pair.a)} and {_name(pair.b)}", _show(db, pair)) for pair in shown),
    ]
    return render_page(f"{_call(a)} and {_call(b)}", parts)


def _measure_change(pair: FunctionPair) -> int:
    """Return about how many instructions changed, in hundredths; 0 if none did."""
    return (100 - pair.score) * max(pair.a.num_instructions, pair.b.num_instructions)


def _describe(a: Sample, b: Sample, found: Comparison) -> str:
    """Return a table with a column for each sample."""
    rows = []
    for side, sample, percent in (("a", a, found.percent_a), ("b", b, found.percent_b)):
        code = f"{sample.architecture} {sample.bitness or ''}".strip()
        shared = f"{len(found.pairs):,} of {sample.num_functions:,} functions, {percent:.1f} % of the code"
        about = _call(sample), sample.family, sample.version, code, shared, sample.sha256
        rows.append((side, *about))
    columns = ("", "sample", "family", "version", "code", "in both", "sha256")
    return render_sortable("", columns, rows)


def _list_pairs(pairs: Sequence[FunctionPair], anchors: Collection[str]) -> str:
    rows = []
    for each in pairs:
        anchor, score = _anchor(each), "same" if each.exact else each.score
        place = Link(score, f"#{anchor}") if anchor in anchors else score
        rows.append((place, *_list_cells(each.a), *_list_cells(each.b)))
    return render_sortable(f"{len(pairs):,} functions in both, most changed first", _PAIRS, rows)


def _list_cells(function: Function) -> tuple[object, ...]:
    return f"{function.offset:#x}", format_name(function), function.num_instructions


def _list_functions(title: str, found: Sequence[Function]) -> str:
    rows = [(each.offset, format_name(each), each.num_blocks, each.num_instructions) for each in found]
    return render_sortable(f"{len(found):,} functions {title}", _FUNCTIONS, rows)


def _show(db: SampleDB, pair: FunctionPair) -> Iterator[str]:
    """Yield what the score of two functions is made of, and their pictures side by side."""
    ids = [(each.sample_id, each.function_id) for each in (pair.a, pair.b)]
    reasons = [(each.kind, each.points, each.text) for each in db.explain(*ids[0], *ids[1]).reasons]
    yield render_sortable(f"score {pair.score}", ("because of", "points", "both have"), reasons)
    yield render_note(_SIGNS)
    a, b = (db.get_function(*each) for each in ids)
    names = [{each.offset: _name(each) for each in db.callees(*one)} for one in ids]
    yield render_pair(a.to_svg(compared_to=b, names=names[0]), b.to_svg(compared_to=a, names=names[1]))


def _anchor(pair: FunctionPair) -> str:
    return f"f{pair.a.function_id}"


def _name(function: Function) -> str:
    return function.label or function.name or f"sub_{function.offset:x}"


def _call(sample: Sample) -> str:
    return sample.name or sample.sha256
