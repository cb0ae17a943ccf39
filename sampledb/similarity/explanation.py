"""Explain a score: how much of it each kind of features is, and what both functions have, in words."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sampledb.similarity import categories
from sampledb.similarity.code import read_code
from sampledb.similarity.facts import Facts, list_facts
from sampledb.similarity.features import FAMILIES, STARTS, Vocabulary, extract_features
from sampledb.similarity.instructions import ARM64, X86
from sampledb.similarity.projection import load_model, weigh_features

Kind: TypeAlias = Literal["constants", "fields", "instructions", "order", "shape"]
# The families of features of each kind.
KINDS: Final[dict[Kind, tuple[str, ...]]] = {
    "constants": ("constant",),
    "fields": ("field",),
    "instructions": ("unigram", "bigram", "trigram"),
    "order": ("category", "category2", "category3"),
    "shape": ("shape", "degree"),
}
_ACTS: Final = {
    "load": categories.LOAD,
    "store": categories.STORE,
    "compare": categories.COMPARE,
    "logic": categories.LOGIC,
    "shift": categories.SHIFT,
    "multiply": categories.MULTIPLY,
    "call": categories.CALL,
}
# Words that are listed, those that say most.
_MOST_WORDS: Final = 8


class Evidence(NamedTuple):
    """What a function has.

    Attributes:
        weights: The weight of each feature.
        facts: What is known of it in numbers.
        mnemonics: Those of its instructions, by the feature that they are.
        acts: How often it does what.
    """

    weights: NDArray[np.float64]
    facts: Facts
    mnemonics: Mapping[int, set[str]]
    acts: Mapping[str, int]


def read_evidence(content: bytes, position: int, architecture: str, image: range) -> Evidence | None:
    """Return what the function at a position in a frame has; `None` if it can have no signature.

    Raises:
        FrameError: The content is no frame.
    """
    if architecture not in (X86, ARM64):
        return None
    vocabulary = Vocabulary(architecture)
    code = read_code([content], vocabulary.forms)
    found = extract_features(code, vocabulary, image)
    (rows,) = np.nonzero(found.positions == position)
    if not len(rows):
        return None
    number = code.positions.index(position)
    begin, end = sum(code.blocks[:number]), sum(code.blocks[: number + 1])
    own = code.forms[sum(code.sizes[:begin]) : sum(code.sizes[:end])]
    table = vocabulary.look_up(own)
    mnemonics: dict[int, set[str]] = defaultdict(set)
    for row, feature in zip(own.tolist(), table.unigram.tolist(), strict=True):
        mnemonics[feature].add(vocabulary.forms.known[row][0])
    weights = weigh_features(found)[rows[0]].astype(np.float64)
    acts = {name: int((table.category == category).sum()) for name, category in _ACTS.items()}
    return Evidence(weights, list_facts([content], architecture, image)[position], mnemonics, acts)


def explain(one: Evidence, other: Evidence) -> list[tuple[Kind, int, str]]:
    """Return kind, points and words of each kind of features; most points first."""
    model = load_model()
    projection = model.whole * model.scales
    sides = []
    for evidence in (one, other):
        length = float(np.linalg.norm(evidence.weights))
        # What all functions have says nothing, and is taken from each feature by its share.
        shares = (evidence.weights / length) ** 2
        sides.append(projection * (evidence.weights / length)[:, None] - model.offsets * shares[:, None])
    ends = [side.sum(axis=0) for side in sides]
    lengths = float(np.linalg.norm(ends[0]) * np.linalg.norm(ends[1]))
    points = 50 * (sides[0] @ ends[1] + sides[1] @ ends[0]) / max(lengths, 1e-9)
    # Large numbers say more.
    shared = sorted(one.facts.constants & other.facts.constants, reverse=True)
    words = {
        "constants": _list_shared(f"{number:#x}" for number in shared),
        "fields": _list_shared(f"+{number:#x}" for number in sorted(one.facts.fields & other.facts.fields)),
        "instructions": _list_shared(_find_mnemonics(one, other, points)),
        "order": _count(one.acts, other.acts),
        "shape": _count(_measure(one.facts), _measure(other.facts)),
    }
    reasons = []
    for kind, families in KINDS.items():
        features = [STARTS[family] + number for family in families for number in range(FAMILIES[family])]
        reasons.append((kind, round(float(points[features].sum())), words[kind]))
    return sorted(reasons, key=lambda reason: -reason[1])


def _measure(facts: Facts) -> dict[str, int]:
    return {name: getattr(facts, name) for name in ("blocks", "loops", "instructions")}


def _count(one: Mapping[str, int], other: Mapping[str, int]) -> str:
    pairs = ((name, count, other[name]) for name, count in one.items())
    return ", ".join(f"{name} {a} and {b}" if a != b else f"{name} {a}" for name, a, b in pairs if a or b)


def _find_mnemonics(one: Evidence, other: Evidence, points: NDArray[np.float64]) -> Iterator[str]:
    """Yield the mnemonics of instructions of which both have the same class, those of most points first."""
    for feature in sorted(one.mnemonics.keys() & other.mnemonics.keys(), key=lambda each: -points[each]):
        yield from sorted(one.mnemonics[feature] & other.mnemonics[feature])


def _list_shared(words: Iterable[str]) -> str:
    listed = [*dict.fromkeys(words)]
    more = [f"{len(listed) - _MOST_WORDS} more"] if len(listed) > _MOST_WORDS else []
    return ", ".join([*listed[:_MOST_WORDS], *more])
