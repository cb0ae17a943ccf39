"""What Datasette says about the tables: taken from the comments in their SQL."""

import re
from functools import cache
from typing import Any, Final

from sampledb.store.schema import STATEMENTS

# What serves look-ups only, or holds blobs: views and pages show what is in them.
_HIDDEN: Final = frozenset(
    {
        *("sqlite_sequence", "sample_search", "function_search", "string_search", "label_search"),
        *("api_references", "string_references", "reports", "disassembly", "signatures", "binaries"),
    }
)
_CREATE: Final = re.compile(r"CREATE (?:VIRTUAL )?(?:TABLE|VIEW) (\w+)")
_ABOUT: Final = re.compile(r"    -- (.*)")
_COLUMN: Final = re.compile(r'    "?([a-z_0-9]+)"? +[A-Z].*?-- (.*)')
_MORE: Final = re.compile(r" {8,}.*?-- (.*)")


@cache
def describe_tables() -> dict[str, dict[str, Any]]:
    """Return Datasette's metadata of all tables and views, by name."""
    described: dict[str, dict[str, Any]] = {name: {"hidden": True} for name in _HIDDEN}
    for statement in STATEMENTS:
        created = _CREATE.match(statement)
        if created:
            described.setdefault(created[1], {}).update(_describe(statement.split("\n")[1:]))
    return described


def _describe(lines: list[str]) -> dict[str, Any]:
    """Return the sentences below the name, and those beside the columns."""
    about, columns, last = [], {}, ""
    for line in lines:
        if found := _ABOUT.fullmatch(line):
            about.append(found[1])
        elif found := _COLUMN.fullmatch(line):
            last = found[1]
            columns[last] = found[2]
        elif (found := _MORE.fullmatch(line)) and last:
            columns[last] += f" {found[1]}"
    return {"description": " ".join(about), "columns": columns}
