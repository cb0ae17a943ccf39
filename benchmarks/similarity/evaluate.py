"""Find functions again in other builds: `python -m benchmarks.similarity.evaluate` prints the tables of the README.

A query is a function of a program that nothing was learned from and nothing was chosen on; the right answer is the one
function of the same name in the pool, all functions of the base builds of all those programs. Queries whose name a
program of the learning has too are left out, and those that MCRIT does not hash.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from benchmarks.similarity import peer, programs
from benchmarks.similarity.disassemble import list_builds, report_of
from benchmarks.similarity.programs import ARM64, BASE, I386, NEWER, OLDER, Package, Place, Source
from benchmarks.similarity.truth import Functions, list_reports, read_functions
from sampledb.similarity.projection import LOGARITHMS, load_model
from sampledb.similarity.vectors import Vectors

Scores = NDArray[np.float32]

_QUERIES: Final = 400
_FEW: Final = 100
_SEED: Final = 20
_ROWS: Final = 2048
_THRESHOLDS: Final = (("MCRIT", 50), ("MCRIT", 62), ("signature", 50), ("signature", 60), ("signature", 70))
_SIZES: Final = ((11, 20), (21, 40), (41, 1 << 30))
README: Final = Path(__file__).with_name("README.md")
_BEGIN: Final = "<!-- figures -->\n"
_END: Final = "<!-- end of figures -->\n"


class Task(NamedTuple):
    """Builds whose functions are looked for, and the builds among which they are."""

    name: str
    queries: list[str]
    pool: list[str]


class Question(NamedTuple):
    """The queries of a task, and where in the pool each right answer is."""

    queries: NDArray[np.int64]
    answers: NDArray[np.int64]


class Group(NamedTuple):
    """Functions with all that is compared of them, a row each."""

    functions: Functions
    languages: NDArray[np.str_]
    vectors: Vectors
    mcrit: NDArray[np.uint8]
    has_mcrit: NDArray[np.bool_]


class Subject(NamedTuple):
    """A task with all that is known of it: the scores of each method, of each query with all of the pool."""

    question: Question
    queries: Group
    pool: Group
    scores: dict[str, Scores]


Method = Callable[[Group, NDArray[np.int64], Group], Scores]


def main() -> None:
    """Evaluate, print the tables, and write them into the README."""
    tables = "\n\n".join(make_tables(prepare(list_tasks())))
    print(tables)
    before, rest = README.read_text("utf-8").split(_BEGIN)
    README.write_text(f"{before}{_BEGIN}```text\n{tables}\n```\n{_END}{rest.split(_END)[1]}", "utf-8")


def prepare(tasks: Iterable[Task]) -> dict[str, Subject]:
    """Return the queries of each task, the pool, and all scores."""
    subjects = {}
    for task in tasks:
        offsets, question = ask(task)
        queries, pool = group(task.queries, offsets), group(task.pool, None)
        question = keep_hashed(question, queries, pool)
        scores = {name: method(queries, question.queries, pool) for name, method in METHODS.items()}
        subjects[task.name] = Subject(question, queries, pool, scores)
    return subjects


def list_tasks() -> list[Task]:
    """Return the tasks whose builds are there."""
    everything = [f"{name}@{BASE.suite}@{BASE.arch}" for name in programs.EVALUATE]
    own, o0, o3, os, clang = list_builds(programs.EVALUATE_BUILDS)
    compiled = [
        *(f"{name}{own}" for name in programs.EVALUATE_SOURCES),
        *(f"{name}@{BASE.suite}@{BASE.arch}" for name in programs.EVALUATE if name not in programs.EVALUATE_SOURCES),
    ]
    releases = {
        "older release": (OLDER, ""),
        "newer release": (NEWER, ""),
        "arm64": (ARM64, ""),
        "i386": (I386, ""),
        "older, stripped": (OLDER, "-stripped"),
        "arm64, stripped": (ARM64, "-stripped"),
    }
    builds = {"clang -O2": clang, "gcc -O0": o0, "gcc -Os": os, "gcc -O3": o3}
    tasks = [
        *(Task(name, _present(_names(programs.QUERIES, *how)), _present(everything)) for name, how in releases.items()),
        *(
            Task(name, _present(f"{program}{how}" for program in programs.EVALUATE_SOURCES), _present(compiled))
            for name, how in builds.items()
        ),
    ]
    return [task for task in tasks if task.queries]


def _names(names: Iterable[str], place: Place, ending: str) -> list[str]:
    return [f"{name}@{place.suite}@{place.arch}{ending}" for name in names]


def _present(names: Iterable[str]) -> list[str]:
    return [name for name in names if report_of(name).exists()]


@cache
def seen_names() -> frozenset[str]:
    """Return the names of all functions that were learned from, without their programs."""
    learned = read_functions(list_reports(programs.LEARN | programs.LEARN_SOURCES))
    return frozenset(name.partition(":")[2] for name in learned.names.tolist())


def ask(task: Task) -> tuple[dict[str, list[int]], Question]:
    """Return the offsets of a task's queries in each build, and the queries with their answers."""
    queries, pool = read(tuple(task.queries)), read(tuple(task.pool))
    places = {name: place for place, name in enumerate(pool.names.tolist()) if name}
    found = [
        row
        for row, name in enumerate(queries.names.tolist())
        if name in places and name.partition(":")[2] not in seen_names()
    ]
    rows = np.sort(np.random.default_rng(_SEED).permutation(found)[:_QUERIES])
    answers = np.array([places[name] for name in queries.names[rows].tolist()])
    offsets = {
        build: queries.offsets[rows[queries.binaries[rows] == number]].tolist()
        for number, build in enumerate(task.queries)
    }
    return offsets, Question(rows, answers)


