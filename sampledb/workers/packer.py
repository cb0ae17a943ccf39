"""Parse reports in child processes: it takes a core, and Python uses only one.

A few reports are parsed here and at once. Where there are more, a process for each core parses them, while this one
reads files and writes the database. It goes on parsing until the processes are ready.
"""

import os
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, Final, Self

import msgspec

from sampledb.errors import InvalidInputError
from sampledb.format.report import Report, parse_report
from sampledb.workers.pool import Ask, Pool
from sampledb.workers.process import Channel, DiedError, UnavailableError, can_start_python

# Seconds of parsing after which processes are started. Nothing waits for them, and what they cost, other cores pay.
_PATIENCE: Final = 0.1
# Bytes of JSON under way: a large report, for whose outcome those of others wait, shall leave no process without work.
_AHEAD: Final = 32 * 1024 * 1024


class _Answer(msgspec.Struct):
    """A report, or the error for one that breaks a rule; neither if MessagePack cannot carry the report."""

    report: Report | None = None
    message: str = ""
    details: dict[str, Any] = {}


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Answer).decode


class Packer:
    """Parses reports, in child processes once that pays."""

    def __init__(self) -> None:
        self._spent = 0.0
        self._count = os.cpu_count() or 1
        self._pool: Pool | None = None
        self._starts: list[Future[None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown()

    def has_room(self, count: int, size: int) -> bool:
        """Return whether another report should be under way beside `count` of `size` bytes."""
        if self._pool is None or self._is_starting():
            return count < 1
        return count < 2 * self._count or size < _AHEAD

    def _is_starting(self) -> bool:
        return not any(start.done() for start in self._starts)

    def parse(self, content: bytes) -> Future[Report]:
        """Parse a report's JSON; the result is the Report, or the InvalidInputError of `parse_report`."""
        if self._pool is None and self._count > 1 and self._spent > _PATIENCE and can_start_python():
            self._pool = Pool("packer", self._count)
            self._starts = [self._pool.submit(_start) for _ in range(self._count)]
        if self._pool and not self._is_starting():
            return self._pool.submit(partial(_parse_elsewhere, content))
        future: Future[Report] = Future()
        begun = monotonic()
        try:
            future.set_result(parse_report(content))
        except Exception as error:  # noqa: BLE001 - raised where the result is asked for
            future.set_exception(error)
        self._spent += monotonic() - begun
        return future


def _start(ask: Ask) -> None:
    """Start the process of a thread, and load what it needs; if that fails, so does the first question."""
    with suppress(UnavailableError, DiedError):
        ask(b"", None)


def _parse_elsewhere(content: bytes, ask: Ask) -> Report:
    try:
        try:
            answer = _decode(ask(content, None))
        except DiedError:
            # The process may have been killed for what it did not do.
            answer = _decode(ask(content, None))
    except UnavailableError:
        return parse_report(content)
    except DiedError as error:
        raise InvalidInputError.in_report("$", f"cannot be read: {error}, perhaps because memory ran out") from error
    if answer.message:
        raise InvalidInputError(answer.message, answer.details)
    return answer.report or parse_report(content)


# In the child


def serve(channel: Channel) -> None:
    """Answer each report's JSON with the parsed report, until the parent is gone."""
    for content in channel.questions():
        channel.answer(_answer(content))


def _answer(content: bytes) -> bytes:
    try:
        return _encode(_Answer(report=parse_report(content)))
    except InvalidInputError as error:
        return _encode(_Answer(message=error.message, details=error.details))
    except OverflowError:
        # JSON has integers of any size, MessagePack has 64 bits.
        return _encode(_Answer())
