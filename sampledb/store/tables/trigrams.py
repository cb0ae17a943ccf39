"""The FTS5 indexes of trigrams, of the texts of samples, functions, strings and labels.

The trigrams of a term select the texts that may contain it; the caller then selects those that do. So input from users
reaches FTS5's query language only as quoted trigrams, and the indexes need no positions. The transaction that changes
a text changes its index too.

Each function name is indexed once, under the lowest `function_id` that has it: thousands of samples may share it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import zip_longest
from typing import Final, NamedTuple

from sampledb.model import Problem
from sampledb.store import sqlite
from sampledb.store.sqlite import Connection, sqlite3

# Of each query. Few texts contain so many trigrams of a term but not the term.
_MAX_TRIGRAMS: Final = 16
# Characters of a function's name that are indexed; scoring a name of megabytes would take seconds.
INDEXED: Final = 1000

SAMPLE_FIELDS: Final = ("name", "family", "version", "component", "tags", "notes", "formats", "extension")


class Index(NamedTuple):
    """An index, the column that is its rowid, and the SQL that selects what it contains."""

    name: str
    rowid: str
    content: str


SAMPLES: Final = Index(
    "sample_search",
    "sample_texts.sample_id",
    f"(rowid, {', '.join(SAMPLE_FIELDS)}) SELECT * FROM sample_texts",  # noqa: S608
)
NAMES: Final = Index(
    "function_search",
    "functions.function_id",
    f"""(rowid, name)
    SELECT min(function_id), substr(name, 1, {INDEXED})
    FROM functions
    WHERE name <> ''
    GROUP BY name""",  # noqa: S608
)
STRINGS: Final = Index("string_search", "strings.string_id", "(rowid, string) SELECT string_id, string FROM strings")
LABELS: Final = Index(
    "label_search", "labels.label_id", "(rowid, name, comment) SELECT label_id, name, comment FROM labels"
)

_INDEXES: Final = (SAMPLES, NAMES, STRINGS, LABELS)

_ADD_SAMPLE: Final = f"INSERT INTO sample_search {SAMPLES.content} WHERE sample_id = :sample"
_REMOVE_SAMPLE: Final = f"""
INSERT INTO sample_search (sample_search, rowid, {", ".join(SAMPLE_FIELDS)})
SELECT 'delete', * FROM sample_texts WHERE sample_id = :sample"""  # noqa: S608

# The names from :first to :last that no earlier function has: the index refers to these functions.
# NOT INDEXED, because otherwise SQLite scans all names of the file.
_FIRST_OF_NAME: Final = """
SELECT min(function_id) AS function_id, name
FROM functions NOT INDEXED
WHERE function_id BETWEEN :first AND :last AND name <> ''
GROUP BY name
HAVING NOT EXISTS (
    SELECT 1
    FROM functions AS earlier
    WHERE earlier.name = functions.name AND earlier.name <> '' AND earlier.function_id < :first)"""
_ADD_NAMES: Final = f"""
INSERT INTO function_search (rowid, name)
SELECT function_id, substr(name, 1, {INDEXED}) FROM ({_FIRST_OF_NAME})"""  # noqa: S608
_REMOVE_NAMES: Final = f"""
INSERT INTO function_search (function_search, rowid, name)
SELECT 'delete', function_id, substr(name, 1, {INDEXED}) FROM ({_FIRST_OF_NAME})"""  # noqa: S608
# After :last there may be functions of the same names; the index refers to the first of each name from now on.
_ADD_HEIRS: Final = f"""
INSERT INTO function_search (rowid, name)
SELECT heir, substr(name, 1, {INDEXED})
FROM (SELECT name,
             (SELECT min(later.function_id)
              FROM functions AS later
              WHERE later.name = leaving.name AND later.name <> '' AND later.function_id > :last) AS heir
      FROM ({_FIRST_OF_NAME}) AS leaving)
WHERE heir IS NOT NULL"""  # noqa: S608

_ADD_STRINGS: Final = f"INSERT INTO string_search {STRINGS.content} WHERE string_id > :last"
_REMOVE_STRINGS: Final = """
INSERT INTO string_search (string_search, rowid, string)
SELECT 'delete', string_id, string FROM strings WHERE string_id IN (SELECT value FROM json_each(:ids))"""

_ADD_LABEL: Final = f"INSERT INTO label_search {LABELS.content} WHERE label_id = :label"
_REMOVE_LABEL: Final = """
INSERT INTO label_search (label_search, rowid, name, comment) SELECT 'delete', :label, :name, :comment"""

# Ids of an index's records with its counts and its tree, without which it cannot be written.
_RECORDS: Final = (1, 10)
# Pages that one step of compact() may write.
_MERGE_PAGES: Final = 2000


# Searching


def match_all(terms: Iterable[str]) -> str:
    """Return FTS5's expression for all trigrams of the terms, which are in small letters; `""` if they have none."""
    trigrams = {term[start : start + 3] for term in terms for start in range(len(term) - 2)}
    return " AND ".join(map(_quote, sorted(trigrams)[:_MAX_TRIGRAMS]))


def _quote(trigram: str) -> str:
    quoted = trigram.replace('"', '""')
    # The small letter of this capital is two characters to Python, the first of them `i`, and itself to FTS5.
    return f'("{quoted}" OR "{quoted[:-1]}\u0130")' if trigram.endswith("i") else f'"{quoted}"'


# Changing


def add_sample(connection: Connection, sample_id: int) -> None:
    """Index a sample, after it has changed."""
    _change(connection, SAMPLES, [_ADD_SAMPLE], {"sample": sample_id})


