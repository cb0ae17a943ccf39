"""The commands about the functions of a sample: list them, and show their disassembly."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import click

from sampledb import Function, SampleDB
from sampledb.cli.program import LIMIT, SAMPLE, START, command, get_sample
from sampledb.cli.table import Column, format_card, format_table
from sampledb.cli.terminal import Answer, Screen
from sampledb.render.text import escape_lines

# Of the largest integer of SQLite.
_LONGEST_ID: Final = 19

_FUNCTIONS: Final = (
    Column("id", "cyan", is_number=True),
    Column("offset", "green", is_number=True),
    Column("blocks", is_number=True),
    Column("instructions", is_number=True),
    Column("binweight", is_number=True),
    Column("name", gives_way=True),
)
_INSTRUCTIONS: Final = (
    Column("", "green", is_number=True),
    Column("", "dim", gives_way=True),
    Column("", "bold"),
    Column("", gives_way=True),
    Column("", "yellow", gives_way=True),
)


@command("functions corpus.sampledb 12", "functions corpus.sampledb 12 --start 100 --limit 50")
@SAMPLE
@START
@LIMIT
def functions(db: SampleDB, sample: str, start: int, limit: int) -> Answer:
    """List the functions of a sample by address."""
    found = db.list_functions(get_sample(db, sample).sample_id, start=start, limit=limit)
    return Answer(found.to_dicts, partial(_format_functions, functions=found.values()))


def _format_functions(screen: Screen, functions: Iterable[Function]) -> list[str]:
    rows = (
        (
            f"{each.function_id}",
            f"{each.offset:#x}",
            f"{each.num_blocks}",
            f"{each.num_instructions}",
            f"{each.binweight:g}",
            each.name,
        )
        for each in functions
    )
    return format_table(screen, _FUNCTIONS, rows)


@command(
    "function corpus.sampledb 12 345",
    "function corpus.sampledb 12 0x401f6b",
    "function corpus.sampledb 12 0x401f6b --dot | dot -Tsvg > graph.svg",
)
@SAMPLE
@click.argument("function_id", metavar="FUNCTION")
@click.option("--dot", "as_dot", is_flag=True, help="Print its control-flow graph for Graphviz.")
def function(db: SampleDB, sample: str, function_id: str, *, as_dot: bool) -> Answer:
    """Show the disassembly of a function.

    A FUNCTION is an id, or an address in one, such as 0x401000.
    """
    found = _get_function(db, get_sample(db, sample).sample_id, function_id)
    if not as_dot:
        return Answer(found.to_dict, partial(_format_function, function=found))
    graph = found.to_dot()
    return Answer(lambda: graph, lambda _: escape_lines(graph))


def _get_function(db: SampleDB, sample_id: int, name: str) -> Function:
    if name.lower().startswith("0x"):
        return db.find_function(sample_id, name)
    if name.isascii() and name.isdecimal() and len(name) <= _LONGEST_ID:
        return db.get_function(sample_id, int(name))
    raise click.BadParameter("give an id, or an address such as 0x401000.", param_hint="'FUNCTION'")


def _format_function(screen: Screen, function: Function) -> Iterator[str]:
    """Yield a card, then each block's instructions with the names of APIs and the strings that they refer to."""
    fields = {
        "name": function.name,
        "sample": f"{function.sample_id}",
        "size": f"{function.num_blocks} blocks, {function.num_instructions} instructions",
        "binweight": f"{function.binweight:g}",
        "PIC hash": "" if function.pic_hash is None else f"{function.pic_hash:#018x}",
    }
    yield from format_card(screen, {f"Function {function.function_id} at {function.offset:#x}": fields})
    disassembly = function.disassembly or {}
    blocks = disassembly.get("blocks", {})
    keys = sorted(blocks, key=int)
    comments = _collect_comments(disassembly)
    # One table, so that the columns of all blocks stand below each other.
    rows = [_format_instruction(each, comments) for key in keys for each in blocks[key]]
    lines = iter(format_table(screen, _INSTRUCTIONS, rows))
    for key in keys:
        yield ""
        yield screen.paint(f"{int(key):#x}:", "bold cyan") + _format_successors(disassembly, key)
        yield from (next(lines) for _ in blocks[key])


def _format_instruction(instruction: Sequence[Any], comments: Mapping[str, str]) -> Sequence[str]:
    address, code, mnemonic, operands = instruction[:4]
    comment = comments.get(str(address), "")
    return f"{address:#x}", code, mnemonic, operands, comment and f"; {comment}"


def _collect_comments(disassembly: Mapping[str, Any]) -> dict[str, str]:
    """Return the APIs and strings that instructions refer to, by address in decimal digits."""
    comments: dict[str, str] = {}
    for references in (disassembly.get("apirefs"), disassembly.get("stringrefs")):
        if isinstance(references, dict):
            comments |= {address: str(name) for address, name in references.items()}
    return comments


def _format_successors(disassembly: Mapping[str, Any], key: str) -> str:
    references = disassembly.get("blockrefs")
    targets = references.get(key) if isinstance(references, dict) else None
    shown = [f"{target:#x}" for target in targets or () if isinstance(target, int)]
    return f" -> {', '.join(shown)}" if shown else ""
