"""What became of each thing that a command was given: told as it happens, and summed up at the end."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final, TypeAlias

from sampledb import SampleDB
from sampledb.cli import terminal
from sampledb.cli.terminal import Answer, Bar, safe
from sampledb.errors import AnalysisError, ConflictError, InvalidInputError, SampleDBError
from sampledb.model import Job, Sample

#: The exit code of a command that did what it could, and of a check that found something.
INCOMPLETE: Final = 3
_FAILED: Final = "failed"

_Call: TypeAlias = Callable[[str], Sample | Job]


class Ledger:
    """Counts, and tells people: by a bar on a terminal, by lines in a pipe, of failures in both.

    Machines get all of it at the end, and nothing on stdout before.
    """

    def __init__(self, db: SampleDB, bar: Bar | None, *, as_json: bool, quiet: bool) -> None:
        self._db = db
        self._bar = bar
        self._as_json = as_json
        self._quiet = quiet
        self._counts: Counter[str] = Counter()
        self._data: list[dict[str, Any]] = []
        self._total: int | None = None
        self._is_empty = False
        self._begun = time.monotonic()

    @property
    def has_bar(self) -> bool:
        """Whether people see how far it is."""
        return self._bar is not None

    def expect(self, total: int | None) -> None:
        """Learn how many there will be; `None` if nobody knows."""
        self._total = total
        self._move()

    def note(self, status: str, about: str, data: dict[str, Any], *, failure: str = "", always: bool = False) -> None:
        """What became of the next one.

        Args:
            status: What is counted: `added`, `failed`, …
            about: Which one, for people.
            data: The same for machines.
            failure: Why, if it failed.
            always: Whether people want to read it even when they see a bar.
        """
        self._counts[status] += 1
        if self._as_json:
            self._data.append(data)
        elif status == _FAILED:
            # Of a file, the reason names it already.
            self._complain(failure if failure.startswith(about) else f"{about}: {failure}")
        elif not self._quiet and (always or not self._is_watched()):
            self._tell(safe(f"{status} {about}"))
        self._move()

    def _move(self) -> None:
        if self._bar:
            self._bar.move(self._counts.total(), self._total, self._rate())

    def _is_watched(self) -> bool:
        """Whether all that is printed appears beside the bar."""
        return self._bar is not None and sys.stdout.isatty()

    def _tell(self, line: str) -> None:
        if self._bar and self._is_watched():
            self._bar.write(line)
        else:
            terminal.write([line])

    def _complain(self, text: str) -> None:
        if self._bar:
            self._bar.write(safe(f"Error: {text}"))
        else:
            terminal.complain(text)

    def _rate(self) -> float:
        return self._counts.total() / max(time.monotonic() - self._begun, 1e-3)

    def each(self, status: str, sources: Iterable[str], call: _Call) -> None:
        """Make a call for each source, and note `status`, or that it existed or failed.

        An error that is not about the source, such as a full disk, ends it all.
        """
        for index, source in enumerate(sources):
            became, record, error = self._attempt(status, source, call)
            data: dict[str, Any] = {"index": index, "source": source, "status": became, "sample": None}
            if record:
                data[type(record).__name__.lower()] = record.to_dict()
            data["error"] = error and error.to_dict()
            about = f"{_identity(record)} {source}" if record else source
            self.note(became, about, data, failure=error.message if error else "", always=True)

    def _attempt(self, status: str, source: str, call: _Call) -> tuple[str, Sample | Job | None, SampleDBError | None]:
        try:
            return status, call(source), None
        except ConflictError as error:
            return "existed", self._known(error), None
        except (InvalidInputError, AnalysisError) as error:
            return _FAILED, None, error

    def _known(self, error: ConflictError) -> Sample | Job:
        """What was in the way."""
        if error.details["resource"] == "job":
            return self._db.get_job(error.details["id"])
        return self._db.get_sample(error.details["id"])

    def answer(self, status: str, nothing: str = "") -> Answer:
        """The sum: how many of each, `status` first; `nothing` is the failure that there were none."""
        if nothing and not self._counts:
            self._is_empty = True
            if not self._as_json:
                self._complain(nothing)
        return Answer(lambda: self._data, lambda _: [] if self._quiet else [self._sum(status)], self._exit_code())

    def _sum(self, status: str) -> str:
        others = sorted(self._counts.keys() - {status, _FAILED})
        counted = [each for each in (status, *others, _FAILED) if each == status or self._counts[each]]
        seconds = time.monotonic() - self._begun
        counts = ", ".join(f"{self._counts[each]:,} {each}" for each in counted)
        return f"{counts} in {seconds:.1f} s ({self._rate():.1f}/s)"

    def _exit_code(self) -> int:
        return INCOMPLETE if self._counts[_FAILED] or self._is_empty else 0


def _identity(record: Sample | Job) -> int | str:
    return record.sample_id if isinstance(record, Sample) else record.job_id


@contextmanager
def opened(db: SampleDB, *, as_json: bool, quiet: bool) -> Iterator[Ledger]:
    """A ledger, with a bar where that can be seen."""
    with nullcontext() if quiet else terminal.bar() as bar:
        yield Ledger(db, bar, as_json=as_json, quiet=quiet)
