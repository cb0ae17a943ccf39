"""Finding by text: two FTS5 tables of trigrams, kept current by the transactions that change what they index.

The trigrams of a term say which texts may hold it; the texts themselves, asked with LIKE, say which do. So what users
type never meets FTS5's query language but as quoted trigrams, and the index needs no positions.

Each function name is indexed once, under the lowest `function_id` that has it; thousands of samples may share it.
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
from sampledb.store.connection import Connection
from sampledb.store.sqlite import sqlite3

# More would only cost: few texts have so many trigrams of a term and not the term.
_MAX_TRIGRAMS: Final = 16
# How many texts that match are looked at closely. Of samples, first those where it is not just the notes that match; of
# names, those that begin with the first term, then the shortest: they are matched best.
_CANDIDATES: Final = 2000
_ASCII: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}

# Characters of a function's name that its index has; looking at megabytes of one would take seconds.
_INDEXED: Final = 1000

_SAMPLE_FIELDS: Final = ("name", "family", "version", "component", "tags", "notes")
_TAG_END: Final = "\x1f"


class _Index(NamedTuple):
    """A table of trigrams, and how its rows are found; `{index}` and `{conditions}` are yet to come."""

    name: str
    rowid: str  # the column that is the index's rowid
    candidates: str  # what may match
    best: str  # what does, in the order of interest


_SAMPLES: Final = _Index(
    "sample_search",
    "sample_texts.sample_id",
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

_SAMPLE_ROW: Final = "SELECT * FROM sample_texts WHERE sample_id = :sample"
_ADD_SAMPLE: Final = f"INSERT INTO sample_search (rowid, {', '.join(_SAMPLE_FIELDS)}) {_SAMPLE_ROW}"
_REMOVE_SAMPLE: Final = f"""
INSERT INTO sample_search (sample_search, rowid, {", ".join(_SAMPLE_FIELDS)})
SELECT 'delete', * FROM sample_texts WHERE sample_id = :sample"""  # noqa: S608

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
SELECT function_id, substr(name, 1, {_INDEXED}) FROM ({_FIRST_OF_NAME})"""  # noqa: S608
_REMOVE_NAMES: Final = f"""
INSERT INTO function_search (function_search, rowid, name)
SELECT 'delete', function_id, substr(name, 1, {_INDEXED}) FROM ({_FIRST_OF_NAME})"""  # noqa: S608
# Behind :last there may be functions of the same names, of which the first ones now stand for them.
_ADD_HEIRS: Final = f"""
INSERT INTO function_search (rowid, name)
SELECT heir, substr(name, 1, {_INDEXED})
FROM (SELECT name,
             (SELECT min(later.function_id)
              FROM functions AS later
              WHERE later.name = leaving.name AND later.name <> '' AND later.function_id > :last) AS heir
      FROM ({_FIRST_OF_NAME}) AS leaving)
WHERE heir IS NOT NULL"""  # noqa: S608

# What an index must hold, all of it, or all but for what is about to change.
_SOME_SAMPLES: Final = f"(rowid, {', '.join(_SAMPLE_FIELDS)}) SELECT * FROM sample_texts"  # noqa: S608
_SOME_NAMES: Final = f"""(rowid, name)
SELECT min(function_id), substr(name, 1, {_INDEXED})
FROM functions
WHERE name <> '' {{others}}
GROUP BY name"""  # noqa: S608
_ALL_SAMPLES: Final = ("sample_search", _SOME_SAMPLES)
_OTHER_SAMPLES: Final = ("sample_search", f"{_SOME_SAMPLES} WHERE sample_id <> :sample")
_ALL_NAMES: Final = ("function_search", _SOME_NAMES.format(others=""))
_OTHER_NAMES: Final = (
    "function_search",
    _SOME_NAMES.format(others="AND function_id NOT BETWEEN :first AND :last"),
)
# The counts and the tree of an index, without which it cannot be written.
_RECORDS: Final = (1, 10)
# Pages that a step of compact() may write.
_MERGE_PAGES: Final = 2000

_LIKE_SPECIAL: Final = re.compile("[%_~]")
_ESCAPED: Final = r"~\g<0>"
_WORD_START: Final = re.compile(r"(?<![A-Za-z0-9])[A-Za-z0-9]|(?<=[a-z])[A-Z]|(?<=[A-Za-z])\d|(?<=\d)[A-Za-z]")


