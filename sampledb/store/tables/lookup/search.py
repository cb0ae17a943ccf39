"""Search: find the samples, functions, APIs and strings that meet all terms, and rank them.

Words alone are looked up in the indexes of their texts. With conditions, the functions are looked through that may meet
them by the indexes: the samples first, then the names that functions refer to.
"""

import heapq
import re
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, groupby, islice
from operator import attrgetter, itemgetter
from typing import Any, Final, NamedTuple

from sampledb import limits
from sampledb.format import codec
from sampledb.format.references import compile_api_glob, compile_glob, list_literals
from sampledb.intake.terms import FUNCTION_FIELDS, SAMPLE_FIELDS, Condition, Terms
from sampledb.model import FunctionId, Hit, HitField, SampleId
from sampledb.store.sqlite import Connection
from sampledb.store.tables import labels, references, samples, trigrams
from sampledb.store.tables.lookup import texts
from sampledb.store.tables.lookup.candidates import Candidate, Candidates, Conditions
from sampledb.store.tables.references import APIS, STRINGS, Kind

# How many matches of each kind are scored. Samples that match outside their notes come first; names: prefix matches,
# then the shortest.
_CANDIDATES: Final = 2000
# The score of what matches behind the part that is scored, and of what is not scored.
_LEAST, _UNSCORED = 0.0001, 0.00005
# Functions that are read at a time.
_PAGE: Final = 500


_OF_NAME: Final = """
SELECT functions.sample_id, function_id, "offset", samples.name
FROM functions JOIN samples USING (sample_id)
WHERE functions.name = ? AND functions.name <> ''
ORDER BY function_id
LIMIT ? OFFSET ?"""
_COUNT_OTHERS: Final = "SELECT count(*) - 1 FROM functions WHERE name = ? AND name <> ''"
_OF_ID: Final = """
SELECT functions.sample_id, function_id, "offset", samples.name
FROM functions JOIN samples USING (sample_id)
WHERE function_id = ?"""
_OF_SAMPLE: Final = "SELECT sample_id, NULL, NULL, name FROM samples WHERE sample_id = ?"

_DIGITS: Final = re.compile(r"[0-9a-f]{8,64}")
_PIC_HASH: Final = re.compile(r"0x[0-9a-f]{16}")

_HASHES: Final = ("hash", "sha256")
_NAME: Final = "name"
_FUNCTION: Final = "function"
_OF_FUNCTIONS: Final[dict[str, HitField]] = {
    "name": "function",
    "api": "api",
    "string": "string",
    "label": "label",
    "pic_hash": "pic_hash",
}
_REFERENCES: Final[dict[str, Kind]] = {"api": APIS, "string": STRINGS}
# The order of hits with equal scores; fields of samples come before these.
_ORDER: Final[dict[HitField, int]] = {"function": 1, "pic_hash": 1, "api": 2, "string": 3}


class _Found(NamedTuple):
    """A match, before the rest of its hit is read. Those that sort first are best, and no two are equal."""

    is_repeated: bool  # whether another function with this name came before
    penalty: float  # minus the score
    kind: int
    text: str
    sample_id: int  # 0 for what is read later
    function_id: int  # 0 for a sample, and for what is read later
    field: HitField


def find(connection: Connection, terms: Terms, *, start: int, limit: int) -> list[Hit]:
    """Return the hits from position `start` on, best first; at most `limit` unless it is 0.

    The order is that of scores, then samples, functions, APIs, strings, then their texts, samples and offsets. It does
    not depend on the page.
    """
    search = _Search(connection, terms)
    end = min(start + limit, limits.MAX_ID) if limit else None
    if terms.words:
        return list(search.find_by_words(start, end))
    return list(search.find_by_conditions(start, end)) if terms.conditions else []


