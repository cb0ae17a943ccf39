"""Decode frames: from columns back to SMDA's function dicts.

As in the encoder, each step is for all functions at once. Some functions of a frame are read by cutting a smaller
frame out of it.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, compress, islice, pairwise, repeat
from typing import Any, TypeVar

import msgspec

from sampledb.format import frame as layout
from sampledb.format.frame import Counts, Frame, FrameError, Row, Signed
from sampledb.format.smda import OPTIONAL

_T = TypeVar("_T")

_flatten = chain.from_iterable
_parse_json = msgspec.json.Decoder().decode
_parse_measures = msgspec.json.Decoder(list[layout.Measures]).decode
_parse_frame = msgspec.msgpack.Decoder(Frame).decode


def decode_frame(content: bytes, rows: Sequence[Row], first: int = 0) -> list[dict[str, Any]]:
    """Return the dicts of the functions of these rows, from position `first` of the frame on.

    Raises:
        FrameError: The content is no frame, or holds other functions.
    """
    frame = parse_frame(content)
    if not 0 <= first <= first + len(rows) <= _count(frame):
        raise FrameError("the frame ends before the function")
    try:
        positions = range(first, first + len(rows))
        regular = [row for position, row in zip(positions, rows, strict=True) if position not in frame.odd]
        begin = first - sum(position < first for position in frame.odd)
        if len(rows) < _count(frame):
            _cut(frame, slice(begin, begin + len(regular)))
        elif layout.checksum_rows(regular) != frame.rows_checksum:
            raise FrameError("a name, offset, binweight or pic_hash has changed")
        found = _decode(frame, regular)
        if not frame.odd:
            return found
        remaining = iter(found)
        return [
            _read_odd(frame.odd[position], row) if position in frame.odd else next(remaining)
            for position, row in zip(positions, rows, strict=True)
        ]
    except (LookupError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise FrameError(f"the columns do not fit together: {error}") from error


def count_functions(content: bytes) -> int:
    """Return how many functions a frame holds.

    Raises:
        FrameError: The content is no frame.
    """
    return _count(parse_frame(content))


def _count(frame: Frame) -> int:
    return len(frame.num_blocks) + len(frame.odd)


def parse_frame(content: bytes) -> Frame:
    """Return the columns of a frame, whose lengths may be wrong.

    Raises:
        FrameError: The content is no frame.
    """
    try:
        return _parse_frame(content)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"no frame: {error}") from error


def parse_odd(json: bytes) -> dict[str, Any]:
    """Return the dict of a function that a frame keeps as JSON."""
    function = _parse_json(json)
    if not isinstance(function, dict):
        raise FrameError("an odd function is no JSON object")
    return function


def _read_odd(json: bytes, row: Row) -> dict[str, Any]:
    function = parse_odd(json)
    if function.get("offset") != row.offset or not isinstance(function.get("blocks"), dict):
        raise FrameError("an odd function is not that of its row")
    return function


def _cut(frame: Frame, functions: slice) -> None:
    """Leave only some of the regular functions in a frame."""
    blocks = _part(frame.num_blocks, functions)
    instructions = _part(frame.num_instructions, blocks)
    components = _part(frame.num_components, functions)
    members = _part(frame.component_sizes, components) if frame.component_sizes else components
    outrefs = _part(frame.num_outrefs, functions)
    targets = _part(frame.outref_sizes, outrefs) if frame.outref_sizes else outrefs
    apirefs = _part(frame.num_apirefs, functions)
    frame.lines = _cut_lines(frame.lines, functions)
    frame.successors = _rebase(frame.successors, _part(frame.num_successors, blocks), blocks.start)
    frame.components = _rebase(frame.components, members, blocks.start)
    frame.component_sizes = frame.component_sizes[components]
    frame.inrefs = _rebase(frame.inrefs, _part(frame.num_inrefs, functions), 0)
    frame.outref_places = _rebase(frame.outref_places, outrefs, instructions.start)
    frame.outref_sizes = frame.outref_sizes[outrefs]
    frame.outref_targets = frame.outref_targets[targets]
    frame.apiref_places = _rebase(frame.apiref_places, apirefs, instructions.start)
    frame.apiref_names = "\n".join(frame.apiref_names.split("\n")[apirefs])
    frame.num_instructions = frame.num_instructions[blocks]
    frame.gaps = frame.gaps[blocks]
    frame.num_successors = frame.num_successors[blocks]
    frame.targets = frame.targets[blocks]
    frame.num_blocks = frame.num_blocks[functions]
    frame.entries = frame.entries[functions]
    frame.num_components = frame.num_components[functions]
    frame.num_inrefs = frame.num_inrefs[functions]
    frame.num_outrefs = frame.num_outrefs[functions]
    frame.num_apirefs = frame.num_apirefs[functions]
    frame.measures = frame.measures[functions]
    frame.texts = frame.texts[functions]


def _cut_lines(text: str, functions: slice) -> str:
    """Return the part of a text with these functions, which NUL separates; to split it all would copy it."""
    if functions.start == functions.stop:
        return ""
    begin = 0
    for _ in range(functions.start):
        begin = text.index("\0", begin) + 1
    end = begin - 1
    for _ in range(functions.start, functions.stop):
        found = text.find("\0", end + 1)
        end = len(text) if found < 0 else found
    return text[begin:end]


def _part(counts: Counts, owners: slice) -> slice:
    """Return which part of a column belongs to these owners, of which each has as much as `counts` says."""
    begin = sum(counts[: owners.start])
    return slice(begin, begin + sum(counts[owners]))


def _rebase(differences: Signed, part: slice, base: int) -> list[int]:
    """Return a part of a column of differences, beginning from `base`."""
    values = list(differences[part])
    if values:
        values[0] += sum(differences[: part.start]) - base
    return values


def _decode(frame: Frame, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the dicts of all regular functions of a frame."""
    if not rows:
        return []
    layout.check_counts(frame)
    bounds = list(accumulate(frame.num_instructions, initial=0))
    lines = layout.split_lines(frame.lines, 3 * bounds[-1])
    codes, mnemonics, operands = lines[0::3], lines[1::3], lines[2::3]
    sizes = layout.code_sizes(codes)
    addresses = layout.locate_instructions(rows[0].offset + frame.entries[0], frame.gaps, bounds, sizes)
    starts = list(map(addresses.__getitem__, bounds[:-1]))
    successors = _slices(list(map(starts.__getitem__, accumulate(frame.successors))), frame.num_successors)
    _restore_targets(operands, bounds, frame.targets, successors)
    # Four names, because list(fields) would take twice as long.
    fields = zip(addresses, codes, mnemonics, operands, strict=True)
    instructions = [[address, code, mnemonic, operand] for address, code, mnemonic, operand in fields]
    keys = list(map(str, starts))
    functions = [
        {
            "apirefs": apirefs,
            "architecture_metadata": {},
            "blockrefs": blockrefs,
            "blocks": blocks,
            "inrefs": inrefs,
            "is_exported": is_exported,
            "metadata": {
                "binweight": binweight,
                "characteristics": characteristics,
                "confidence": confidence,
                "function_name": name,
                "nesting_depth": nesting_depth,
                "pic_hash": pic_hash,
                "strongly_connected_components": components,
                "tfidf": tfidf,
            },
            "offset": offset,
            "outrefs": outrefs,
            "stringrefs": {},
        }
        for (
            (offset, name, binweight, pic_hash),
            apirefs,
            blockrefs,
            blocks,
            inrefs,
            outrefs,
            components,
            (characteristics, confidence, tfidf, nesting_depth, is_exported),
        ) in zip(
            rows,
            _read_apirefs(frame, addresses),
            _dicts(zip(keys, successors, strict=True), frame.num_blocks),
            _dicts(zip(keys, _slices(instructions, frame.num_instructions), strict=True), frame.num_blocks),
            _slices(list(accumulate(frame.inrefs)), frame.num_inrefs),
            _read_outrefs(frame, addresses, operands),
            _read_components(frame, starts),
            _parse_measures(b"[%b]" % b",".join(frame.measures)),
            strict=True,
        )
    ]
    _add_optional(frame, functions)
    return functions