# Asking


def find(connection: Connection, text: str, *, limit: int) -> list[Hit]:
    """What holds every term of the text, the best first; at most `limit` if not negative."""
    terms = list(dict.fromkeys(_folded(text).split()))
    if len(terms) > limits.MAX_WORDS:
        raise InvalidInputError.of("text", f"at most {limits.MAX_WORDS} different words", text)
    if not terms:
        return []
    names = _names(connection, terms, limit)
    hits = [*_samples(connection, terms, limit), *_functions(connection, names, 1)]
    hits.sort(key=_worst_first, reverse=True)
    # Every sample and every name, before a second function of any name: else `main` would be all there is.
    room = limit - len(hits)
    if limit < 0 or room > 0:
        hits += _more_functions(connection, names, room)
    return sorted(hits if limit < 0 else hits[:limit], key=_worst_first, reverse=True)


_worst_first: Final = attrgetter("score")


def _samples(connection: Connection, terms: Sequence[str], limit: int) -> Iterator[Hit]:
    for sample_id, *values in _matches(connection, _SAMPLES, terms, limit):
        score, field, value = _best(values, terms)
        yield Hit(SampleId(sample_id), None, field, value, values[0], None, score)


def _names(connection: Connection, terms: Sequence[str], limit: int) -> list[tuple[float, str]]:
    """The function names that match, with their scores, the best first."""
    found = [(_score(name[:_INDEXED], terms), name) for (name,) in _matches(connection, _NAMES, terms, limit)]
    found.sort(key=itemgetter(0), reverse=True)
    return found if limit < 0 else found[:limit]


def _functions(connection: Connection, names: Iterable[tuple[float, str]], most: int, start: int = 0) -> Iterator[Hit]:
    """The functions that have these names, of each at most so many, from the one at a position on."""
    for score, name in names:
        for function_id, sample_id, offset, sample in connection.execute(_OF_NAME, (name, most, start)):
            address = offset & codec.MASK
            yield Hit(SampleId(sample_id), FunctionId(function_id), "function", name, sample, address, score)


def _more_functions(connection: Connection, names: Iterable[tuple[float, str]], room: int) -> Iterator[Hit]:
    """Further functions of the names, those of the best first; `room` of them at most if not negative."""
    for name in names:
        if room == 0:
            return
        found = list(_functions(connection, [name], room, start=1))
        room -= len(found) if room > 0 else 0
        yield from found


def _matches(connection: Connection, index: _Index, terms: Sequence[str], limit: int) -> list[tuple[Any, ...]]:
    """The rows whose text holds all terms; those of one or two characters have no trigram, and every row is read."""
    trigrams = {term[start : start + 3].replace('"', '""') for term in terms for start in range(len(term) - 2)}
    parameters: dict[str, object] = {f"p{number}": _pattern(term) for number, term in enumerate(terms)}
    likes = " AND ".join(rf"text LIKE :{name} ESCAPE '~'" for name in parameters)
    parameters["all"] = " ".join(terms)
    parameters["most"] = -1 if limit < 0 else max(limit, _CANDIDATES)
    parameters["trigrams"] = " AND ".join(f'"{trigram}"' for trigram in sorted(trigrams)[:_MAX_TRIGRAMS])
    found = f"{index.rowid} = {index.name}.rowid AND {index.name} MATCH :trigrams" if trigrams else "TRUE"
    # FTS5 is asked first, as the join is CROSS; the rows then come by their ids.
    candidates = index.candidates.format(index=f"{index.name} CROSS JOIN" if trigrams else "", conditions=found)
    best = index.best.format(conditions=likes)
    return connection.execute(f"WITH candidates AS MATERIALIZED ({candidates}) {best}", parameters).fetchall()


def _pattern(term: str) -> str:
    return f"%{_LIKE_SPECIAL.sub(_ESCAPED, term)}%"


def _folded(text: str) -> str:
    """ASCII capitals as small letters, which is how LIKE compares."""
    return text.translate(_ASCII)


