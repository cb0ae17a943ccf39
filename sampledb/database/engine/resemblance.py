"""Answer questions about similar code: equal hashes first, then scores of signatures."""

from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Self

from sampledb import limits
from sampledb.database.engine.matcher import Matcher, State
from sampledb.database.engine.signer import sign_report
from sampledb.errors import CorruptFileError
from sampledb.format.report import Report
from sampledb.format.xcfg import FunctionRow
from sampledb.model import (
    Comparison,
    Explanation,
    Function,
    FunctionId,
    FunctionMatch,
    FunctionPair,
    Reason,
    SampleId,
    SampleMatch,
    Suggestion,
    least_score,
)
from sampledb.similarity import ALGORITHM, score_rows
from sampledb.similarity.explanation import Evidence, explain, read_evidence
from sampledb.similarity.features import LEAST_INSTRUCTIONS
from sampledb.similarity.matching import match_one_to_one
from sampledb.similarity.scan import Found, Query, make_found, make_query, sum_up
from sampledb.store.connection import Lender
from sampledb.store.sqlite import Connection
from sampledb.store.tables import frames, functions, samples, signatures
from sampledb.store.tables.lookup import twins

_EXACT: Final = 100
# A report may say anything; sums of these are numbers still.
_HEAVIEST: Final = 1e12


class Asked(NamedTuple):
    """The functions of a sample that is asked about, by their positions.

    Attributes:
        sample_id: `None` for a report that is not stored.
        weights: The `binweight` of each function that is large enough, 0 for others.
        hashes: The `pic_hash` of each function that is large enough and has one.
    """

    sample_id: int | None
    smda_version: str
    weights: list[float]
    hashes: dict[int, int]
    query: Query

    def keep_largest(self, count: int) -> Self:
        """Return what is asked about the largest functions only."""
        ranked = sorted(range(len(self.weights)), key=lambda place: -self.weights[place])
        kept = {place for place in ranked[:count] if self.weights[place]}
        return self._replace(
            weights=[weight if place in kept else 0.0 for place, weight in enumerate(self.weights)],
            hashes={place: each for place, each in self.hashes.items() if place in kept},
            query=self.query.choose(kept),
        )


