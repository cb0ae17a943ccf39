"""Decode frames: from columns back to SMDA's function dicts."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Any, Final, TypeVar

import msgspec

from sampledb.format import frame as layout
from sampledb.format.frame import Frame, FrameError, Row
from sampledb.format.smda import OPTIONAL

# Only in text of so many characters it pays to count lines before they are cut.
_LONG: Final = 1 << 20

_Sliced = TypeVar("_Sliced", str, list[int], list[list[Any]])

_parse_json = msgspec.json.Decoder().decode
_parse_measures = msgspec.json.Decoder(list[layout.Measures]).decode
_parse_frame = msgspec.msgpack.Decoder(Frame).decode


def decode_frame(content: bytes, rows: Sequence[Row], first: int = 0) -> list[dict[str, Any]]:
    """Return the dicts of the functions of these rows, from position `first` of the frame on.

    Raises:
        FrameError: The content is no frame, or holds other functions.
    """
    frame = _parse(content)
    if not 0 <= first <= first + len(rows) <= _count(frame):
        raise FrameError("the frame ends before the function")
    try:
        positions = range(first, first + len(rows))
        regular = [row for position, row in zip(positions, rows, strict=True) if position not in frame.odd]
        if len(rows) == _count(frame) and layout.checksum_rows(regular) != frame.rows_checksum:
            raise FrameError("a name, offset, binweight or pic_hash has changed")
        reader = _Reader(frame, first - sum(position < first for position in frame.odd))
        return [
            _parse_odd(frame.odd[position]) if position in frame.odd else reader.read_function(row)
            for position, row in zip(positions, rows, strict=True)
        ]
    except (IndexError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise FrameError(f"the columns do not fit together: {error}") from error


def count_functions(content: bytes) -> int:
    """Return how many functions a frame holds.

    Raises:
        FrameError: The content is no frame.
    """
    return _count(_parse(content))


def _count(frame: Frame) -> int:
    return len(frame.num_instructions) + len(frame.odd)


def _parse(content: bytes) -> Frame:
    try:
        return _parse_frame(content)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"no frame: {error}") from error


def _parse_odd(json: bytes) -> dict[str, Any]:
    function = _parse_json(json)
    if not isinstance(function, dict):
        raise FrameError("an odd function is no JSON object")
    return function


class _Reader:
    """Reads regular functions one after the other, from the one at `first` on."""

    def __init__(self, frame: Frame, first: int) -> None:
        self._frame = frame
        self._position = first - 1
        self._instruction = sum(map(sum, frame.num_instructions[:first]))
        if max(len(frame.codes), len(frame.operands)) > _LONG:
            _refuse_extra_lines(frame)
        self._codes = frame.codes.split("\0")
        self._operands = frame.operands.split("\0")
        self._names = frame.apiref_names.split("\0")
        self._measures = _parse_measures(frame.measures)

    def read_function(self, row: Row) -> dict[str, Any]:
        """Return the dict of the next function, which has this row."""
        self._position += 1
        frame, position = self._frame, self._position
        counts = frame.num_instructions[position]
        bounds = list(accumulate(counts, initial=0))
        codes = self._codes[position].split("\n")
        addresses = layout.locate_instructions(row.offset, frame.gaps[position], bounds, layout.code_sizes(codes))
        starts = list(map(addresses.__getitem__, bounds[:-1]))
        keys = list(map(str, starts))
        successors = self._read_successors(starts)
        operands = _restore_targets(self._operands[position].split("\n"), bounds[1:], successors)
        instructions = self._read_instructions(addresses, codes, operands)
        apirefs = _sums(row.offset, frame.apiref_addresses[position])
        metadata = self._read_metadata(row, starts)
        function: dict[str, Any] = {
            "apirefs": dict(zip(map(str, apirefs), self._names[position].split("\n"), strict=False)),
            "architecture_metadata": {},
            "blockrefs": dict(zip(keys, successors, strict=True)),
            "blocks": dict(zip(keys, _slices(instructions, counts), strict=True)),
            "inrefs": _sums(row.offset, frame.inrefs[position]),
            "is_exported": self._measures[position][-1],
            "metadata": metadata,
            "offset": row.offset,
            "outrefs": self._read_outrefs(row, instructions),
            "stringrefs": {},
        }
        if frame.texts:
            function["architecture_metadata"], function["stringrefs"] = map(_parse_json, frame.texts[position])
        for key in frame.absent:
            (function if key in OPTIONAL else metadata).pop(key, None)
        return function

    def _read_successors(self, starts: list[int]) -> list[list[int]]:
        """Return, for each block, the starts of the blocks that may follow it."""
        places = accumulate(self._frame.successors[self._position])
        return _slices(list(map(starts.__getitem__, places)), self._frame.num_successors[self._position])

    def _read_instructions(self, addresses: list[int], codes: list[str], operands: list[str]) -> list[list[Any]]:
        inside = slice(self._instruction, self._instruction + len(addresses))
        self._instruction = inside.stop
        mnemonics = map(self._frame.mnemonics.__getitem__, self._frame.mnemonic_of[inside])
        # Four names, because list(fields) would take twice as long.
        fields = zip(addresses, codes, mnemonics, operands, strict=True)
        return [[address, code, mnemonic, operand] for address, code, mnemonic, operand in fields]

    def _read_outrefs(self, row: Row, instructions: list[list[Any]]) -> dict[str, list[int]]:
        addresses = _sums(row.offset, self._frame.outref_addresses[self._position])
        targets = self._frame.outref_targets[self._position]
        return {
            str(address): [target + address for target in to]
            if isinstance(to, list)
            else [address + to if to else _parse_target(address, instructions)]
            for address, to in zip(addresses, targets, strict=True)
        }

    def _read_metadata(self, row: Row, starts: list[int]) -> dict[str, Any]:
        characteristics, confidence, tfidf, nesting_depth, _ = self._measures[self._position]
        sizes = self._frame.component_sizes[self._position]
        components = list(map(starts.__getitem__, accumulate(self._frame.components[self._position])))
        return {
            "binweight": row.binweight,
            "characteristics": characteristics,
            "confidence": confidence,
            "function_name": row.name,
            "nesting_depth": nesting_depth,
            "pic_hash": row.pic_hash,
            "strongly_connected_components": _slices(components, sizes) if sizes else [[start] for start in components],
            "tfidf": tfidf,
        }


def _refuse_extra_lines(frame: Frame) -> None:
    """Raise FrameError before text is split into lines by the million: each takes eight bytes in a list."""
    for text in (frame.codes, frame.operands):
        if text.count("\n") + text.count("\0") > len(frame.mnemonic_of):
            raise FrameError("there are more lines than instructions")


def _restore_targets(operands: list[str], bounds: list[int], successors: list[list[int]]) -> list[str]:
    """Replace the marks in the operands of jumps by addresses; `bounds` are the ends of the blocks."""
    for bound, targets in zip(bounds, successors, strict=True):
        mark = operands[bound - 1][-1:]
        if mark == layout.TO_LAST:
            operands[bound - 1] = operands[bound - 1][:-1] + hex(targets[-1])
        elif mark == layout.TO_FIRST:
            operands[bound - 1] = operands[bound - 1][:-1] + hex(targets[0])
    return operands


def _parse_target(address: int, instructions: list[list[Any]]) -> int:
    """Return the address that the operands of the instruction at `address` name."""
    operands: str = instructions[bisect_left(instructions, [address])][3]
    return int(operands.removeprefix("#"), 16)


def _sums(first: int, differences: list[int]) -> list[int]:
    return list(accumulate(differences, initial=first))[1:]


def _slices(values: _Sliced, lengths: Iterable[int]) -> list[_Sliced]:
    return [values[begin:end] for begin, end in pairwise(accumulate(lengths, initial=0))]
