"""What several commands show: sizes, dates, and the name of a file that was written."""

import math
from datetime import datetime
from pathlib import Path
from typing import Final

from sampledb import Function, FunctionHit, FunctionMatch
from sampledb.cli.terminal import Answer
from sampledb.render.text import escape_unprintable

_UNITS: Final = ("KiB", "MiB", "GiB", "TiB", "PiB")
_KILO: Final = 1024


def format_size(count: int) -> str:
    """Return bytes, exactly and for people: `1,536 bytes (1.5 KiB)`."""
    exact = f"{count:,} bytes"
    return exact if count < _KILO else f"{exact} ({format_short_size(count)})"


def format_short_size(count: int) -> str:
    """Return bytes for people: `1.5 KiB`."""
    if count < _KILO:
        return f"{count} B"
    exponent = min(int(math.log(count, _KILO)), len(_UNITS))
    return f"{count / _KILO**exponent:.1f} {_UNITS[exponent - 1]}"


def format_time(time: datetime) -> str:
    """Return a time to the second, without its zone."""
    return f"{time:%Y-%m-%d %H:%M:%S}"


def format_name(function: Function | FunctionHit | FunctionMatch) -> str:
    """Return the names of a function: its label first, and its own behind it."""
    if function.label and function.name:
        return f"{function.label} ({function.name})"
    return function.label or function.name


def answer_written(path: Path) -> Answer:
    """Return the answer of a command that has written a new file."""
    count = path.stat().st_size
    about = f"{escape_unprintable(str(path))}, {format_size(count)}"
    return Answer(
        lambda: {"path": str(path), "bytes": count}, lambda screen: [f"{screen.paint('Wrote', 'green')} {about}"]
    )
