"""The pictures in the READMEs: `python -m tests.browser.pictures` makes them anew."""

import tempfile
from pathlib import Path
from typing import Final

import sampledb
from tests import binaries
from tests.browser.chromium import open_tab, serve
from tests.cli.consoles import run

FOLDER: Final = Path(__file__).parent
#: Bytes of all pictures together.
MOST_BYTES: Final = 300_000


def main() -> None:
    """Disassemble a launcher, and take pictures of its page, of one of its functions, and of a graph."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "programs.sampledb"
        with sampledb.open(path) as db:
            sample = db.analyze(binaries.launcher("t64"), family="distlib")
            (hit,) = db.find_functions(api="*SearchPathW")
            db.label_function(sample.sample_id, hit.offset, name="find_python", comment="Looks beside the program.")
            (small,) = db.find_functions(string="CorExitProcess")
            graph = db.get_function(sample.sample_id, small.function_id).to_svg()
        with serve(path) as address, open_tab(1000, 720) as (tab, _):
            tab.goto(f"{address}/programs/-/function/{hit.function_id}")
            tab.screenshot(path=FOLDER / "function.png")
        run("page", path, sample.sample_id, "-o", Path(folder) / "t64.html")
        with open_tab(1000, 720) as (tab, _):
            tab.goto((Path(folder) / "t64.html").as_uri())
            tab.fill("input", "path")
            tab.screenshot(path=FOLDER / "page.png")
            tab.set_content(graph)
            tab.locator("svg").screenshot(path=FOLDER / "graph.png")
    size = sum(each.stat().st_size for each in FOLDER.glob("*.png"))
    if size > MOST_BYTES:
        raise SystemExit(f"The pictures have {size:,} bytes: more than {MOST_BYTES:,}.")


if __name__ == "__main__":
    main()
