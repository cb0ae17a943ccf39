"""The commands that search and query."""

from pathlib import Path

from tests.cli.consoles import answered


def test_parameters_are_numbers_where_they_look_like_it(filled_path: Path) -> None:
    types = "SELECT typeof(?) AS a, typeof(?) AS b, typeof(?) AS c"
    expected = {"a": "integer", "b": "text", "c": "integer"}
    assert answered("query", filled_path, types, "12", "012", str(2**63)) == [expected]
    assert answered("query", filled_path, types, "0x12", str(2**64), "0xg") == [expected | {"c": "text"}]
