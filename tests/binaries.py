"""Real binaries for SMDA, found on every machine that has the `dev` extra.

PE for x86, x64 and aarch64 are distlib's launchers, CIL is clr-loader's assembly, ELF is a program of this machine or
a module of Python. No wheel for all platforms brings a Mach-O, so `macho` wraps a launcher's code: real code in a
minimal container.
"""

import importlib.util
import struct
import sysconfig
from pathlib import Path

import pefile

# Machine types of PE, with the CPU type and subtype of Mach-O.
_CPUS = {0x8664: (0x01000007, 3), 0xAA64: (0x0100000C, 0)}
_BASE = 0x1_0000_0000


def by_platform(folder: Path) -> dict[str, Path]:
    """Return a binary for each format and architecture, small ones first; new ones are written into `folder`."""
    found = {"pe-x86": launcher("t32"), "pe-cil": cil_library()}
    program = elf()
    if program is not None:
        found["elf"] = program
    found |= {"pe-x64": launcher("t64"), "pe-aarch64": launcher("t64-arm")}
    for architecture in ("x64", "aarch64"):
        path = found[f"macho-{architecture}"] = folder / f"launcher-{architecture}"
        path.write_bytes(macho(found[f"pe-{architecture}"]))
    return found


def launcher(name: str) -> Path:
    """Return one of distlib's Windows launchers: `t32`, `t64`, `t64-arm`, or `w32` and so on."""
    return _package("distlib") / f"{name}.exe"


def cil_library() -> Path:
    """Return a small .NET assembly."""
    return _package("clr_loader") / "ffi" / "dlls" / "amd64" / "ClrLoader.dll"


def elf() -> Path | None:
    """Return a small ELF program or library of this machine; `None` where the platform has no ELF."""
    modules = sorted(Path(sysconfig.get_path("platstdlib"), "lib-dynload").glob("*.so"))
    candidates = [Path("/bin/ls"), Path("/usr/bin/true"), *modules]
    found = [path for path in candidates if path.is_file() and path.read_bytes()[:4] == b"\x7fELF"]
    return min(found, key=lambda path: path.stat().st_size, default=None)


def large() -> bytes:
    """Return a program that takes SMDA many seconds: the code of a launcher, sixty times over."""
    pe = pefile.PE(str(launcher("t64")))
    section = next(section for section in pe.sections if section.Name.startswith(b".text"))
    return macho_of(section.get_data() * 60, 0x8664)


def macho(launcher_path: Path) -> bytes:
    """Return a Mach-O executable with the code of a Windows launcher for x64 or aarch64."""
    pe = pefile.PE(str(launcher_path))
    code: bytes = next(section for section in pe.sections if section.Name.startswith(b".text")).get_data()
    return macho_of(code, pe.FILE_HEADER.Machine)


def macho_of(code: bytes, machine: int) -> bytes:
    """Return a Mach-O executable with code for `machine`, a machine type of PE."""
    cpu, subtype = _CPUS[machine]
    offset, size = 0x1000, -(-len(code) // 0x1000) * 0x1000
    section = struct.pack(
        "<16s16sQQ8I", b"__text", b"__TEXT", _BASE + offset, len(code), offset, 4, 0, 0, 0x80000400, 0, 0, 0
    )
    segment = struct.pack(
        "<2I16s4Q4I", 0x19, 72 + len(section), b"__TEXT", _BASE, offset + size, 0, offset + size, 5, 5, 1, 0
    )
    entry = struct.pack("<2I2Q", 0x80000028, 24, offset, 0)
    header = struct.pack("<8I", 0xFEEDFACF, cpu, subtype, 2, 2, len(segment) + len(section) + len(entry), 0x85, 0)
    return (header + segment + section + entry).ljust(offset, b"\0") + code.ljust(size, b"\0")


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent
