"""Parts of long lists: the records whose names match, in an order, from a position on."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final, Protocol, TypeAlias, TypeVar

import click

from sampledb.cli.names import compile_glob

#: A part of a list whose order is given.
START: Final = click.option("--start", type=click.IntRange(min=0), default=0, help="Position of the first, from 0.")
LIMIT: Final = click.option("--limit", type=click.IntRange(min=0), default=0, help="Largest number; 0 means all.")


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_Record = TypeVar("_Record", bound=_Named)
_Call = TypeVar("_Call", bound=Callable[..., Any])
#: The orders of a list: the name of each on the command line, and the key of a record.
Orders: TypeAlias = Mapping[str, Callable[[Any], Any]]


def take_part(orders: Orders) -> Callable[[_Call], _Call]:
    """Give a command the options whose values `select_part` takes."""
    options = (
        click.option("--name", metavar="GLOB", help="Only those with this name; capitals are ignored."),
        click.option(
            "--sort", type=click.Choice(list(orders)), help="By this; counts, sizes and dates begin with the largest."
        ),
        click.option("--reverse", is_flag=True, help="The other way round."),
        START,
        LIMIT,
    )

    def decorate(call: _Call) -> _Call:
        for option in reversed(options):
            call = option(call)
        return call

    return decorate


def select_part(
    records: Iterable[_Record],
    orders: Orders,
    *,
    name: str | None,
    sort: str | None,
    reverse: bool,
    start: int,
    limit: int,
) -> Iterator[_Record]:
    """Yield a part of the records; only sorting and reversing hold all of them at once."""
    if name is not None:
        matches = compile_glob(name)
        records = (each for each in records if matches(each.name))
    if sort is not None:
        records = sorted(records, key=orders[sort])
    if reverse:
        records = reversed(list(records))
    return islice(records, start, start + limit if limit else None)