def remove_sample(connection: Connection, sample_id: int) -> None:
    """Remove a sample from the index, before it changes. FTS5 must be told the indexed text."""
    _change(connection, SAMPLES, [_REMOVE_SAMPLE], {"sample": sample_id}, removes=True)


def add_functions(connection: Connection, first: int, last: int) -> None:
    """Index the names of functions that were stored under these ids, the highest in the file."""
    _change(connection, NAMES, [_ADD_NAMES], {"first": first, "last": last})


def remove_functions(connection: Connection, first: int, last: int) -> None:
    """Remove functions from the index, before they are deleted; others with their names can still be found."""
    _change(connection, NAMES, [_REMOVE_NAMES, _ADD_HEIRS], {"first": first, "last": last}, removes=True)


def add_strings(connection: Connection, last: int) -> None:
    """Index the strings with ids above `last`."""
    _change(connection, STRINGS, [_ADD_STRINGS], {"last": last})


def remove_strings(connection: Connection, ids: str) -> None:
    """Remove strings from the index, given a JSON array of their ids, before they are deleted."""
    _change(connection, STRINGS, [_REMOVE_STRINGS], {"ids": ids}, removes=True)


def add_label(connection: Connection, label_id: int) -> None:
    """Index a label, after it was inserted."""
    _change(connection, LABELS, [_ADD_LABEL], {"label": label_id})


def remove_label(connection: Connection, label_id: int, name: str, comment: str) -> None:
    """Remove a label from the index, given its text."""
    _change(connection, LABELS, [_REMOVE_LABEL], {"label": label_id, "name": name, "comment": comment}, removes=True)


def clear_strings(connection: Connection) -> None:
    """Remove all strings from the index."""
    connection.execute("INSERT INTO string_search (string_search) VALUES ('delete-all')")


def _change(
    connection: Connection,
    index: Index,
    statements: Sequence[str],
    parameters: Mapping[str, object],
    *,
    removes: bool = False,
) -> None:
    """Change an index. If another program changed its rows, it is out of step and is rebuilt."""
    try:
        for statement in statements:
            connection.execute(statement, parameters)
    except sqlite3.Error as error:
        # If the disk failed, SQLite has ended the transaction, and nothing may be written outside it.
        if not sqlite.is_out_of_step(error) or not connection.in_transaction:
            raise
        _rebuild(connection, index)
        # The rows that were added are in the rebuilt index; those that are to go are in it too.
        for statement in statements if removes else ():
            connection.execute(statement, parameters)


def _rebuild(connection: Connection, index: Index) -> None:
    connection.execute(f"INSERT INTO {index.name} ({index.name}) VALUES ('delete-all')")  # noqa: S608
    connection.execute(f"INSERT INTO {index.name} {index.content}")


def rebuild(connection: Connection) -> None:
    """Rebuild all indexes from their rows."""
    for index in _INDEXES:
        _rebuild(connection, index)


def compact(connection: Connection, steps: int) -> int | None:
    """Merge some of each index's trees, after `steps` calls. Returns the number of calls, or `None` at the end."""
    pages = _MERGE_PAGES if steps else -_MERGE_PAGES
    worked = False
    for index in _INDEXES:
        before = connection.total_changes
        connection.execute(f"INSERT INTO {index.name} ({index.name}, rank) VALUES ('merge', ?)", (pages,))  # noqa: S608
        # The command itself counts as one change.
        worked |= connection.total_changes - before > 1
    # Each call but the last writes pages, so more calls than pages mean damage.
    ((most,),) = connection.execute("PRAGMA page_count")
    return steps + 1 if worked and steps < most else None


# Checking


def refresh(connection: Connection) -> None:
    """Have FTS5 read its indexes again, before SQLite checks them against what this connection remembers.

    Without it, `PRAGMA integrity_check` reports damage if another connection has merged an index since (SQLite 3.53).
    Only a query notices such a change, and no PRAGMA.
    """
    for index in _INDEXES:
        # The check itself will report damage.
        with suppress(*sqlite.ERRORS):
            connection.execute(f"SELECT 1 FROM {index.name} WHERE {index.name} MATCH '\"any\"' LIMIT 1").fetchall()  # noqa: S608


def find_differences(connection: Connection) -> Iterator[Problem]:
    """Yield a Problem for each index that differs from a new one. That disappears with the transaction."""
    for index in _INDEXES:
        name = index.name
        kept = connection.execute(f"SELECT id FROM {name}_data WHERE id IN (?, ?) ORDER BY id", _RECORDS)  # noqa: S608
        if [row for (row,) in kept] != [*_RECORDS]:
            yield Problem("the index has lost its counts, or its tree", f"{name}_data")
        (sql,) = connection.execute("SELECT sql FROM main.sqlite_schema WHERE name = ?", (name,)).fetchone()
        connection.execute(sql.replace(f"TABLE {name}", f"TABLE temp.new_{name}", 1))
        connection.execute(f"INSERT INTO temp.new_{name} {index.content}")
        stored, expected = _read_instances(connection, "main", name), _read_instances(connection, "temp", f"new_{name}")
        found = next((pair for pair in zip_longest(stored, expected) if pair[0] != pair[1]), None)
        if found is not None:
            _, row = min(filter(None, found))
            yield Problem("the index disagrees with the rows; salvage() rebuilds it", f"{name}, rowid {row}")


def _read_instances(connection: Connection, schema: str, index: str) -> Iterator[tuple[str, int]]:
    """Yield every trigram with every row that contains it, in this order."""
    connection.execute(f"CREATE VIRTUAL TABLE temp.terms_{index} USING fts5vocab({schema}, {index}, instance)")
    return iter(connection.execute(f"SELECT term, doc FROM temp.terms_{index}"))  # noqa: S608
