"""The tables of APIs and strings, and of the functions that refer to them.

A row of references holds the functions of one sample that refer to one name, so that a sample is deleted, and a name is
looked up, without reading others. What stands here follows from the frames, and `rebuild` makes it of them again.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from itertools import chain
from operator import ge
from typing import Final, Literal, NamedTuple

import msgspec

from sampledb.errors import CorruptFileError
from sampledb.format.references import LONGEST, References
from sampledb.model import Problem
from sampledb.store.sqlite import Connection
from sampledb.store.tables import trigrams

_encode = msgspec.json.Encoder().encode
_decode_positions = msgspec.json.Decoder(list[int]).decode


class Kind(NamedTuple):
    """A kind of names: its field in a Hit, which is its column too, and its tables."""

    field: Literal["api", "string"]
    names: str
    references: str

    def sql(self, statement: str) -> str:
        """Return a statement with the names of this kind's tables and columns in it."""
        return statement.format(names=self.names, references=self.references, name=self.field, id=f"{self.field}_id")


APIS: Final = Kind("api", "apis", "api_references")
STRINGS: Final = Kind("string", "strings", "string_references")
_KINDS: Final = (APIS, STRINGS)

# Finds a few other names too, which have the same hashes.
_FIND_NAMES: Final = """
SELECT {name}, {id}
FROM {names}
WHERE hash IN (SELECT value FROM json_each(?))"""
_ADD_NAME: Final = "INSERT INTO {names} (hash, {name}) VALUES (?, ?)"
_ADD_REFERENCES: Final = "INSERT INTO {references} ({id}, sample_id, functions) VALUES (?, ?, ?)"
_ONLY_OF_SAMPLE: Final = """
SELECT {id}
FROM {references} AS own
WHERE sample_id = :sample
  AND NOT EXISTS (SELECT 1 FROM {references} AS other WHERE other.{id} = own.{id} AND other.sample_id <> :sample)"""

_COUNT: Final = """
SELECT {name}, sum(json_array_length(functions)) AS total
FROM {names} JOIN {references} USING ({id})
WHERE {condition}
GROUP BY {id}
ORDER BY total DESC, {name}"""

_OF_SAMPLE: Final = "SELECT {id}, functions FROM {references} WHERE sample_id = ?"
_NAMED_OF_SAMPLE: Final = """
SELECT {name}, functions
FROM {references} JOIN {names} USING ({id})
WHERE sample_id = ?"""

_FIRST: Final = """
SELECT sample_id, function_id, "offset", sample
FROM (SELECT samples.sample_id, samples.name AS sample,
             first_function_id + json_extract({references}.functions, '$[0]') AS first
      FROM {names} JOIN {references} USING ({id}) JOIN samples USING (sample_id)
      WHERE hash = ? AND {name} = ?
      ORDER BY {references}.sample_id
      LIMIT 1) AS found JOIN functions USING (sample_id)
WHERE function_id = first"""

_ANALYSES: Final = "SELECT sample_id, first_function_id, num_functions FROM samples WHERE num_functions > 0"
_UNKNOWN_SAMPLES: Final = """
SELECT DISTINCT sample_id
FROM {references}
WHERE sample_id NOT IN (SELECT sample_id FROM samples WHERE num_functions > 0)"""
_UNUSED: Final = "SELECT {id} FROM {names} WHERE {id} NOT IN (SELECT {id} FROM {references})"

_REPEATED: Final = """
SELECT {id}
FROM {names} AS later
WHERE EXISTS (
    SELECT 1
    FROM {names} AS earlier
    WHERE earlier.hash = later.hash AND earlier.{name} = later.{name} AND earlier.{id} < later.{id})"""


def _hash(name: str) -> int:
    from hashlib import blake2b  # noqa: PLC0415 - as `frames` below: nothing that reading a file needs

    # Not xxh3: whoever writes a report could choose many strings of one hash, which are then looked at one by one.
    return int.from_bytes(blake2b(name.encode(), digest_size=4).digest(), "big", signed=True)


# Reading


