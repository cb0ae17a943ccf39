"""Pages of tables: the rows of some samples or functions, in parts, as columns of values."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter, sub
from typing import Any, Final, NamedTuple, TypeAlias

from sampledb import limits
from sampledb.format.columns import Listing, repeat_each
from sampledb.format.frame import FrameError
from sampledb.format.references import Reference
from sampledb.model import Function, Instruction, Label, Record, Sample
from sampledb.store.sqlite import Connection
from sampledb.store.tables import frames, functions, labels, samples, signatures
from sampledb.store.tables.frames import Run

#: The columns of each table. A name has one type in all of them, which `tables.batches` knows.
TABLES: Final[dict[str, tuple[str, ...]]] = {
    "samples": Sample.__struct_fields__,
    "functions": tuple(field for field in Function.__struct_fields__ if field != "disassembly"),
    "instructions": ("sample_id", "function_id", "block", *Instruction.__struct_fields__),
    "apis": ("sample_id", "function_id", "address", "api"),
    "strings": ("sample_id", "function_id", "address", "string"),
    "signatures": ("sample_id", "function_id", "architecture", "algorithm", "signs", "coordinates"),
    "labels": tuple(field for field in Label.__struct_fields__ if field != "is_current"),
}

# Tables whose pages are those of samples, not of functions.
_BY_SAMPLE: Final = {"samples", "labels", "signatures"}
# Rows of a page; frames end one before that. A sample may have much media metadata.
_SAMPLES: Final = 500
_FUNCTIONS: Final = 512
# Bytes of unpacked frames, about 50,000 instructions; fewer cost more SQL.
_BYTES: Final = 1 << 21

# The columns of instructions that a listing has.
_PARTS: Final[dict[str, Callable[[Listing], Sequence[Any]]]] = {
    "block": attrgetter("block_of_each"),
    "address": attrgetter("addresses"),
    "code": attrgetter("codes"),
    "mnemonic": attrgetter("mnemonics"),
    "operands": attrgetter("operands"),
}

#: The values of some rows, by column.
Columns: TypeAlias = Mapping[str, Sequence[Any]]


class Part(NamedTuple):
    """Some rows of a page: those of samples or functions up to the id `last`, and of none behind it."""

    last: int
    columns: Columns


_Read: TypeAlias = Callable[[Connection, int, int, Sequence[str]], Iterator[Part]]


def find_range(connection: Connection, name: str, sample_id: int | None) -> tuple[int, int]:
    """Return the first and last id of the samples or functions that the rows of a table are of.

    Raises:
        NotFoundError: There is no such sample.
    """
    if sample_id is None:
        return 1, limits.MAX_ID
    stored = samples.locate(connection, sample_id)
    return (stored.sample_id, stored.sample_id) if name in _BY_SAMPLE else stored.function_ids


def read_page(connection: Connection, name: str, begin: int, last: int, columns: Sequence[str]) -> Iterator[Part]:
    """Yield the next rows of a table, of samples or functions from the id `begin` to `last`; nothing at the end.

    A part is made when it is asked for, so that what it holds is still in the cache of the processor.
    """
    return _READERS[name](connection, begin, last, columns)


def _read_samples(connection: Connection, begin: int, last: int, columns: Sequence[str]) -> Iterator[Part]:
    found = samples.select(connection, {"after": begin - 1}, limit=_SAMPLES)
    if found := [each for each in found if each.sample_id <= last]:
        yield Part(found[-1].sample_id, _get_columns(found, columns))


def _read_functions(connection: Connection, begin: int, last: int, columns: Sequence[str]) -> Iterator[Part]:
    if found := functions.select(connection, begin, last, limit=_FUNCTIONS):
        yield Part(found[-1].function_id, _get_columns(found, columns))


def _get_columns(records: Sequence[Record], columns: Iterable[str]) -> dict[str, list[Any]]:
    return {column: list(map(attrgetter(column), records)) for column in columns}


def _read_instructions(connection: Connection, begin: int, last: int, columns: Sequence[str]) -> Iterator[Part]:
    def read(run: Run) -> Columns:
        bounds = run.listing.functions[run.first : run.first + len(run.functions) + 1]
        counts = list(map(sub, bounds[1:], bounds))
        if counts != [each.num_instructions for each in run.functions]:
            raise FrameError("a function has another number of instructions")
        return {
            column: _cut(_PARTS[column](run.listing), bounds[0], bounds[-1])
            if column in _PARTS
            else repeat_each("q", map(attrgetter(column), run.functions), counts)
            for column in columns
        }

    return _read_frames(connection, begin, last, read)


def _cut(values: Sequence[Any], begin: int, end: int) -> Sequence[Any]:
    """Return a part of the values of a listing, which nearly always is all of them."""
    return values if end - begin == len(values) else values[begin:end]


def _make_reader(name: str, list_references: Callable[[Listing, int], Iterable[Reference]]) -> _Read:
    """Return what reads the table of one kind of references, whose names are in the column `name`."""

    def read_references(connection: Connection, begin: int, last: int, columns: Sequence[str]) -> Iterator[Part]:
        def read(run: Run) -> Columns:
            rows = [
                (function.sample_id, function.function_id, address, text)
                for number, function in enumerate(run.functions, run.first)
                for address, text in list_references(run.listing, number)
                if text
            ]
            found = dict(zip(TABLES[name], zip(*rows, strict=True), strict=False))
            return {column: found.get(column, ()) for column in columns}

        return _read_frames(connection, begin, last, read)

    return read_references


def _list_apis(listing: Listing, number: int) -> Iterable[Reference]:
    part = slice(*listing.apis[number : number + 2])
    return zip(listing.api_addresses[part], listing.api_names[part], strict=True)


def _list_strings(listing: Listing, number: int) -> Iterable[Reference]:
    return listing.strings[number]


def _read_frames(connection: Connection, begin: int, last: int, read: Callable[[Run], Columns]) -> Iterator[Part]:
    """Yield what `read` returns of the next frames."""
    found = functions.select(connection, begin, last, limit=_FUNCTIONS)
    size = 0
    for end, length, parts in frames.iter_frames(connection, found, read):
        yield from (Part(end, columns) for columns in parts)
        size += length
        if size >= _BYTES:
            return


def _read_labels(connection: Connection, begin: int, last: int, columns: Sequence[str]) -> Iterator[Part]:
    sample_id = labels.find_next_sample(connection, begin)
    if sample_id is not None and sample_id <= last:
        yield Part(sample_id, _get_columns(labels.select(connection, sample_id), columns))


def _read_signatures(connection: Connection, begin: int, last: int, columns: Sequence[str]) -> Iterator[Part]:
    for source, algorithm in signatures.select_next(connection, begin, last):
        signed = signatures.read(connection, source, algorithm)
        ids = [source.first + position for position in signed.list_positions()]
        values: dict[str, Sequence[Any]] = {
            "sample_id": [source.sample_id] * len(ids),
            "function_id": ids,
            "architecture": [source.architecture] * len(ids),
            "algorithm": [algorithm] * len(ids),
            "signs": signed.signs,
        }
        if "coordinates" in columns:
            from sampledb.similarity import unpack_vectors  # noqa: PLC0415 - an extra, and large

            values["coordinates"] = array("b", unpack_vectors(signed.signs, signed.details).tobytes())
        yield Part(source.sample_id, {column: values[column] for column in columns})


_READERS: Final[dict[str, _Read]] = {
    "samples": _read_samples,
    "functions": _read_functions,
    "instructions": _read_instructions,
    "apis": _make_reader("apis", _list_apis),
    "strings": _make_reader("strings", _list_strings),
    "signatures": _read_signatures,
    "labels": _read_labels,
}
