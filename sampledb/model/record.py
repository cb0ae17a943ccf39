"""Records, the collections of them that calls return, and how notebooks show both."""

import re
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Generic, NewType, TypeVar

import msgspec

SampleId = NewType("SampleId", int)
FunctionId = NewType("FunctionId", int)


class Record(msgspec.Struct, frozen=True):
    """A frozen struct that converts to plain JSON types, and shows itself as a card in notebooks."""

    #: Columns of a table of such records; empty means all fields.
    _columns: ClassVar[tuple[str, ...]] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name; tuples as lists, datetimes as ISO 8601 text ending in `Z`."""
        # Without the round trip, tuples inside would stay tuples.
        fields: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return fields

    def _repr_html_(self) -> str:
        from sampledb.render.html import render_card  # noqa: PLC0415 - for notebooks only

        return render_card(self._title, {field: getattr(self, field) for field in self.__struct_fields__})

    @property
    def _title(self) -> str:
        """Return the kind of the record, and its id if it has one."""
        kind = type(self).__name__
        return f"{kind} {getattr(self, f'{kind.lower()}_id', '')}".rstrip()


K = TypeVar("K")
R = TypeVar("R", bound=Record)


class RecordDict(dict[K, R], Generic[K, R]):
    """A dict of records, by id; a table in notebooks."""

    __slots__ = ()

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return each record's `to_dict()`, in order: the rows of a data frame."""
        return [record.to_dict() for record in self.values()]

    def _repr_html_(self) -> str:
        return render_records(self.values())


class RecordList(list[R], Generic[R]):
    """A list of records; a table in notebooks."""

    __slots__ = ()

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return each record's `to_dict()`, in order: the rows of a data frame."""
        return [record.to_dict() for record in self]

    def _repr_html_(self) -> str:
        return render_records(self)


class RowList(list[dict[str, Any]]):
    """The rows of a query, as dicts by column name; a table in notebooks."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        from sampledb.render.html import render_table  # noqa: PLC0415 - for notebooks only

        columns = list(self[0]) if self else []
        return render_table(count_records("Row", len(self)), columns, ([*row.values()] for row in self), len(self))


class Counts(dict[str, int]):
    """Numbers by name; a table in notebooks.

    Attributes:
        columns: The titles of the names and of the numbers.
    """

    __slots__ = ("columns",)

    def __init__(self, counts: Mapping[str, int], columns: tuple[str, str]) -> None:
        super().__init__(counts)
        self.columns = columns

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self), self.columns)

    def _repr_html_(self) -> str:
        from sampledb.render.html import render_table  # noqa: PLC0415 - for notebooks only

        return render_table("", self.columns, self.items(), len(self))


def count_records(noun: str, number: int) -> str:
    """Return a number of records, as in `12 function hits`."""
    words = re.sub("(?<!^)(?=[A-Z])", " ", noun).lower()
    return f"{number:,} {words}{'' if number == 1 else 'es' if words.endswith('ch') else 's'}"


def render_records(records: Collection[Record], *, title: str = "", count: int | None = None) -> str:
    """Return a table of records, as notebooks show it; `count` is how many there are if these are the first of them."""
    from sampledb.render.html import render_note, render_table  # noqa: PLC0415 - for notebooks only

    kind = type(next(iter(records), None))
    if not issubclass(kind, Record):
        return render_note("No records.")
    columns = kind._columns or kind.__struct_fields__  # noqa: SLF001 - tables are made here only
    rows = ([getattr(record, column) for column in columns] for record in records)
    count = len(records) if count is None else count
    return render_table(title or count_records(kind.__name__, count), columns, rows, count)
