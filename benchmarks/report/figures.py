"""The figures of one run, as stored in the JSON file: times in seconds, sizes in bytes."""

from pathlib import Path
from typing import Final

import msgspec

PATH: Final = Path(__file__).parent / "figures.json"
PICTURE: Final = PATH.with_suffix(".svg")


class Timing(msgspec.Struct, frozen=True):
    """Seconds per call."""

    median: float
    p90: float
    p99: float
    total: float
    calls: int


class Row(msgspec.Struct, frozen=True):
    """One operation, beside the same work without the store."""

    name: str
    ours: Timing
    floor: Timing
    target: float | None = None  # the highest ratio that is wanted; None where there is no target

    @property
    def ratio(self) -> float:
        """Return the median divided by the floor's."""
        return self.ours.median / self.floor.median


class Corpus(msgspec.Struct, frozen=True):
    """The reports that all but growth is measured with."""

    reports: int
    functions: int
    json_bytes: int  # compact


class Sizes(msgspec.Struct, frozen=True):
    """Bytes of closed files that hold the corpus."""

    file: int
    compact_file: int
    compact_seconds: float
    floor_file: int
    zstd_19: int  # the compact JSON of each report, compressed separately
    curve: list[tuple[int, int, int]]  # while adding: bytes of JSON so far, of the file, of the floor's file


class Peer(msgspec.Struct, frozen=True):
    """The times of another way to keep the same reports; None where it has no such call."""

    name: str
    functions_per_second: float
    file: int | None
    sample: float
    functions: float
    function: float
    report: float | None


class Memory(msgspec.Struct, frozen=True):
    """Peak bytes of processes that add reports."""

    ours: int
    floor: int
    largest_functions: int
    largest_json: int
    largest: int
    after_100: int
    after_1000: int
    largest_seconds: tuple[float, float] | None = None  # the store's, the floor's


class Growth(msgspec.Struct, frozen=True):
    """Times of a large store, relative to a store of 100,000 functions."""

    functions: int
    file: int
    ratios: dict[str, float]  # of medians, by call
    adding: float  # functions added per second up to this size


class Batch(msgspec.Struct, frozen=True):
    """Seconds to disassemble the same binaries on all cores, by jobs and by SMDA's batch tool."""

    binaries: int
    ours: float
    smda: float


class Searching(msgspec.Struct, frozen=True):
    """Search over functions with different names."""

    functions: int
    asking: Timing
    adding: float  # rate of adding real reports, divided by the rate without the index
    adding_named: float  # the same, where every function has a new name


class Asking(msgspec.Struct, frozen=True):
    """Questions about the code, in a store of so many functions."""

    functions: int
    index: float  # share of the file that the index of APIs and strings takes
    adding: float  # rate of adding, divided by the rate without this index
    lookups: dict[str, Timing]
    scans: dict[str, float]  # functions per second on all cores, by condition
    signing: float | None = None  # functions per second whose signatures are made, on all cores
    signatures: float = 0.0  # share of the file that they take


class Labelling(msgspec.Struct, frozen=True):
    """Labels, in a store in which every function has one."""

    labels: int
    merging: float  # labels per second from a text of them
    size: float  # bytes that a label adds to the file, its index included
    lookups: dict[str, Timing]


class Columns(msgspec.Struct, frozen=True):
    """Seconds to read all instructions of all reports, one report after the other."""

    instructions: int
    ours: float  # all columns, as Arrow
    mnemonics: float  # the column of mnemonics
    parsing: float  # json.loads
    collecting: float  # json.loads, and lists of four columns from it
    memory: int  # bytes by which the peak grows as all are streamed


class Figures(msgspec.Struct, frozen=True):
    """All figures of one run."""

    day: str
    machine: str
    versions: dict[str, str]
    corpus: Corpus
    rows: list[Row]
    sizes: Sizes
    peers: list[Peer]
    memory: Memory
    adding: tuple[float, float]  # functions per second: the store's, the floor's
    growth: list[Growth] = []
    batch: Batch | None = None
    searching: Searching | None = None
    asking: Asking | None = None
    labelling: Labelling | None = None
    columns: Columns | None = None


def load_figures() -> Figures:
    """Return the figures of the last run that was kept."""
    return msgspec.json.decode(PATH.read_bytes(), type=Figures)


def save_figures(figures: Figures, path: Path) -> None:
    """Write the figures as JSON, one value per line."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n")


def replace_figures(**new: object) -> None:
    """Save some new figures with the others of the last run."""
    save_figures(msgspec.structs.replace(load_figures(), **new), PATH)
