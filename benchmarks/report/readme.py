"""Draws the figures of the last run, and copies them into the READMEs: `python -m benchmarks.report.readme`."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.report import figures, tables

_ROOT: Final = Path(__file__).parent.parent.parent
_BEGIN: Final = "<!-- figures -->\n"
_END: Final = "<!-- end of figures -->\n"


def _format_text(run: figures.Figures) -> str:
    return f"```text\n{tables.format_figures(run)}\n```"


#: The READMEs that show figures, and their forms there.
FORMS: Final[dict[Path, Callable[[figures.Figures], str]]] = {
    _ROOT / "README.md": tables.format_summary,
    _ROOT / "benchmarks" / "README.md": _format_text,
}


def insert_figures(path: Path) -> str:
    """Return the text of a README with the figures of the last run between its markers."""
    before, rest = path.read_text("utf-8").split(_BEGIN, 1)
    _, after = rest.split(_END, 1)
    return f"{before}{_BEGIN}{FORMS[path](figures.load_figures())}\n{_END}{after}"


def main() -> None:
    """Draw the picture, and rewrite the READMEs that show figures."""
    from benchmarks.report import picture  # noqa: PLC0415 - the tests import this, without what draws

    picture.draw_figures(figures.load_figures(), figures.PICTURE)
    for path in FORMS:
        path.write_text(insert_figures(path), "utf-8")


if __name__ == "__main__":
    main()
