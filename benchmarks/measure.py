"""Timing: medians and tails of many calls, one way for everything that is compared."""

import gc
import resource
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import TypeVar

from benchmarks.report.figures import Timing

_T = TypeVar("_T")


def timed(call: Callable[[_T], object], arguments: Iterable[_T]) -> Timing:
    """The times of one call for each argument; the garbage of earlier work is collected before."""
    gc.collect()
    return _timing([_seconds(call, argument) for argument in arguments])


def alternated(
    ours: Callable[[_T], object], theirs: Callable[[_T], object], arguments: Sequence[_T], rounds: int = 3
) -> tuple[Timing, Timing]:
    """The best round of each, the two in turn: the machine is shared, and its noise only ever adds."""
    pairs = [(timed(ours, arguments), timed(theirs, arguments)) for _ in range(rounds)]
    first, second = (min(timings, key=lambda timing: timing.median) for timings in zip(*pairs, strict=True))
    return first, second


def paired(
    ours: Callable[[_T], object],
    theirs: Callable[[_T], object],
    arguments: Iterable[_T],
    after: Callable[[_T], object] | None = None,
) -> tuple[Timing, Timing]:
    """Both in turn for each argument, for what cannot be done twice; then `after`, untimed."""
    gc.collect()
    pairs = []
    for argument in arguments:
        pairs.append((_seconds(ours, argument), _seconds(theirs, argument)))
        if after:
            after(argument)
    first, second = zip(*pairs, strict=True)
    return _timing(first), _timing(second)


def _seconds(call: Callable[[_T], object], argument: _T) -> float:
    start = perf_counter()
    call(argument)
    return perf_counter() - start


def _timing(seconds: Sequence[float]) -> Timing:
    cuts = quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else [*seconds] * 99
    return Timing(median(seconds), cuts[89], cuts[98], sum(seconds), len(seconds))


def peak_bytes() -> int:
    """The most memory that this process has had, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not `ru_maxrss`: on Linux a child starts with that of its parent.
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
