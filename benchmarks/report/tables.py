"""The figures as text: the tables that are printed, and the small one of the project's README."""

from collections.abc import Sequence

from tabulate import tabulate

from benchmarks.report.figures import Figures, Timing


def format_figures(figures: Figures) -> str:
    """Return all tables as plain text."""
    corpus = figures.corpus
    head = (
        f"{corpus.reports} reports, {corpus.functions:,} functions, {_mb(corpus.json_bytes)} of compact JSON\n"
        f"{figures.machine}; {', '.join(f'{name} {version}' for name, version in figures.versions.items())}\n"
        f"{figures.day}"
    )
    parts = [_rows, _sizes, _peers, _memory, _growth, _batch, _searching, _asking, _labelling, _columns]
    return "\n\n".join([head, *filter(None, (part(figures) for part in parts))])


def format_summary(figures: Figures) -> str:
    """Return the figures that most readers want, as a table in Markdown."""
    rows = {row.name: row for row in figures.rows}
    lines = [
        *_summarize_sizes(figures),
        [
            "functions added per second, one report at a time, each synced",
            *(f"{rate:,.0f}" for rate in figures.adding),
        ],
        *(
            [text, _time(rows[name].ours.median), _time(rows[name].floor.median)]
            for name, text in (
                ("get_sample_by_sha256", "find a sample by its SHA-256"),
                ("get_function", "read one function with its disassembly"),
                ("list_functions, median sample", "list the functions of a sample of median size"),
            )
        ),
        *_summarize_others(figures),
    ]
    return str(tabulate(lines, ["", "sampledb", "bare `sqlite3`"], tablefmt="github", disable_numparse=True))


def _summarize_sizes(figures: Figures) -> list[list[str]]:
    sizes, json_bytes = figures.sizes, figures.corpus.json_bytes
    full, compact, floor = (f"{size / json_bytes:.3f}" for size in (sizes.file, sizes.compact_file, sizes.floor_file))
    what = f"size of the file, as a share of the JSON ({_mb(json_bytes)})"
    return [[what, f"{full}; {compact} after `compact()`", floor]]


def _summarize_others(figures: Figures) -> list[list[str]]:
    """Return the rows in which bare `sqlite3` has no part, or another one."""
    memory, batch, found = figures.memory, figures.batch, figures.searching
    lines = []
    if asking := figures.asking:
        rare = asking.lookups["20 functions that refer to a rare API"]
        scan = asking.functions / asking.scans["constant=0x67452301"]
        lines.append([f"find who calls an API, among {asking.functions:,} functions", _time(rare.median), ""])
        lines.append(["find who uses a constant, which reads the code of all of them", _time(scan), ""])
    if found:
        lines.append([f"search in {found.functions:,} different names", _time(found.asking.median), ""])
    lines.append(
        [
            f"peak memory while adding {memory.largest_functions:,} functions at once",
            f"{memory.largest / memory.largest_json:.1f} times the JSON",
            "",
        ]
    )
    if batch:
        ours, smda = (f"{60 * batch.binaries / seconds:.0f}" for seconds in (batch.ours, batch.smda))
        lines.append(["binaries disassembled per minute, on all cores", ours, f"{smda} (SMDA alone)"])
    return lines


def _rows(figures: Figures) -> str:
    lines = []
    for row in figures.rows:
        target = "" if row.target is None else f"{row.target:.2f}"
        lines.append([row.name, *_times(row.ours), _time(row.floor.median), f"{row.ratio:.2f}", target])
    ours, floor = figures.adding
    lines.append(["functions added per second", f"{ours:,.0f}", "", "", f"{floor:,.0f}", f"{floor / ours:.2f}", "1.25"])
    return _table(lines, ["", "median", "p90", "p99", "floor", "ratio", "target"])


def _sizes(figures: Figures) -> str:
    sizes, json_bytes = figures.sizes, figures.corpus.json_bytes
    lines = [
        ("file, closed, every index in it", sizes.file, "0.132"),
        (f"after compact(), which took {sizes.compact_seconds:.0f} s", sizes.compact_file, "0.112"),
        ("each report compressed with zstd -19", sizes.zstd_19, ""),
        ("the floor's file", sizes.floor_file, ""),
    ]
    shares = [[name, _mb(size), f"{size / json_bytes:.3f}", target] for name, size, target in lines]
    return _table(shares, ["", "size", "of the JSON", "target"])


def _peers(figures: Figures) -> str:
    lines = [
        [
            peer.name,
            f"{peer.functions_per_second:,.0f}",
            "-" if peer.file is None else f"{peer.file / figures.corpus.json_bytes:.3f}",
            *map(_time, (peer.sample, peer.functions, peer.function)),
            "-" if peer.report is None else _time(peer.report),
        ]
        for peer in figures.peers
    ]
    return _table(lines, ["", "functions/s in", "of the JSON", "sample", "functions", "function", "report"])


