"""What the tests share: real SMDA reports, made once a session, and stores to put them in."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from smda.Disassembler import Disassembler

import sampledb
from sampledb import SampleDB
from tests import binaries, own_sqlite, strategies

# Property tests write to real files, whose speed is the disk's: no deadline decides a test.
settings.register_profile(
    "default",
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("thorough", parent=settings.get_profile("default"), max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_report_header() -> str:
    """Say which SQLite is tested."""
    return own_sqlite.report()


Record = Callable[[str, Mapping[str, int]], None]
_records: list[dict[str, object]] = []


@pytest.fixture
def record() -> Record:
    """Keeps what a sweep has counted, to be shown when all is done."""
    begun = time.monotonic()

    def keep(what: str, counts: Mapping[str, int]) -> None:
        seconds = round(time.monotonic() - begun)
        _records.append({"sweep": what, **counts, "seconds": seconds})

    return keep


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the sweeps have counted, a JSON object each."""
    for each in _records:
        terminalreporter.write_line(json.dumps(each))


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Real binaries by format and architecture."""
    folder = tmp_path_factory.mktemp("binaries")
    sources = {
        "pe-x86": binaries.launcher("t32"),
        "pe-x64": binaries.launcher("t64"),
        "pe-aarch64": binaries.launcher("t64-arm"),
        "pe-cil": binaries.cil_library(),
        "macho-x64": folder / "launcher-x64",
        "macho-aarch64": folder / "launcher-aarch64",
    }
    sources["macho-x64"].write_bytes(binaries.macho(sources["pe-x64"]))
    sources["macho-aarch64"].write_bytes(binaries.macho(sources["pe-aarch64"]))
    elf = binaries.elf()
    if elf is not None:
        sources["elf"] = elf
    return sources


@pytest.fixture(scope="session")
def reports(sources: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """SMDA's reports of them, as SMDA writes them to files."""
    folder = tmp_path_factory.mktemp("reports")
    return {kind: _disassembled(source, folder / f"{kind}.smda") for kind, source in sources.items()}


def _disassembled(binary: Path, report: Path) -> Path:
    smda_report = Disassembler().disassembleFile(str(binary))
    assert smda_report.status == "ok"
    smda_report.toFile(str(report))
    return report


@pytest.fixture(scope="session")
def parsed(reports: dict[str, Path]) -> dict[str, dict[str, object]]:
    """The same reports, parsed by Python's own JSON."""
    return {kind: json.loads(path.read_bytes()) for kind, path in reports.items()}


@pytest.fixture
def db(tmp_path: Path) -> Iterator[SampleDB]:
    """An empty store in a file."""
    with sampledb.open(tmp_path / "test.sampledb") as db:
        yield db


@pytest.fixture(scope="session")
def filled_path(reports: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed file with all reports, to be read or copied but not changed."""
    path = tmp_path_factory.mktemp("filled") / "filled.sampledb"
    with sampledb.open(path) as db:
        assert all(outcome.status == "added" for outcome in db.add_samples(reports.values()))
    return path


@pytest.fixture
def filled(filled_path: Path) -> Iterator[SampleDB]:
    """All reports in a read-only store."""
    with sampledb.open(filled_path, readonly=True) as db:
        yield db


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed file with one sample of one function."""
    path = tmp_path / "one.sampledb"
    with sampledb.open(path) as db:
        db.add_sample(strategies.report(strategies.function(4096)))
    return path
