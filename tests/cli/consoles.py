"""The command line as people and programs meet it: in a pipe, and on a terminal."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sampledb.model import Record

# What would change what is printed, wherever the tests run.
_UNWANTED = ("NO_COLOR", "FORCE_COLOR", "COLUMNS")


class Shown(NamedTuple):
    """What a process left behind; on a terminal, both streams are one."""

    code: int
    output: str
    errors: str = ""


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process', less what is about colours and sizes."""
    kept = {name: value for name, value in os.environ.items() if name not in _UNWANTED}
    return kept | {"TERM": "xterm-256color"} | dict(changes or {})


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "sampledb", *map(str, arguments)]


def run(*arguments: object, stdin: str = "", variables: Mapping[str, str] | None = None) -> Shown:
    """In a pipe."""
    done = subprocess.run(
        command(*arguments), input=stdin, capture_output=True, encoding="utf-8", timeout=60, check=False,
        env=environment(variables),
    )  # fmt: skip
    return Shown(done.returncode, done.stdout, done.stderr)


def answered(*arguments: object, code: int = 0, stdin: str = "") -> Any:
    """The data that a command gives machines, and nothing else."""
    shown = run(*arguments, "--json", stdin=stdin)
    assert (shown.code, shown.errors) == (code, "")
    answer = json.loads(shown.output)
    assert answer["status"] == "successful"
    return answer["data"]


def dicts(records: Iterable[Record]) -> list[dict[str, Any]]:
    return [each.to_dict() for each in records]


def run_on_terminal(*arguments: object, columns: int = 80, variables: Mapping[str, str] | None = None) -> Shown:
    """On a terminal of so many columns."""
    # Not everywhere.
    import pty  # noqa: PLC0415
    import termios  # noqa: PLC0415

    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (40, columns))
    process = subprocess.Popen(
        command(*arguments), stdin=slave, stdout=slave, stderr=slave, env=environment(variables), close_fds=True
    )
    os.close(slave)
    output = _all_of(master)
    os.close(master)
    return Shown(process.wait(timeout=60), output.replace("\r\n", "\n"))


def _all_of(master: int) -> str:
    """What is printed until nobody has the terminal any more, which Linux calls an error."""
    parts: list[bytes] = []
    try:
        while part := os.read(master, 65536):
            parts.append(part)
    except OSError:
        pass
    return b"".join(parts).decode("utf-8")
