"""Similar functions and samples, and the reasons of scores."""

from collections.abc import Sequence
from typing import Final, Literal

from sampledb.model.functions import Function
from sampledb.model.record import FunctionId, Record, SampleId, count_records, render_records

# Among 25,000 functions of other programs, one of 11 to 20 instructions has one like it at 60 in 29 % of cases, at
# 70 in 8 %; one of 21 to 40 in 15 % and 6 %; a larger one at 60 in 3 % (`benchmarks/similarity`).
_SMALL: Final = 40
_MORE: Final = 10
_MATCH: Final = 60


def least_score(threshold: int, num_instructions: int) -> int:
    """Return the score that a function of a size needs, if a large one needs the threshold."""
    return threshold if num_instructions > _SMALL else min(threshold + _MORE, 100)


class FunctionMatch(Record, frozen=True):
    """A function that is like another one.

    Attributes:
        sample_id: Its sample.
        function_id: The function.
        offset: Address of its entry, unsigned 64-bit.
        name: SMDA's `function_name`, `""` when there is no symbol.
        family: Of its sample, `""` for none.
        score: From 0 to 100: from 60 on it is most likely the same function, one of at most 40 instructions from 70 on
            (`is_likely`); from 50 on perhaps. Builds for other architectures, and without optimization, score lower:
            there, what is first counts.
        exact: Whether both have the same `pic_hash`, from the same version of SMDA; the score is 100.
        label: The name that somebody gave to the function, `""` for none.
        num_instructions: Instructions in all blocks; functions of at most 40 are alike by chance more often.
    """

    _columns = (
        *("score", "exact", "sample_id", "function_id"),
        *("offset", "name", "label", "family", "num_instructions"),
    )

    sample_id: SampleId
    function_id: FunctionId
    offset: int
    name: str
    family: str
    score: int
    exact: bool
    label: str
    num_instructions: int

    @property
    def is_likely(self) -> bool:
        """Tell whether functions of this size with this score are seldom alike by chance."""
        return self.exact or self.score >= least_score(_MATCH, self.num_instructions)


class SampleMatch(Record, frozen=True):
    """A sample that has functions like those of another one.

    Attributes:
        sample_id: The sample.
        name: The file's name.
        family: `""` for none.
        is_library: Whether it is a library.
        num_matched: Functions of the other one of which it has one that is like it.
        percent: Their share of the code of the other one, by `binweight` of all functions of more than 10
            instructions, from 0 to 100.
        percent_without_libraries: The same, of the code that is in no library. It is 0 for a library.
    """

    _columns = (
        *("percent", "percent_without_libraries", "num_matched"),
        *("sample_id", "name", "family", "is_library"),
    )

    sample_id: SampleId
    name: str
    family: str
    is_library: bool
    num_matched: int
    percent: float
    percent_without_libraries: float


class FunctionPair(Record, frozen=True):
    """Two functions that are alike.

    Attributes:
        a: The function of the first sample.
        b: The function of the second sample.
        score: From 0 to 100, as in FunctionMatch.
        exact: Whether both have the same `pic_hash`, from the same version of SMDA.
    """

    a: Function
    b: Function
    score: int
    exact: bool

    @property
    def is_likely(self) -> bool:
        """Tell whether functions of this size with this score are seldom alike by chance."""
        return self.exact or self.score >= least_score(_MATCH, min(self.a.num_instructions, self.b.num_instructions))

    def _repr_html_(self) -> str:
        return _render_pairs("", [self])


class Comparison(Record, frozen=True):
    """What two samples have in common.

    Attributes:
        pairs: Functions that are alike, best first, each function once; disassembly is left out.
        only_a: All other functions of the first sample, by offset.
        only_b: All other functions of the second sample, by offset.
        percent_a: The share of the functions in pairs in the first sample, by `binweight`, from 0 to 100.
        percent_b: The same of the second sample.
    """

    pairs: tuple[FunctionPair, ...]
    only_a: tuple[Function, ...]
    only_b: tuple[Function, ...]
    percent_a: float
    percent_b: float

    def _repr_html_(self) -> str:
        shares = f"{self.percent_a:.1f} % of the code of a, {self.percent_b:.1f} % of b"
        alone = f"{len(self.only_a):,} functions are only in a, {len(self.only_b):,} only in b"
        return _render_pairs(f"{count_records('FunctionPair', len(self.pairs))}: {shares}; {alone}", self.pairs)


def _render_pairs(title: str, pairs: Sequence[FunctionPair]) -> str:
    from sampledb.render.html import render_table  # noqa: PLC0415 - for notebooks only

    columns = [f"{name}{side}" for side in ("", " in b") for name in ("function_id", "offset", "name", "instructions")]
    rows = ([each.score, each.exact, *_list_cells(each.a), *_list_cells(each.b)] for each in pairs)
    return render_table(title, ["score", "exact", *columns], rows, len(pairs))


def _list_cells(function: Function) -> tuple[object, ...]:
    name = function.label or function.name
    return function.function_id, f"{function.offset:#x}", name, function.num_instructions


class Reason(Record, frozen=True):
    """One kind of what makes two functions alike.

    Attributes:
        kind: `constants`, `fields`, `instructions`, `order` (of what instructions do) or `shape`.
        points: How much of the score it is; negative if it makes them less alike.
        text: What both have, for people: numbers, offsets of fields, instructions, counts.
    """

    kind: Literal["constants", "fields", "instructions", "order", "shape"]
    points: int
    text: str


class Explanation(Record, frozen=True):
    """What the score of two functions is made of.

    Attributes:
        score: From 0 to 100, as in FunctionMatch; `None` if one of the functions cannot have any: it has at most 10
            instructions, or an architecture that signatures know nothing of.
        exact: Whether both have the same `pic_hash`, from the same version of SMDA.
        reasons: What says most first; their points are nearly those of the score, unless the functions are exact.
    """

    score: int | None
    exact: bool
    reasons: tuple[Reason, ...]

    def _repr_html_(self) -> str:
        score = "the same code" if self.exact else f"score {self.score}"
        return render_records(self.reasons, title=f"Explanation: {score}")
