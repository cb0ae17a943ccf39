"""The commands about similar code: similar functions, related samples, comparisons."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from sampledb import (
    Comparison,
    Explanation,
    Function,
    FunctionId,
    FunctionMatch,
    FunctionPair,
    NotFoundError,
    RecordList,
    SampleDB,
    SampleMatch,
)
from sampledb.cli.listing import LIMIT
from sampledb.cli.live import Bar, show_line
from sampledb.cli.names import FUNCTION, SAMPLE, get_function, get_sample
from sampledb.cli.program import command
from sampledb.cli.table import Column, format_table
from sampledb.cli.terminal import Answer, Screen
from sampledb.cli.views import format_name
from sampledb.render.text import escape_unprintable

# Reasons that a line of the table has room for.
_MOST_REASONS: Final = 3

_THRESHOLD: Final = click.option(
    "--threshold",
    type=click.IntRange(1, 100),
    default=60,
    show_default=True,
    help="The least score.",
)
_NO_LIBRARIES: Final = click.option("--exclude-libraries", is_flag=True, help="Leave out samples that are libraries.")
_MATCHES: Final = (
    Column("score", "green", is_number=True),
    Column("sample", "cyan", is_number=True),
    Column("file", gives_way=True),
    Column("function", "cyan", is_number=True),
    Column("offset", "green", is_number=True),
    Column("instructions", is_number=True),
    Column("name", gives_way=True, is_optional=True),
    Column("family", gives_way=True, is_optional=True),
    Column("because", "dim", gives_way=True, is_optional=True),
)
_SAMPLES: Final = (
    Column("percent", "green", is_number=True),
    Column("without libraries", is_number=True),
    Column("functions", is_number=True),
    Column("sample", "cyan", is_number=True),
    Column("file", gives_way=True),
    Column("family", gives_way=True, is_optional=True),
    Column("", "dim", is_optional=True),
)
_PAIRS: Final = (
    Column("score", "green", is_number=True),
    Column("in a", "cyan", is_number=True),
    Column("instructions", is_number=True),
    Column("name", gives_way=True, is_optional=True),
    Column("in b", "cyan", is_number=True),
    Column("instructions", is_number=True),
    Column("name", gives_way=True, is_optional=True),
)


def make_signatures(db: SampleDB) -> None:
    """Make the signatures that are missing, and show a bar meanwhile."""
    bar = Bar()
    with show_line(bar.format):
        db.update_signatures(progress=bar.set)


@command(
    "similar corpus.sampledb 12 0x401f6b",
    "similar corpus.sampledb setup.exe rc4_init --threshold 40 --explain",
    access="keep",
    columns=FunctionMatch.__struct_fields__,
)
@SAMPLE
@FUNCTION
@_THRESHOLD
@click.option("--limit", type=click.IntRange(min=0), default=10, show_default=True, help="Largest number; 0 means all.")
@_NO_LIBRARIES
@click.option("--explain", is_flag=True, help="Say what both functions have in common.")
def similar(db: SampleDB, sample: str, function: str, *, explain: bool, **options: Any) -> Answer:  # noqa: ANN401 - of similar_functions
    """List the functions that are like a function, best first.

    In all samples, whatever the compiler and the architecture. "same" is the same code by `pic_hash`; from 60 on it is
    most likely the same function, if it is small from 70 on; what is less likely has a "?". For another architecture,
    what is first counts more.
    """
    one = get_function(db, get_sample(db, sample), function)
    make_signatures(db)
    found = db.similar_functions(one.sample_id, one.function_id, **options)
    ids = one.sample_id, one.function_id
    why = {each.function_id: db.explain(*ids, each.sample_id, each.function_id) for each in found if explain}
    return Answer(
        lambda: [
            each.to_dict() | ({"explanation": why[each.function_id].to_dict()} if explain else {}) for each in found
        ],
        lambda screen: format_table(screen, _MATCHES, _format_matches(db, found, why)),
    )


def _format_matches(
    db: SampleDB, found: Sequence[FunctionMatch], why: Mapping[FunctionId, Explanation]
) -> Iterator[Sequence[str]]:
    names = {sample_id: db.get_sample(sample_id).name for sample_id in {each.sample_id for each in found}}
    for each in found:
        place = f"{each.sample_id}", names[each.sample_id], f"{each.function_id}", f"{each.offset:#x}"
        reasons = why[each.function_id].reasons if why else ()
        because = "; ".join(f"{one.kind} {one.points}: {one.text}" for one in reasons[:_MOST_REASONS] if one.text)
        size = f"{each.num_instructions}"
        yield _format_score(each), *place, size, format_name(each), each.family, because


def _format_score(found: FunctionMatch | FunctionPair) -> str:
    return "same" if found.exact else f"{found.score}" if found.is_likely else f"{found.score}?"


@command(
    "related corpus.sampledb 12 --exclude-libraries",
    "related corpus.sampledb new.smda --limit 5",
    access="keep",
    columns=SampleMatch.__struct_fields__,
)
@click.argument("what", metavar="SAMPLE|REPORT")
@_THRESHOLD
@click.option("--limit", type=click.IntRange(min=0), default=20, show_default=True, help="Largest number; 0 means all.")
@_NO_LIBRARIES
def related(db: SampleDB, what: str, **options: Any) -> Answer:  # noqa: ANN401 - of similar_samples
    """List the samples that share code with a sample or a report.

    With the share of its code that they have, of all of it and of what no library has. A report is a file, and is not
    stored; where a sample has the same name, it is the sample.
    """
    asked: int | str = what
    try:
        asked = get_sample(db, what).sample_id
    except NotFoundError:
        if not Path(what).is_file():
            raise
    make_signatures(db)
    found = db.similar_samples(asked, **options)
    rows = (
        (
            *(f"{percent:.1f}" for percent in (each.percent, each.percent_without_libraries)),
            *(f"{each.num_matched}", f"{each.sample_id}", each.name, each.family),
            "library" if each.is_library else "",
        )
        for each in found
    )
    return Answer(RecordList(found).to_dicts, lambda screen: format_table(screen, _SAMPLES, rows))


@command("compare corpus.sampledb 12 13", "compare corpus.sampledb old.exe new.exe --limit 20", access="keep")
@click.argument("a", metavar="SAMPLE")
@click.argument("b", metavar="SAMPLE")
@_THRESHOLD
@LIMIT
def compare(db: SampleDB, a: str, b: str, threshold: int, limit: int) -> Answer:
    """List the functions that two samples share, best first.

    Each function is in one pair at most; a "?" says that chance may have made it. `--json` has also those that only one
    sample has.
    """
    one, other = get_sample(db, a), get_sample(db, b)
    found = db.compare(one.sample_id, other.sample_id, threshold=threshold)
    return Answer(found.to_dict, partial(_format_comparison, names=(one.name, other.name), found=found, limit=limit))


def _format_comparison(screen: Screen, names: tuple[str, str], found: Comparison, limit: int) -> Iterator[str]:
    alone, percents = (found.only_a, found.only_b), (found.percent_a, found.percent_b)
    for side, name, only, percent in zip("ab", names, alone, percents, strict=True):
        count = len(found.pairs) + len(only)
        about = f"{len(found.pairs)} of {count} functions, {percent:.1f} % of its code"
        yield f"{side}: {escape_unprintable(name)}, {about}"
    rows = (
        (_format_score(pair), *_format_side(pair.a), *_format_side(pair.b)) for pair in found.pairs[: limit or None]
    )
    yield from format_table(screen, _PAIRS, rows)


def _format_side(function: Function) -> Iterable[str]:
    return f"{function.offset:#x}", f"{function.num_instructions}", format_name(function)
