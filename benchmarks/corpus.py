"""The corpus: SMDA reports of real binaries for several platforms, made once and kept in a cache folder.

The binaries come from PyPI's wheels for seven platforms and from this machine's programs.
"""

import contextlib
import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import Final

CACHE: Final = Path(__file__).parent / ".cache"
MAGICS: Final = (b"MZ", b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe")
# SMDA needs minutes and gigabytes for larger binaries, and many programs say more than a few large ones.
MAX_BINARY_BYTES: Final = 1_000_000

PACKAGES: Final = ("msgspec", "xxhash", "psutil", "pyyaml", "markupsafe", "zstandard", "distlib", "clr-loader", "regex")
PLATFORMS: Final = (
    "win_amd64",
    "win32",
    "win_arm64",
    "macosx_11_0_arm64",
    "macosx_10_15_x86_64",
    "manylinux_2_28_x86_64",
    "manylinux_2_28_aarch64",
)


@contextlib.contextmanager
def new_folder() -> Iterator[Path]:
    """Yield a new folder on the disk of the cache, which is deleted at the end."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        yield Path(folder)


def make_reports(count: int) -> list[Path]:
    """Return the paths of `count` reports, and make those that are missing.

    There are fewer where SMDA cannot disassemble a binary.
    """
    folder = CACHE / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    paths = sorted(folder.glob("*.smda"))
    if len(paths) < count:
        disassemble_missing(folder, islice(find_binaries(), count))
        paths = sorted(folder.glob("*.smda"))
    return paths[:count]


_PIC_HASH = re.compile(rb'("pic_hash": ?)([0-9]+)')
_SHA256 = re.compile(rb'("sha256": ?")([0-9a-f]{64})')


def read_sha256(report: bytes) -> str:
    """Return the SHA-256 of the program in a report."""
    found = _SHA256.search(report)
    assert found
    return found[2].decode()


def vary_report(report: bytes, number: int) -> bytes:
    """Return the report with another SHA-256 and other pic hashes, so that it matches no other `number`."""
    digest = hashlib.sha256(f"{number} {read_sha256(report)}".encode()).hexdigest().encode()
    other = _SHA256.sub(rb"\g<1>%b" % digest, report, count=1)
    return _PIC_HASH.sub(lambda found: b"%b%d" % (found[1], int(found[2]) ^ number << 24), other)


def disassemble_missing(folder: Path, binaries: Iterable[tuple[str, bytes]]) -> None:
    """Write a report of each binary, given its name and content, into the folder, unless it is there."""
    wanted = {folder / f"{hashlib.sha256(content).hexdigest()[:12]}_{name}.smda": content for name, content in binaries}
    missing = {path: content for path, content in wanted.items() if not path.exists()}
    print(f"Disassembling {len(missing)} binaries; this takes minutes, but only once.", file=sys.stderr)
    with ProcessPoolExecutor() as pool:
        for done, _ in enumerate(pool.map(_disassemble, missing, missing.values()), 1):
            print(f"\r{done}/{len(missing)}", end="", file=sys.stderr)
    print(file=sys.stderr)


def _disassemble(report: Path, binary: bytes) -> None:
    from smda.Disassembler import Disassembler  # noqa: PLC0415 - it takes half a second, which only workers need

    smda_report = Disassembler().disassembleFile(report.stem, buffer=binary)
    if smda_report.status == "ok" and smda_report.num_functions:
        partial = report.with_suffix(".partial")
        smda_report.toFile(str(partial))
        partial.replace(report)


def find_binaries() -> Iterator[tuple[str, bytes]]:
    """Yield names and contents, each content once: first from wheels, then from this machine, smaller ones first."""
    seen = set()
    for name, content in chain(_read_wheels(), _read_programs()):
        digest = hashlib.sha256(content).digest()
        if content.startswith(MAGICS) and digest not in seen:
            seen.add(digest)
            yield name, content


def _read_wheels() -> Iterator[tuple[str, bytes]]:
    for wheel in download_wheels(CACHE / "wheels", PACKAGES, PLATFORMS):
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                if member.file_size <= MAX_BINARY_BYTES and not member.is_dir():
                    yield Path(member.filename).name, archive.read(member)


def _read_programs() -> Iterator[tuple[str, bytes]]:
    programs = [path for folder in ("/usr/bin", "/usr/sbin") for path in Path(folder).glob("*") if path.is_file()]
    for program in sorted(programs, key=lambda path: (path.stat().st_size, path.name)):
        with contextlib.suppress(OSError):
            if 20_000 <= program.stat().st_size <= MAX_BINARY_BYTES:
                yield program.name, program.read_bytes()


def download_wheels(folder: Path, packages: Sequence[str], platforms: Sequence[str]) -> list[Path]:
    """Return the wheels of packages for platforms; they are downloaded if the folder is missing."""
    if not folder.exists():
        for platform in platforms:
            for package in packages:
                options = ["--no-deps", "--only-binary=:all:", "--python-version=3.11", f"--platform={platform}"]
                command = [sys.executable, "-m", "pip", "download", "-q", *options, "-d", str(folder), package]
                # Not every package has a wheel for every platform.
                subprocess.run(command, check=False, capture_output=True)
    return sorted(folder.glob("*.whl"))
