"""The commands in the READMEs print what the READMEs say."""

import sys
from pathlib import Path

import pytest

from tests.cli import tour

LAUNCHERS = Path(sys.prefix).glob("lib/python3*/site-packages/pip/_vendor/distlib/t64.exe")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32" or not any(LAUNCHERS), reason="needs a POSIX shell, and pip's launchers")
@pytest.mark.parametrize("readme", ["project", pytest.param("command line", marks=pytest.mark.slow)])
def test_the_commands_print_what_the_readme_says(readme: str, tmp_path: Path) -> None:
    steps = tour.parse_steps(tour.READMES[readme].read_text("utf-8"))
    assert steps
    for command, printed in steps:
        assert (command, tour.mask_varying(tour.run_command(command, tmp_path))) == (
            command,
            tour.mask_varying(printed),
        )


def test_numbers_may_differ_and_words_may_not() -> None:
    assert tour.mask_varying("id  name\n 1  t32.exe 0x40  12.5 s\n") == tour.mask_varying(
        "id name\n22  t64.exe 0x4f 7 s\n"
    )
    assert tour.mask_varying("added 1 t32.exe") != tour.mask_varying("failed 1 t32.exe")
