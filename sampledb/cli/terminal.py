"""The terminal: what may reach it, how wide and how colourful it is, bars. The only module that prints, or knows rich.

Rich is asked for what is hard: what a terminal can do, how wide characters are, bars that move. Its tables are not
used, because they take half a millisecond a row, and a sample may have 80,000 functions. It is imported when there is
a terminal to show something on; what goes to a pipe or to a program does without.
"""

import io
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

# What cannot move a cursor; the second is what some remote shells say.
_DUMB: Final = {"dumb", "unknown"}
ELLIPSIS: Final = "…"
# Of a terminal that says it has none.
_USUAL_WIDTH: Final = 80


class Screen(NamedTuple):
    """Where text goes.

    Attributes:
        width: Cells in a line; `None` where lines may have any length, in a pipe.
        paint: Text and a style (`"bold"`, `"cyan"`, …) to the same text in that style, or as it was.
    """

    width: int | None
    paint: Callable[[str, str], str]


class Answer(NamedTuple):
    """What a command has to say; only what is asked for is made.

    Attributes:
        data: The same for machines: plain JSON types.
        lines: The same for people.
        exit_code: 0, or 3 when something failed or is wrong.
    """

    data: Callable[[], Any]
    lines: Callable[[Screen], Iterable[str]]
    exit_code: int = 0


# Text


def safe(text: str) -> str:
    """Text from malware: a terminal must not obey the control sequences in it, nor turn its direction."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def safe_lines(text: str) -> list[str]:
    """The same for text that may have several lines."""
    return [safe(line) for line in text.splitlines()]


def cells(text: str) -> int:
    """How many cells of a terminal the text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # noqa: PLC0415 - only where there are such characters

    return cell_len(text)


def fit(text: str, width: int) -> str:
    """The text in at most `width` cells, an ellipsis showing what was cut."""
    if cells(text) <= width:
        return text
    from rich.cells import set_cell_size  # noqa: PLC0415 - as above

    return set_cell_size(text, max(width - 1, 0)) + ELLIPSIS


# Out


def prepare() -> None:
    """Let no character stop the output, whatever encoding the locale asks for."""
    for name in ("stdin", "stdout", "stderr"):
        # Python has none where the shell has closed it.
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - until the end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def screen(stream: TextIO | None = None) -> Screen:
    """What stdout can show, or another stream."""
    stream = stream or sys.stdout
    if not stream.isatty() and not os.environ.get("FORCE_COLOR"):
        return Screen(None, _unpainted)
    console = _console(stream)
    return Screen(
        console.width or _USUAL_WIDTH if stream.isatty() else None, _painted if _has_colors(console) else _unpainted
    )


def _console(stream: TextIO) -> "Console":
    from rich.console import Console  # noqa: PLC0415 - takes a tenth of a second

    return Console(file=stream, highlight=False, markup=False, emoji=False)


def _has_colors(console: "Console") -> bool:
    return bool(console.color_system) and not console.no_color and not console.legacy_windows


def _unpainted(text: str, _: str) -> str:
    return text


def _painted(text: str, style: str) -> str:
    from rich.style import Style  # noqa: PLC0415 - is there already

    return Style.parse(style).render(text)


def show(answer: Answer, *, as_json: bool) -> None:
    """Print an answer, for machines or for people."""
    write([_json({"status": "successful", "data": answer.data()})] if as_json else answer.lines(screen()))


def write(lines: Iterable[str]) -> None:
    """Print lines to stdout; they must be safe already."""
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.flush()


def complain(text: str, label: str = "Error:") -> None:
    """Print an error, or what else the label says, for people to stderr, one line."""
    shown = screen(sys.stderr).paint(label, "bold red")
    sys.stderr.write(f"{shown} {safe(text)}\n")


def complain_json(error: dict[str, Any]) -> None:
    """Print an error for machines to stderr."""
    sys.stderr.write(f"{_json(error)}\n")


def _json(value: object) -> str:
    # Python indents slowly, and only people want it.
    indent = 1 if sys.stdout.isatty() else None
    try:
        return json.dumps(value, indent=indent, default=_plain, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), indent=indent, default=_plain)


def _finite(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """The same, with null for the infinities that a query may give, and JSON lacks."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value: object) -> object:
    """What JSON lacks: the blobs that a query may give."""
    return value.hex() if isinstance(value, bytes) else str(value)


def hang_up() -> None:
    """Nobody reads any more: let Python's last flush of stdout go nowhere, rather than fail."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# What takes long


def is_lively() -> bool:
    """Whether stderr is a terminal on which a bar can move."""
    return sys.stderr.isatty() and os.environ.get("TERM") not in _DUMB


class Bar:
    """A bar on stderr: how many are done, of how many if that is known, how fast, how long it will take."""

    def __init__(self, progress: "Progress") -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None, rate="")

    def move(self, done: int, total: int | None, rate: float) -> None:
        """Show how far it is; `rate` is a second."""
        self._progress.update(self._task, completed=done, total=total, rate=f"{rate:.1f}/s")

    def write(self, line: str) -> None:
        """Print a line above the bar; it must be safe already."""
        # Not print(), which would take it for rich's own markup, and wrap it.
        self._progress.console.out(line, highlight=False)


@contextmanager
def bar() -> Iterator[Bar | None]:
    """A bar on a terminal, which is gone afterwards; `None` where there is no terminal."""
    if not is_lively():
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    # Both streams are left as they are: nothing is printed meanwhile but by Bar.write.
    with Progress(
        *columns, console=_console(sys.stderr), transient=True, redirect_stdout=False, redirect_stderr=False
    ) as progress:
        yield Bar(progress)


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show on a terminal that something goes on whose end cannot be told."""
    if not is_lively():
        yield
        return
    with _console(sys.stderr).status(text):
        yield
