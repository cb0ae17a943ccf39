"""Fixtures of all tests: SMDA's reports of real binaries, and stores to put them in."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from smda.Disassembler import Disassembler

import sampledb
from sampledb import SampleDB
from tests import binaries, own_sqlite, strategies
from tests.markers import ALL

# Property tests write to real files, whose speed is the disk's: no deadline decides a test.
settings.register_profile(
    "default",
    deadline=None,
    max_examples=10,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("ci", parent=settings.get_profile("default"), max_examples=60)
settings.register_profile("thorough", parent=settings.get_profile("default"), max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# Shells start background jobs with SIGINT ignored; the processes of tests would inherit that and miss their Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    """Say which SQLite is tested."""
    return own_sqlite.report()


Record = Callable[[str, Mapping[str, int]], None]
_RECORDED = "recorded"


@pytest.fixture
def record(record_property: Callable[[str, object], None]) -> Record:
    """Keep counts of a test, which are printed after the last test."""
    begun = time.monotonic()

    def keep(what: str, counts: Mapping[str, int]) -> None:
        record_property(_RECORDED, {"what": what, **counts, "seconds": round(time.monotonic() - begun)})

    return keep


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have recorded, one JSON object a line."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == _RECORDED:
                terminalreporter.write_line(json.dumps(value))


@pytest.fixture(scope="session")
def sources(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return three small binaries by format and architecture; all seven for the slow half of `every_platform`."""
    found = binaries.by_platform(tmp_path_factory.mktemp("binaries"))
    return found if getattr(request, "param", None) == ALL else dict(list(found.items())[:3])


@pytest.fixture(scope="session")
def reports(sources: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return SMDA's reports of the binaries, as files that SMDA has written."""
    folder = tmp_path_factory.mktemp("reports")
    return {platform: _disassemble(source, folder / f"{platform}.smda") for platform, source in sources.items()}


def _disassemble(binary: Path, report: Path) -> Path:
    smda_report = Disassembler().disassembleFile(str(binary))
    assert smda_report.status == "ok"
    smda_report.toFile(str(report))
    return report


@pytest.fixture(scope="session")
def parsed(reports: dict[str, Path]) -> dict[str, dict[str, object]]:
    """Return the reports as Python's own JSON parses them."""
    return {platform: json.loads(path.read_bytes()) for platform, path in reports.items()}


@pytest.fixture
def db(tmp_path: Path) -> Iterator[SampleDB]:
    """Yield an empty store in a file."""
    with sampledb.open(tmp_path / "test.sampledb") as db:
        yield db


@pytest.fixture(scope="session")
def filled_path(reports: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a closed file with all reports. Tests read or copy it, and never change it."""
    path = tmp_path_factory.mktemp("filled") / "filled.sampledb"
    with sampledb.open(path) as db:
        assert all(outcome.status == "added" for outcome in db.add_samples(reports.values()))
    return path


@pytest.fixture
def filled(filled_path: Path) -> Iterator[SampleDB]:
    """Yield a read-only store with all reports."""
    with sampledb.open(filled_path, readonly=True) as db:
        yield db


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a closed file with one sample of one function."""
    path = tmp_path / "one.sampledb"
    with sampledb.open(path) as db:
        db.add_sample(strategies.report(strategies.function(4096)))
    return path


@pytest.fixture(scope="session")
def looked_at(filled_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a closed file with real samples, and as the last one a hostile one that calls itself such things."""
    path = tmp_path_factory.mktemp("looked_at") / "corpus.sampledb"
    shutil.copy(filled_path, path)
    name, call = (
        strategies.HOSTILE,
        strategies.instruction(0x1000, "e8fb0f0000", strategies.HOSTILE, strategies.HOSTILE),
    )
    callee = strategies.function(0x2000, function_name=name, pic_hash=7) | {"inrefs": [0x1000]}
    caller = strategies.function(0x1000, {"4096": [call]}, pic_hash=8)
    caller |= {"outrefs": {"4096": [0x2000]}, "apirefs": {"4096": name}}
    with sampledb.open(path) as db:
        sample = db.add_sample(strategies.report(caller, callee), name=name)
        db.update_sample(sample.sample_id, tags=[name[:50]], notes=f"{name}\n{name}")
        db.label_function(sample.sample_id, 0x1000, name="rc4_init", comment=name)
    return path
