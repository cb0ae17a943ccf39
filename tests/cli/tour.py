"""The console blocks of the READMEs: commands that are run, and what they print.

`python -m tests.cli.tour` runs them and writes their output into the READMEs.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

_ROOT = Path(__file__).parent.parent.parent
READMES = {"project": _ROOT / "README.md", "command line": _ROOT / "sampledb" / "cli" / "README.md"}
_BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", flags=re.MULTILINE | re.DOTALL)
# Numbers, hashes, dates and Python's folder differ from machine to machine and from run to run.
_VARYING = re.compile(r"python3\.\d+|\b[0-9a-f]{32,64}\b|0x[0-9a-f]+|\d[\d,.:]*")


class Step(NamedTuple):
    """A command and the output below it."""

    command: str
    printed: str


def parse_steps(readme: str) -> list[Step]:
    """Return the steps of all console blocks, in order."""
    lines = "".join(_BLOCK.findall(readme))
    return [Step(*_split_step(part)) for part in re.split(r"(?m)^\$ ", lines) if part]


def _split_step(part: str) -> tuple[str, str]:
    command, _, printed = part.partition("\n")
    while command.endswith("\\"):
        more, _, printed = printed.partition("\n")
        command += f"\n{more}"
    return command, printed


def run_command(command: str, folder: Path) -> str:
    """Return the output of a command, run in a folder where `.venv` is this environment."""
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


def mask_varying(text: str) -> list[str]:
    """Return the lines with a `#` for everything that may differ."""
    return [" ".join(_VARYING.sub("#", line).split()) for line in text.splitlines()]


def renew_blocks(readme: str) -> str:
    """Return the README with the output that its commands have now."""
    with tempfile.TemporaryDirectory() as folder:
        printed = iter([run_command(step.command, Path(folder)) for step in parse_steps(readme)])

    def renew_block(block: re.Match[str]) -> str:
        return "".join(f"$ {step.command}\n{next(printed)}" for step in parse_steps(f"```console\n{block[0]}```\n"))

    return _BLOCK.sub(renew_block, readme)


def main() -> None:
    """Run all commands, and rewrite the READMEs."""
    for path in READMES.values():
        path.write_text(renew_blocks(path.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