def count(connection: Connection, kind: Kind, sample_id: int | None, matches: Callable[[str], bool]) -> dict[str, int]:
    """Return the number of functions that refer to each name that matches, most first, in one sample or in all."""
    condition = "TRUE" if sample_id is None else "sample_id = ?"
    rows = connection.execute(
        kind.sql(_COUNT.replace("{condition}", condition)), () if sample_id is None else (sample_id,)
    )
    return {name: total for name, total in rows if matches(name)}


def find_names(
    connection: Connection, kind: Kind, matches: Callable[[str], bool], literals: Iterable[str] = ()
) -> set[int]:
    """Return the ids of the names that match; each is known to contain the literals, in any capitals."""
    expression = trigrams.match_all(filter(str.isascii, literals)) if kind is STRINGS else ""
    found = "WHERE string_id IN (SELECT rowid FROM string_search WHERE string_search MATCH ?)" if expression else ""
    rows = connection.execute(kind.sql("SELECT {id}, {name} FROM {names} ") + found, (expression,) if found else ())
    return {name_id for name_id, name in rows if matches(name)}


def find_samples(connection: Connection, kind: Kind, names: Iterable[int]) -> set[int]:
    """Return the samples that have a function that refers to any of these names."""
    rows = connection.execute(
        kind.sql("SELECT DISTINCT sample_id FROM {references} WHERE {id} IN (SELECT value FROM json_each(?))"),
        (_encode(list(names)).decode(),),
    )
    return {sample_id for (sample_id,) in rows}


def iter_positions(
    connection: Connection, kind: Kind, sample_id: int, names: Container[int]
) -> Iterator[tuple[int, list[int]]]:
    """Yield the id of each of these names that a sample refers to, and the positions of its functions that do."""
    for name_id, positions in connection.execute(kind.sql(_OF_SAMPLE), (sample_id,)):
        if name_id in names:
            yield name_id, _decode_positions(positions)


def find_positions(connection: Connection, kind: Kind, sample_id: int, names: Container[int]) -> set[int]:
    """Return the positions of a sample's functions that refer to any of these names."""
    return {place for _, found in iter_positions(connection, kind, sample_id, names) for place in found}


def get_name(connection: Connection, kind: Kind, name_id: int) -> str:
    """Return a name by its id."""
    ((name,),) = connection.execute(kind.sql("SELECT {name} FROM {names} WHERE {id} = ?"), (name_id,))
    return str(name)


def locate_first(connection: Connection, kind: Kind, name: str) -> list[tuple[int, int, int, str]]:
    """Return sample id, function id, stored offset and sample's name of the first function that refers to a name."""
    return connection.execute(kind.sql(_FIRST), (_hash(name), name)).fetchall()


def read(connection: Connection, sample_id: int, num_functions: int) -> References:
    """Return what the functions of a sample in another store refer to, each value checked.

    Raises:
        CorruptFileError: A name or a position is not as `insert` stores it.
    """
    found = References()
    for kind, names in ((APIS, found.apis), (STRINGS, found.strings)):
        for name, stored in connection.execute(kind.sql(_NAMED_OF_SAMPLE), (sample_id,)):
            positions = _decode_positions(stored)
            is_sound = isinstance(name, str) and 0 < len(name) <= LONGEST and name not in names and positions
            if (
                not is_sound
                or not 0 <= positions[0] <= positions[-1] < num_functions
                or any(map(ge, positions, positions[1:]))
            ):
                raise CorruptFileError.of("a reference is not that of a report", f"{kind.references}, {sample_id=}")
            names[name] = positions
    return found


# Writing


def insert(connection: Connection, references: Mapping[int, References]) -> None:
    """Insert what the functions of samples refer to, by the ids of the samples."""
    ((last,),) = connection.execute("SELECT coalesce(max(string_id), 0) FROM strings")
    _insert_names(connection, APIS, {sample_id: each.apis for sample_id, each in references.items()})
    _insert_names(connection, STRINGS, {sample_id: each.strings for sample_id, each in references.items()})
    if any(each.strings for each in references.values()):
        trigrams.add_strings(connection, last)