def _memory(figures: Figures) -> str:
    memory = figures.memory
    lines = [
        ["adding the corpus", _mb(memory.ours), f"the floor: {_mb(memory.floor)}"],
        [
            f"adding one report of {memory.largest_functions:,} functions",
            _mb(memory.largest),
            f"{memory.largest / memory.largest_json:.1f} times its JSON; target: 4",
        ],
        *(
            [["... in", "{:.1f} s; the floor: {:.1f} s".format(*memory.largest_seconds), ""]]
            if memory.largest_seconds
            else []
        ),
        ["adding 1,000 reports", _mb(memory.after_1000), f"after 100 of them: {_mb(memory.after_100)}"],
    ]
    return _table(lines, ["peak memory", "", ""])


def _growth(figures: Figures) -> str:
    if not figures.growth:
        return ""
    names = list(figures.growth[0].ratios)
    lines = [
        [
            f"{step.functions:,}",
            f"{step.file / 1e9:.2f} GB",
            *(f"{step.ratios[name]:.2f}" for name in names),
            f"{step.adding:,.0f}",
        ]
        for step in figures.growth
    ]
    heads = [name.removeprefix("get_sample_by_").removeprefix("functions_with_") for name in names]
    return _table(lines, ["functions", "file", *heads, "added/s"])


def _batch(figures: Figures) -> str:
    batch = figures.batch
    if batch is None:
        return ""
    lines = [
        ["submit_binary, run_jobs", f"{60 * batch.binaries / batch.ours:.0f}", f"{batch.ours / batch.smda:.2f}"],
        ["SMDA's disassembleParallel", f"{60 * batch.binaries / batch.smda:.0f}", ""],
    ]
    return _table(lines, [f"{batch.binaries} binaries", "per minute", "time, target 1.05"])


def _searching(figures: Figures) -> str:
    found = figures.searching
    if found is None:
        return ""
    lines = [
        [f"search, {found.functions:,} function names", *_times(found.asking), "50 ms"],
        ["adding, of its rate without the index", f"{found.adding:.2f}", "", "", "0.85"],
        ["... where every function has a new name", f"{found.adding_named:.2f}", "", "", ""],
    ]
    return _table(lines, ["", "median", "p90", "p99", "target"])


def _asking(figures: Figures) -> str:
    found = figures.asking
    if found is None:
        return ""
    lines = [
        *([name, *_times(timing), ""] for name, timing in found.lookups.items()),
        *([name, f"{rate:,.0f}/s", "", "", "66,667/s"] for name, rate in found.scans.items()),
        ["adding, of its rate without the index", f"{found.adding:.2f}", "", "", "0.90"],
        ["the index, of the file", f"{found.index:.3f}", "", "", "0.04"],
    ]
    if found.signing:
        lines.append(["signatures, made", f"{found.signing:,.0f}/s", "", "", "20,000/s a core"])
        lines.append(["signatures, of the file", f"{found.signatures:.3f}", "", "", "0.15"])
    return _table(lines, [f"asking {found.functions:,} functions", "median", "p90", "p99", "target"])


def _labelling(figures: Figures) -> str:
    found = figures.labelling
    if found is None:
        return ""
    lines = [
        *([name, *_times(timing)] for name, timing in found.lookups.items()),
        ["merged from a text", f"{found.merging:,.0f}/s", "", ""],
        ["a label, in the file", f"{found.size:.0f} bytes", "", ""],
    ]
    return _table(lines, [f"{found.labels:,} functions with labels", "median", "p90", "p99"])


def _columns(figures: Figures) -> str:
    found = figures.columns
    if found is None:
        return ""
    times = {
        "table, all columns": (found.ours, "0.33"),
        "table, mnemonics": (found.mnemonics, ""),
        "json.loads": (found.parsing, ""),
        "json.loads, four columns from it": (found.collecting, ""),
    }
    lines = [[name, f"{time:.2f} s", f"{time / found.parsing:.2f}", target] for name, (time, target) in times.items()]
    lines.append(["memory to stream all", _mb(found.memory), "", ""])
    return _table(lines, [f"{found.instructions:,} instructions", "time", "of json.loads", "target"])


def _table(lines: Sequence[Sequence[str]], heads: Sequence[str]) -> str:
    align = ["left", *["right"] * (len(heads) - 1)]
    return str(tabulate(lines, heads, tablefmt="plain", disable_numparse=True, colalign=align))


def _times(timing: Timing) -> list[str]:
    return [_time(timing.median), _time(timing.p90), _time(timing.p99)]


def _mb(size: float) -> str:
    return f"{size / 1e6:.1f} MB"


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} µs" if seconds < 1e-3 else f"{seconds * 1e3:.2f} ms"
