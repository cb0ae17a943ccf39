"""Texts: the rows whose texts contain all words, by the indexes of trigrams where there are any."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from sampledb.model import HitField
from sampledb.store.sqlite import Connection
from sampledb.store.tables import trigrams, values


class Texts(NamedTuple):
    """Texts to search: SQL with the places `{index}` and `{conditions}`, and the index that there is, if any."""

    field: HitField
    source: trigrams.Index | None
    candidates: str  # selects rows that may match
    best: str  # selects the matches among them, best first


_FIELDS: Final = ", ".join(trigrams.SAMPLE_FIELDS)
SAMPLES: Final = Texts(
    "name",
    trigrams.SAMPLES,
    """
    SELECT sample_texts.*
    FROM {index} sample_texts
    WHERE {conditions}""",
    f"""
    SELECT sample_id, {_FIELDS}
    FROM (SELECT *, short || char(10) || notes AS text
          FROM (SELECT *, name || char(10) || family || char(10) || version || char(10) || component
                       || char(10) || tags || char(10) || formats || char(10) || extension AS short
                FROM candidates))
    WHERE {{conditions}}
    ORDER BY :all COLLATE NOCASE IN (name, family, version, component) DESC, short LIKE :p0 ESCAPE '~' DESC, sample_id
    LIMIT :most""",  # noqa: S608
)
_BEST_NAMES: Final = """
    SELECT DISTINCT text
    FROM candidates
    WHERE {conditions}
    ORDER BY text = :all COLLATE NOCASE DESC, text LIKE substr(:p0, 2) ESCAPE '~' DESC, length(text), text
    LIMIT :most"""
NAMES: Final = Texts(
    "function",
    trigrams.NAMES,
    """
    SELECT functions.name AS text
    FROM {index} functions
    WHERE functions.name <> '' AND {conditions}""",
    _BEST_NAMES,
)
# There are some thousand APIs, which are read as fast as an index of them.
APIS: Final = Texts("api", None, "SELECT api AS text FROM {index} apis WHERE {conditions}", _BEST_NAMES)
STRINGS: Final = Texts(
    "string",
    trigrams.STRINGS,
    "SELECT strings.string AS text FROM {index} strings WHERE {conditions}",
    _BEST_NAMES,
)

_LIKE_SPECIAL: Final = re.compile("[%_~]")
_ESCAPED: Final = r"~\g<0>"

# The fields of hits in samples by the columns of their texts, and what separates the texts of one column.
_OF_COLUMNS: Final[dict[str, tuple[HitField, str]]] = {
    "name": ("name", ""),
    "family": ("family", ""),
    "version": ("version", ""),
    "component": ("component", ""),
    "tags": ("tag", "\x1f"),
    "notes": ("notes", ""),
    "formats": ("codec", "\n"),
    "extension": ("extension", ""),
}


def select_matches(
    connection: Connection, texts: Texts, words: Sequence[str], most: int, among: Collection[int] | None = None
) -> list[tuple[Any, ...]]:
    """Return the rows whose text contains all words. If none has three characters, every row is read."""
    patterns = {f"p{number}": f"%{_LIKE_SPECIAL.sub(_ESCAPED, word)}%" for number, word in enumerate(words)}
    likes = " AND ".join(rf"text LIKE :{name} ESCAPE '~'" for name in patterns)
    candidates, parameters = select_candidates(texts, words, among)
    parameters |= {**patterns, "all": " ".join(words), "most": most}
    best = texts.best.format(conditions=likes)
    return connection.execute(f"WITH candidates AS MATERIALIZED ({candidates}) {best}", parameters).fetchall()


def select_candidates(
    texts: Texts, terms: Iterable[str], among: Collection[int] | None = None
) -> tuple[str, dict[str, object]]:
    """Return SQL that selects the rows that may contain all terms, which are in small letters, and its parameters.

    If there are ids in `among`, only these samples are selected.
    """
    expression = trigrams.match_all(terms)
    index = texts.source if expression else None
    found = f"{index.rowid} = {index.name}.rowid AND {index.name} MATCH :trigrams" if index else "TRUE"
    if among is not None:
        found += " AND sample_texts.sample_id IN (SELECT value FROM json_each(:among))"
    # CROSS has SQLite search the index first, and then get the rows by their ids.
    select = texts.candidates.format(index=f"{index.name} CROSS JOIN" if index else "", conditions=found)
    return select, {"trigrams": expression, "among": values.to_json(list(among or ()))}


def split_texts(texts: Iterable[str]) -> Iterator[tuple[HitField, str]]:
    """Yield each text of a sample with its field; tags and formats one by one."""
    for column, text in zip(trigrams.SAMPLE_FIELDS, texts, strict=True):
        field, separator = _OF_COLUMNS[column]
        for each in text.split(separator) if separator else (text,):
            yield field, each


def find_text(texts: Iterable[str], field: str, matches: Callable[[str], bool]) -> tuple[HitField, str] | None:
    """Return a field of a sample, and its first text that matches; `None` if there is none."""
    return next(((kind, text) for kind, text in split_texts(texts) if kind == field and matches(text)), None)
