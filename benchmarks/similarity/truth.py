"""Which functions are the same: those of one name in one program, whatever release, compiler or architecture.

Names come from symbols and are in no feature. Functions whose name occurs twice in a binary, and pieces that a compiler
cut off, are asked for nowhere; they stay among the others.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.similarity.disassemble import REPORTS, report_of
from benchmarks.similarity.fetch import CACHE
from sampledb.format import codec
from sampledb.format.report import Report, parse_report
from sampledb.format.zstd import zstd
from sampledb.similarity.code import read_code
from sampledb.similarity.features import DIMENSIONS, FAMILIES, Vocabulary, extract_features

FEATURES: Final = CACHE / "features"
_PIECE: Final = re.compile(r"^(sub|fcn)_[0-9a-fA-F]+$|\.(part|cold|lto_priv)")
_VARIANT: Final = re.compile(r"\.(isra|constprop)[.\d]*$")
_RUST_HASH: Final = re.compile(r"::h[0-9a-f]{16}$|17h[0-9a-f]{16}E$")


class Functions(NamedTuple):
    """Functions of several binaries, a row each.

    Attributes:
        keys: Row times DIMENSIONS plus feature, ascending.
        times: How often the function has the feature, at most 255.
        names: `PROGRAM:NAME`, `""` for those that are not asked for.
        pic_hashes: 0 for none.
        binaries: The number of the binary in the list of those that were read.
        offsets: By which MCRIT's answers are found.
    """

    keys: NDArray[np.int64]
    times: NDArray[np.uint8]
    names: NDArray[np.str_]
    pic_hashes: NDArray[np.uint64]
    binaries: NDArray[np.int64]
    offsets: NDArray[np.uint64]

    def count_features(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the counts of all features of some functions, a row each."""
        found = np.zeros((len(rows), DIMENSIONS), np.uint8)
        begins, ends = np.searchsorted(self.keys, (rows * DIMENSIONS, (rows + 1) * DIMENSIONS))
        for row, begin, end in zip(range(len(rows)), begins, ends, strict=True):
            found[row, self.keys[begin:end] % DIMENSIONS] = self.times[begin:end]
        return found

    def count_instructions(self) -> NDArray[np.int64]:
        """Return how many instructions each function has; of one class 255 at most."""
        is_class = self.keys % DIMENSIONS < FAMILIES["unigram"]
        counts = np.bincount(self.keys[is_class] // DIMENSIONS, self.times[is_class], len(self.names))
        return counts.astype(np.int64)


def clean_name(name: str) -> str:
    """Return the name that the source gives, `""` for a piece of a function, or one without a name."""
    if not name or _PIECE.search(name):
        return ""
    return _RUST_HASH.sub("", _VARIANT.sub("", name)).lstrip("_")


def read_functions(binaries: Sequence[str]) -> Functions:
    """Return all functions of binaries that are large enough."""
    parts = [_read_binary(binary) for binary in binaries]
    begins = np.cumsum([0, *(len(part.names) for part in parts)])
    return Functions(
        np.concatenate([part.keys + begin * DIMENSIONS for part, begin in zip(parts, begins, strict=False)]),
        np.concatenate([part.times for part in parts]),
        np.concatenate([part.names for part in parts]),
        np.concatenate([part.pic_hashes for part in parts]),
        np.concatenate([part.binaries + number for number, part in enumerate(parts)]),
        np.concatenate([part.offsets for part in parts]),
    )


def _read_binary(binary: str) -> Functions:
    path = FEATURES / f"{binary}.npz"
    if not path.exists():
        FEATURES.mkdir(exist_ok=True)
        np.savez(path, **_extract(binary)._asdict())
    with np.load(path) as kept:
        return Functions(**kept)


def _extract(binary: str) -> Functions:
    report = read_report(binary)
    contents = [codec.decode(codec.FRAME, blob, codec.checksum(blob)) for _, blob in report.frames]
    image = range(report.base_addr, report.base_addr + report.binary_size)
    vocabulary = Vocabulary(report.architecture)
    found = extract_features(read_code(contents, vocabulary.forms), vocabulary, image)
    keys, counts = np.unique(found.owners * DIMENSIONS + found.features, return_counts=True)
    functions = [report.functions[position] for position in found.positions.tolist()]
    return Functions(
        keys,
        np.minimum(counts, 255).astype(np.uint8),
        np.array(_name(binary, [function.offset for function in functions])),
        np.array([function.pic_hash or 0 for function in functions], np.uint64),
        np.zeros(len(functions), np.int64),
        np.array([function.offset for function in functions], np.uint64),
    )


def _name(binary: str, offsets: Iterable[int]) -> list[str]:
    """Return the names of functions, where they are certain; a stripped binary has those of its twin."""
    named = read_report(binary.removesuffix("-stripped"))
    names = {function.offset: clean_name(function.name) for function in named.functions}
    times = Counter(names.values())
    program = binary.partition("@")[0]
    found = (names.get(offset, "") for offset in offsets)
    return [f"{program}:{name}" if name and times[name] == 1 else "" for name in found]


def read_report(binary: str) -> Report:
    """Return the parsed report of a binary."""
    return parse_report(zstd.decompress(report_of(binary).read_bytes()))


def list_reports(programs: Iterable[str]) -> list[str]:
    """Return the binaries of programs that were disassembled."""
    wanted = set(programs)
    return sorted(
        name
        for path in REPORTS.glob("*.smda.zst")
        if (name := path.name.removesuffix(".smda.zst")).split("@")[0] in wanted
    )
