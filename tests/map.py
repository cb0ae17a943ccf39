"""The map of the package in its README, made of the modules' docstrings: `python -m tests.map` writes it."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.test_architecture import MAY_IMPORT, PACKAGE

README = PACKAGE / "README.md"
_BEGIN = "<!-- map -->\n"
_END = "<!-- end of map -->\n"


def insert_map(readme: str) -> str:
    """Return the README with today's map between its markers."""
    before, rest = readme.split(_BEGIN, 1)
    _, after = rest.split(_END, 1)
    rooms = [room for name in reversed(MAY_IMPORT) for room in _describe(PACKAGE / name, 0)]
    widest = max(len(room) for room, _ in rooms)
    lines = "\n".join(f"{room:{widest}}  {purpose}" for room, purpose in rooms)
    return f"{before}{_BEGIN}```text\n{lines}\n```\n{_END}{after}"


def _describe(path: Path, depth: int) -> Iterator[tuple[str, str]]:
    """Yield the name and the purpose of a module, or of a package and its modules."""
    indent = "  " * depth
    if not path.is_dir():
        yield f"{indent}{path.stem}.py", _purpose(path.with_suffix(".py"))
        return
    yield f"{indent}{path.name}/", _purpose(path / "__init__.py")
    for each in sorted(path.iterdir(), key=lambda each: (each.is_dir(), each.name)):
        if each.name != "__init__.py" and (each.suffix == ".py" or (each / "__init__.py").exists()):
            yield from _describe(each, depth + 1)


def _purpose(module: Path) -> str:
    """Return the first sentence of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(module.read_text("utf-8"))) or ""
    return " ".join(docstring.split("\n\n")[0].split()).split(". ")[0].removesuffix(".")


def main() -> None:
    """Rewrite the map."""
    README.write_text(insert_map(README.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
