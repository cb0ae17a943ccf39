"""Full-text search: the tables `sample_search` and `function_search`, two FTS5 indexes of trigrams.

The trigrams of a term select the texts that may contain it; LIKE then selects those that do. So input from users
reaches FTS5's query language only as quoted trigrams, and the index needs no positions. The transaction that changes
a text changes its index too.

Each function name is indexed once, under the lowest `function_id` that has it: thousands of samples may share it.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import zip_longest
from operator import attrgetter, itemgetter
from typing import Any, Final, NamedTuple

from sampledb import limits
from sampledb.errors import InvalidInputError
from sampledb.format import codec
from sampledb.model import FunctionId, Hit, HitField, Problem, SampleId
from sampledb.store import sqlite
from sampledb.store.sqlite import Connection, sqlite3

# Of each query. Few texts contain so many trigrams of a term but not the term.
_MAX_TRIGRAMS: Final = 16
# How many matches are scored. Samples that match outside their notes come first; names: prefix matches, then the
# shortest.
_CANDIDATES: Final = 2000
_ASCII: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}

# Characters of a function's name that are indexed; scoring a name of megabytes would take seconds.
_INDEXED: Final = 1000

_SAMPLE_FIELDS: Final = ("name", "family", "version", "component", "tags", "notes")
_TAG_END: Final = "\x1f"


class _Index(NamedTuple):
    """An index and the SQL that searches it, with the places `{index}` and `{conditions}`."""

    name: str
    rowid: str  # the column that is the index's rowid
    content: str  # selects what the index contains
    candidates: str  # selects rows that may match
    best: str  # selects the matches among them, best first


_SAMPLES: Final = _Index(
    "sample_search",
    "sample_texts.sample_id",
    f"(rowid, {', '.join(_SAMPLE_FIELDS)}) SELECT * FROM sample_texts",  # noqa: S608
    """
    SELECT sample_texts.*
    FROM {index} sample_texts
    WHERE {conditions}""",
    """
    SELECT sample_id, name, family, version, component, tags, notes
    FROM (SELECT *, short || char(10) || notes AS text
          FROM (SELECT *, name || char(10) || family || char(10) || version || char(10) || component
                       || char(10) || tags AS short
                FROM candidates))
    WHERE {conditions}
    ORDER BY :all COLLATE NOCASE IN (name, family, version, component) DESC, short LIKE :p0 ESCAPE '~' DESC, sample_id
    LIMIT :most""",
)
_NAMES: Final = _Index(
    "function_search",
    "functions.function_id",
    f"""(rowid, name)
    SELECT min(function_id), substr(name, 1, {_INDEXED})
    FROM functions
    WHERE name <> ''
    GROUP BY name""",  # noqa: S608
    """
    SELECT functions.name AS text
    FROM {index} functions
    WHERE functions.name <> '' AND {conditions}""",
    """
    SELECT DISTINCT text
    FROM candidates
    WHERE {conditions}
    ORDER BY text = :all COLLATE NOCASE DESC, text LIKE substr(:p0, 2) ESCAPE '~' DESC, length(text), text
    LIMIT :most""",
)

_OF_NAME: Final = """
SELECT function_id, functions.sample_id, "offset", samples.name
FROM functions JOIN samples USING (sample_id)
WHERE functions.name = ? AND functions.name <> ''
ORDER BY function_id
LIMIT ? OFFSET ?"""

_INDEXES: Final = (_SAMPLES, _NAMES)

_ADD_SAMPLE: Final = f"INSERT INTO sample_search {_SAMPLES.content} WHERE sample_id = :sample"
_REMOVE_SAMPLE: Final = f"""
INSERT INTO sample_search (sample_search, rowid, {", ".join(_SAMPLE_FIELDS)})
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
SELECT function_id, substr(name, 1, {_INDEXED}) FROM ({_FIRST_OF_NAME})"""  # noqa: S608
_REMOVE_NAMES: Final = f"""
INSERT INTO function_search (function_search, rowid, name)
SELECT 'delete', function_id, substr(name, 1, {_INDEXED}) FROM ({_FIRST_OF_NAME})"""  # noqa: S608
# After :last there may be functions of the same names; the index refers to the first of each name from now on.
_ADD_HEIRS: Final = f"""
INSERT INTO function_search (rowid, name)
SELECT heir, substr(name, 1, {_INDEXED})
FROM (SELECT name,
             (SELECT min(later.function_id)
              FROM functions AS later
              WHERE later.name = leaving.name AND later.name <> '' AND later.function_id > :last) AS heir
      FROM ({_FIRST_OF_NAME}) AS leaving)