class Resemblance:
    """Asks a matcher, and completes its answers."""

    def __init__(self, connections: Lender, matcher: Matcher) -> None:
        self._connections = connections
        self._matcher = matcher

    # What is asked about

    def ask_sample(self, sample_id: int) -> tuple[Asked, list[Function]]:
        """Return what is asked about a stored sample, and its functions.

        Raises:
            NotFoundError: There is no such sample.
        """
        query = self._query(sample_id)
        with self._connections.snapshot() as connection:
            sample = samples.get(connection, sample_id)
            found = functions.select(connection, *samples.locate(connection, sample_id).function_ids)
            if len(found) != sample.num_functions:
                what = f"{len(found)} functions are there of {sample.num_functions}"
                raise CorruptFileError.of(what, f"samples, sample_id {sample_id}")
            # The functions may have been replaced since the signatures were read.
            return _ask(sample_id, sample.smda_version, found, query.choose(range(len(found)))), found

    def _query(self, sample_id: int) -> Query:
        return make_query(*(self._matcher.get(sample_id) or (b"", b"", b"")))

    def ask_report(self, report: Report) -> Asked:
        """Return what is asked about a report."""
        return _ask(None, report.smda_version, report.functions, make_query(*sign_report(report)))

    # Functions

    def find_functions(
        self, function: Function, threshold: int, limit: int, *, among: Collection[int] | None, exclude_libraries: bool
    ) -> list[FunctionMatch]:
        """Return the functions that are like one, best first; only of these samples, `None` for all."""
        with self._connections.snapshot() as connection:
            version = samples.get(connection, function.sample_id).smda_version
            first, _ = samples.locate(connection, function.sample_id).function_ids
        state = self._matcher.refresh()
        chosen = [
            number
            for number, source in enumerate(state.sources)
            if (among is None or source.sample_id in among) and not (exclude_libraries and source.is_library)
        ]
        query = self._query(function.sample_id).choose([function.function_id - first])
        found = self._matcher.find_best(state, chosen, query, threshold, limit) if len(query.positions) else None
        scores = {
            (state.sources[number].sample_id, state.sources[number].first + place): score
            for _, number, place, score in (found.list_rows() if found else ())
        }
        equal = {(sample_id, twin) for _, sample_id, twin in self._find_twins([function.pic_hash], version)}
        if equal and (among is not None or exclude_libraries):
            of_interest = {state.sources[number].sample_id for number in chosen}
            equal = {each for each in equal if each[0] in of_interest}
        scores |= dict.fromkeys(equal, _EXACT)
        scores.pop((function.sample_id, function.function_id), None)
        best = sorted(scores, key=lambda key: (key not in equal, -scores[key], key))[: limit or None]
        return self._make_matches([(key[1], scores[key], key in equal) for key in best])

    def _find_twins(self, hashes: Iterable[int | None], smda_version: str) -> list[tuple[int, int, int]]:
        known = {each for each in hashes if each is not None}
        with self._connections.reading() as connection:
            return twins.find_twins(connection, known, smda_version, LEAST_INSTRUCTIONS)

    def _make_matches(self, best: Sequence[tuple[int, int, bool]]) -> list[FunctionMatch]:
        with self._connections.snapshot() as connection:
            found = {int(each.function_id): each for each in functions.select_ids(connection, [row[0] for row in best])}
            of = {each: samples.get(connection, each).family for each in {each.sample_id for each in found.values()}}
        matches = []
        for function_id, score, is_exact in best:
            # What was deleted meanwhile is not there.
            if one := found.get(function_id):
                place = one.sample_id, one.function_id, one.offset
                about = one.label, one.num_instructions
                matches.append(FunctionMatch(*place, one.name, of[one.sample_id], score, is_exact, *about))
        return matches

    # Samples

    def find_samples(self, asked: Asked, threshold: int, limit: int, *, exclude_libraries: bool) -> list[SampleMatch]:
        """Return the samples that have functions like those asked for, best first."""
        state = self._matcher.refresh()
        is_library = [source.is_library for source in state.sources]
        others = [number for number, each in enumerate(state.sources) if each.sample_id != asked.sample_id]
        others.sort(key=lambda number: not is_library[number])
        sums, without_libraries = sum_up(self._scan_samples(asked, state, others, threshold), asked.weights, is_library)
        whole = sum(asked.weights)
        percents = {
            number: (_percent(each.weight, whole), _percent(each.weight_without_libraries, without_libraries))
            for number, each in sums.items()
            if not (exclude_libraries and is_library[number])
        }
        place = 1 if exclude_libraries else 0
        best = sorted(percents, key=lambda number: (-percents[number][place], -sums[number].number, number))
        found: list[SampleMatch] = []
        for number in best[: limit or None]:
            with self._connections.reading() as connection:
                rows = samples.select(connection, {"sample_id": state.sources[number].sample_id})
            found += (
                SampleMatch(
                    each.sample_id, each.name, each.family, each.is_library, sums[number].number, *percents[number]
                )
                for each in rows
            )
        return found

    def _scan_samples(self, asked: Asked, state: State, others: list[int], threshold: int) -> Iterator[Found]:
        # Of an architecture that signatures know nothing of, equal hashes are all that is known.
        unsigned = asked.hashes.keys() - set(asked.query.positions.tolist())
        numbers = {state.sources[number].sample_id: number for number in others}
        of_hash: dict[int, list[int]] = {}
        for position in sorted(unsigned):
            of_hash.setdefault(asked.hashes[position], []).append(position)
        found = {
            (position, numbers[sample_id], 0, _EXACT)
            for pic_hash, sample_id, _ in self._find_twins(of_hash, asked.smda_version)
            if sample_id in numbers
            for position in of_hash[pic_hash]
        }
        yield make_found(sorted(found))
        if len(asked.query.positions):
            yield from self._matcher.scan(state, others, asked.query, threshold)

    # Pairs

    def compare(self, a: int, b: int, threshold: int) -> Comparison:
        """Return what two samples have in common."""
        (one, left), (other, right) = self.ask_sample(a), self.ask_sample(b)
        pairs = {} if one.smda_version != other.smda_version else _pair_equal(left, right)
        taken = set(pairs.values())
        ours = one.query.choose([place for place in range(len(left)) if place not in pairs])
        theirs = other.query.choose([place for place in range(len(right)) if place not in taken])
        found = [FunctionPair(left[row], right[column], _EXACT, exact=True) for row, column in pairs.items()]
        rows, columns = ours.positions.tolist(), theirs.positions.tolist()
        for row, column, score in match_one_to_one(ours.unpack(), theirs.unpack(), threshold):
            pairs[rows[row]] = columns[column]
            found.append(FunctionPair(left[rows[row]], right[columns[column]], score, exact=False))
        found.sort(key=lambda pair: (-pair.score, not pair.exact, -pair.a.num_instructions, pair.a.offset))
        taken = set(pairs.values())
        return Comparison(
            tuple(found),
            tuple(each for place, each in enumerate(left) if place not in pairs),
            tuple(each for place, each in enumerate(right) if place not in taken),
            _share(left, pairs),
            _share(right, taken),
        )

    def explain(self, one: Function, other: Function) -> Explanation:
        """Return what the score of two functions is made of."""
        with self._connections.snapshot() as connection:
            versions = {samples.get(connection, each.sample_id).smda_version for each in (one, other)}
            (left, row), (right, column) = (_read_evidence(connection, each) for each in (one, other))
        is_exact = one.pic_hash is not None and one.pic_hash == other.pic_hash and len(versions) == 1
        if left is None or right is None:
            return Explanation(_EXACT if is_exact else None, is_exact, ())
        ours, theirs = self._query(one.sample_id).choose([row]), self._query(other.sample_id).choose([column])
        # One at most; none if a sample has gone meanwhile.
        scores = score_rows(ours.unpack(), theirs.unpack()).tolist()
        score = _EXACT if is_exact else next(iter(scores), None)
        return Explanation(score, is_exact, tuple(Reason(*reason) for reason in explain(left, right)))

    # Names

    def suggest(self, sample_id: int, threshold: int) -> list[Suggestion]:
        """Return the best name for each function without one that is like a function with a name, best first."""
        asked, own = self.ask_sample(sample_id)
        # A wrong name is worse than none.
        least = {
            place: least_score(threshold, each.num_instructions) for place, each in enumerate(own)
            if not each.name and not each.label and each.num_instructions >= LEAST_INSTRUCTIONS
        }  # fmt: skip
        best: dict[int, tuple[_Offer, str]] = {}
        for offers in self._iter_offers(asked, least, threshold):
            with self._connections.reading() as connection:
                names = twins.find_names(connection, {offer.function_id for _, offer in offers})
                # Here, where a name that is no text is damage.
                for place, offer in offers:
                    name = names.get(offer.function_id, "")
                    if limits.is_clean(name) and 0 < len(name) <= limits.MAX_FUNCTION_LABEL:
                        best[place] = min(best.get(place, (offer, name)), (offer, name))
        ranked = sorted(best.items(), key=lambda each: (each[1][0][:2], each[0]))
        return [_suggest(own[place], offer, name) for place, (offer, name) in ranked]

    def _iter_offers(
        self, asked: Asked, least: Mapping[int, int], threshold: int
    ) -> Iterator[list[tuple[int, "_Offer"]]]:
        """Yield positions of functions, given the least score of each, with functions that are like them."""
        of_hash = defaultdict[int, list[int]](list)
        for place in least:
            if place in asked.hashes:
                of_hash[asked.hashes[place]].append(place)
        yield [
            (place, _Offer(-_EXACT, False, sample_id, function_id))
            for pic_hash, sample_id, function_id in self._find_twins(of_hash, asked.smda_version)
            for place in of_hash[pic_hash]
        ]
        query = asked.query.choose(least)
        if len(query.positions):
            state = self._matcher.refresh()
            for found in self._matcher.scan(state, range(len(state.sources)), query, threshold):
                yield [
                    (place, _Offer(-score, True, state.sources[number].sample_id, state.sources[number].first + other))
                    for place, number, other, score in found.list_rows()
                    if score >= least[place]
                ]


