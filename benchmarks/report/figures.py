"""What a run measures, as it stands in the JSON file; times in seconds, sizes in bytes."""

from pathlib import Path
from typing import Final

import msgspec

PATH: Final = Path(__file__).parent / "figures.json"
PICTURE: Final = PATH.with_suffix(".svg")


class Timing(msgspec.Struct, frozen=True):
    """Seconds a call."""

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
    target: float | None = None  # the ratio that this project wants at most

    @property
    def ratio(self) -> float:
        """How many times the floor's time ours is."""
        return self.ours.median / self.floor.median


class Corpus(msgspec.Struct, frozen=True):
    """The reports that everything but growth is measured on."""

    reports: int
    functions: int
    json_bytes: int  # compact


class Sizes(msgspec.Struct, frozen=True):
    """Closed files that hold the corpus."""

    file: int
    compact_file: int
    compact_seconds: float
    floor_file: int
    zstd_19: int  # each report's compact JSON by itself
    curve: list[tuple[int, int, int]]  # while adding: bytes of JSON so far, of the file, of the floor's file


class Peer(msgspec.Struct, frozen=True):
    """Another way to keep the same reports; `None` for what it does not do."""

    name: str
    functions_per_second: float
    file: int | None
    sample: float
    functions: float
    function: float
    report: float | None


class Memory(msgspec.Struct, frozen=True):
    """Peaks of processes that add reports, in bytes."""

    ours: int
    floor: int
    largest_functions: int
    largest_json: int
    largest: int
    after_100: int
    after_1000: int


class Growth(msgspec.Struct, frozen=True):
    """A large file beside one of 100,000 functions: times of the same calls in turn."""

    functions: int
    file: int
    ratios: dict[str, float]  # of medians, by call
    adding: float  # functions a second while it grew to this


class Batch(msgspec.Struct, frozen=True):
    """Seconds to disassemble the same binaries on all cores: jobs of a store, and SMDA's own batch tool."""

    binaries: int
    ours: float
    smda: float


class Searching(msgspec.Struct, frozen=True):
    """Search over functions that all have names of their own."""

    functions: int
    asking: Timing
    adding: float  # rate of adding real reports, as a share of that without the index
    adding_named: float  # the same, where every function has a new name


class Figures(msgspec.Struct, frozen=True):
    """One run."""

    day: str
    machine: str
    versions: dict[str, str]
    corpus: Corpus
    rows: list[Row]
    sizes: Sizes
    peers: list[Peer]
    memory: Memory
    growth: list[Growth]
    adding: tuple[float, float]  # functions a second: ours, the floor's
    batch: Batch | None = None
    searching: Searching | None = None


def load() -> Figures:
    """The figures of the last run that was kept."""
    return msgspec.json.decode(PATH.read_bytes(), type=Figures)


def save(figures: Figures, path: Path) -> None:
    """Write them where `load` or a comparison finds them."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n")
