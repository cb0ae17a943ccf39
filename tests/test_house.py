"""The tree is the architecture: imports point down, only `terminal` prints, and the README says what is public."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sampledb
from sampledb import SampleDB

PACKAGE = Path(sampledb.__file__).parent
ROOT = PACKAGE.parent

# From the top down; a module imports from the rows below its own, never beside or above.
FLOORS = [
    {"__main__"},
    {"cli"},
    {"adding", "changing", "disassembling", "keeping", "showing"},
    {"shell"},
    {"ledger", "views"},
    {"tables"},
    {"terminal"},
    {"__init__"},
    {"database"},
    {"checks", "queueing"},
    {"handle", "ingesting", "running", "salvaging"},
    {"copying", "packing", "storing", "workers"},
    {"functions", "jobs", "samples"},
    {"search"},
    {"connection", "gathering", "media", "reports", "submissions"},
    {"opening", "xcfg"},
    {"documents", "processes", "schema", "sqlite"},
    {"limits", "frames"},
    {"analysis", "columns", "model", "unpacking"},
    {"graphs"},
    {"layout", "pages"},
    {"codec", "errors", "smda"},
]

# What may be imported where, which is nowhere else.
HIDDEN = {
    "click": {"adding", "changing", "cli", "disassembling", "keeping", "shell", "showing"},
    "fast_sugiyama": {"layout"},
    "html": {"pages"},
    "lzma": {"unpacking"},
    "pymediainfo": {"media"},
    "rich": {"terminal"},
    "smda": {"analysis"},
    "sqlite_utils": {"schema"},
    "subprocess": {"processes"},
    "tqdm": {"running"},
    "zipfile": {"unpacking"},
    "zlib": {"unpacking"},
    "zstandard": {"codec", "unpacking"},
}


def imports(module: Path) -> set[str]:
    """The modules of ours that a module imports, anywhere in it."""
    return _imports(module, ours=True)


def libraries(module: Path) -> set[str]:
    """The packages of others that a module imports, anywhere in it."""
    return _imports(module, ours=False)


def _imports(module: Path, *, ours: bool) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "sampledb":
            inside = {alias.name for alias in node.names}
            modules = {name for name in inside if (PACKAGE / f"{name}.py").exists()}
            found.update({f"sampledb.{name}" for name in modules}, {"sampledb.__init__"} if inside - modules else set())
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    found = {"sampledb.__init__" if name == "sampledb" else name for name in found}
    if ours:
        return {name.split(".")[1] for name in found if name.startswith("sampledb.")}
    return {name.split(".")[0] for name in found} - {"sampledb"}


def modules() -> list[str]:
    return sorted(path.stem for path in PACKAGE.glob("*.py"))


def test_every_module_has_a_floor() -> None:
    assert sorted(name for floor in FLOORS for name in floor) == modules()


@pytest.mark.parametrize("module", modules())
def test_imports_point_down(module: str) -> None:
    floor = next(number for number, names in enumerate(FLOORS) if module in names)
    below = {name for names in FLOORS[floor + 1 :] for name in names}
    assert imports(PACKAGE / f"{module}.py") <= below


@pytest.mark.parametrize(("library", "known_to"), HIDDEN.items())
def test_a_library_is_known_to_few_modules(library: str, known_to: set[str]) -> None:
    assert {name for name in modules() if library in libraries(PACKAGE / f"{name}.py")} == known_to


def test_only_the_terminal_prints() -> None:
    printing = re.compile(r"\bprint\(|click\.echo|std(out|err)\.write")
    assert [path.stem for path in PACKAGE.glob("*.py") if printing.search(path.read_text("utf-8"))] == ["terminal"]


def test_importing_leaves_heavy_libraries_alone() -> None:
    program = "import sys, sampledb; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    for library in (*HIDDEN, "tabulate", "concurrent.futures"):
        assert f"'{library}'" not in loaded


def test_the_public_names_are_sorted_and_typed() -> None:
    assert sampledb.__all__ == sorted(sampledb.__all__)
    assert (PACKAGE / "py.typed").exists()


def test_the_readme_lists_every_public_call_with_its_signature() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    listed = set(re.findall(r"^\| `(.+?)` +\|", readme, flags=re.MULTILINE))
    calls = {name: call for name, call in inspect.getmembers(SampleDB, callable) if not name.startswith("_")}
    public = {_shown("open", sampledb.open), *(_shown(name, call) for name, call in calls.items())}
    assert public == {each for each in listed if "(" in each}


def _shown(name: str, call: object) -> str:
    """A call as the README writes it: names and defaults, no types; `…` is an argument that was left out."""
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in inspect.signature(call).parameters.values()  # type: ignore[arg-type]
        if parameter.name != "self"
    ]
    shown = str(inspect.Signature(parameters)).replace("=UNSET", "=…")
    return f"{name}{shown}".replace("'", '"')


def test_the_readme_lists_every_public_name() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    missing = [name for name in sampledb.__all__ if f"`{name}" not in readme]
    assert missing == []