WHERE heir IS NOT NULL"""  # noqa: S608

# Ids of an index's records with its counts and its tree, without which it cannot be written.
_RECORDS: Final = (1, 10)
# Pages that one step of compact() may write.
_MERGE_PAGES: Final = 2000

_LIKE_SPECIAL: Final = re.compile("[%_~]")
_ESCAPED: Final = r"~\g<0>"
_WORD_START: Final = re.compile(r"(?<![A-Za-z0-9])[A-Za-z0-9]|(?<=[a-z])[A-Z]|(?<=[A-Za-z])\d|(?<=\d)[A-Za-z]")


# Searching


def find(connection: Connection, text: str, *, limit: int) -> list[Hit]:
    """Return hits that contain every term of the text, best first. At most `limit` unless it is negative."""
    terms = list(dict.fromkeys(_fold(text).split()))
    if len(terms) > limits.MAX_WORDS:
        raise InvalidInputError.of("text", f"at most {limits.MAX_WORDS} different words", text)
    if not terms:
        return []
    names = _find_names(connection, terms, limit)
    hits = [*_find_samples(connection, terms, limit), *_find_functions(connection, names, 1)]
    hits.sort(key=_worst_first, reverse=True)
    # Every sample and every name come before a second function of any name; otherwise `main` would crowd out all.
    room = limit - len(hits)
    if limit < 0 or room > 0:
        hits += _find_more_functions(connection, names, room)
    return sorted(hits if limit < 0 else hits[:limit], key=_worst_first, reverse=True)


_worst_first: Final = attrgetter("score")


def _find_samples(connection: Connection, terms: Sequence[str], limit: int) -> Iterator[Hit]:
    for sample_id, *values in _match(connection, _SAMPLES, terms, limit):
        score, field, value = _find_best(values, terms)
        yield Hit(SampleId(sample_id), None, field, value, values[0], None, score)


def _find_names(connection: Connection, terms: Sequence[str], limit: int) -> list[tuple[float, str]]:
    """Return the function names that match, with their scores, best first."""
    found = [(_score(name[:_INDEXED], terms), name) for (name,) in _match(connection, _NAMES, terms, limit)]
    found.sort(key=itemgetter(0), reverse=True)
    return found if limit < 0 else found[:limit]


def _find_functions(
    connection: Connection, names: Iterable[tuple[float, str]], most: int, start: int = 0
) -> Iterator[Hit]:
    """Yield the functions with these names: of each name at most `most`, from position `start` on."""
    for score, name in names:
        for function_id, sample_id, offset, sample in connection.execute(_OF_NAME, (name, most, start)):
            address = offset & codec.MASK
            yield Hit(SampleId(sample_id), FunctionId(function_id), "function", name, sample, address, score)


def _find_more_functions(connection: Connection, names: Iterable[tuple[float, str]], room: int) -> Iterator[Hit]:
    """Yield all functions but the first of each name. At most `room` unless it is negative."""
    for name in names:
        if room == 0:
            return
        found = list(_find_functions(connection, [name], room, start=1))
        room -= len(found) if room > 0 else 0
        yield from found


def _match(connection: Connection, index: _Index, terms: Sequence[str], limit: int) -> list[tuple[Any, ...]]:
    """Return the rows whose text contains all terms. If none has three characters, every row is read."""
    trigrams = {term[start : start + 3].replace('"', '""') for term in terms for start in range(len(term) - 2)}
    parameters: dict[str, object] = {
        f"p{number}": f"%{_LIKE_SPECIAL.sub(_ESCAPED, term)}%" for number, term in enumerate(terms)
    }
    likes = " AND ".join(rf"text LIKE :{name} ESCAPE '~'" for name in parameters)
    parameters["all"] = " ".join(terms)
    parameters["most"] = -1 if limit < 0 else max(limit, _CANDIDATES)
    parameters["trigrams"] = " AND ".join(f'"{trigram}"' for trigram in sorted(trigrams)[:_MAX_TRIGRAMS])
    found = f"{index.rowid} = {index.name}.rowid AND {index.name} MATCH :trigrams" if trigrams else "TRUE"
    # CROSS has SQLite search the index first, and then get the rows by their ids.
    candidates = index.candidates.format(index=f"{index.name} CROSS JOIN" if trigrams else "", conditions=found)
    best = index.best.format(conditions=likes)
    return connection.execute(f"WITH candidates AS MATERIALIZED ({candidates}) {best}", parameters).fetchall()


def _fold(text: str) -> str:
    """Return a text with ASCII capitals as small letters, as LIKE compares it."""
    return text.translate(_ASCII)


def _find_best(values: Sequence[str], terms: Sequence[str]) -> tuple[float, HitField, str]:
    """Return score, field and value of the best match in a sample's texts."""
    name, family, version, component, tags, notes = values
    fields: list[tuple[HitField, str]] = [("name", name), ("family", family), ("version", version)]
    fields += [("component", component), *(("tag", tag) for tag in tags.split(_TAG_END)), ("notes", notes)]
    return max(((_score(value, terms), field, value) for field, value in fields), key=itemgetter(0))