def _best(values: Sequence[str], terms: Sequence[str]) -> tuple[float, HitField, str]:
    """Score, field and value of what fits best of a sample: a value with all terms, or else with most of them."""
    name, family, version, component, tags, notes = values
    fields: list[tuple[HitField, str]] = [("name", name), ("family", family), ("version", version)]
    fields += [("component", component), *(("tag", tag) for tag in tags.split(_TAG_END)), ("notes", notes)]
    return max(((_score(value, terms), field, value) for field, value in fields), key=itemgetter(0))


def _score(value: str, terms: Sequence[str]) -> float:
    """How well a value fits: 1 when it is what was searched, more when terms begin words, less the more else it has."""
    lower = _folded(value)
    held = [term for term in terms if term in lower]
    if not held:
        return 0.0
    starts = {match.start() for match in _WORD_START.finditer(value)}
    places = sum(_place(lower, term, starts) for term in held) / len(terms)
    covered = min(sum(map(len, held)) / len(lower), 1.0)
    return round(places * (1 + covered) / 2, 4)


def _place(lower: str, term: str, starts: Iterable[int]) -> float:
    """Where in a value a term stands: 1 at its beginning, less where a word begins, least inside of one."""
    if lower.startswith(term):
        return 1.0
    return 0.8 if any(lower.startswith(term, start) for start in starts) else 0.6


# Changing


def add_sample(connection: Connection, sample_id: int) -> None:
    """Index a sample, which is not indexed, as it is now."""
    _change(connection, [_ADD_SAMPLE], {"sample": sample_id}, _ALL_SAMPLES)


def remove_sample(connection: Connection, sample_id: int) -> None:
    """Take a sample out of the index, before it changes: FTS5 must be told what it was given."""
    _change(connection, [_REMOVE_SAMPLE], {"sample": sample_id}, _OTHER_SAMPLES)


def add_functions(connection: Connection, first: int, last: int) -> None:
    """Index the names of functions that were just stored under these ids, the highest there are."""
    _change(connection, [_ADD_NAMES], {"first": first, "last": last}, _ALL_NAMES)


def remove_functions(connection: Connection, first: int, last: int) -> None:
    """Take functions out of the index, before they go; others that have their names stay to be found."""
    _change(connection, [_REMOVE_NAMES, _ADD_HEIRS], {"first": first, "last": last}, _OTHER_NAMES)


def _change(
    connection: Connection, statements: Iterable[str], parameters: dict[str, int], fill: tuple[str, str]
) -> None:
    """Change an index; where it disagrees with the rows, which another program has changed, make it anew instead."""
    try:
        for statement in statements:
            connection.execute(statement, parameters)
    except sqlite3.Error as error:
        # SQLite has ended the transaction where the disk failed, and nothing may be done outside of it.
        if not sqlite.is_disagreement(error) or not connection.in_transaction:
            raise
        _fill(connection, *fill, parameters)


def _fill(connection: Connection, index: str, source: str, parameters: dict[str, int] | None = None) -> None:
    connection.execute(f"INSERT INTO {index} ({index}) VALUES ('delete-all')")  # noqa: S608
    connection.execute(f"INSERT INTO {index} {source}", parameters or {})


def rebuild(connection: Connection) -> None:
    """Make the indexes anew, whatever they held."""
    for fill in (_ALL_SAMPLES, _ALL_NAMES):
        _fill(connection, *fill)


def compact(connection: Connection, steps: int) -> int | None:
    """Bring the indexes a step nearer to one tree each, after `steps` others; how many then, `None` at the end."""
    pages = _MERGE_PAGES if steps else -_MERGE_PAGES
    worked = False
    for index, _ in (_ALL_SAMPLES, _ALL_NAMES):
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
    for index, _ in (_ALL_SAMPLES, _ALL_NAMES):
        # Damage that is there, the check will find.
        with suppress(*sqlite.ERRORS):
            connection.execute(f"SELECT 1 FROM {index} WHERE {index} MATCH '\"any\"' LIMIT 1").fetchall()  # noqa: S608


def differences(connection: Connection) -> Iterator[Problem]:
    """Where an index disagrees with the rows: with one made anew, which goes when the transaction ends."""
    for index, fill in (_ALL_SAMPLES, _ALL_NAMES):
        kept = connection.execute(f"SELECT id FROM {index}_data WHERE id IN (?, ?) ORDER BY id", _RECORDS)  # noqa: S608
        if [row for (row,) in kept] != [*_RECORDS]:
            yield Problem("the index has lost its counts, or its tree", f"{index}_data")
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