@cache
def read(builds: tuple[str, ...]) -> Functions:
    """Return the functions of builds."""
    return read_functions(builds)


def group(builds: Sequence[str], offsets: Mapping[str, list[int]] | None) -> Group:
    """Return the functions of builds; MCRIT hashes those at the offsets, or all."""
    functions = read(tuple(builds))
    hashes = peer.hash_functions({build: offsets[build] if offsets else None for build in builds})
    found = [
        hashes[builds[number]].get(offset, b"")
        for number, offset in zip(functions.binaries.tolist(), functions.offsets.tolist(), strict=True)
    ]
    empty = bytes(peer.BYTES)
    return Group(
        functions,
        np.array([find_language(build) for build in builds])[functions.binaries],
        project(tuple(builds)),
        np.frombuffer(b"".join(each or empty for each in found), np.uint8).reshape(-1, peer.BYTES),
        np.array([bool(each) for each in found]),
    )


def find_language(build: str) -> str:
    """Return the language of a build's program."""
    tables: dict[str, Package | Source] = {**programs.EVALUATE_SOURCES, **programs.EVALUATE}
    return tables[build.partition("@")[0]].language


@cache
def project(builds: tuple[str, ...]) -> Vectors:
    """Return the vectors of the functions of builds."""
    functions, model = read(builds), load_model()
    parts = np.array_split(np.arange(len(functions.names)), len(functions.names) // _ROWS + 1)
    return np.concatenate([model.project_weights(LOGARITHMS[functions.count_features(part)]) for part in parts])


def keep_hashed(question: Question, queries: Group, pool: Group) -> Question:
    """Return the queries that MCRIT hashes, and whose answer it hashes."""
    kept = queries.has_mcrit[question.queries] & pool.has_mcrit[question.answers]
    return Question(question.queries[kept], question.answers[kept])


def score_pic_hash(queries: Group, rows: NDArray[np.int64], pool: Group) -> Scores:
    """Return 100 where hashes are equal."""
    left, right = queries.functions.pic_hashes[rows][:, None], pool.functions.pic_hashes[None, :]
    return np.where((left == right) & (left != 0), np.float32(100), np.float32(0))


def score_mcrit(queries: Group, rows: NDArray[np.int64], pool: Group) -> Scores:
    """Return MCRIT's score, from 0 to 100."""
    scores = peer.count_equal(queries.mcrit[rows], pool.mcrit).astype(np.float32) * (100 / peer.BYTES)
    scores[:, ~pool.has_mcrit] = 0
    return scores


def score_signs(queries: Group, rows: NDArray[np.int64], pool: Group) -> Scores:
    """Return the cosine of signs."""
    return _cosine(np.sign(queries.vectors[rows]), np.sign(pool.vectors))


def score_signatures(queries: Group, rows: NDArray[np.int64], pool: Group) -> Scores:
    """Return the cosine of all coordinates."""
    return _cosine(queries.vectors[rows], pool.vectors)


def _cosine(left: Vectors, right: Vectors) -> Scores:
    a, b = left.astype(np.float32), right.astype(np.float32)
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    return 100 * a @ b.T


METHODS: Final[dict[str, Method]] = {
    "pic_hash": score_pic_hash,
    "MCRIT": score_mcrit,
    "signs": score_signs,
    "signature": score_signatures,
}


class Ranks(NamedTuple):
    """Shares of queries, in percent: right one first among 100, among all, among the first ten; mean 1 / rank."""

    first_of_few: float
    first: float
    ten: float
    mean: float


def rank(scores: Scores, answers: NDArray[np.int64]) -> Ranks:
    """Return how well scores rank the answers; those of the same score come in any order."""
    chance = np.random.default_rng(_SEED)
    right = scores[np.arange(len(scores)), answers][:, None]
    others = np.stack([chance.permutation(scores.shape[1])[:_FEW] for _ in scores])
    others = np.where(others == answers[:, None], (others + 1) % scores.shape[1], others)[:, 1:]
    few = np.take_along_axis(scores, others, axis=1)
    higher, equal = (few > right).sum(axis=1), (few == right).sum(axis=1)
    first_of_few = np.where(higher == 0, 1 / (1 + equal), 0)
    higher, equal = (scores > right).sum(axis=1), (scores == right).sum(axis=1)
    first = np.where(higher == 0, 1 / equal, 0)
    ten = np.clip((10 - higher) / equal, 0, 1)
    mean = [
        (1 / np.arange(above + 1, above + same + 1)).mean()
        for above, same in zip(higher.tolist(), equal.tolist(), strict=True)
    ]
    return Ranks(*(100 * float(np.mean(each)) for each in (first_of_few, first, ten, mean)))


def make_tables(subjects: Mapping[str, Subject]) -> Iterator[str]:
    """Yield the tables."""
    yield "functions that are looked for, and among how many\n" + tabulate(
        [(name, len(each.question.queries), len(each.pool.functions.names)) for name, each in subjects.items()],
        ["", "queries", "pool"],
    )
    yield "the right one first of 100 / first of all / among ten of all, and mean 1/rank, %\n" + tabulate(
        [[name, *(_ranks(each.scores[method], each) for method in METHODS)] for name, each in subjects.items()],
        ["", *METHODS],
    )
    yield "best match with at least the score: how often right / how many found, %\n" + tabulate(
        [*_precisions(subjects), *_unrelated(next(iter(subjects.values())).pool)],
        ["", *(f"{method} {threshold}" for method, threshold in _THRESHOLDS)],
    )
    yield "the right one first of all, %, by language\n" + tabulate(
        list(_languages(subjects)), ["", "language", "queries", *METHODS]
    )
    yield f"MCRIT 1.9.0 hashed {peer.measure_rate():.0f} functions in a second of one core."


def _ranks(scores: Scores, subject: Subject) -> str:
    return " / ".join(f"{each:.0f}" for each in rank(scores, subject.question.answers))


def _precisions(subjects: Mapping[str, Subject]) -> Iterator[list[str]]:
    for name, subject in subjects.items():
        row = [name]
        for method, threshold in _THRESHOLDS:
            scores = subject.scores[method]
            best = scores.max(axis=1)
            is_found = best >= threshold
            is_right = is_found & (scores[np.arange(len(scores)), subject.question.answers] == best)
            row.append(f"{100 * is_right.sum() / max(is_found.sum(), 1):.0f} / {100 * is_right.mean():.0f}")
        yield row


def _unrelated(pool: Group) -> Iterator[list[str]]:
    """Yield the shares of functions in C that match something of another program in C, in percent, by size.

    Other languages copy templates and their libraries into programs, under names that differ in a type.
    """
    names = np.array([name.partition(":")[2] for name in pool.functions.names.tolist()])
    _, numbers, times = np.unique(names, return_inverse=True, return_counts=True)
    rows = np.flatnonzero((names != "") & (times[numbers] == 1) & pool.has_mcrit & (pool.languages == "C"))
    rows = np.sort(np.random.default_rng(_SEED).permutation(rows)[: 3 * _QUERIES])
    is_left_out = pool.functions.binaries[rows][:, None] == pool.functions.binaries[None, :]
    is_left_out |= pool.languages[None, :] != "C"
    best = {name: np.where(is_left_out, 0, METHODS[name](pool, rows, pool)).max(axis=1) for name, _ in _THRESHOLDS}
    sizes = pool.functions.count_instructions()[rows]
    for least, most in _SIZES:
        kept = (sizes >= least) & (sizes <= most)
        label = f"unrelated, {least} to {most} instructions" if most < _SIZES[-1][1] else "unrelated, larger"
        yield [label, *(f"{100 * (best[method][kept] >= threshold).mean():.1f}" for method, threshold in _THRESHOLDS)]


def _languages(subjects: Mapping[str, Subject]) -> Iterator[list[Any]]:
    for name, subject in subjects.items():
        languages = subject.queries.languages[subject.question.queries]
        for language in dict.fromkeys(languages.tolist()):
            own = languages == language
            answers = subject.question.answers[own]
            firsts = [f"{rank(scores[own], answers).first:.0f}" for scores in subject.scores.values()]
            yield [name, language, int(own.sum()), *firsts]


if __name__ == "__main__":
    main()
