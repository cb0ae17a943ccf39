"""The README's first ten minutes: its commands, run for real, and what they print.

`python -m tests.cli.tour` runs them and puts what they print now into the README.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

README = Path(__file__).parent.parent.parent / "README.md"
_BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", flags=re.MULTILINE | re.DOTALL)
# What differs from machine to machine, and from run to run: numbers, hashes, dates, and the folder of Python.
_VARYING = re.compile(r"python3\.\d+|\b[0-9a-f]{32,64}\b|0x[0-9a-f]+|\d[\d,.:]*")


class Step(NamedTuple):
    """A command of the tour, and what stands below it."""

    command: str
    printed: str


def steps(readme: str) -> list[Step]:
    """What the README has."""
    lines = "".join(_BLOCK.findall(readme))
    return [Step(*_split(part)) for part in re.split(r"(?m)^\$ ", lines) if part]


def _split(part: str) -> tuple[str, str]:
    command, _, printed = part.partition("\n")
    while command.endswith("\\"):
        more, _, printed = printed.partition("\n")
        command += f"\n{more}"
    return command, printed


def run(command: str, folder: Path) -> str:
    """What a command prints, in a folder where `.venv` is this environment."""
    environment = Path(sys.prefix)
    link = folder / ".venv"
    if not link.exists():
        link.symlink_to(environment)
    path = os.pathsep.join([str(environment / "bin"), os.environ["PATH"]])
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=folder, env={**os.environ, "PATH": path, "LC_ALL": "C.UTF-8"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False,
    )  # fmt: skip
    return done.stdout


def alike(text: str) -> list[str]:
    """The lines, without what may differ."""
    return [" ".join(_VARYING.sub("#", line).split()) for line in text.splitlines()]


def main() -> None:
    """Run all, and write the README again."""
    with tempfile.TemporaryDirectory() as folder:
        printed = iter([run(step.command, Path(folder)) for step in steps(README.read_text("utf-8"))])

    def renewed(block: re.Match[str]) -> str:
        return "".join(f"$ {step.command}\n{next(printed)}" for step in steps(f"```console\n{block[0]}```\n"))

    README.write_text(_BLOCK.sub(renewed, README.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
