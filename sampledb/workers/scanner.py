"""Scan frames in child processes: on all cores, and a pattern that never ends can be stopped."""

from collections.abc import Sequence
from functools import lru_cache

import msgspec

from sampledb.format.columns import Place
from sampledb.format.frame import FrameError
from sampledb.format.scan.scanner import Found, Scan, Scanner
from sampledb.workers.pool import Ask
from sampledb.workers.process import Channel


class Stored(msgspec.Struct, array_like=True):
    """A frame as it is stored, and the functions in it that are asked for."""

    blob: bytes
    checksum: int
    places: list[Place]


class Answer(msgspec.Struct, array_like=True):
    """What was found in each frame; up to a damaged one, and what is wrong with it."""

    found: list[list[Found]]
    fault: str = ""


class _Question(msgspec.Struct):
    scan: Scan
    frames: list[Stored]


_encode = msgspec.msgpack.Encoder().encode
_decode_question = msgspec.msgpack.Decoder(_Question).decode
_decode_answer = msgspec.msgpack.Decoder(Answer).decode


def scan_frames(scanner: Scanner, frames: Sequence[Stored]) -> Answer:
    """Return what a scanner finds."""
    answer = Answer([])
    try:
        for frame in frames:
            answer.found.append(scanner.scan(frame.blob, frame.checksum, frame.places))
    except FrameError as error:
        answer.fault = str(error)
    return answer


def ask_to_scan(scan: Scan, frames: list[Stored], limit: float, ask: Ask) -> Answer:
    """Return what a child process finds; `ask` raises if that takes more than `limit` seconds."""
    return _decode_answer(ask(_encode(_Question(scan, frames)), limit))


# In the child


def serve(channel: Channel) -> None:
    """Answer each question, until the parent is gone."""
    # Nearly all questions of a process are about one scan.
    make_scanner = lru_cache(maxsize=1)(Scanner)
    for content in channel.questions():
        question = _decode_question(content)
        channel.answer(_encode(scan_frames(make_scanner(question.scan), question.frames)))
