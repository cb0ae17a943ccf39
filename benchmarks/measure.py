"""Timing: medians and tails of many calls, the same way for everything that is compared."""

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


def time_calls(call: Callable[[_T], object], arguments: Iterable[_T]) -> Timing:
    """Time one call for each argument. Collects the garbage of earlier work first."""
    gc.collect()
    return _summarize([_time_call(call, argument) for argument in arguments])


def time_rounds(
    ours: Callable[[_T], object], theirs: Callable[[_T], object], arguments: Sequence[_T], rounds: int = 3
) -> tuple[Timing, Timing]:
    """Time two calls in alternating rounds, and return the best round of each.

    Noise of a shared machine only adds time, so the best round is nearest to the truth.
    """
    pairs = [(time_calls(ours, arguments), time_calls(theirs, arguments)) for _ in range(rounds)]
    first, second = (min(timings, key=lambda timing: timing.median) for timings in zip(*pairs, strict=True))
    return first, second


def time_pairs(
    ours: Callable[[_T], object],
    theirs: Callable[[_T], object],
    arguments: Iterable[_T],
    after: Callable[[_T], object] | None = None,
) -> tuple[Timing, Timing]:
    """Time two calls in turn for each argument: for work that cannot be repeated.

    `after` is called after each pair and not timed.
    """
    gc.collect()
    pairs = []
    for argument in arguments:
        pairs.append((_time_call(ours, argument), _time_call(theirs, argument)))
        if after:
            after(argument)
    first, second = zip(*pairs, strict=True)
    return _summarize(first), _summarize(second)


def _time_call(call: Callable[[_T], object], argument: _T) -> float:
    start = perf_counter()
    call(argument)
    return perf_counter() - start


def _summarize(seconds: Sequence[float]) -> Timing:
    cuts = quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else [*seconds] * 99
    return Timing(median(seconds), cuts[89], cuts[98], sum(seconds), len(seconds))


def read_peak() -> int:
    """Return the peak memory of this process in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not `ru_maxrss`: on Linux a child process starts with its parent's.
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
