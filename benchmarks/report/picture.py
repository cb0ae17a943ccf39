"""The picture: curves of size and of time as a store grows."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.report.figures import Figures


def draw_figures(figures: Figures, path: Path) -> None:
    """Write the SVG. The same figures give the same bytes."""
    mpl.rcParams.update({"svg.hashsalt": "sampledb", "font.size": 9, "svg.fonttype": "path"})
    picture = Figure(figsize=(9, 3.6), layout="constrained")
    size, scale = picture.subplots(1, 2)

    json_mb = [json_bytes / 1e6 for json_bytes, _, _ in figures.sizes.curve]
    size.plot(
        json_mb, [floor / 1e6 for *_, floor in figures.sizes.curve], color="tab:gray", label="bare sqlite3, zstd -3"
    )
    size.plot(json_mb, [ours / 1e6 for _, ours, _ in figures.sizes.curve], color="tab:blue", label="sampledb")
    end = json_mb[-1]
    size.plot([end], [figures.sizes.compact_file / 1e6], "v", color="tab:blue", label="sampledb, after compact()")
    size.plot([end], [figures.sizes.zstd_19 / 1e6], "x", color="tab:red", label="each report zstd -19")
    size.set(title="Size of the file", xlabel="compact JSON of the reports, MB", ylabel="MB", ylim=(0, None))
    size.legend(frameon=False)

    functions = [step.functions for step in figures.growth]
    for name in figures.growth[0].ratios if figures.growth else ():
        scale.plot(functions, [step.ratios[name] for step in figures.growth], marker=".", label=name)
    scale.set(
        title="Time of a call, against a store of 100,000 functions",
        xlabel="functions in the store", ylabel="ratio of medians", xscale="log", ylim=(0, None),
    )  # fmt: skip
    scale.legend(frameon=False, fontsize=7, ncols=2)
    picture.savefig(path, metadata={"Date": None})
