"""Finding by text: two FTS5 tables of trigrams, kept current by the transactions that change what they index.

The trigrams of a term say which texts may hold it; the texts themselves, asked with LIKE, say which do. So what users
type never meets FTS5's query language but as quoted trigrams, and the index needs no positions.

Each function name is indexed once, under the lowest `function_id` that has it; thousands of samples may share it.
"""

import re
from collections.abc import Container, Iterator, Sequence
from contextlib import suppress
from itertools import zip_longest
from operator import itemgetter
from typing import Any, Final, NamedTuple

from sampledb import codec, sqlite
from sampledb.connection import Connection
from sampledb.errors import CorruptFileError
from sampledb.model import FunctionId, Hit, HitField, Problem, SampleId

# More would only cost: few texts have so many trigrams of a term and not the term.
_MAX_TRIGRAMS: Final = 16
# How many texts that match are looked at closely: the shortest names, because those are matched best.
_CANDIDATES: Final = 1000

# Characters of a function's name that its index has; looking at megabytes of one would take seconds.
_INDEXED: Final = 1000

_SAMPLE_FIELDS: Final = ("name", "family", "version", "component", "tags", "notes")


class _Index(NamedTuple):
    """A table of trigrams, and the select of the rows that it finds; `{index}` and `{conditions}` are yet to come."""

    name: str
    rowid: str  # the column of the row that is the index's rowid
    text: str  # what stands in the index, as SQL
    select: str


_SAMPLES: Final = _Index(
    "sample_search",
    "sample_texts.sample_id",
    " || char(10) || ".join(f"sample_texts.{field}" for field in _SAMPLE_FIELDS),
    f"""
    SELECT sample_texts.*
    FROM {{index}} sample_texts
    WHERE {{conditions}}
    ORDER BY ? COLLATE NOCASE IN ({", ".join(f"sample_texts.{field}" for field in _SAMPLE_FIELDS)}) DESC, sample_id
    LIMIT ?""",  # noqa: S608
)
_NAMES: Final = _Index(
    "function_search",
    "functions.function_id",
    "functions.name",
    """
    SELECT DISTINCT functions.name
    FROM {index} functions
    WHERE functions.name <> '' AND {conditions}
    ORDER BY ? COLLATE NOCASE = functions.name DESC, length(functions.name), functions.name
    LIMIT ?""",
)

_OF_NAME: Final = """
SELECT function_id, functions.sample_id, "offset", samples.name
FROM functions JOIN samples USING (sample_id)
WHERE functions.name = ? AND functions.name <> ''
ORDER BY function_id
LIMIT ?"""

_SAMPLE_ROW: Final = "SELECT * FROM sample_texts WHERE sample_id = ?"
_ADD_SAMPLE: Final = f"INSERT INTO sample_search (rowid, {', '.join(_SAMPLE_FIELDS)}) {_SAMPLE_ROW}"
_REMOVE_SAMPLE: Final = f"""
INSERT INTO sample_search (sample_search, rowid, {", ".join(_SAMPLE_FIELDS)})
SELECT 'delete', * FROM sample_texts WHERE sample_id = ?"""  # noqa: S608

# The names from :first to :last that no function before them has: those functions stand for their names in the index.
# NOT INDEXED, or SQLite would walk through all names of the file.
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
SELECT function_id, substr(name, 1, 1000) FROM ({_FIRST_OF_NAME})"""  # noqa: S608
_REMOVE_NAMES: Final = f"""
INSERT INTO function_search (function_search, rowid, name)
SELECT 'delete', function_id, substr(name, 1, 1000) FROM ({_FIRST_OF_NAME})"""  # noqa: S608
# Behind :last there may be functions of the same names, of which the first ones now stand for them.
_ADD_HEIRS: Final = f"""
INSERT INTO function_search (rowid, name)
SELECT heir, substr(name, 1, 1000)
FROM (SELECT name,
             (SELECT min(later.function_id)
              FROM functions AS later
              WHERE later.name = leaving.name AND later.name <> '' AND later.function_id > :last) AS heir
      FROM ({_FIRST_OF_NAME}) AS leaving)