class _Search:
    """A search for some terms."""

    def __init__(self, connection: Connection, terms: Terms) -> None:
        self._connection = connection
        self._terms = terms
        self._words = terms.words
        self._of_functions = terms.select("name", *FUNCTION_FIELDS)
        self._of_samples = terms.select("name", *SAMPLE_FIELDS)
        kinds = {each.value for each in terms.select("kind")}
        self._has_samples = kinds <= {"sample"} and not terms.select(*FUNCTION_FIELDS)
        self._has_functions = kinds <= {"function"} and bool(self._words or self._of_functions or kinds)
        self._conditions = self._make_conditions(terms) if self._has_functions else Conditions()

    def _make_conditions(self, terms: Terms) -> Conditions:
        """Return the conditions that functions must meet in addition to the words."""
        restricting = terms.select(*SAMPLE_FIELDS)
        among = frozenset(each for each, *_ in self._find_samples(restricting)) if restricting else None
        hashes = {each.value for each in terms.select("pic_hash")}
        if len(hashes) > 1:
            # No function has two.
            among = frozenset()
        globs = [each.glob for each in terms.select("name")]
        matchers = [compile_glob(glob) for glob in globs]
        label_globs = [each.glob for each in terms.select("label")]
        return Conditions(
            name=(lambda name: all(matches(name) for matches in matchers)) if globs else None,
            name_literals=tuple(chain.from_iterable(map(list_literals, globs))),
            label=labels.compile_globs(label_globs) if label_globs else None,
            label_literals=tuple(chain.from_iterable(map(list_literals, label_globs))),
            names=tuple(map(_make_reference, terms.select(*_REFERENCES))),
            pic_hash=int(hashes.pop(), 16) if len(hashes) == 1 else None,
            among=among,
        )

    # Conditions without words

    def find_by_conditions(self, start: int, end: int | None) -> Iterator[Hit]:
        """Yield the samples that meet the conditions, then the functions, by id and offset."""
        found = sorted(self._find_samples(self._of_samples)) if self._has_samples else []
        for sample_id, field, text in found[start:end]:
            yield from self._complete(_Found(False, -1.0, 0, text, sample_id, 0, field))
        if self._has_functions and (end is None or end > len(found)):
            yield from self._list_functions(max(0, start - len(found)), None if end is None else end - len(found))

    def _find_samples(self, conditions: Sequence[Condition]) -> Iterator[tuple[int, HitField, str]]:
        """Yield the samples that meet conditions, with the field and the text that meets the first of them."""
        hashes = {each: self._find_by_hash(each) for each in conditions if each.field in _HASHES}
        globs = {each: compile_glob(each.glob) for each in conditions if each not in hashes}
        literals = chain.from_iterable(list_literals(each.glob) for each in globs)
        among = set.intersection(*map(set, hashes.values())) if hashes else None
        select, parameters = texts.select_candidates(texts.SAMPLES, filter(str.isascii, literals), among)
        for sample_id, *row in self._connection.execute(select, parameters):
            found = [
                hashes[each][sample_id] if each in hashes else texts.find_text(row, each.field, globs[each])
                for each in conditions
            ]
            if all(found):
                yield sample_id, *next(filter(None, found), (_NAME, row[0]))

    def _find_by_hash(self, condition: Condition) -> dict[int, tuple[HitField, str]]:
        found = samples.find_by_hash(self._connection, condition.value)
        return {sample_id: (kind, text) for sample_id, kind, text in found if condition.field in ("hash", kind)}

    def _list_functions(self, start: int, end: int | None) -> Iterator[Hit]:
        """Yield the functions that meet the conditions, with what meets the first of those that are theirs."""
        reader = Candidates(self._connection, self._conditions)
        first, value = self._of_functions[0] if self._of_functions else ("name", "")
        for sample_id, group in groupby(islice(self._read(reader), start, end), attrgetter("sample_id")):
            sample = samples.locate(self._connection, sample_id)
            names = self._name_references(*reader.names[0], sample_id) if first in _REFERENCES else {}
            for each in group:
                text = each.name if first == "name" else names.get(each.function_id - sample.function_ids[0], value)
                if first == "label":
                    text = labels.get(self._connection, sample_id, each.offset).name
                function_id = FunctionId(each.function_id)
                yield Hit(sample.sample_id, function_id, _OF_FUNCTIONS[first], text, sample.name, each.offset, 1.0)

    def _name_references(self, kind: Kind, names: Container[int], sample_id: int) -> dict[int, str]:
        """Return the first of the names, in their order, that the function at each position refers to."""
        found: dict[int, str] = {}
        for name_id, positions in references.iter_positions(self._connection, kind, sample_id, names):
            name = references.get_name(self._connection, kind, name_id)
            found |= {place: min(name, found.get(place, name)) for place in positions}
        return found

    def _read(self, reader: Candidates) -> Iterator[Candidate]:
        while not reader.is_done:
            yield from reader.read(self._connection, _PAGE, limits.MAX_ID)

    # Words

    def find_by_words(self, start: int, end: int | None) -> Iterator[Hit]:
        """Yield what contains all words and meets the conditions, best first."""
        most = _CANDIDATES if end is not None and end <= _CANDIDATES else -1
        found: list[Iterable[_Found]] = [self._score_samples(most)] if self._has_samples else []
        is_restricted = self._conditions != Conditions()
        if self._has_functions:
            found += [self._find_pic_hash(end), self._find_labels()]
            found.append(self._look_through() if is_restricted else self._look_up(most))
        every = chain.from_iterable(found)
        best = sorted(every) if end is None else heapq.nsmallest(end, every)
        for each in best[start:end]:
            yield from self._complete(each)
        if self._has_functions and not is_restricted and (end is None or end > len(best)):
            names = [each for each in best if each.field == _FUNCTION]
            skipped = max(0, start - len(best))
            yield from self._repeat(names, skipped, -1 if end is None else end - max(start, len(best)))

    def _score_samples(self, most: int) -> Iterable[_Found]:
        """Return the samples that contain all words and meet the conditions."""
        among = {each for each, *_ in self._find_samples(self._of_samples)} if self._of_samples else None
        matching = texts.select_matches(self._connection, texts.SAMPLES, self._words, most, among)
        found: dict[int, _Found] = {}
        for number, (sample_id, *row) in enumerate(matching):
            score, field, text = max(
                ((self._terms.score(text), field, text) for field, text in texts.split_texts(row)), key=itemgetter(0)
            )
            # Only a phrase with a line break can match from one text into the next.
            score = (score or _LEAST) if number < _CANDIDATES else _UNSCORED
            found[sample_id] = _Found(False, -score, 0, text, sample_id, 0, field)
        word = self._words[0] if len(self._words) == 1 else ""
        for sample_id, kind, digits in samples.find_by_hash(self._connection, word) if _DIGITS.fullmatch(word) else ():
            if among is None or sample_id in among:
                each = _Found(False, -self._terms.score(digits), 0, digits, sample_id, 0, kind)
                found[sample_id] = min(each, found.get(sample_id, each))
        return found.values()

    def _find_pic_hash(self, end: int | None) -> Iterator[_Found]:
        """Yield the functions with the hash that is the only word."""
        word = self._words[0] if len(self._words) == 1 else ""
        if _PIC_HASH.fullmatch(word) and self._conditions.pic_hash in (None, int(word, 16)):
            reader = Candidates(self._connection, replace(self._conditions, pic_hash=int(word, 16)))
            for each in islice(self._read(reader), end):
                yield _Found(False, -1.0, 1, word, each.sample_id, each.function_id, "pic_hash")

    def _find_labels(self) -> Iterator[_Found]:
        """Yield the functions with all words in the name or in the comment of their label."""
        matches = self._conditions.label or bool
        labelled = replace(
            self._conditions,
            label=lambda text: any(map(self._terms.holds, text)) and matches(text),
            label_literals=(*self._conditions.label_literals, *self._words),
        )
        for each in self._read(Candidates(self._connection, labelled)):
            name, comment = labels.get(self._connection, each.sample_id, each.offset)
            is_name = self._terms.holds(name)
            field: HitField = "label" if is_name else "comment"
            text = name if is_name else comment
            yield _Found(False, -self._score_name(text), 1, text, each.sample_id, each.function_id, field)

    def _look_up(self, most: int) -> Iterator[_Found]:
        """Yield the names of functions, the APIs and the strings that contain all words."""
        for source in (texts.NAMES, texts.APIS, texts.STRINGS):
            for number, (text,) in enumerate(texts.select_matches(self._connection, source, self._words, most)):
                score = self._score_name(text) if number < _CANDIDATES else _UNSCORED
                yield _Found(False, -score, _ORDER[source.field], text, 0, 0, source.field)

    def _look_through(self) -> Iterator[_Found]:
        """Yield what `_look_up` does, of functions that meet the conditions only, and all functions of each name."""
        conditions = self._conditions
        matches = conditions.name or bool
        named = replace(
            conditions,
            name=lambda name: matches(name) and self._terms.holds(name[: trigrams.INDEXED]),
            name_literals=(*conditions.name_literals, *self._words),
        )
        scores: dict[str, float] = {}
        for each in self._read(Candidates(self._connection, named)):
            is_repeated, score = each.name in scores, scores.setdefault(each.name, self._score_name(each.name))
            yield _Found(is_repeated, -score, 1, each.name, each.sample_id, each.function_id, _FUNCTION)
        for kind in _REFERENCES.values():
            names = (*conditions.names, (kind, self._terms.holds, self._words))
            reader = Candidates(self._connection, replace(conditions, names=names))
            yield from self._look_through_references(reader, kind)

    def _look_through_references(self, reader: Candidates, kind: Kind) -> Iterator[_Found]:
        """Yield each name of the reader's last condition, with the first function that refers to it."""
        wanted = set(reader.names[-1][1])
        for sample_id, group in groupby(self._read(reader), attrgetter("sample_id")):
            if not wanted:
                return
            first = samples.locate(self._connection, sample_id).function_ids[0]
            places = {each.function_id - first for each in group}
            for name_id, positions in list(references.iter_positions(self._connection, kind, sample_id, wanted)):
                place = next(filter(places.__contains__, positions), None)
                if place is not None:
                    wanted.remove(name_id)
                    name = references.get_name(self._connection, kind, name_id)
                    yield _Found(
                        False, -self._score_name(name), _ORDER[kind.field], name, sample_id, first + place, kind.field
                    )

    def _repeat(self, names: Iterable[_Found], skipped: int, room: int) -> Iterator[Hit]:
        """Yield all functions but the first of each name, from a position on. At most `room` unless it is negative."""
        for each in names:
            if room == 0:
                return
            ((others,),) = self._connection.execute(_COUNT_OTHERS, (each.text,)) if skipped else ((1,),)
            if others <= skipped:
                skipped -= others
                continue
            found = list(self._complete(each, room, 1 + skipped))
            skipped = 0
            room -= len(found) if room > 0 else 0
            yield from found

    def _score_name(self, name: str) -> float:
        # Scoring a text of megabytes would take seconds; a match behind what is scored counts least.
        return self._terms.score(name[: trigrams.INDEXED]) or _LEAST

    # Hits

    def _complete(self, found: _Found, most: int = 1, skipped: int = 0) -> Iterator[Hit]:
        """Yield the hit of a match, or those of some functions with its name."""
        rows: Iterable[tuple[Any, ...]]
        if not found.kind:
            rows = self._connection.execute(_OF_SAMPLE, (found.sample_id,))
        elif found.function_id:
            rows = self._connection.execute(_OF_ID, (found.function_id,))
        elif found.field == _FUNCTION:
            rows = self._connection.execute(_OF_NAME, (found.text, most, skipped))
        else:
            rows = references.locate_first(self._connection, _REFERENCES[found.field], found.text)
        for sample_id, function_id, offset, sample in rows:
            address = None if offset is None else offset & codec.MASK
            known = None if function_id is None else FunctionId(function_id)
            yield Hit(SampleId(sample_id), known, found.field, found.text, sample, address, -found.penalty)


def _make_reference(condition: Condition) -> tuple[Kind, Callable[[str], bool], list[str]]:
    glob = condition.glob
    if condition.field == "api":
        return APIS, compile_api_glob(glob), []
    return STRINGS, compile_glob(glob), list_literals(glob)
