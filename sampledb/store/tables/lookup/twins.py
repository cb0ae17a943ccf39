"""Twins: functions with the same `pic_hash`, which compares within one version of SMDA; and names."""

from collections.abc import Iterable
from typing import Final

from sampledb.format import codec
from sampledb.store.sqlite import Connection
from sampledb.store.tables import values

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


def find_names(connection: Connection, ids: Iterable[int]) -> dict[int, str]:
    """Return the label, or else the name, of each of these functions that has one."""
    return dict(connection.execute(_NAMES, (values.to_json(list(ids)),)).fetchall())
