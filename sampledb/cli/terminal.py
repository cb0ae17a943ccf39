"""Print answers and errors, in colours that the terminal has and lines that it can show."""

import io
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO

import click

from sampledb.render.text import escape_unprintable

# The second name comes from some remote shells.
_DUMB: Final = {"dumb", "unknown"}
# For terminals that report none.
_USUAL_WIDTH: Final = 80
# Characters that are printed at once: what a pipe holds.
_CHUNK: Final = 2**16


class Screen(NamedTuple):
    """The place where text is shown.

    Attributes:
        width: Cells in a line; `None` in a pipe, where lines have any length.
        paint: Return a text in a style (`"bold"`, `"cyan"`, `"bold red"`), or unchanged where there are no colours.
    """

    width: int | None
    paint: Callable[[str, str], str]


class Answer(NamedTuple):
    """The result of a command; only the form that is asked for is computed.

    Attributes:
        data: Return it for machines: plain JSON types; records that are many, one by one.
        lines: Return it for people.
        exit_code: 0, or 3 when something failed or is damaged.
    """

    data: Callable[[], Any]
    lines: Callable[[Screen], Iterable[str]]
    exit_code: int = 0


def prepare_streams() -> None:
    """Make the standard streams exist and accept any character."""
    for name in ("stdin", "stdout", "stderr"):
        # Python has none where the shell has closed it.
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - until the end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def get_screen(stream: TextIO | None = None) -> Screen:
    """Return the screen behind a stream, stdout by default."""
    stream = stream or sys.stdout
    has_colours = (
        (stream.isatty() or os.environ.get("FORCE_COLOR")) and not os.environ.get("NO_COLOR") and not is_dumb()
    )
    return Screen(count_columns(stream) if stream.isatty() else None, _paint if has_colours else lambda text, _: text)


def is_dumb() -> bool:
    """Return whether the terminal knows no control sequences."""
    return os.environ.get("TERM") in _DUMB


def count_columns(terminal: TextIO) -> int:
    """Return the width of a terminal, or what COLUMNS says instead."""
    with suppress(OSError, ValueError):
        return int(os.environ.get("COLUMNS") or os.get_terminal_size(terminal.fileno()).columns) or _USUAL_WIDTH
    return _USUAL_WIDTH


def _paint(text: str, style: str) -> str:
    last = style.rsplit(maxsplit=1)[-1]
    colour = None if last in {"bold", "dim"} else last
    return click.style(text, fg=colour, bold="bold" in style or None, dim="dim" in style or None)


def print_answer(answer: Answer, *, as_json: bool, columns: Sequence[str] | None = None) -> None:
    """Print an answer to stdout: for people, for machines, or as CSV if `columns` are given."""
    if columns is not None:
        print_lines(_format_csv(columns, answer.data()))
    elif as_json:
        data = answer.data()
        print_lines([_to_json({"status": "successful", "data": list(data) if isinstance(data, Iterator) else data})])
    else:
        print_lines(answer.lines(get_screen()))


def print_lines(lines: Iterable[str]) -> None:
    """Print lines to stdout, which must be printable, as they come."""
    chunk = io.StringIO()
    for line in lines:
        chunk.write(f"{line}\n")
        if chunk.tell() >= _CHUNK:
            write(sys.stdout, chunk.getvalue())
            chunk = io.StringIO()
    write(sys.stdout, chunk.getvalue())


def _format_csv(columns: Sequence[str], data: Any) -> Iterator[str]:  # noqa: ANN401 - of any table
    """Yield lines of CSV: the columns, or the keys of the first row, and the values as in JSON.

    Unprintable characters are escaped on a terminal only, which would obey them.
    """
    # Only few answers are CSV.
    import csv  # noqa: PLC0415

    line = io.StringIO()
    writer = csv.writer(line, lineterminator="")
    rows = data.items() if isinstance(data, Mapping) else (each.values() for each in data)
    if not columns and data:
        columns = list(data[0])
    for row in chain([columns] if columns else [], rows):
        writer.writerow([_encode_cell(each) for each in row])
        yield escape_unprintable(line.getvalue()) if sys.stdout.isatty() else line.getvalue()
        line.seek(0)
        line.truncate()


def _encode_cell(value: object) -> object:
    """Return a value for CSV: text and numbers unchanged, nothing for null, and other values as JSON."""
    if value is None or (isinstance(value, str | int | float) and not isinstance(value, bool)):
        return value
    return value.hex() if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False, default=_encode_unknown)


def print_error(error: str | dict[str, Any]) -> None:
    """Print an error to stderr: a sentence for people, or an error's `to_dict()` for machines."""
    write(sys.stderr, f"{label(error) if isinstance(error, str) else _to_json(error)}\n")


def label(text: str, word: str = "Error:") -> str:
    """Return a sentence for stderr in one line, with a word before it."""
    return f"{get_screen(sys.stderr).paint(word, 'bold red')} {escape_unprintable(text)}"


def write(stream: TextIO, text: str) -> None:
    """Write text to a stream and flush it."""
    # Translates colours for old consoles of Windows. Where colours are unwanted, the text has none.
    click.echo(text, file=stream, nl=False, color=True)


def _to_json(value: object) -> str:
    # Python indents slowly, and only people want it.
    indent = 1 if sys.stdout.isatty() else None
    try:
        return json.dumps(value, indent=indent, default=_encode_unknown, allow_nan=False)
    except ValueError:
        return json.dumps(_replace_infinities(value), indent=indent, default=_encode_unknown)


def _replace_infinities(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Replace infinities, which a query may return and JSON lacks, by null."""
    if isinstance(value, dict):
        return {key: _replace_infinities(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_replace_infinities(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _encode_unknown(value: object) -> str:
    """Return a value that JSON lacks as text, such as the blobs that a query may return."""
    return value.hex() if isinstance(value, bytes) else str(value)


def discard_output() -> None:
    """Send the rest of stdout nowhere, so that Python's last flush does not fail."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
