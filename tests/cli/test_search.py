"""The commands that search and query."""

from pathlib import Path

import sampledb
from tests.cli.consoles import answered, dicts, run
from tests.strategies import function, report


def test_a_search_takes_fields_and_pages(tmp_path: Path) -> None:
    path = tmp_path / "store"
    calling = function(4096, function_name="main") | {"apirefs": {"4096": "kernel32.dll!CreateFileA"}}
    with sampledb.open(path) as db:
        db.add_sample(report(calling, function(8192, function_name="helper")), family="win.x", name="a b.exe")
        expected = dicts(db.search("family:win.x kind:function"))
        assert [hit["text"] for hit in expected] == ["main", "helper"]
    assert answered("search", path, "family:WIN.*", "kind:function", "--start", "1") == expected[1:]
    assert answered("search", path, "family:win.x kind:function", "--limit", "1") == expected[:1]
    assert answered("search", path, 'name:"a b.exe"', "api:createfile*") == []
    (hit,) = answered("search", path, "api:createfile*")
    assert (hit["field"], hit["text"], hit["offset"]) == ("api", "kernel32.dll!CreateFileA", 4096)
    shown = run("search", path, "famly:x")
    assert (shown.code, shown.output) == (1, "")
    assert "did you mean family:?" in shown.errors


def test_parameters_are_numbers_where_they_look_like_it(filled_path: Path) -> None:
    types = "SELECT typeof(?) AS a, typeof(?) AS b, typeof(?) AS c"
    expected = {"a": "integer", "b": "text", "c": "integer"}
    assert answered("query", filled_path, types, "12", "012", str(2**63)) == [expected]
    assert answered("query", filled_path, types, "0x12", str(2**64), "0xg") == [expected | {"c": "text"}]
