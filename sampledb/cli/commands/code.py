"""The commands about code: find functions, list APIs and strings, callers, callees and twins."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final

import click

from sampledb import Function, FunctionHit, SampleDB
from sampledb.cli.commands.functions import answer_functions
from sampledb.cli.listing import LIMIT
from sampledb.cli.live import Bar, show_line
from sampledb.cli.names import FUNCTION, SAMPLE, SAMPLES_OR_ALL, get_function, get_sample, get_samples
from sampledb.cli.program import command
from sampledb.cli.table import Column, format_table
from sampledb.cli.terminal import Answer, Screen
from sampledb.cli.views import format_name

# Hits before the first is printed: until then, a bar has the line that the table needs.
_AT_FIRST: Final = 1000

_HITS: Final = (
    Column("sample", "cyan", is_number=True),
    Column("file", gives_way=True),
    Column("function", "cyan", is_number=True),
    Column("address", "green", is_number=True),
    Column("name", gives_way=True, is_optional=True),
    Column("match", gives_way=True),
)


def _parse_integer(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError as error:
        raise click.BadParameter("give an integer such as 4096, -1 or 0x1000.") from error


@command(
    "find corpus.sampledb --api 'CreateFile*' --min-instructions 10",
    "find corpus.sampledb --constant 0x9e3779b9 --family upatre",
    "find corpus.sampledb --mnemonics 'xor * rol' --sample setup.exe",
    "find corpus.sampledb --code '6a 40 68 ??' --csv",
    "find corpus.sampledb --text 'mov .*fs:\\[0x30\\]' --limit 20",
    columns=FunctionHit.__struct_fields__,
)
@click.option("--api", metavar="GLOB", help="Refer to this API: 'CreateFile*', 'kernel32.dll!*'.")
@click.option("--string", metavar="TEXT", help="Refer to a string that contains this.")
@click.option(
    "--constant", metavar="INTEGER", type=_parse_integer, help="Have this immediate operand: decimal, negative, 0x…."
)
@click.option("--mnemonics", metavar="LIST", help="Contain this run of instructions; * is any one.")
@click.option("--code", metavar="HEX", help="Contain this run of bytes; ?? is any one.")
@click.option("--text", metavar="REGEX", help="Have an instruction in which this regular expression is found.")
@click.option("--pic-hash", metavar="HASH", help="Have exactly this hash, as `functions` shows it.")
@click.option("--name", metavar="GLOB", help="Have this name.")
@click.option("--label", metavar="GLOB", help="Have this label.")
@click.option("--sample", "samples", metavar="SAMPLE", multiple=True, help="Only in this; can be given many times.")
@click.option("--family", help="Only in samples of this family.")
@click.option("--tag", help="Only in samples with this tag.")
@click.option("--library/--no-library", "is_library", default=None, help="Only in libraries, or only in others.")
@click.option("--min-instructions", type=click.IntRange(min=0), help="Have at least so many.")
@LIMIT
def find(db: SampleDB, samples: Sequence[str], limit: int, **conditions: Any) -> Answer:  # noqa: ANN401 - of find_functions
    """Find functions by APIs, strings, constants, code, and names.

    Those that meet all conditions, by sample and address. The address in the answer is that of the match, or else that
    of the function. Globs know *, ? and [a-z]; capitals are ignored in them and in --string.
    """
    conditions = {name: value for name, value in conditions.items() if value is not None}
    if not conditions and not samples:
        raise click.UsageError("There is no condition; give one, such as --api 'CreateFile*'.")
    if "mnemonics" in conditions:
        conditions["mnemonics"] = conditions["mnemonics"].split()
    if conditions.get("pic_hash", "").isdecimal():
        conditions["pic_hash"] = int(conditions["pic_hash"])
    ids: list[int | None] = [*sorted(each.sample_id for each in get_samples(db, samples))] or [None]
    bar = Bar()
    # Each is prepared now, so that a bad condition is an error before anything is printed.
    searches = [db.find_functions(sample_id=each, progress=bar.set, **conditions) for each in ids]
    hits = _take_hits(islice(chain.from_iterable(searches), limit or None), bar)
    return Answer(
        lambda: (each.to_dict() for each in hits), lambda screen: format_table(screen, _HITS, _format_rows(db, hits))
    )


def _take_hits(hits: Iterator[FunctionHit], bar: Bar) -> Iterator[FunctionHit]:
    """Yield the hits, and show a bar until there are enough for a table."""
    with show_line(bar.format):
        first = [*islice(hits, _AT_FIRST)]
    yield from chain(first, hits)


def _format_rows(db: SampleDB, hits: Iterable[FunctionHit]) -> Iterator[Sequence[str]]:
    """Yield the rows of the table; hits come sample by sample, so each sample is read once."""
    sample_id, file = 0, ""
    for hit in hits:
        if hit.sample_id != sample_id:
            sample_id, file = hit.sample_id, db.get_sample(hit.sample_id).name
        address = hit.offset if hit.address is None else hit.address
        yield f"{sample_id}", file, f"{hit.function_id}", f"{address:#x}", format_name(hit), hit.match


_PATTERN: Final = click.option(
    "--pattern", metavar="GLOB", default="*", help="Only those that match; capitals are ignored."
)


@command("apis corpus.sampledb 12", "apis corpus.sampledb --pattern 'ws2_32.dll!*'", columns=("api", "functions"))
@SAMPLES_OR_ALL
@_PATTERN
@LIMIT
def apis(db: SampleDB, samples: Sequence[str], pattern: str, limit: int) -> Answer:
    """List APIs with their number of functions, most first.

    Those of the samples, or of the whole file. A pattern is for the name, or for the library too.
    """
    return _answer_counts(_count(db.list_apis, db, samples, pattern), "api", limit)


@command("strings corpus.sampledb 12", "strings corpus.sampledb --pattern '*http*'", columns=("string", "functions"))
@SAMPLES_OR_ALL
@_PATTERN
@LIMIT
def strings(db: SampleDB, samples: Sequence[str], pattern: str, limit: int) -> Answer:
    """List strings with their number of functions, most first.

    Those to which functions of the samples refer, or of the whole file. A pattern is for the whole string.
    """
    return _answer_counts(_count(db.list_strings, db, samples, pattern), "string", limit)


def _count(
    list_names: Callable[..., dict[str, int]], db: SampleDB, names: Sequence[str], pattern: str
) -> Mapping[str, int]:
    """Return the number of functions that refer to each, in all these samples together."""
    if not names:
        return list_names(pattern=pattern)
    counts = Counter[str]()
    for sample in get_samples(db, names):
        counts.update(list_names(sample.sample_id, pattern=pattern))
    return dict(counts.most_common())


def _answer_counts(counts: Mapping[str, int], title: str, limit: int) -> Answer:
    shown = dict(islice(counts.items(), limit or None))
    columns = Column("functions", is_number=True), Column(title, "yellow", gives_way=True)

    def show(screen: Screen) -> Iterator[str]:
        return format_table(screen, columns, ((f"{count}", name) for name, count in shown.items()))

    return Answer(lambda: shown, show)


@command("callers corpus.sampledb 12 0x401f6b", columns=Function.__struct_fields__)
@SAMPLE
@FUNCTION
def callers(db: SampleDB, sample: str, function: str) -> Answer:
    """List the functions that call a function, by address.

    Those of its sample that refer to it, as SMDA's `inrefs` say.
    """
    found = get_function(db, get_sample(db, sample), function)
    return answer_functions(db.callers(found.sample_id, found.function_id))


@command("callees corpus.sampledb 12 0x401f6b", columns=Function.__struct_fields__)
@SAMPLE
@FUNCTION
def callees(db: SampleDB, sample: str, function: str) -> Answer:
    """List the functions that a function calls, by address.

    Those of its sample to which it refers, as SMDA's `outrefs` say. `sampledb function` shows the APIs that it calls.
    """
    found = get_function(db, get_sample(db, sample), function)
    return answer_functions(db.callees(found.sample_id, found.function_id))


@command(
    "twins corpus.sampledb 12 0x401f6b",
    "twins corpus.sampledb setup.exe rc4_init --min-instructions 5",
    columns=Function.__struct_fields__,
)
@SAMPLE
@FUNCTION
@click.option("--min-instructions", type=click.IntRange(min=0), default=10, show_default=True, help="Only of so many.")
def twins(db: SampleDB, sample: str, function: str, min_instructions: int) -> Answer:
    """List all other functions with the same code, by sample.

    Those with the same `pic_hash`, in all samples. Short functions are left out, because thousands of them
    are the same.
    """
    found = get_function(db, get_sample(db, sample), function)
    others = db.twins(found.sample_id, found.function_id, min_instructions=min_instructions)
    answer = answer_functions(others, [db.get_sample(each) for each in {each.sample_id for each in others}])
    if others or found.num_instructions >= min_instructions:
        return answer
    hint = f"Nothing was found; --min-instructions {found.num_instructions} finds functions as short as this one."
    return answer._replace(lines=lambda _: [hint])
