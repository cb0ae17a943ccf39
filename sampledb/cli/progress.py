"""Progress and summary of a command with many inputs."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final, TypeAlias

from sampledb import SampleDB
from sampledb.cli import terminal
from sampledb.cli.live import Bar, LiveLine, show_line
from sampledb.cli.terminal import Answer
from sampledb.errors import AnalysisError, ConflictError, InvalidInputError, SampleDBError
from sampledb.model import Job, Sample
from sampledb.render.text import escape_unprintable

#: The exit code of a command that failed for some of its inputs, and of a check that found damage.
INCOMPLETE: Final = 3
_FAILED: Final = "failed"

_Call: TypeAlias = Callable[[str], Sample | Job]


class Progress:
    """Counts outcomes and shows them: as a bar on a terminal, as lines in a pipe, failures in both.

    Machines get them all at the end, and nothing on stdout before.
    """

    def __init__(self, db: SampleDB, *, as_json: bool, quiet: bool) -> None:
        self._db = db
        self._as_json = as_json
        self._quiet = quiet
        self._bar = Bar()
        self._line: LiveLine | None = None
        self._counts: Counter[str] = Counter()
        self._data: list[dict[str, Any]] = []

    @contextmanager
    def show(self) -> Iterator[None]:
        """Show a bar until the end, where there is a terminal."""
        with nullcontext() if self._quiet else show_line(self._bar.format) as self._line:
            yield
        self._line = None

    @property
    def has_bar(self) -> bool:
        """Whether a bar is shown."""
        return self._line is not None

    def expect(self, total: int | None) -> None:
        """Set how many inputs there are; `None` if unknown."""
        self._bar.total = total

    def note(self, status: str, about: str, data: dict[str, Any], *, failure: str = "", always: bool = False) -> None:
        """Count the outcome of the next input, and show it.

        Args:
            status: The name of the count: `added`, `failed`, …
            about: The input, for people.
            data: The outcome, for machines.
            failure: The reason, if it failed.
            always: Whether to print it beside a bar too.
        """
        self._counts[status] += 1
        self._bar.done += 1
        if self._as_json:
            self._data.append(data)
        elif status == _FAILED:
            # Of a file, the reason names it already.
            self.tell(failure if failure.startswith(about) else f"{about}: {failure}")
        elif not self._quiet and (always or not self._is_watched()):
            self._print(escape_unprintable(f"{status} {about}"))

    def _is_watched(self) -> bool:
        """Return whether stdout and the bar are on one terminal."""
        return self._line is not None and sys.stdout.isatty()

    def _print(self, line: str) -> None:
        if self._line and self._is_watched():
            self._line.write(line)
        else:
            terminal.print_lines([line])

    def remark(self, line: str) -> None:
        """Print a line about the last input, above the bar if there is one."""
        if not self._quiet and not self._as_json:
            self._print(escape_unprintable(line))

    def tell(self, text: str, word: str = "Error:") -> None:
        """Print a sentence to stderr, above the bar if there is one."""
        line = terminal.label(text, word)
        if self._line:
            self._line.write(line)
        else:
            terminal.write(sys.stderr, f"{line}\n")

    def advise(self, text: str) -> None:
        """Print a note for people, unless they asked for errors only."""
        if not self._quiet and not self._as_json:
            self.tell(text, word="Note:")

    def count(self, status: str) -> int:
        """Return how many inputs had this outcome."""
        return self._counts[status]

    def skip(self) -> None:
        """Count an input that is left out, for the summary only."""
        self._counts["skipped"] += 1

    def run_each(self, status: str, sources: Iterable[str], call: _Call) -> None:
        """Make a call for each source, and note `status`, `existed` or `failed`.

        Errors that are not about the source, such as a full disk, are raised.
        """
        for index, source in enumerate(sources):
            became, record, error = self._attempt(status, source, call)
            data: dict[str, Any] = {"index": index, "source": source, "status": became, "sample": None}
            if record:
                data[type(record).__name__.lower()] = record.to_dict()
            data["error"] = error and error.to_dict()
            about = (
                f"{record.sample_id if isinstance(record, Sample) else record.job_id} {source}" if record else source
            )
            self.note(became, about, data, failure=error.message if error else "", always=True)

    def _attempt(self, status: str, source: str, call: _Call) -> tuple[str, Sample | Job | None, SampleDBError | None]:
        try:
            return status, call(source), None
        except ConflictError as error:
            get = self._db.get_job if error.details["resource"] == "job" else self._db.get_sample
            return "existed", get(error.details["id"]), None
        except (InvalidInputError, AnalysisError) as error:
            return _FAILED, None, error

    def summarize(self, status: str, *, empty: str = "") -> Answer:
        """Return the counts, `status` first.

        Args:
            status: The outcome of inputs that succeeded.
            empty: The error if there were no inputs; `""` if that is none.
        """
        is_missing = bool(empty and not self._bar.done)
        if is_missing and not self._as_json:
            self.tell(empty)
        exit_code = INCOMPLETE if self._counts[_FAILED] or is_missing else 0
        return Answer(lambda: self._data, lambda _: [] if self._quiet else [self._format_sum(status)], exit_code)

    def _format_sum(self, status: str) -> str:
        others = sorted(self._counts.keys() - {status, _FAILED})
        counted = [each for each in (status, *others, _FAILED) if each == status or self._counts[each]]
        counts = ", ".join(f"{self._counts[each]:,} {each}" for each in counted)
        return f"{counts} in {self._bar.seconds:.1f} s ({self._bar.rate:.1f}/s)"
