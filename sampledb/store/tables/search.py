"""Full-text search: rank the samples, functions, APIs and strings whose texts contain all words."""

import re
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter, itemgetter
from typing import Any, Final, NamedTuple

from sampledb import limits
from sampledb.errors import InvalidInputError
from sampledb.format import codec
from sampledb.model import FunctionId, Hit, HitField, SampleId
from sampledb.store.sqlite import Connection
from sampledb.store.tables import references, trigrams
from sampledb.store.tables.references import APIS, STRINGS, Kind

# How many matches are scored. Samples that match outside their notes come first; names: prefix matches, then the
# shortest.
_CANDIDATES: Final = 2000
_LEAST: Final = 0.0001
_ASCII: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_TAG_END: Final = "\x1f"


class _Texts(NamedTuple):
    """Texts to search: SQL with the places `{index}` and `{conditions}`, and the index that there is, if any."""

    source: trigrams.Index | None
    candidates: str  # selects rows that may match
    best: str  # selects the matches among them, best first


_SAMPLES: Final = _Texts(
    trigrams.SAMPLES,
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
_BEST_NAMES: Final = """
    SELECT DISTINCT text
    FROM candidates
    WHERE {conditions}
    ORDER BY text = :all COLLATE NOCASE DESC, text LIKE substr(:p0, 2) ESCAPE '~' DESC, length(text), text
    LIMIT :most"""
_NAMES: Final = _Texts(
    trigrams.NAMES,
    """
    SELECT functions.name AS text
    FROM {index} functions
    WHERE functions.name <> '' AND {conditions}""",
    _BEST_NAMES,
)
# There are some thousand APIs, which are read as fast as an index of them.
_APIS: Final = _Texts(None, "SELECT api AS text FROM {index} apis WHERE {conditions}", _BEST_NAMES)
_STRINGS: Final = _Texts(
    trigrams.STRINGS, "SELECT strings.string AS text FROM {index} strings WHERE {conditions}", _BEST_NAMES
)

_OF_NAME: Final = """
SELECT function_id, functions.sample_id, "offset", samples.name
FROM functions JOIN samples USING (sample_id)
WHERE functions.name = ? AND functions.name <> ''
ORDER BY function_id
LIMIT ? OFFSET ?"""

_LIKE_SPECIAL: Final = re.compile("[%_~]")
_ESCAPED: Final = r"~\g<0>"
_WORD_START: Final = re.compile(r"(?<![A-Za-z0-9])[A-Za-z0-9]|(?<=[a-z])[A-Z]|(?<=[A-Za-z])\d|(?<=\d)[A-Za-z]")


def find(connection: Connection, text: str, *, limit: int) -> list[Hit]:
    """Return hits that contain every term of the text, best first. At most `limit` unless it is negative."""
    terms = list(dict.fromkeys(_fold(text).split()))
    if len(terms) > limits.MAX_WORDS:
        raise InvalidInputError.of("text", f"at most {limits.MAX_WORDS} different words", text)
    if not terms:
        return []
    names = _find_names(connection, terms, limit)
    hits = [*_find_samples(connection, terms, limit), *_find_functions(connection, names, 1)]
    hits += _find_references(connection, APIS, _APIS, terms, limit)
    hits += _find_references(connection, STRINGS, _STRINGS, terms, limit)
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
    return _rank(_match(connection, _NAMES, terms, limit), terms, limit)


def _find_references(
    connection: Connection, kind: Kind, texts: _Texts, terms: Sequence[str], limit: int
) -> Iterator[Hit]:
    """Yield a hit for each API or string that matches: the first function that refers to it."""
    for score, name in _rank(_match(connection, texts, terms, limit), terms, limit):
        for sample_id, function_id, offset, sample in references.locate_first(connection, kind, name):
            yield Hit(
                SampleId(sample_id), FunctionId(function_id), kind.field, name, sample, offset & codec.MASK, score
            )


def _rank(rows: Iterable[Sequence[str]], terms: Sequence[str], limit: int) -> list[tuple[float, str]]:
    # Scoring a text of megabytes would take seconds; a match behind what is scored counts least.
    found = [(_score(name[: trigrams.INDEXED], terms) or _LEAST, name) for (name,) in rows]
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


def _match(connection: Connection, texts: _Texts, terms: Sequence[str], limit: int) -> list[tuple[Any, ...]]:
    """Return the rows whose text contains all terms. If none has three characters, every row is read."""
    parameters: dict[str, object] = {
        f"p{number}": f"%{_LIKE_SPECIAL.sub(_ESCAPED, term)}%" for number, term in enumerate(terms)
    }
    likes = " AND ".join(rf"text LIKE :{name} ESCAPE '~'" for name in parameters)
    parameters["all"] = " ".join(terms)
    parameters["most"] = -1 if limit < 0 else max(limit, _CANDIDATES)
    parameters["trigrams"] = trigrams.match_all(terms)
    index = texts.source if parameters["trigrams"] else None
    found = f"{index.rowid} = {index.name}.rowid AND {index.name} MATCH :trigrams" if index else "TRUE"
    # CROSS has SQLite search the index first, and then get the rows by their ids.
    candidates = texts.candidates.format(index=f"{index.name} CROSS JOIN" if index else "", conditions=found)
    best = texts.best.format(conditions=likes)
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
