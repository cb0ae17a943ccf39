"""The tree is the architecture: imports point down, and only `terminal` prints."""

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import sampledb

PACKAGE = Path(sampledb.__file__).parent

# What each package, and each module beside them, may import; what a row does not name is out of its reach.
MAY_IMPORT = {
    "errors": set(),
    "limits": {"errors"},
    "format": {"errors", "limits"},
    "similarity": {"errors", "format"},
    "render": {"errors", "format"},
    "model": {"errors", "format", "render"},
    "intake": {"errors", "limits"},
    "store": {"errors", "limits", "model", "format", "intake"},
    "workers": {"errors", "limits", "format", "intake", "similarity"},
    "database": {"errors", "limits", "model", "format", "intake", "similarity", "store", "workers"},
    "__init__": {"errors", "model", "intake", "database"},
    "cli": {"errors", "limits", "model", "render", "intake", "__init__"},
    "datasette": {"errors", "limits", "model", "format", "render", "store", "database", "__init__"},
    "__main__": {"cli"},
}
# Doors that somebody who looks for a room can keep in mind.
MOST_ROOMS = 12

# What may be imported where, which is nowhere else.
HIDDEN = {
    "arro3": {"database.tables.batches", "database.tables.table"},
    "backports": {"format.zstd", "intake.compression"},
    "click": {"cli"},
    "datasette": {"datasette.plugin"},
    "fast_sugiyama": {"render.layout"},
    "html": {"render.html"},
    "lzma": {"intake.compression"},
    "multiprocessing": {"workers.process"},
    "numpy": {"similarity"},
    "pymediainfo": {"intake.media"},
    "smda": {"workers.disassembler"},
    "sqlite_utils": {"store.schema"},
    "subprocess": {"workers.process"},
    "zipfile": {"intake.archive"},
    "zlib": {"intake.compression", "similarity.instructions"},
}

# What `import sampledb` leaves for the calls that need it.
NOT_LOADED = tuple(
    f"sampledb.{name}"
    for name in (
        *("cli", "datasette", "render", "similarity", "workers", "store.care.", "store.tables.lookup.candidates"),
        *("store.tables.lookup.search", "store.tables.frames", "format.columns", "format.scan", "intake.mcrit."),
        *("intake.terms", "database.engine.runner", "database.engine.scanner", "database.tables.pages"),
        "database.transfer.",
    )
)


def modules() -> dict[str, Path]:
    """Every module by its name below `sampledb`; a package by the name of its folder."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


MODULES = modules()


@cache
def tree(name: str) -> list[ast.AST]:
    return list(ast.walk(ast.parse(MODULES[name].read_text("utf-8"))))


def imports(name: str) -> set[str]:
    """The modules of this package that a module imports, anywhere in it."""
    found = set()
    for node in tree(name):
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            wanted = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {
            _module(each.removeprefix("sampledb").strip(".")) for each in wanted if each.split(".")[0] == "sampledb"
        }
    return found - {name}


def _module(name: str) -> str:
    """The module that a dotted name is, or is in."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or "__init__"


def libraries(name: str) -> set[str]:
    """The other packages that a module imports, anywhere in it."""
    found = {alias.name for node in tree(name) if isinstance(node, ast.Import) for alias in node.names}
    found |= {node.module or "" for node in tree(name) if isinstance(node, ast.ImportFrom)}
    return {each.split(".")[0] for each in found} - {"sampledb"}


def package_of(name: str) -> str:
    return name.split(".", maxsplit=1)[0]


def test_every_package_has_a_row() -> None:
    assert {package_of(name) for name in MODULES} == set(MAY_IMPORT)
    assert list(TopologicalSorter(MAY_IMPORT).static_order())


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_what_its_row_names(package: str) -> None:
    inside = [name for name in MODULES if package_of(name) == package]
    reached = {package_of(each) for name in inside for each in imports(name)} - {package}
    assert reached <= MAY_IMPORT[package]


def test_no_module_is_in_a_circle() -> None:
    # A package's own `__init__` may name what its rooms offer, and its rooms may name each other.
    assert list(TopologicalSorter({name: imports(name) for name in MODULES}).static_order())


@pytest.mark.parametrize("folder", [PACKAGE, *(path.parent for path in PACKAGE.rglob("__init__.py"))])
def test_no_door_opens_on_more_rooms_than_one_can_keep_in_mind(folder: Path) -> None:
    rooms = [each for each in folder.iterdir() if each.suffix == ".py" or (each / "__init__.py").exists()]
    assert len([each for each in rooms if each.stem not in {"__init__", "__main__"}]) <= MOST_ROOMS


@pytest.mark.parametrize(("library", "known_to"), HIDDEN.items())
def test_a_library_is_known_to_few_modules(library: str, known_to: set[str]) -> None:
    users = {name for name in MODULES if library in libraries(name)}
    assert {name if name in known_to else package_of(name) for name in users} == known_to


def test_only_the_terminal_and_the_bar_of_run_jobs_print() -> None:
    printing = re.compile(r"\bprint\(|click\.echo|std(out|err)\.write")
    users = {name for name, path in MODULES.items() if printing.search(path.read_text("utf-8"))}
    assert users == {"cli.terminal", "database.engine.runner"}


def test_importing_loads_only_what_most_programs_need() -> None:
    program = "import sys, sampledb; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    unexpected = {*HIDDEN, "tabulate", "concurrent.futures", "base64", "dataclasses", "hashlib", "heapq", "json"}
    assert unexpected.isdisjoint(loaded)
    assert {each for each in loaded if each.startswith(NOT_LOADED)} <= {"sampledb.database.transfer.calls"}


def test_the_public_names_are_sorted_and_typed() -> None:
    assert sampledb.__all__ == sorted(sampledb.__all__)
    assert (PACKAGE / "py.typed").exists()
