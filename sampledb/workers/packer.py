"""Reports packed by other processes: most of the time of adding goes into taking instructions apart, on one core.

A few reports are packed here and at once; where there are more, processes are started, as many as there are cores,
while this one reads files and writes the database.
"""

import os
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any, Final, Self

import msgspec

from sampledb.errors import InvalidInputError
from sampledb.format.report import Report, parse_report
from sampledb.workers.process import Channel, DiedError, Process, UnavailableError

# Seconds of packing after which it pays to start processes.
_PATIENCE: Final = 0.5


class _Ready(msgspec.Struct):
    pass


class _Question(msgspec.Struct):
    report: bytes


class _Answer(msgspec.Struct):
    """Either a report, or the error that it breaks a rule; neither when MessagePack cannot carry the report."""

    report: Report | None = None
    message: str = ""
    details: dict[str, Any] = {}


class Packers:
    """Makes Reports of JSON, here or elsewhere."""

    def __init__(self) -> None:
        self._spent = 0.0
        self._owner = os.getpid()
        self._count = os.cpu_count() or 1
        self._threads: ThreadPoolExecutor | None = None
        self._mine = threading.local()
        self._started: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # In the child of a fork there are no threads, and the processes belong to the parent.
        if os.getpid() != self._owner:
            return
        for process in list(self._started):
            process.cancel()
        if self._threads:
            self._threads.shutdown(cancel_futures=True)
        for process in self._started:
            process.end()

    @property
    def room(self) -> int:
        """How many reports are worth having under way."""
        return 2 * self._count if self._threads else 1

    def pack(self, report: bytes) -> "Future[Report]":
        """The report of this JSON, or the InvalidInputError that it breaks a rule."""
        if self._threads is None and self._is_worth_it():
            self._threads = ThreadPoolExecutor(self._count, thread_name_prefix="sampledb-packing")
        if self._threads:
            return self._threads.submit(self._elsewhere, report)
        begun = monotonic()
        future = _done(report)
        self._spent += monotonic() - begun
        return future

    def _is_worth_it(self) -> bool:
        return self._count > 1 and self._spent > _PATIENCE and _runs_python()

    def _elsewhere(self, report: bytes) -> Report:
        """What a thread does: ask its process, which it starts when it has none; without processes, do it here."""
        try:
            answer = self._asked(_Question(report))
        except UnavailableError:
            return parse_report(report)
        except DiedError as error:
            raise InvalidInputError.in_report("$", f"cannot be read: {error}, perhaps for want of memory") from error
        if answer.message:
            raise InvalidInputError(answer.message, answer.details)
        return answer.report or parse_report(report)

    def _asked(self, question: _Question) -> _Answer:
        """The answer of a process, or of another where that was killed, perhaps for what others did."""
        try:
            return self._process().ask(question, _Answer)
        except DiedError:
            return self._process().ask(question, _Answer)

    def _process(self) -> Process:
        process: Process | None = getattr(self._mine, "process", None)
        if process is None or not process.is_well:
            process = Process("packer", _Ready())
            self._started.append(process)
            process.start(_Ready)
            self._mine.process = process
        return process


def _done(report: bytes) -> "Future[Report]":
    future: Future[Report] = Future()
    try:
        future.set_result(parse_report(report))
    except Exception as error:  # noqa: BLE001 - it is raised where the result is asked for
        future.set_exception(error)
    return future


def _runs_python() -> bool:
    """Whether this program is an interpreter that can be started again: inside of IDA or Ghidra it is not."""
    return Path(sys.executable or "").name.lower().startswith(("python", "pypy"))


# In the process


def serve() -> None:
    """Pack what comes in until the other side is gone."""
    channel = Channel()
    channel.answer(channel.setup(_Ready))
    for question in channel.questions(_Question):
        answer = _packed(question.report)
        try:
            channel.answer(answer)
        except OverflowError:
            # JSON has integers of any size, MessagePack of 64 bits.
            channel.answer(_Answer())


def _packed(report: bytes) -> _Answer:
    try:
        return _Answer(report=parse_report(report))
    except InvalidInputError as error:
        return _Answer(message=error.message, details=error.details)
