"""Markers that put a part of a test's cases behind `slow`."""

from collections.abc import Collection, Iterable
from typing import Any, Final

import pytest
from _pytest.mark import ParameterSet

ALL: Final = "all"
#: Run a test on three binaries, and as a slow test on all. `None` shares the fixtures of tests without this marker.
every_platform: Final = pytest.mark.parametrize(
    "sources", [None, pytest.param(ALL, marks=pytest.mark.slow)], ids=["few", ALL], indirect=True
)


def mostly_slow(cases: Iterable[Any], default: Collection[Any]) -> list[ParameterSet]:
    """Return all cases as parameters; those not in `default` are slow."""
    return [pytest.param(case, marks=() if case in default else pytest.mark.slow) for case in cases]