WHERE heir IS NOT NULL"""  # noqa: S608

# All that an index must hold.
_FILL: Final = {
    "sample_search": f"(rowid, {', '.join(_SAMPLE_FIELDS)}) SELECT * FROM sample_texts",  # noqa: S608
    "function_search": """(rowid, name)
        SELECT min(function_id), substr(name, 1, 1000)
        FROM functions
        WHERE name <> ''
        GROUP BY name""",
}
# Pages that a step of compact() may write.
_MERGE_PAGES: Final = 2000

_LIKE_SPECIAL: Final = re.compile(r"[%_\\]")
_ESCAPED: Final = r"\\\g<0>"
_WORD_START: Final = re.compile(r"(?<![A-Za-z0-9])[A-Za-z0-9]|(?<=[a-z])[A-Z]|(?<=[A-Za-z])\d|(?<=\d)[A-Za-z]")


# Asking


def find(connection: Connection, text: str, *, limit: int) -> list[Hit]:
    """What holds every term of the text, the best first; at most `limit` if not negative."""
    terms = text.lower().split()
    if not terms:
        return []
    try:
        hits = [*_samples(connection, terms, limit), *_functions(connection, terms, limit)]
    except (TypeError, AttributeError) as error:
        # STRICT tables keep types apart only where nobody has tampered with the file.
        raise CorruptFileError.of(f"a value cannot be read: {error}", "samples or functions") from error
    hits.sort(key=lambda hit: -hit.score)
    return hits if limit < 0 else hits[:limit]


def _samples(connection: Connection, terms: Sequence[str], limit: int) -> Iterator[Hit]:
    for sample_id, *values in _matches(connection, _SAMPLES, terms, limit):
        score, field, value = _best(values, terms)
        yield Hit(SampleId(sample_id), None, field, value, values[0], None, score)


def _functions(connection: Connection, terms: Sequence[str], limit: int) -> Iterator[Hit]:
    """One function of every name that matches, before a second one of any: else `main` would be all there is."""
    found = ((_score(name[:_INDEXED], terms), name) for (name,) in _matches(connection, _NAMES, terms, limit))
    names = sorted(found, key=lambda each: -each[0])
    if limit >= 0:
        names = names[:limit]
    spare = limit - len(names)
    for score, name in names:
        rows = connection.execute(_OF_NAME, (name, -1 if limit < 0 else 1 + spare)).fetchall()
        spare -= len(rows) - 1
        for function_id, sample_id, offset, sample in rows:
            address = offset & codec.MASK
            yield Hit(SampleId(sample_id), FunctionId(function_id), "function", name, sample, address, score)


def _matches(connection: Connection, index: _Index, terms: Sequence[str], limit: int) -> list[tuple[Any, ...]]:
    """The rows whose text holds all terms; those of one or two characters have no trigram, and every row is read."""
    trigrams = {term[start : start + 3].replace('"', '""') for term in terms for start in range(len(term) - 2)}
    conditions = [rf"{index.text} LIKE ? ESCAPE '\'"] * len(terms)
    parameters = [f"%{_LIKE_SPECIAL.sub(_ESCAPED, term)}%" for term in terms]
    if trigrams:
        conditions += [f"{index.rowid} = {index.name}.rowid", f"{index.name} MATCH ?"]
        parameters.append(" AND ".join(f'"{trigram}"' for trigram in sorted(trigrams)[:_MAX_TRIGRAMS]))
    # FTS5 is asked first, as the join is CROSS; the rows then come by their ids.
    source = f"{index.name} CROSS JOIN" if trigrams else ""
    sql = index.select.format(index=source, conditions=" AND ".join(conditions))
    most = -1 if limit < 0 else max(limit, _CANDIDATES)
    return connection.execute(sql, (*parameters, " ".join(terms), most)).fetchall()


def _best(values: Sequence[str], terms: Sequence[str]) -> tuple[float, HitField, str]:
    """Score, field and value of what fits best of a sample: a value with all terms, or else with most of them."""
    name, family, version, component, tags, notes = values
    fields: list[tuple[HitField, str]] = [("name", name), ("family", family), ("version", version)]
    fields += [("component", component), *(("tag", tag) for tag in tags.split("\n")), ("notes", notes)]
    return max(((_score(value, terms), field, value) for field, value in fields), key=itemgetter(0))


def _score(value: str, terms: Sequence[str]) -> float:
    """How well a value fits: 1 when it is what was searched, more when terms begin words, less the more else it has."""
    lower = value.lower()
    held = [term for term in terms if term in lower]
    if not held:
        return 0.0
    starts = {match.start() for match in _WORD_START.finditer(value)}
    places = sum(_place(lower, term, starts) for term in held) / len(terms)
    covered = min(sum(map(len, held)) / len(lower), 1.0)
    return round(places * (1 + covered) / 2, 4)


def _place(lower: str, term: str, starts: Container[int]) -> float:
    """Where in a value a term stands: 1 at its beginning, less where a word begins, least inside of one."""
    if lower.startswith(term):
        return 1.0
    found = (match.start() for match in re.finditer(re.escape(term), lower))
    return 0.8 if any(start in starts for start in found) else 0.6


# Changing


def add_sample(connection: Connection, sample_id: int) -> None:
    """Index a sample, which is not indexed, as it is now."""
    connection.execute(_ADD_SAMPLE, (sample_id,))


def remove_sample(connection: Connection, sample_id: int) -> None:
    """Take a sample out of the index, before it changes: FTS5 must be told what it was given."""
    connection.execute(_REMOVE_SAMPLE, (sample_id,))


def add_functions(connection: Connection, first: int, last: int) -> None:
    """Index the names of functions that were just stored under these ids, the highest there are."""
    connection.execute(_ADD_NAMES, {"first": first, "last": last})


def remove_functions(connection: Connection, first: int, last: int) -> None:
    """Take functions out of the index, before they go; others that have their names stay to be found."""
    connection.execute(_REMOVE_NAMES, {"first": first, "last": last})
    connection.execute(_ADD_HEIRS, {"first": first, "last": last})


def compact(connection: Connection, steps: int) -> int | None:
    """Bring the indexes a step nearer to one tree each, after `steps` others; how many then, `None` at the end."""
    pages = _MERGE_PAGES if steps else -_MERGE_PAGES
    worked = False
    for index in _FILL:
        before = connection.total_changes
        connection.execute(f"INSERT INTO {index} ({index}, rank) VALUES ('merge', ?)", (pages,))  # noqa: S608
        # The command itself counts as one.
        worked |= connection.total_changes - before > 1
    # Damage must not make it endless: every step but the last writes pages, of which there are so many.
    ((most,),) = connection.execute("PRAGMA page_count")
    return steps + 1 if worked and steps < most else None


# Checking


def refresh(connection: Connection) -> None:
    """Make FTS5 look at its indexes again: before SQLite checks them with what it remembers of them.

    What another connection has merged since would be found to be damaged (as of SQLite 3.53). Only a query, and no
    PRAGMA, asks whether there was a change.
    """
    for index in _FILL:
        # Damage that is there, the check will find.
        with suppress(*sqlite.ERRORS):
            connection.execute(f"SELECT 1 FROM {index} WHERE {index} MATCH '\"any\"' LIMIT 1").fetchall()  # noqa: S608


def differences(connection: Connection) -> Iterator[Problem]:
    """Where an index disagrees with the rows: with one made anew, which goes when the transaction ends."""
    for index, fill in _FILL.items():
        (sql,) = connection.execute("SELECT sql FROM main.sqlite_schema WHERE name = ?", (index,)).fetchone()
        connection.execute(sql.replace(f"TABLE {index}", f"TABLE temp.new_{index}", 1))
        connection.execute(f"INSERT INTO temp.new_{index} {fill}")
        stored, expected = (_instances(connection, *place) for place in (("main", index), ("temp", f"new_{index}")))
        found = next((pair for pair in zip_longest(stored, expected) if pair[0] != pair[1]), None)
        if found is not None:
            _, row = min(filter(None, found))
            yield Problem("the index does not hold what search() must find", f"{index}, rowid {row}")


def _instances(connection: Connection, schema: str, index: str) -> Iterator[tuple[str, int]]:
    """Every trigram with every row it stands in, in this order."""
    connection.execute(f"CREATE VIRTUAL TABLE temp.terms_{index} USING fts5vocab({schema}, {index}, instance)")
    return iter(connection.execute(f"SELECT term, doc FROM temp.terms_{index}"))  # noqa: S608
