"""Markers that put a part of a test's cases behind `slow`."""

import os
from collections.abc import Collection, Iterable
from typing import Any, Final

import pytest
from _pytest.mark import ParameterSet

ALL: Final = "all"
#: A sweep tries one of so many of its cases; the others are tried where `SAMPLEDB_SWEEP_EVERY` is not set.
SWEEP_EVERY: Final = int(os.environ.get("SAMPLEDB_SWEEP_EVERY", "1"))
#: Run a test on three binaries, and as a slow test on all. `None` shares the fixtures of tests without this marker.
every_platform: Final = pytest.mark.parametrize(
    "sources", [None, pytest.param(ALL, marks=pytest.mark.slow)], ids=["few", ALL], indirect=True
)


def mostly_slow(cases: Iterable[Any], default: Collection[Any]) -> list[ParameterSet]:
    """Return all cases as parameters; those not in `default` are slow."""
    return [pytest.param(case, marks=() if case in default else pytest.mark.slow) for case in cases]
