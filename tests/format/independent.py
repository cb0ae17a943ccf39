"""A reader of files that was written from `sampledb/format/README.md` alone, and uses nothing of the package."""

import json
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import msgspec
import xxhash

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["Frame", "Reader", "list_names", "read_blob", "zstd"]

FORMAT = 5
FRAMES, BINARIES = 2, 3
MIB = 1 << 20
MOST = {1: 512 * MIB, FRAMES: 64 * MIB, BINARIES: 512 * MIB}
DICTIONARY = zstd.ZstdDict((Path(__file__).parents[2] / "sampledb" / "format" / "frame2.dict").read_bytes())
MEASURES = ("characteristics", "confidence", "tfidf", "nesting_depth")

# The columns that are bytes where these are enough.
COUNTS = (
    *("num_blocks", "num_components", "num_inrefs", "num_outrefs", "num_apirefs", "num_instructions"),
    *("num_successors", "component_sizes", "outref_sizes"),
)
INTEGERS = ("entries", "gaps", "successors", "components", "inrefs", "outref_places", "outref_targets", "apiref_places")

_T = TypeVar("_T")


class Row(NamedTuple):
    """What a frame leaves to the row of a function."""

    offset: int
    name: str
    binweight: float
    pic_hash: int | None


class Frame(NamedTuple):
    """The columns of a frame."""

    rows_checksum: int
    odd: dict[int, bytes]
    absent: list[str]
    lines: str
    num_blocks: list[int]
    entries: list[int]
    num_components: list[int]
    num_inrefs: list[int]
    num_outrefs: list[int]
    num_apirefs: list[int]
    num_instructions: list[int]
    gaps: list[int]
    num_successors: list[int]
    targets: bytes
    successors: list[int]
    components: list[int]
    component_sizes: list[int]
    inrefs: list[int]
    outref_places: list[int]
    outref_sizes: list[int]
    outref_targets: list[int]
    apiref_places: list[int]
    apiref_names: str
    measures: list[bytes]
    texts: list[list[bytes]]


def unsigned(value: int) -> int:
    return value % 2**64


def read_blob(kind: int, blob: bytes, checksum: int) -> bytes:
    if xxhash.xxh3_64_intdigest(blob) != unsigned(checksum):
        raise ValueError("a checksum that is not the blob's")
    if blob[0] % 128 != kind:
        raise ValueError("a blob of another format")
    # None where none is declared, which its annotation does not say.
    size = cast("int | None", zstd.get_frame_info(blob[1:]).decompressed_size)
    if size is None or size > MOST[kind]:
        raise ValueError("too large")
    decompressor = zstd.ZstdDecompressor(zstd_dict=DICTIONARY if kind == FRAMES else None)
    content = decompressor.decompress(blob[1:], size)
    if len(content) != size or not decompressor.eof or decompressor.unused_data:
        raise ValueError("not one frame")
    return content


def take(values: Iterator[_T], count: int) -> list[_T]:
    taken = list(islice(values, count))
    if len(taken) != count:
        raise ValueError("a column is too short")
    return taken


def pick(values: list[_T], differences: Iterable[int]) -> list[_T]:
    numbers = list(accumulate(differences))
    if min(numbers, default=0) < 0:
        raise ValueError("a number below 0")
    return [values[number] for number in numbers]


def read_frame(content: bytes, rows: list[Row]) -> list[dict[str, Any]]:
    """Return the dicts of all functions of a frame."""
    columns = dict(zip(Frame._fields, msgspec.msgpack.decode(content), strict=True))
    columns |= {name: list(columns[name]) for name in COUNTS}
    columns |= {name: _read_integers(columns[name]) for name in INTEGERS}
    frame = Frame(**columns)
    regular = [row for position, row in enumerate(rows) if position not in frame.odd]
    if xxhash.xxh3_64_intdigest(msgspec.msgpack.encode(regular)) != frame.rows_checksum:
        raise ValueError("rows of other functions")
    found = iter(_read_regular(frame, regular) if regular else ())
    return [json.loads(frame.odd[each]) if each in frame.odd else next(found) for each in range(len(rows))]


def _read_integers(column: bytes | list[int]) -> list[int]:
    return [byte - 256 * (byte > 127) for byte in column] if isinstance(column, bytes) else column


def _read_regular(frame: Frame, rows: list[Row]) -> Iterator[dict[str, Any]]:
    instructions, starts, blocks = _read_blocks(frame, rows[0].offset + frame.entries[0])
    addresses = [address for address, *_ in instructions]
    members, sizes = iter(pick(starts, frame.components)), iter(frame.component_sizes or [1] * len(frame.components))
    inrefs = accumulate(frame.inrefs)
    outrefs = _read_outrefs(frame, addresses, instructions)
    apirefs = iter(zip(map(str, pick(addresses, frame.apiref_places)), frame.apiref_names.split("\n"), strict=False))
    measures = list(map(json.loads, frame.measures))
    for number, row in enumerate(rows):
        own = take(blocks, frame.num_blocks[number])
        if own[0][0] != row.offset + frame.entries[number]:
            raise ValueError("a function begins elsewhere")
        architecture, strings = map(json.loads, frame.texts[number] if frame.texts else (b"{}", b"{}"))
        metadata: dict[str, Any] = {
            "function_name": row.name,
            "binweight": row.binweight,
            "pic_hash": row.pic_hash,
            "strongly_connected_components": [
                take(members, size) for size in take(sizes, frame.num_components[number])
            ],
            **dict(zip(MEASURES, measures[number], strict=False)),
        }
        function = {
            "offset": row.offset,
            "blocks": {str(start): block for start, block, _ in own},
            "blockrefs": {str(start): successors for start, _, successors in own},
            "inrefs": take(inrefs, frame.num_inrefs[number]),
            "outrefs": dict(take(outrefs, frame.num_outrefs[number])),
            "apirefs": dict(take(apirefs, frame.num_apirefs[number])),
            "is_exported": measures[number][4],
            "architecture_metadata": architecture,
            "stringrefs": strings,
            "metadata": metadata,
        }
        for key in frame.absent:
            (function if key in function else metadata).pop(key)
        yield function


