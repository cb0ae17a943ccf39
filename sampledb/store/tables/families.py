"""Families: what samples say of the family that they are in; it has no table."""

from collections.abc import Mapping

from sampledb.model import Family
from sampledb.store.sqlite import Connection
from sampledb.store.tables import samples


def count(connection: Connection) -> dict[str, int]:
    """Return the number of samples in each family, by name; samples without a family are under `""`."""
    return dict(connection.execute("SELECT family, count(*) FROM samples GROUP BY family ORDER BY family"))


def describe(connection: Connection) -> list[Family]:
    """Return all families with their numbers, by name."""
    rows = connection.execute(
        """SELECT family, count(*), sum(is_library), sum(num_functions)
        FROM samples
        GROUP BY family
        ORDER BY family"""
    )
    return [Family(*row) for row in rows]


def update(connection: Connection, family: str, changes: Mapping[str, object]) -> int:
    """Change all samples of a family, as `samples.update` does; return how many there are."""
    rows = connection.execute("SELECT sample_id FROM samples WHERE family = ? ORDER BY sample_id", (family,)).fetchall()
    for (sample_id,) in rows:
        samples.update(connection, sample_id, changes)
    return len(rows)
