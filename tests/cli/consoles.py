"""Run the command line as people and programs do: in a pipe, and on a terminal."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, NamedTuple

from sampledb.cli import main
from sampledb.model import Record

# Variables that change the output.
_UNWANTED = ("NO_COLOR", "FORCE_COLOR", "COLUMNS")


class Shown(NamedTuple):
    """The exit code and output of a process; on a terminal, both streams are one."""

    code: int
    output: str
    errors: str = ""


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without what changes colours and sizes."""
    kept = {name: value for name, value in os.environ.items() if name not in _UNWANTED}
    return kept | {"TERM": "xterm-256color"} | dict(changes or {})


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "sampledb", *map(str, arguments)]


def run(*arguments: object, stdin: str = "", variables: Mapping[str, str] | None = None) -> Shown:
    """Run a command in a pipe."""
    done = subprocess.run(
        command(*arguments), input=stdin, capture_output=True, encoding="utf-8", timeout=60, check=False,
        env=environment(variables),
    )  # fmt: skip
    return Shown(done.returncode, done.stdout, done.stderr)


def run_here(*arguments: object) -> Shown:
    """Run a command in this process, in a tenth of the time that a new one takes."""
    output, errors = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    code: Any = None
    with redirect_stdout(output), redirect_stderr(errors):
        try:
            main.main([*map(str, arguments)])
        except SystemExit as ended:
            code = ended.code
    return Shown(code or 0, *(each.buffer.getvalue().decode() for each in (output, errors)))


def answered(*arguments: object, code: int = 0, stdin: str = "") -> Any:
    """Return the data that a command prints with --json; it must print nothing else."""
    shown = run(*arguments, "--json", stdin=stdin) if stdin else run_here(*arguments, "--json")
    assert (shown.code, shown.errors) == (code, "")
    answer = json.loads(shown.output)
    assert answer["status"] == "successful"
    return answer["data"]


def dicts(records: Iterable[Record]) -> list[dict[str, Any]]:
    return [each.to_dict() for each in records]


def run_on_terminal(*arguments: object, columns: int = 80, variables: Mapping[str, str] | None = None) -> Shown:
    """Run a command on a terminal of so many columns."""
    # Not on Windows.
    import pty  # noqa: PLC0415
    import termios  # noqa: PLC0415

    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (40, columns))
    process = subprocess.Popen(
        command(*arguments), stdin=slave, stdout=slave, stderr=slave, env=environment(variables), close_fds=True
    )
    os.close(slave)
    output = _read_all(master)
    os.close(master)
    return Shown(process.wait(timeout=60), output.replace("\r\n", "\n"))


def _read_all(master: int) -> str:
    """Return the output until the terminal is closed at the other end, which Linux reports as an error."""
    parts: list[bytes] = []
    try:
        while part := os.read(master, 65536):
            parts.append(part)
    except OSError:
        pass
    return b"".join(parts).decode("utf-8")
