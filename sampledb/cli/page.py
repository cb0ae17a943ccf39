"""The page about a sample that `sampledb page` writes."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from sampledb import Function, Sample, SampleDB
from sampledb.errors import shorten
from sampledb.render.graph import Called
from sampledb.render.html import Link
from sampledb.render.notebook import render_disassembly
from sampledb.render.page import render_facts, render_page, render_section, render_sortable

# Of the functions around one.
_MOST: Final = 50
# Characters of all APIs and strings of a function, in a row.
_LONGEST: Final = 300
_COLUMNS: Final = ("offset", "name", "comment", "blocks", "instructions", "APIs and strings")


def write_page(db: SampleDB, sample: Sample, graphs: int) -> str:
    """Return the page as HTML, with so many functions in full: those with labels first, then the largest."""
    return _Page(db, sample, graphs).write()


class _Page:
    """A page about a sample. All it shows goes through `render`, which escapes it."""

    def __init__(self, db: SampleDB, sample: Sample, graphs: int) -> None:
        self._db = db
        self._sample = sample
        self._functions = list(db.iter_functions(sample.sample_id))
        ranked = sorted(self._functions, key=lambda each: (not each.label + each.comment, -each.num_instructions))
        self._whole = ranked[:graphs]
        self._links = {each.offset: f"#f{each.function_id}" for each in self._whole}
        self._called = {each.offset: Called(_name(each), self._links.get(each.offset, "")) for each in self._functions}
        self._references = {
            each.offset: ", ".join(dict.fromkeys(each.comments.values()))
            for each in db.iter_functions(sample.sample_id, disassembly=True)
        }

    def write(self) -> str:
        sample = self._sample
        parts = [
            render_facts(self._describe()),
            self._list_functions(f"{len(self._functions):,} functions", self._functions),
            _list_names("APIs", self._db.list_apis(sample.sample_id)),
            _list_names("strings", self._db.list_strings(sample.sample_id)),
            *(render_section(f"f{each.function_id}", _name(each), self._show(each)) for each in self._whole),
        ]
        return render_page(sample.name or sample.sha256, parts)

    def _describe(self) -> dict[str, object]:
        sample, known = self._sample, self._db.known(self._sample.sample_id)
        return {
            "family": sample.family,
            "version": sample.version,
            "component": sample.component,
            "tags": ", ".join(sample.tags),
            "notes": sample.notes,
            "code": f"{sample.architecture} {sample.bitness or ''}".strip(),
            "base_addr": sample.base_addr if sample.num_functions else None,
            "size": f"{sample.binary_size:,} bytes" if sample.binary_size else None,
            "functions": f"{sample.num_functions:,}",
            "known": f"{known.num_elsewhere:,} of {known.num_functions:,} functions of 10 or more instructions are in"
            f" other samples, {known.num_in_libraries:,} in libraries",
            "sha256": sample.sha256,
            "sha1": sample.sha1,
            "md5": sample.md5,
            "SMDA": sample.smda_version,
            "added": f"{sample.added_at:%Y-%m-%d %H:%M:%S} UTC by {sample.username}",
        }

    def _list_functions(self, title: str, functions: Iterable[Function]) -> str:
        rows = [
            (
                Link(each.offset, self._links[each.offset]) if each.offset in self._links else each.offset,
                *(each.label or each.name, each.comment, each.num_blocks, each.num_instructions),
                shorten(self._references[each.offset], _LONGEST),
            )
            for each in functions
        ]
        return render_sortable(title, _COLUMNS, rows)

    def _show(self, function: Function) -> Iterator[str]:
        """Yield the facts, the code and the surroundings of a function."""
        ids = function.sample_id, function.function_id
        fields = ("offset", "name", "label", "comment", "num_blocks", "num_instructions", "pic_hash")
        yield render_facts({name: getattr(function, name) for name in fields})
        yield render_disassembly(self._db.get_function(*ids).disassembly, self._called)
        for title, found in (("Called by", self._db.callers(*ids)), ("Calls", self._db.callees(*ids))):
            yield self._list_functions(f"{title} {len(found):,}", found[:_MOST])
        twins = self._db.twins(*ids)
        samples = [self._db.get_sample(each.sample_id) for each in twins[:_MOST]]
        rows = [(sample.name, sample.family, each.offset) for sample, each in zip(samples, twins, strict=False)]
        yield render_sortable(f"The same code elsewhere: {len(twins):,}", ("sample", "family", "offset"), rows)


def _name(function: Function) -> str:
    return function.label or function.name or f"sub_{function.offset:x}"


def _list_names(title: str, counts: Mapping[str, int]) -> str:
    rows = [(number, name) for name, number in counts.items()]
    return render_sortable(f"{len(counts):,} {title}", ("functions", title), rows)
