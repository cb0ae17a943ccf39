"""The commands about the functions of a sample: list them, and show their disassembly."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import click

from sampledb import Function, Sample, SampleDB
from sampledb.cli.listing import Orders, select_part, take_part
from sampledb.cli.names import FUNCTION, SAMPLE, SAMPLES, get_function, get_sample, get_samples
from sampledb.cli.program import command
from sampledb.cli.table import Column, format_card, format_table
from sampledb.cli.terminal import Answer, Screen
from sampledb.cli.views import format_name
from sampledb.errors import shorten
from sampledb.render.text import escape_lines

# A string can have 65,536 characters.
_LONGEST_COMMENT: Final = 200

_FUNCTIONS: Final = (
    Column("id", "cyan", is_number=True),
    Column("offset", "green", is_number=True),
    Column("blocks", is_number=True),
    Column("instructions", is_number=True),
    Column("binweight", is_number=True),
    Column("PIC hash", "dim"),
    Column("name", gives_way=True),
)
_SAMPLE_COLUMNS: Final = (Column("sample", "cyan", is_number=True), Column("file", gives_way=True))
_ORDERS: Final[Orders] = {
    "offset": lambda function: function.offset,
    "instructions": lambda function: -function.num_instructions,
    "blocks": lambda function: -function.num_blocks,
    "binweight": lambda function: -function.binweight,
    "name": lambda function: function.name.lower(),
}
_INSTRUCTIONS: Final = (
    Column("", "green", is_number=True),
    Column("", "dim", gives_way=True),
    Column("", "bold"),
    Column("", gives_way=True),
    Column("", "yellow", gives_way=True),
)


@command(
    "functions corpus.sampledb 12 --start 100 --limit 50",
    "functions corpus.sampledb '*.dll' --name '*crypt*' --sort instructions",
    columns=Function.__struct_fields__,
)
@SAMPLES
@click.option("--min-instructions", type=click.IntRange(min=0), default=0, help="Only functions of at least so many.")
@take_part(_ORDERS)
def functions(db: SampleDB, samples: Sequence[str], min_instructions: int, **part: Any) -> Answer:  # noqa: ANN401 - of select_part
    """List the functions of samples by address."""
    found = get_samples(db, samples)
    listed = (
        function
        for sample in found
        for function in db.iter_functions(sample.sample_id)
        if function.num_instructions >= min_instructions
    )
    return answer_functions(select_part(listed, _ORDERS, **part), found if len(found) > 1 else ())


def answer_functions(functions: Iterable[Function], samples: Iterable[Sample] = ()) -> Answer:
    """Return the answer of a command that lists functions; it names their samples if `samples` has them."""
    names = {each.sample_id: each.name for each in samples}

    def show(screen: Screen) -> Iterator[str]:
        if not names:
            return format_table(screen, _FUNCTIONS, map(_format_row, functions))
        rows = ((f"{each.sample_id}", names[each.sample_id], *_format_row(each)) for each in functions)
        return format_table(screen, (*_SAMPLE_COLUMNS, *_FUNCTIONS), rows)

    return Answer(lambda: (each.to_dict() for each in functions), show)


def _format_row(function: Function) -> tuple[str, ...]:
    return (
        f"{function.function_id}",
        f"{function.offset:#x}",
        f"{function.num_blocks}",
        f"{function.num_instructions}",
        f"{function.binweight:g}",
        _format_hash(function.pic_hash),
        format_name(function),
    )


def _format_hash(pic_hash: int | None) -> str:
    """Return a hash as `find --pic-hash` and `query` take it; `""` for none."""
    return "" if pic_hash is None else f"{pic_hash:#018x}"


@command(
    "function corpus.sampledb 12 345",
    "function corpus.sampledb 12 0x401f6b",
    "function corpus.sampledb setup.exe rc4_init",
    "function corpus.sampledb 12 0x401f6b --dot | dot -Tsvg > graph.svg",
)
@SAMPLE
@FUNCTION
@click.option("--dot", "as_dot", is_flag=True, help="Print its control-flow graph for Graphviz.")
def function(db: SampleDB, sample: str, function: str, *, as_dot: bool) -> Answer:
    """Show the disassembly of a function."""
    found = get_function(db, get_sample(db, sample), function)
    if not as_dot:
        return Answer(found.to_dict, partial(_format_function, db=db, function=found))
    callees = db.callees(found.sample_id, found.function_id)
    graph = found.to_dot(names={each.offset: format_name(each) for each in callees})
    return Answer(lambda: graph, lambda _: escape_lines(graph))


def _format_function(screen: Screen, db: SampleDB, function: Function) -> Iterator[str]:
    """Yield a card, then each block's instructions with the APIs, functions and strings that they refer to."""
    fields: dict[str, str | list[str]] = {
        "label": function.label,
        "name": function.name,
        "comment": function.comment.splitlines(),
        "sample": f"{function.sample_id}",
        "size": f"{function.num_blocks} blocks, {function.num_instructions} instructions",
        "binweight": f"{function.binweight:g}",
        "PIC hash": _format_hash(function.pic_hash),
    }
    yield from format_card(screen, {f"Function {function.function_id} at {function.offset:#x}": fields})
    disassembly = function.disassembly or {}
    blocks = disassembly.get("blocks", {})
    keys = sorted(blocks, key=int)
    # One table, so that the columns of all blocks stand below each other.
    comments = _name_callees(db, function) | function.comments
    rows = [_format_instruction(each, comments) for key in keys for each in blocks[key]]
    lines = format_table(screen, _INSTRUCTIONS, rows)
    for key in keys:
        yield ""
        yield screen.paint(f"{int(key):#x}:", "bold cyan") + _format_successors(disassembly, key)
        yield from (next(lines) for _ in blocks[key])


def _name_callees(db: SampleDB, function: Function) -> dict[int, str]:
    """Return the names of the functions that instructions refer to, by the instruction's address."""
    names = {each.offset: format_name(each) for each in db.callees(function.sample_id, function.function_id)}
    found: dict[int, str] = {}
    for address, targets in (function.disassembly or {}).get("outrefs", {}).items():
        named = [names[target] for target in targets if names.get(target)]
        found |= {int(address): ", ".join(named)} if named else {}
    return found


def _format_instruction(instruction: Sequence[Any], comments: Mapping[int, str]) -> Sequence[str]:
    address, code, mnemonic, operands = instruction[:4]
    comment = shorten(comments.get(address, ""), _LONGEST_COMMENT)
    return f"{address:#x}", code, mnemonic, operands, comment and f"; {comment}"


def _format_successors(disassembly: Mapping[str, Any], key: str) -> str:
    references = disassembly.get("blockrefs")
    targets = references.get(key) if isinstance(references, dict) else None
    shown = [f"{target:#x}" for target in targets or () if isinstance(target, int)]
    return f" -> {', '.join(shown)}" if shown else ""
