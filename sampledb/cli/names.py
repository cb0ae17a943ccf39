"""What people call samples and functions: ids, hashes, names, globs of names, addresses."""

import fnmatch
import glob
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final, TypeVar

import click

from sampledb import Function, FunctionHit, InvalidInputError, NotFoundError, Sample, SampleDB

#: A sample's id, hash or name; `get_sample` finds it.
SAMPLE: Final = click.argument("sample")
#: Several samples; `get_samples` finds them.
SAMPLES: Final = click.argument("samples", metavar="SAMPLE...", nargs=-1, required=True)
#: Any number of samples; none means all of the file.
SAMPLES_OR_ALL: Final = click.argument("samples", metavar="[SAMPLE]...", nargs=-1)
#: A function's id, address or name; `get_function` finds it.
FUNCTION: Final = click.argument("function", metavar="FUNCTION")

# Of the largest integer of SQLite.
_LONGEST_ID: Final = 19
# Fewer digits are an id only, as no hash can be given by so few. A narrow table ends a hash with an ellipsis.
_HASH: Final = re.compile(r"([0-9a-f]{8,64})…?", re.IGNORECASE)
_GLOB: Final = re.compile(r"[*?\[]")
# Candidates that an error lists; its message has room for no more.
_MOST: Final = 6
# Characters of each of them.
_LONGEST_SHOWN: Final = 60

_T = TypeVar("_T")


def is_one(names: Sequence[str]) -> bool:
    """Return whether a single sample is asked for: by one word that is no glob."""
    return len(names) == 1 and not _GLOB.search(names[0])


def compile_glob(pattern: str) -> Callable[[str], bool]:
    """Return what tells whether a whole name matches a glob, capitals ignored."""
    compiled = re.compile(fnmatch.translate(pattern), re.IGNORECASE)
    return lambda name: compiled.match(name) is not None


def get_sample(db: SampleDB, name: str) -> Sample:
    """Return the one sample that is called so.

    Raises:
        NotFoundError: There is none.
        InvalidInputError: There are several; the error lists them.
    """
    return _get_only("sample", name, _find_samples(db, name), lambda each: f"{each.sample_id} {each.name}")


def get_samples(db: SampleDB, names: Iterable[str]) -> list[Sample]:
    """Return the samples that are called so, once each; a glob may stand for several.

    Raises:
        NotFoundError: One of the names is that of no sample.
        InvalidInputError: A name that is no glob is that of several samples.
    """
    found: dict[int, Sample] = {}
    for name in names:
        several = _find_samples(db, name) if _GLOB.search(name) else [get_sample(db, name)]
        found |= {each.sample_id: each for each in several}
    return list(found.values())


def _find_samples(db: SampleDB, name: str) -> list[Sample]:
    """Return the samples of this id; else of this hash; else of this name; else those whose names match this glob.

    Raises:
        NotFoundError: There is none.
        InvalidInputError: Several have hashes that begin with these digits.
    """
    is_number = name.isascii() and name.isdecimal() and len(name) <= _LONGEST_ID
    lookups: list[Callable[[], list[Sample]]] = []
    if is_number and int(name):
        lookups.append(lambda: [db.get_sample(int(name))])
    if digits := _HASH.fullmatch(name):
        lookups.append(lambda: [db.find_sample(digits[1])])
    for look_up in lookups:
        try:
            return look_up()
        except NotFoundError:
            continue
    found = list(db.list_samples(name=name).values())
    if not found and _GLOB.search(name):
        matches = compile_glob(name)
        found = [each for each in db.iter_samples() if matches(each.name)]
    if not found:
        raise NotFoundError.of("sample", int(name) if is_number else name)
    return found


def get_function(db: SampleDB, sample: Sample, name: str) -> Function:
    """Return the one function of a sample that is called so, with its disassembly.

    Raises:
        NotFoundError: There is none.
        InvalidInputError: There are several; the error lists them.
    """
    if name.lower().startswith("0x"):
        return db.find_function(sample.sample_id, name)
    if name.isascii() and name.isdecimal() and len(name) <= _LONGEST_ID:
        return db.get_function(sample.sample_id, int(name))
    found = _find_functions(db, sample, name)
    only = _get_only("function", name, found, lambda each: f"{each.function_id} {each.name} at {each.offset:#x}")
    return db.get_function(sample.sample_id, only.function_id)


def _find_functions(db: SampleDB, sample: Sample, name: str) -> list[FunctionHit]:
    """Return functions of this label; else of this name; else those whose names match it as a glob."""
    exact = glob.escape(name)
    labelled = [each for each in db.find_functions(label=exact, sample_id=sample.sample_id) if each.label == name]
    named = (each for each in db.find_functions(name=exact, sample_id=sample.sample_id) if each.name == name)
    return labelled or list(named) or list(islice(db.find_functions(name=name, sample_id=sample.sample_id), _MOST + 1))


def _get_only(resource: str, name: str, found: Sequence[_T], describe: Callable[[_T], str]) -> _T:
    """Return the only one of those found; raise an error that lists them if there are several."""
    if not found:
        raise NotFoundError.of(resource, name)
    if len(found) == 1:
        return found[0]
    shown = [_shorten(describe(each)) for each in found[:_MOST]]
    more = ["…"] if len(found) > _MOST else []
    raise InvalidInputError(
        f"{_shorten(name)} is the name of several {resource}s; give an id: {', '.join([*shown, *more])}.",
        {"field": resource, "rule": "the name of one", "value": name, "candidates": shown},
    )


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
