"""A line on stderr that shows what goes on: redrawn while the work lasts, gone at the end."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from threading import Event, Lock, Thread
from typing import Final, Self

from sampledb.cli.terminal import count_columns, get_screen, is_dumb, write

_ERASE: Final = "\r\x1b[K"
# Seconds; frequent enough to look alive, and rare enough for slow connections.
_PERIOD: Final = 0.1
_DOTS: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_STROKES: Final = "|/-\\"
# Cells of a whole bar, where there is room.
_BAR: Final = 40


class LiveLine:
    """The last line on stderr, redrawn until it is erased. Lines can be written above it."""

    def __init__(self, text: Callable[[int], str]) -> None:
        self._text = text
        self._lock = Lock()
        self._ended = Event()
        self._thread = Thread(target=self._redraw, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._draw()
        write(sys.stderr, _ERASE)

    def write(self, line: str) -> None:
        """Print a line above; it must be printable."""
        self._draw(f"{line}\n")

    def _redraw(self) -> None:
        self._draw()
        while not self._ended.wait(_PERIOD):
            self._draw()

    def _draw(self, above: str = "") -> None:
        with self._lock:
            # Text in the last column would wrap on some terminals.
            write(sys.stderr, f"{_ERASE}{above}{self._text(count_columns(sys.stderr) - 1)}")


@contextmanager
def show_line(text: Callable[[int], str]) -> Iterator[LiveLine | None]:
    """Show a line on stderr while something goes on.

    Yields `None` where no line can be redrawn: in pipes and on dumb terminals.

    Args:
        text: Return the line in at most so many cells; called from another thread.
    """
    if not sys.stderr.isatty() or is_dumb():
        yield None
        return
    with LiveLine(text) as line:
        yield line


def show_waiting(text: str) -> AbstractContextManager[object]:
    """Show a text beside a turning wheel, for work whose end is unknown."""
    return show_line(lambda width: f"{get_spinner()} {text[: width - 2]}")


def get_spinner() -> str:
    """Return a character that turns as time goes by."""
    paint = get_screen(sys.stderr).paint
    frames = _DOTS if is_drawable(_DOTS) else _STROKES
    return paint(frames[int(time.monotonic() / _PERIOD) % len(frames)], "green")


def is_drawable(characters: str) -> bool:
    """Return whether the encoding of stderr has these characters."""
    try:
        characters.encode(sys.stderr.encoding)
    except UnicodeError:
        return False
    return True


class Bar:
    """How far work is: a bar, or a turning wheel where the end is unknown.

    Attributes:
        done: What is done; set by the thread that works, and read by the one that draws.
        total: What there is to do; `None` if unknown.
    """

    def __init__(self) -> None:
        self.done = 0
        self.total: int | None = None
        self._begun = time.monotonic()

    def set(self, done: int, total: int) -> None:
        """Set both, as a call that reports its progress does."""
        self.done, self.total = done, total

    @property
    def seconds(self) -> float:
        """The time since the beginning."""
        return time.monotonic() - self._begun

    @property
    def rate(self) -> float:
        """What is done in a second."""
        return self.done / max(self.seconds, 1e-3)

    def format(self, width: int) -> str:
        """Return a line with the numbers done and expected, the rate, and the time left."""
        done, total, rate = self.done, self.total, self.rate
        numbers = f" {done:,}/{'?' if total is None else f'{total:,}'} {rate:,.1f}/s"
        if not total:
            return f"{get_spinner()}{numbers[: width - 1]}"
        # Folders can grow after their reports were counted.
        total = max(total, done)
        if done:
            numbers += f" {timedelta(seconds=round((total - done) / rate))}"
        cells = max(min(_BAR, width - len(numbers)), 0)
        filled = cells * done // total
        full, empty = ("━", "─") if is_drawable("━─") else ("#", "-")
        paint = get_screen(sys.stderr).paint
        return f"{paint(full * filled, 'green')}{paint(empty * (cells - filled), 'dim')}{numbers[:width]}"
