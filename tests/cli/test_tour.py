"""The README's first ten minutes go as it says."""

import sys
from pathlib import Path

import pytest

from tests.cli import tour

LAUNCHERS = Path(sys.prefix).glob("lib/python3*/site-packages/pip/_vendor/distlib/t32.exe")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32" or not any(LAUNCHERS), reason="needs a POSIX shell, and pip's launchers")
def test_the_first_ten_minutes_print_what_the_readme_says(tmp_path: Path) -> None:
    steps = tour.steps(tour.README.read_text("utf-8"))
    assert len(steps) > 10
    for step in steps:
        assert (step.command, tour.alike(tour.run(step.command, tmp_path))) == (step.command, tour.alike(step.printed))


def test_what_may_differ_is_not_compared() -> None:
    assert tour.alike("id  name\n 1  t32.exe 0x40  12.5 s\n") == tour.alike("id name\n22  t64.exe 0x4f 7 s\n")
    assert tour.alike("added 1 t32.exe") != tour.alike("failed 1 t32.exe")
