"""Twins: functions with the same `pic_hash`, which compares within one version of SMDA; and names."""

from collections.abc import Iterable
from typing import Final

from sampledb.format import codec
from sampledb.store.sqlite import Connection
from sampledb.store.tables import values

#: Of shorter functions, thousands are the same: stubs, and functions that return at once.
LONG: Final = 10
# The index functions_by_pic_hash has all that is read of other samples.
_SHARED: Final = """
SELECT coalesce(sum(number), 0) FROM (
    SELECT count(*) AS number
    FROM functions
    WHERE pic_hash IS NOT NULL AND num_instructions >= ?
    GROUP BY pic_hash
    HAVING min(sample_id) <> max(sample_id))"""
_OTHER: Final = (
    "other.pic_hash = own.pic_hash AND other.sample_id <> own.sample_id AND other.num_instructions >= :least"
)
_KNOWN: Final = f"""
SELECT count(*), coalesce(sum(is_elsewhere), 0), coalesce(sum(is_in_library), 0) FROM (
    SELECT EXISTS (SELECT 1 FROM functions AS other WHERE {_OTHER}) AS is_elsewhere,
           EXISTS (SELECT 1 FROM functions AS other JOIN samples USING (sample_id)
                   WHERE {_OTHER} AND is_library) AS is_in_library
    FROM functions AS own NOT INDEXED
    WHERE function_id BETWEEN :first AND :last AND num_instructions >= :least AND pic_hash IS NOT NULL)"""  # noqa: S608
_TWINS: Final = """
SELECT pic_hash, functions.sample_id, function_id
FROM functions CROSS JOIN samples USING (sample_id)
WHERE pic_hash IN (SELECT value FROM json_each(:hashes)) AND num_instructions >= :least AND smda_version = :version"""
_NAMES: Final = """
SELECT function_id, coalesce(nullif(labels.name, ''), functions.name) AS known
FROM functions LEFT JOIN labels USING (sample_id, "offset")
WHERE function_id IN (SELECT value FROM json_each(?)) AND known <> ''"""


def find_twins(
    connection: Connection, hashes: Iterable[int], smda_version: str, least: int
) -> list[tuple[int, int, int]]:
    """Return hash, sample id and function id of all functions with one of these hashes, unordered.

    They have at least so many instructions.
    """
    numbers = values.to_json([codec.signed(each) for each in hashes])
    rows = connection.execute(_TWINS, {"hashes": numbers, "least": least, "version": smda_version})
    return [(pic_hash & codec.MASK, sample_id, function_id) for pic_hash, sample_id, function_id in rows]


def count_shared(connection: Connection, least: int) -> int:
    """Return how many functions of at least so many instructions another sample has too, by hash."""
    ((number,),) = connection.execute(_SHARED, (least,))
    return int(number)


def count_known(connection: Connection, first: int, last: int, least: int) -> tuple[int, int, int]:
    """Return how many functions of a sample have a hash and at least so many instructions, and are known.

    The first number is of all of these, the second of those in other samples, the third in other libraries.
    """
    (numbers,) = connection.execute(_KNOWN, {"first": first, "last": last, "least": least})
    return numbers  # type: ignore[no-any-return]


def find_names(connection: Connection, ids: Iterable[int]) -> dict[int, str]:
    """Return the label, or else the name, of each of these functions that has one."""
    return dict(connection.execute(_NAMES, (values.to_json(list(ids)),)).fetchall())
