"""Real binaries that are on any machine with the `dev` extra, for SMDA to disassemble.

PE for x86, x64 and aarch64 are distlib's launchers, CIL is clr-loader's assembly, ELF are this machine's
programs or Python's own modules. No wheel for all platforms brings a Mach-O, so `macho` wraps the code of a
launcher into one: real code in a minimal container.
"""

import importlib.util
import struct
import sysconfig
from pathlib import Path

import pefile

# The machine types of PE, with the CPU type and subtype that Mach-O has for them.
_CPUS = {0x8664: (0x01000007, 3), 0xAA64: (0x0100000C, 0)}
_BASE = 0x1_0000_0000


def launcher(name: str) -> Path:
    """One of distlib's Windows launchers: `t32`, `t64`, `t64-arm`."""
    return _package("distlib") / f"{name}.exe"


def cil_library() -> Path:
    """A small .NET assembly."""
    return _package("clr_loader") / "ffi" / "dlls" / "amd64" / "ClrLoader.dll"


def elf() -> Path | None:
    """A small ELF program or library of this machine; `None` where the platform has others."""
    modules = sorted(Path(sysconfig.get_path("platstdlib"), "lib-dynload").glob("*.so"))
    candidates = [Path("/bin/ls"), Path("/usr/bin/true"), *modules]
    found = [path for path in candidates if path.is_file() and path.read_bytes()[:4] == b"\x7fELF"]
    return min(found, key=lambda path: path.stat().st_size, default=None)


def large() -> bytes:
    """A program that takes SMDA many seconds: a launcher with its code over and over again, each time elsewhere."""
    pe = pefile.PE(str(launcher("t64")))
    section = next(section for section in pe.sections if section.Name.startswith(b".text"))
    return macho_of(section.get_data() * 60, 0x8664)


def macho(launcher_path: Path) -> bytes:
    """A Mach-O executable with the code of a Windows launcher for x64 or aarch64."""
    pe = pefile.PE(str(launcher_path))
    code: bytes = next(section for section in pe.sections if section.Name.startswith(b".text")).get_data()
    return macho_of(code, pe.FILE_HEADER.Machine)


def macho_of(code: bytes, machine: int) -> bytes:
    """A Mach-O executable with code for the machine that PE has this number for."""
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
