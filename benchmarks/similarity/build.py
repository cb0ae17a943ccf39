"""Make binaries whose functions have names: `python -m benchmarks.similarity.build`.

Static libraries of Debian are linked whole, without compiling; a few sources are compiled in several ways. Each binary
is `PROGRAM@SUITE@HOW`, and `-stripped` copies of some are what SMDA meets in the wild.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks.similarity import programs
from benchmarks.similarity.fetch import CACHE, source_tree, unpacked
from benchmarks.similarity.programs import ARM64, BASE, OLDER, Build, Package, Place, Source

BINARIES: Final = CACHE / "binaries"
_TOOLS: Final = CACHE / "tools"
_TRIPLETS: Final = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu", "i386": "i386-linux-gnu"}
_EMULATIONS: Final = {"amd64": "elf_x86_64", "arm64": "aarch64elf", "i386": "elf_i386"}
# Code as programs have it: position independent, its own calls direct, those of the C library imports.
_LINK: Final = (
    *("-pie", "-e", "0", "--unresolved-symbols=ignore-all", "--allow-multiple-definition", "--no-gc-sections"),
    *("--noinhibit-exec", "-z", "notext", "-z", "now", "--whole-archive"),
)
# Old sources, and no code of the compiler's own in front of and behind each function.
_COMPILE: Final = ("-c", "-fPIE", "-w", "-fno-stack-protector", "-U_FORTIFY_SOURCE")


def main() -> None:
    """Make the binaries that are missing."""
    BINARIES.mkdir(exist_ok=True)
    unpack_tools()
    learn, evaluate = programs.LEARN, programs.EVALUATE
    for table, sources, builds in (
        (learn, programs.LEARN_SOURCES, programs.LEARN_BUILDS),
        (evaluate, programs.EVALUATE_SOURCES, programs.EVALUATE_BUILDS),
    ):
        for place in programs.PLACES:
            for name, package in table.items():
                make_linked(BINARIES / f"{name}@{place.suite}@{place.arch}", place, package)
        for name, source in sources.items():
            for how, build in builds.items():
                make_compiled(BINARIES / f"{name}@{BASE.suite}@{build.place.arch}-{how}", source, build)
    for place in (OLDER, ARM64):
        for name, package in evaluate.items():
            make_linked(BINARIES / f"{name}@{place.suite}@{place.arch}-stripped", place, package, "-s")


def unpack_tools() -> None:
    """Copy the packages of the compilers into one tree, as they expect it."""
    if not _TOOLS.exists():
        for package in programs.TOOLS:
            shutil.copytree(unpacked(BASE, package), _TOOLS, symlinks=True, dirs_exist_ok=True)


def make_linked(binary: Path, place: Place, package: Package, *options: str) -> None:
    """Link the archives of a package to one binary, or copy its program."""
    folder = unpacked(place, package.package)
    found = [path for pattern in package.files for path in sorted(folder.rglob(pattern)) if path.is_file()]
    # A folder may have the same library twice, for other instructions.
    chosen = list({path.name: path for path in reversed(found) if not path.is_symlink()}.values())
    if binary.exists() or not chosen:
        return
    if package.files[0].endswith((".a", ".rlib")):
        link_objects(binary, place, chosen, *options)
    elif not options:
        shutil.copy(chosen[0], binary)


def link_objects(binary: Path, place: Place, objects: Sequence[Path], *options: str) -> None:
    """Link objects and archives with the C library of the base release."""
    library = unpacked(place._replace(suite=BASE.suite), "libc6") / "lib" / _TRIPLETS[place.arch]
    with tempfile.TemporaryDirectory() as folder:
        ready = [_without_metadata(each, Path(folder)) for each in objects]
        imports = library / "libc.so.6", library / "libm.so.6"
        emulation = _EMULATIONS[place.arch]
        run_tool("ld.lld", "-m", emulation, *options, *_LINK, *ready, "--no-whole-archive", *imports, "-o", binary)


def _without_metadata(archive: Path, folder: Path) -> Path:
    """Return a copy of a Rust library without what only Rust can link."""
    if archive.suffix != ".rlib":
        return archive
    copy = folder / archive.with_suffix(".a").name
    shutil.copy(archive, copy)
    subprocess.run(["ar", "d", copy, "lib.rmeta"], check=True, capture_output=True)
    return copy


def make_compiled(binary: Path, source: Source, build: Build) -> None:
    """Compile a source one way, and link it."""
    if binary.exists():
        return
    tree = source_tree(source.package)
    for origin, copy in source.copies:
        (tree / copy).write_bytes((tree / origin).read_bytes() if origin else b"")
    with tempfile.TemporaryDirectory() as folder:
        objects = []
        for number, path in enumerate(_files(tree, source)):
            made = Path(folder) / f"{number}.o"
            flags = *_COMPILE, *build.flags, *source.flags, *_beside(source)
            if run_tool(*_compiler(build, path), *flags, path, "-o", made, cwd=tree):
                objects.append(made)
        if objects:
            link_objects(binary, build.place, objects)


def _files(tree: Path, source: Source) -> Iterator[Path]:
    for pattern in source.files:
        yield from (path for path in sorted(tree.glob(pattern)) if path.name not in source.but)


def _beside(source: Source) -> tuple[str, ...]:
    return (f"-I{source_tree(programs.LEARN_SOURCES[source.beside].package)}",) if source.beside else ()


def _compiler(build: Build, path: Path) -> list[str]:
    is_cpp = path.suffix in {".cc", ".cpp"}
    if build.compiler == "gcc":
        return ["g++" if is_cpp else "gcc"]
    command = ["clang++-19" if is_cpp else "clang-19", "-Wno-error", "-Wno-everything"]
    if build.place == BASE:
        return command
    headers = [unpacked(build.place, package) / "usr" / "include" for package in ("libc6-dev", "linux-libc-dev")]
    triplet = _TRIPLETS[build.place.arch]
    folders = [each / inner for each in headers for inner in (triplet, ".")]
    # The headers of the C++ library are the same but for one folder, which is near enough.
    library = Path("/usr/include/c++/12"), Path("/usr/include/x86_64-linux-gnu/c++/12")
    return [*command, "-nostdlibinc", *(f"-isystem{each}" for each in (*(library if is_cpp else ()), *folders))]


def run_tool(*command: str | Path, cwd: Path | None = None) -> bool:
    """Run a compiler or linker, and tell whether it succeeded."""
    name, *arguments = command
    own = _TOOLS / "usr" / "lib" / "llvm-19" / "bin" / str(name).removesuffix("-19")
    libraries = {"LD_LIBRARY_PATH": f"{_TOOLS}/usr/lib/x86_64-linux-gnu"} if own.exists() else {}
    tool = own if own.exists() else name
    done = subprocess.run([tool, *arguments], check=False, cwd=cwd, env=os.environ | libraries, capture_output=True)
    if done.returncode:
        print(f"{name} {arguments[-1]}: {done.stderr.decode(errors='replace')[:200]}")
    return not done.returncode


if __name__ == "__main__":
    main()
