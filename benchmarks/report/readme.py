"""`python -m benchmarks.report.readme`: put the figures of the last run that was kept into the README."""

from pathlib import Path
from typing import Final

from benchmarks.report import figures, tables

README: Final = Path(__file__).parent.parent.parent / "README.md"
_BEGIN: Final = "<!-- figures -->\n"
_END: Final = "<!-- end of figures -->\n"


def updated(readme: str) -> str:
    """The README with these figures."""
    before, rest = readme.split(_BEGIN, 1)
    _, after = rest.split(_END, 1)
    return f"{before}{_BEGIN}\n```text\n{tables.text(figures.load())}\n```\n\n{_END}{after}"


if __name__ == "__main__":
    README.write_text(updated(README.read_text("utf-8")), "utf-8")
