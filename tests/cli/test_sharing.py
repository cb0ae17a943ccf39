"""What is carried from one file to another, by commands."""

from pathlib import Path

import pytest

import sampledb
from tests.cli.consoles import answered, run
from tests.strategies import function, report


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Path, Path]:
    """Two files that say different things about one sample; the second has another one too."""
    paths = tmp_path / "ours.sampledb", tmp_path / "theirs.sampledb"
    for path, family in zip(paths, ("win.ours", "win.theirs"), strict=True):
        with sampledb.open(path) as db:
            db.add_sample(report(function(0x1000)), family=family, name="a.exe")
            db.label_function(1, 0x1000, name=f"{family}\x1b[31m")
    with sampledb.open(paths[1]) as db:
        db.add_sample(report(function(1), seed="b"), name="b.exe")
    return paths


def test_a_merge_prints_each_difference_and_exports_come_back(stores: tuple[Path, Path], tmp_path: Path) -> None:
    ours, theirs = stores
    shown = run("merge", ours, theirs)
    assert (shown.code, shown.errors) == (0, "")
    assert shown.output.splitlines()[:4] == [
        "updated 1 a.exe",
        '  sample 1, family: kept "win.ours", not "win.theirs"',
        '  sample 1, label at 0x1000: kept {"name": "win.ours\\u001b[31m", "comment": ""},'
        ' not {"name": "win.theirs\\u001b[31m", "comment": ""}',
        "added 2 b.exe",
    ]
    assert "1 added, 1 updated in" in shown.output
    first, _ = answered("merge", ours, theirs, "--policy", "theirs")
    assert [(each["field"], each["kept"]) for each in first["differences"]] == [
        ("family", "theirs"),
        ("label", "theirs"),
    ]
    for path, name in ((ours, "a"), (theirs, "b")):
        assert run("export", path, tmp_path / name).output.startswith("Wrote ")
    assert run("export", ours, tmp_path / "a").code == 1
    assert run("merge", tmp_path / "empty.sampledb", tmp_path / "b").code == 3


def test_families_are_renamed_and_marked(stores: tuple[Path, Path]) -> None:
    ours, _ = stores
    assert run("families", ours, "--rename", "win.ours", "zlib").output.split()[-4:] == ["1", "0", "1", "zlib"]
    assert answered("families", ours, "--library", "zlib") == [
        {"name": "zlib", "num_samples": 1, "num_libraries": 1, "num_functions": 1}
    ]
    assert answered("families", ours, "--no-library", "zlib")[0]["num_libraries"] == 0
    failed = run("families", ours, "--library", "nobody")
    assert (failed.code, "sampledb families FILE" in failed.errors) == (1, True)