def _score(value: str, terms: Sequence[str]) -> float:
    """Return how well a value matches, from 0 to 1. Terms that begin words count more, a longer value less."""
    lower = _fold(value)
    held = [term for term in terms if term in lower]
    if not held:
        return 0.0
    starts = {match.start() for match in _WORD_START.finditer(value)}
    places = sum(_weigh(lower, term, starts) for term in held) / len(terms)
    covered = min(sum(map(len, held)) / len(lower), 1.0)
    return round(places * (1 + covered) / 2, 4)


def _weigh(lower: str, term: str, starts: Iterable[int]) -> float:
    """Return the weight of a term's place: at the beginning of the value, of a word, or inside one."""
    if lower.startswith(term):
        return 1.0
    return 0.8 if any(lower.startswith(term, start) for start in starts) else 0.6


# Changing


def add_sample(connection: Connection, sample_id: int) -> None:
    """Index a sample, after it has changed."""
    _change(connection, _SAMPLES, [_ADD_SAMPLE], {"sample": sample_id})


def remove_sample(connection: Connection, sample_id: int) -> None:
    """Remove a sample from the index, before it changes. FTS5 must be told the indexed text."""
    _change(connection, _SAMPLES, [_REMOVE_SAMPLE], {"sample": sample_id}, removes=True)


def add_functions(connection: Connection, first: int, last: int) -> None:
    """Index the names of functions that were stored under these ids, the highest in the file."""
    _change(connection, _NAMES, [_ADD_NAMES], {"first": first, "last": last})


def remove_functions(connection: Connection, first: int, last: int) -> None:
    """Remove functions from the index, before they are deleted; others with their names can still be found."""
    _change(connection, _NAMES, [_REMOVE_NAMES, _ADD_HEIRS], {"first": first, "last": last}, removes=True)


def _change(
    connection: Connection,
    index: _Index,
    statements: Sequence[str],
    parameters: dict[str, int],
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


def _rebuild(connection: Connection, index: _Index) -> None:
    connection.execute(f"INSERT INTO {index.name} ({index.name}) VALUES ('delete-all')")  # noqa: S608
    connection.execute(f"INSERT INTO {index.name} {index.content}")


def rebuild(connection: Connection) -> None:
    """Rebuild both indexes from their rows."""
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