def _restore_targets(operands: list[str], bounds: list[int], targets: bytes, successors: list[list[int]]) -> None:
    """Append the addresses that were cut off from the last operands of blocks."""
    for bound, target, to in compress(zip(bounds[1:], targets, successors, strict=True), targets):
        operands[bound - 1] += hex(to[-1] if target == layout.LAST else to[0])


def _read_apirefs(frame: Frame, addresses: list[int]) -> Iterable[dict[str, str]]:
    if not frame.apiref_places:
        return [{} for _ in frame.num_apirefs]
    keys = map(str, map(addresses.__getitem__, accumulate(frame.apiref_places)))
    return _dicts(zip(keys, frame.apiref_names.split("\n"), strict=True), frame.num_apirefs)


def _read_outrefs(frame: Frame, addresses: list[int], operands: list[str]) -> Iterable[dict[str, list[int]]]:
    if not frame.outref_places:
        return [{} for _ in frame.num_outrefs]
    places, sizes = list(accumulate(frame.outref_places)), frame.outref_sizes
    sources = _flatten(map(repeat, places, sizes)) if sizes else places
    # No address has more than 16 digits behind its `x`.
    targets = [
        addresses[source] + target - (target > 0) if target else int(operands[source][-17:].rpartition("x")[2], 16)
        for source, target in zip(sources, frame.outref_targets, strict=True)
    ]
    lists = _slices(targets, sizes) if sizes else [[target] for target in targets]
    keys = map(str, map(addresses.__getitem__, places))
    return _dicts(zip(keys, lists, strict=True), frame.num_outrefs)


def _read_components(frame: Frame, starts: list[int]) -> list[list[list[int]]]:
    blocks = list(map(starts.__getitem__, accumulate(frame.components)))
    sizes = frame.component_sizes
    return _slices(_slices(blocks, sizes) if sizes else [[block] for block in blocks], frame.num_components)


def _add_optional(frame: Frame, functions: list[dict[str, Any]]) -> None:
    for function, texts in zip(functions, frame.texts, strict=False):
        function["architecture_metadata"], function["stringrefs"] = map(_parse_json, texts)
    for key in frame.absent:
        for function in functions:
            (function if key in OPTIONAL else function["metadata"]).pop(key, None)


def _dicts(items: Iterator[tuple[str, _T]], lengths: Iterable[int]) -> Iterator[dict[str, _T]]:
    """Return dicts of consecutive items, as many as these lengths say."""
    return map(dict, map(islice, repeat(items), lengths))


def _slices(values: list[_T], lengths: Iterable[int]) -> list[list[_T]]:
    """Return consecutive parts of these lengths."""
    return [values[begin:end] for begin, end in pairwise(accumulate(lengths, initial=0))]