class _Offer(NamedTuple):
    """A function whose name may serve; the best sorts first."""

    minus_score: int
    is_unequal: bool
    sample_id: int
    function_id: int


def _suggest(function: Function, offer: _Offer, name: str) -> Suggestion:
    source = SampleId(offer.sample_id), FunctionId(offer.function_id)
    place = function.sample_id, function.function_id, function.offset
    return Suggestion(*place, name, -offer.minus_score, not offer.is_unequal, *source)


def _read_evidence(connection: Connection, function: Function) -> tuple[Evidence | None, int]:
    """Return what a function has, and its position in its sample."""
    (source,) = signatures.select_sources(connection, ALGORITHM, function.sample_id)
    ((frame, _),) = frames.select_of(connection, [function.function_id])
    content = functions.read_content(*frame)
    image = range(source.base_addr, source.base_addr + source.binary_size)
    evidence = read_evidence(content, function.function_id - frame.first, source.architecture, image)
    return evidence, function.function_id - source.first


def _ask(sample_id: int | None, smda_version: str, found: Sequence[Function | FunctionRow], query: Query) -> Asked:
    large = [each.num_instructions >= LEAST_INSTRUCTIONS for each in found]
    weights = [_weigh(each) if is_large else 0.0 for each, is_large in zip(found, large, strict=True)]
    hashes = {place: each.pic_hash for place, each in enumerate(found) if large[place] and each.pic_hash is not None}
    return Asked(sample_id, smda_version, weights, hashes, query)


def _weigh(function: Function | FunctionRow) -> float:
    return min(max(function.binweight, 0.0), _HEAVIEST)


def _percent(part: float, whole: float) -> float:
    return min(100 * part / whole, 100.0) if whole else 0.0


def _share(found: Sequence[Function], matched: Collection[int]) -> float:
    return _percent(sum(_weigh(found[place]) for place in matched), sum(map(_weigh, found)))


def _pair_equal(left: Sequence[Function], right: Sequence[Function]) -> dict[int, int]:
    """Return pairs of positions of functions with the same hash, those of one hash in their order."""
    places = defaultdict[int, deque[int]](deque)
    for place, each in enumerate(right):
        if each.pic_hash is not None:
            places[each.pic_hash].append(place)
    return {
        place: places[each.pic_hash].popleft()
        for place, each in enumerate(left)
        if each.pic_hash is not None and places[each.pic_hash]
    }