_Block = tuple[int, list[list[Any]], list[int]]


def _read_blocks(frame: Frame, address: int) -> tuple[list[list[Any]], list[int], Iterator[_Block]]:
    """Return all instructions, the starts of blocks, and the blocks: start, instructions, successors."""
    lines = iter(frame.lines.replace("\0", "\n").split("\n"))
    instructions: list[list[Any]] = []
    starts, blocks = [], []
    for count, gap in zip(frame.num_instructions, frame.gaps, strict=True):
        address += gap
        starts.append(address)
        blocks.append(range(len(instructions), len(instructions) + count))
        for _ in range(count):
            code, *texts = take(lines, 3)
            instructions.append([address, code, *texts])
            address += len(code) // 2
    successors = iter(pick(starts, frame.successors))
    found = [take(successors, count) for count in frame.num_successors]
    for block, target, to in zip(blocks, frame.targets, found, strict=True):
        if target:
            instructions[block[-1]][3] += hex(to[-1] if target == 1 else to[0])
    parts = ([instructions[place] for place in block] for block in blocks)
    return instructions, starts, zip(starts, parts, found, strict=True)


def _read_outrefs(frame: Frame, addresses: list[int], instructions: list[list[Any]]) -> Iterator[tuple[str, list[int]]]:
    targets = iter(frame.outref_targets)
    sizes = frame.outref_sizes or [1] * len(frame.outref_places)
    for place, size in zip(accumulate(frame.outref_places), sizes, strict=True):
        address, operands = addresses[place], instructions[place][3]
        yield (
            str(address),
            [
                address + target - (target > 0) if target else int(operands.rpartition("x")[2], 16)
                for target in take(targets, size)
            ],
        )


def list_names(references: object) -> list[str]:
    """Return what counts as names of APIs or strings in `apirefs` or `stringrefs`, each once."""
    values = references.values() if isinstance(references, dict) else references if isinstance(references, list) else ()
    texts = [value.get("string") if isinstance(value, dict) else value for value in values]
    return list(dict.fromkeys(text[:65536] for text in texts if isinstance(text, str) and text))


def hash_name(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=4).digest(), "big", signed=True)


class Reader:
    """Read a closed file."""

    def __init__(self, path: Path) -> None:
        head = path.read_bytes()[:72]
        if head[68:72] != b"smpl" or int.from_bytes(head[60:64], "big") != FORMAT:
            raise ValueError("no file of this format")
        self._connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
        self.select("PRAGMA trusted_schema = OFF")
        self.select("PRAGMA cell_size_check = ON")

    def close(self) -> None:
        self._connection.close()

    def read_binary(self, sha256: str) -> bytes:
        ((checksum, blob),) = self.select("SELECT checksum, binary FROM binaries WHERE sha256 = ?", sha256)
        return read_blob(BINARIES, blob, checksum)

    def select(self, sql: str, *parameters: object) -> list[Any]:
        return self._connection.execute(sql, parameters).fetchall()

    def read_reports(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the id of each analyzed sample and its report."""
        for sample_id, checksum, blob in self.select("SELECT sample_id, checksum, report FROM reports"):
            functions = self.read_functions(sample_id)
            yield sample_id, json.loads(read_blob(1, blob, checksum)) | {"xcfg": functions}

    def read_functions(self, sample_id: int) -> dict[str, dict[str, Any]]:
        """Return the dicts of a sample's functions by offset."""
        rows = [
            Row(unsigned(offset), name, binweight, None if pic_hash is None else unsigned(pic_hash))
            for offset, name, binweight, pic_hash in self.select(
                'SELECT "offset", name, binweight, pic_hash FROM functions WHERE sample_id = ? ORDER BY function_id',
                sample_id,
            )
        ]
        ((first, count),) = self.select(
            "SELECT first_function_id, num_functions FROM samples WHERE sample_id = ?", sample_id
        )
        if not count:
            return {}
        frames = self.select(
            "SELECT first_function_id, checksum, frame FROM disassembly WHERE first_function_id BETWEEN ? AND ?"
            " ORDER BY first_function_id",
            *(first, first + count - 1),
        )
        ends = [start for start, *_ in frames[1:]] + [first + count]
        found: dict[str, dict[str, Any]] = {}
        for (start, checksum, blob), end in zip(frames, ends, strict=True):
            own = rows[start - first : end - first]
            functions = read_frame(read_blob(FRAMES, blob, checksum), own)
            found |= {str(row.offset): function for row, function in zip(own, functions, strict=True)}
        return found

    def read_references(self, kind: str, sample_id: int) -> dict[str, list[int]]:
        """Return the positions of the functions that refer to each API or string, `kind`."""
        rows = self.select(
            f"SELECT hash, {kind}, functions FROM {kind}_references JOIN {kind}s USING ({kind}_id) WHERE sample_id = ?",  # noqa: S608
            sample_id,
        )
        if any(stored != hash_name(name) for stored, name, _ in rows):
            raise ValueError("a hash of another name")
        return {name: json.loads(positions) for _, name, positions in rows}
