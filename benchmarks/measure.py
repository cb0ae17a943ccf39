"""Timing: medians and tails of many calls, one way for everything that is compared."""

import gc
import resource
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import TypeVar

import msgspec

_T = TypeVar("_T")


class Timing(msgspec.Struct, frozen=True):
    """Seconds a call."""

    median: float
    p90: float
    p99: float
    total: float
    calls: int


def timed(call: Callable[[_T], object], arguments: Iterable[_T]) -> Timing:
    """The times of one call for each argument; the garbage of earlier work is collected before."""
    gc.collect()
    seconds = []
    for argument in arguments:
        start = perf_counter()
        call(argument)
        seconds.append(perf_counter() - start)
    cuts = quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else seconds * 99
    return Timing(median(seconds), cuts[89], cuts[98], sum(seconds), len(seconds))


def alternated(
    ours: Callable[[_T], object], theirs: Callable[[_T], object], arguments: Sequence[_T], rounds: int
) -> tuple[Timing, Timing]:
    """The best round of each, the two in turn: the machine is shared, and its noise only ever adds."""
    pairs = [(timed(ours, arguments), timed(theirs, arguments)) for _ in range(rounds)]
    first, second = (min(timings, key=lambda timing: timing.median) for timings in zip(*pairs, strict=True))
    return first, second


def peak_bytes() -> int:
    """The most memory that this process has had, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not `ru_maxrss`: on Linux a child starts with that of its parent.
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
