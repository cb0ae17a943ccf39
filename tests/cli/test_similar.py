"""The commands about similar code."""

import json
from pathlib import Path

import pytest

import sampledb
from tests.cli.consoles import answered, dicts, run_here
from tests.database.test_similar import CHANGED, variant


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "similar.sampledb"
    with sampledb.open(path) as db:
        db.add_sample(variant(), name="old.exe")
        db.add_sample(variant(CHANGED, pic_hash=8, at=1, function_name="init\x1b"), name="new.exe", family="zeus")
        db.add_sample(variant(at=2), name="zlib", is_library=True)
    return path


def test_similar_code_is_listed_best_first(path: Path, tmp_path: Path) -> None:
    found = answered("similar", path, "old.exe", "0x1000", "--explain")
    assert [(each["sample_id"], each["exact"]) for each in found] == [(3, True), (2, False)]
    assert found[1]["explanation"]["score"] == found[1]["score"]
    shown = run_here("similar", path, 1, 1, "--explain").output
    assert "same" in shown
    assert "0x67452301" in shown
    assert "init\\x1b" in shown
    assert "\x1b" not in shown
    assert "Nothing" in run_here("similar", path, 1, 1, "--threshold", "100", "--exclude-libraries").output
    related = answered("related", path, "old.exe", "--exclude-libraries")
    assert [(each["name"], each["percent"]) for each in related] == [("new.exe", 100.0)]
    assert "library" in run_here("related", path, 1).output
    (tmp_path / "new.smda").write_text(json.dumps(variant(at=5)))
    assert len(answered("related", path, tmp_path / "new.smda")) == 3
    assert run_here("related", path, "nothing").code == 1
    with sampledb.open(path, readonly=True) as db:
        assert found[0].keys() - {"explanation"} == db.similar_functions(1, 1)[0].to_dict().keys()
        assert answered("compare", path, 1, 2) == db.compare(1, 2).to_dict()
        assert db.query("SELECT count(*) AS n FROM signatures") == [{"n": 3}]
        assert answered("labels", path, 1, "--suggest") == dicts(db.suggest_labels(1))
    shown = run_here("compare", path, "old.exe", "new.exe").output
    assert shown.startswith("a: old.exe, 2 of 2 functions, 100.0 %")
    assert "init\\x1b" in run_here("labels", path, 1, "--suggest").output
    assert run_here("labels", path, "--suggest").code == 2