def _insert_names(connection: Connection, kind: Kind, found: Mapping[int, Mapping[str, list[int]]]) -> None:
    ids = _add_names(connection, kind, chain.from_iterable(found.values()))
    rows = [
        (ids[name], sample_id, _encode(positions).decode())
        for sample_id, names in found.items()
        for name, positions in names.items()
    ]
    # In the order of the table, rows of several samples fall on the same pages.
    connection.executemany(kind.sql(_ADD_REFERENCES), sorted(rows))


def _add_names(connection: Connection, kind: Kind, names: Iterable[str]) -> dict[str, int]:
    """Return the ids of names, of which some may be new."""
    hashes = {name: _hash(name) for name in dict.fromkeys(names)}
    if not hashes:
        return {}
    ids = dict(connection.execute(kind.sql(_FIND_NAMES), (_encode(list(hashes.values())).decode(),)))
    for name in [each for each in hashes if each not in ids]:
        ids[name] = connection.execute(kind.sql(_ADD_NAME), (hashes[name], name)).lastrowid
    return ids


def delete(connection: Connection, sample_id: int) -> None:
    """Delete what the functions of a sample refer to, and the names that nothing else refers to."""
    for kind in _KINDS:
        unused = [name_id for (name_id,) in connection.execute(kind.sql(_ONLY_OF_SAMPLE), {"sample": sample_id})]
        if unused and kind is STRINGS:
            trigrams.remove_strings(connection, _encode(unused).decode())
        connection.execute(kind.sql("DELETE FROM {references} WHERE sample_id = ?"), (sample_id,))
        connection.executemany(kind.sql("DELETE FROM {names} WHERE {id} = ?"), [(each,) for each in unused])


def rebuild(connection: Connection) -> None:
    """Fill the tables anew from the frames; what cannot be read is left out."""
    for kind in _KINDS:
        connection.execute(kind.sql("DELETE FROM {references}"))
        connection.execute(kind.sql("DELETE FROM {names}"))
    trigrams.clear_strings(connection)
    for sample_id, first, number in connection.execute(_ANALYSES).fetchall():
        insert(connection, {sample_id: _collect(connection, first, number)[0]})


def _collect(connection: Connection, first: int, number: int) -> tuple[References, bool]:
    """Return what a sample's functions refer to by their frames, and whether all can be read."""
    from sampledb.store.tables import frames  # noqa: PLC0415

    found = References()
    try:
        for function_id, apis, strings in frames.iter_names(connection, first, first + number - 1):
            found.add(function_id - first, apis, strings)
    except CorruptFileError:
        return found, False
    return found, True


# Checking


def find_differences(connection: Connection) -> Iterator[Problem]:
    """Yield a Problem for each sample whose references differ from its frames, and for names that are not in order."""
    for sample_id, first, number in connection.execute(_ANALYSES).fetchall():
        expected, is_whole = _collect(connection, first, number)
        # What cannot be read is found by the check of the disassembly.
        if not is_whole:
            continue
        for kind, names in ((APIS, expected.apis), (STRINGS, expected.strings)):
            rows = connection.execute(kind.sql(_NAMED_OF_SAMPLE), (sample_id,))
            if {name: _decode_positions(positions) for name, positions in rows} != names:
                yield Problem(
                    "what its functions refer to is not what their disassembly says; salvage() rebuilds it",
                    f"{kind.references}, sample_id {sample_id}",
                    sample_id,
                )
    for kind in _KINDS:
        yield from _find_disorder(connection, kind)


def _find_disorder(connection: Connection, kind: Kind) -> Iterator[Problem]:
    for (sample_id,) in connection.execute(kind.sql(_UNKNOWN_SAMPLES)):
        yield Problem(
            "the sample has no functions to refer to it", f"{kind.references}, sample_id {sample_id}", sample_id
        )
    for (name_id,) in connection.execute(kind.sql(_UNUSED)):
        yield Problem("no function refers to it", f"{kind.names}, {kind.field}_id {name_id}")
    for (name_id,) in connection.execute(kind.sql(_REPEATED)):
        yield Problem("the name stands twice", f"{kind.names}, {kind.field}_id {name_id}")
    for name_id, stored, name in connection.execute(kind.sql("SELECT {id}, hash, {name} FROM {names}")):
        if stored != _hash(name):
            yield Problem("the hash is not that of the name", f"{kind.names}, {kind.field}_id {name_id}")
