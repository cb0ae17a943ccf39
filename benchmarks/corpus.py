"""The corpus: SMDA's reports of real binaries for several platforms, made once and kept in a cache folder.

The binaries are those of wheels that PyPI has for other platforms than this one, and programs of this machine.
"""

import contextlib
import hashlib
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

CACHE: Final = Path(__file__).parent / ".cache"
MAGICS: Final = (b"MZ", b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe")
# SMDA needs minutes and gigabytes for larger ones, and the corpus wants many programs rather than long ones.
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


def reports(count: int) -> list[Path]:
    """The paths of `count` reports, fewer where there are not as many binaries; makes what is missing."""
    folder = CACHE / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    made = sorted(folder.glob("*.smda"))
    if len(made) < count:
        _make(folder, count)
        made = sorted(folder.glob("*.smda"))
    return made[:count]


_PIC_HASH = re.compile(rb'("pic_hash": ?)([0-9]+)')
_SHA256 = re.compile(rb'("sha256": ?")([0-9a-f]{64})')


def sha256_of(report: bytes) -> str:
    """Which program a report is of."""
    found = _SHA256.search(report)
    assert found
    return found[2].decode()


def renewed(report: bytes, number: int) -> bytes:
    """The same program as another file: another SHA-256, and other pic hashes, so that it matches no other number."""
    digest = hashlib.sha256(f"{number} {sha256_of(report)}".encode()).hexdigest().encode()
    other = _SHA256.sub(rb"\g<1>%b" % digest, report, count=1)
    return _PIC_HASH.sub(lambda found: b"%b%d" % (found[1], int(found[2]) ^ number << 24), other)


def _make(folder: Path, count: int) -> None:
    by_digest: dict[str, tuple[Path, bytes]] = {}
    for name, content in binaries():
        digest = hashlib.sha256(content).hexdigest()
        by_digest.setdefault(digest, (folder / f"{digest[:12]}_{name}.smda", content))
        if len(by_digest) == count:
            break
    wanted = dict(by_digest.values())
    missing = {path: content for path, content in wanted.items() if not path.exists()}
    print(f"Disassembling {len(missing)} binaries, once: this takes minutes.", file=sys.stderr)
    with ProcessPoolExecutor() as pool:
        for done, _ in enumerate(pool.map(_disassemble, missing, missing.values()), 1):
            print(f"\r{done}/{len(missing)}", end="", file=sys.stderr)
    print(file=sys.stderr)


def _disassemble(report: Path, binary: bytes) -> None:
    from smda.Disassembler import Disassembler  # noqa: PLC0415 - only workers pay for it

    smda_report = Disassembler().disassembleFile(report.stem, buffer=binary)
    if smda_report.status == "ok" and smda_report.num_functions:
        partial = report.with_suffix(".partial")
        smda_report.toFile(str(partial))
        partial.replace(report)


def binaries() -> Iterator[tuple[str, bytes]]:
    """Names and contents: first those of wheels, then this machine's, the smaller first."""
    for wheel in _wheels():
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                if member.file_size <= MAX_BINARY_BYTES and not member.is_dir():
                    content = archive.read(member)
                    if content.startswith(MAGICS):
                        yield Path(member.filename).name, content
    programs = [path for folder in ("/usr/bin", "/usr/sbin") for path in Path(folder).glob("*") if path.is_file()]
    for program in sorted(programs, key=lambda path: (path.stat().st_size, path.name)):
        with contextlib.suppress(OSError):
            if 20_000 <= program.stat().st_size <= MAX_BINARY_BYTES and program.open("rb").read(4).startswith(MAGICS):
                yield program.name, program.read_bytes()


def _wheels() -> list[Path]:
    folder = CACHE / "wheels"
    if not folder.exists():
        for platform in PLATFORMS:
            for package in PACKAGES:
                options = ["--no-deps", "--only-binary=:all:", "--python-version=3.11", f"--platform={platform}"]
                command = [sys.executable, "-m", "pip", "download", "-q", *options, "-d", str(folder), package]
                # Not every package has a wheel for every platform.
                subprocess.run(command, check=False, capture_output=True)
    return sorted(folder.glob("*.whl"))
