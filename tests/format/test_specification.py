"""The README of the format is true: a reader made from it alone reads what this package wrote, and files are kept."""

import gzip
import hashlib
import json
import re
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sampledb
from sampledb.format import codec
from sampledb.format.frame import Frame
from sampledb.store import schema
from tests import strategies
from tests.format import independent, make_file
from tests.format.independent import Reader
from tests.format.test_frame import ODD, Parsed, smda_function
from tests.markers import every_platform
from tests.raw import raw

FOLDER = Path(sampledb.__file__).parent / "format"
SPECIFICATION = (FOLDER / "README.md").read_text("utf-8")
# A report may not have such addresses.
STORABLE = [each for name, each in ODD.items() if name != "addresses below 0"]
RENEW = "`python -m tests.format.make_file` renews the file of a format that is not released"


def rows(title: str) -> list[list[str]]:
    """Return the cells of the table under a heading; code without its marks."""
    part = SPECIFICATION.split(f"\n## {title}\n")[1].split("\n## ")[0]
    found = re.findall(r"^\| (`.*) \|$", part, re.MULTILINE)
    return [[cell.strip("`") for cell in row.split(" | ")] for row in found]


def read_reports(path: Path) -> dict[str, Any]:
    """Return the reports of a file by SHA-256; what they refer to must be what the file says."""
    found = {}
    with closing(Reader(path)) as reader:
        for sample_id, report in reader.read_reports():
            for kind in ("api", "string"):
                expected = defaultdict(list)
                for position, function in enumerate(report["xcfg"].values()):
                    for name in independent.list_names(function.get(f"{kind}refs")):
                        expected[name].append(position)
                assert reader.read_references(kind, sample_id) == expected
            found[report["sha256"]] = report
    return found


# A reader


@every_platform
def test_the_specification_is_enough_to_read_real_reports(filled_path: Path, parsed: Parsed) -> None:
    assert read_reports(filled_path) == {each["sha256"]: each for each in parsed.values()}


@given(
    st.lists(strategies.reports(), max_size=2, unique_by=lambda each: each["sha256"]),
    st.lists(
        strategies.functions() | strategies.addresses.map(smda_function) | st.sampled_from(STORABLE),
        max_size=40,
    ),
)
def test_the_specification_is_enough_to_read_any_report(
    tmp_path_factory: pytest.TempPathFactory, reports: list[dict[str, Any]], functions: list[dict[str, Any]]
) -> None:
    path = tmp_path_factory.mktemp("any") / "any.sampledb"
    reports.append(strategies.report(*functions))
    with sampledb.open(path) as db:
        for each in reports:
            db.add_sample(each)
    assert read_reports(path) == {each["sha256"]: each for each in reports}


def test_what_the_specification_has_refused_is_refused() -> None:
    blob = codec.encode(codec.JSON, b"{}")
    assert independent.read_blob(codec.JSON, blob, codec.checksum(blob)) == b"{}"
    forged = (blob[:-1], blob + b"\0", blob + blob[1:], b"\2" + blob[1:], blob[:1] + bytes(20))
    for each, checksum in [(blob, 0), *((each, codec.checksum(each)) for each in forged)]:
        with pytest.raises((ValueError, independent.zstd.ZstdError)):
            independent.read_blob(codec.JSON, each, checksum)
        with pytest.raises(codec.DecodeError):
            codec.decode(codec.JSON, each, checksum)


# What it says


def test_every_table_is_named_with_its_meaning() -> None:
    expected = []
    for statement in schema.STATEMENTS:
        created = re.match(r"CREATE (?:VIRTUAL )?(?:TABLE|VIEW) (\w+).*\n((?: +--.*\n)+)", statement)
        if created:
            comment = " ".join(line.strip(" -") for line in created[2].splitlines())
            expected.append([created[1], comment.split(". ")[0].rstrip(".")])
    assert rows("Tables") == expected


def test_every_column_of_a_frame_is_named_in_its_order() -> None:
    assert [name for name, *_ in rows("Frames")] == list(Frame.__struct_fields__) == list(independent.Frame._fields)


def test_the_numbers_are_those_of_the_files() -> None:
    dictionary = (FOLDER / "frame2.dict").read_bytes()
    for number in (
        f"This is format {schema.FORMAT_VERSION}.",
        f"`PRAGMA user_version` {schema.FORMAT_VERSION} ",
        f"0x{schema.APPLICATION_ID:X}",
        f"{len(dictionary):,} bytes",
        hashlib.sha256(dictionary).hexdigest(),
        f"id {int.from_bytes(dictionary[4:8], 'little')}.",
    ):
        assert number in " ".join(SPECIFICATION.split())


# Files that are kept


def includes(found: Any, expected: Any) -> bool:
    """Return whether an answer has everything that is expected; a later version may answer more."""
    if isinstance(expected, dict):
        return isinstance(found, dict) and all(includes(found.get(key), value) for key, value in expected.items())
    if isinstance(expected, list):
        return isinstance(found, list) and len(found) == len(expected) and all(map(includes, found, expected))
    return bool(found == expected)


@pytest.mark.parametrize("kept", sorted(make_file.KEPT.glob("*.gz")), ids=lambda kept: kept.name)
def test_a_file_of_each_format_is_read(tmp_path: Path, kept: Path) -> None:
    expected = json.loads(kept.with_name(kept.name.replace(".sampledb.gz", ".json")).read_text("utf-8"))
    path = tmp_path / "kept.sampledb"
    path.write_bytes(gzip.decompress(kept.read_bytes()))
    with sampledb.open(path) as db:
        assert db.check(deep=True) == []
        answers = make_file.read_answers(db)
    assert answers["reports"] == expected["reports"]
    assert includes(answers, expected)


def test_the_file_of_the_present_format_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "kept.sampledb"
    path.write_bytes(gzip.decompress(make_file.FILE.read_bytes()))
    with raw(path) as connection:
        assert {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_schema")} >= {*schema.STATEMENTS}, RENEW
    make_file.make(tmp_path / "made.sampledb")
    answers = json.loads(make_file.ANSWERS.read_text("utf-8"))
    with sampledb.open(tmp_path / "made.sampledb", readonly=True) as db:
        assert make_file.read_answers(db) == answers, RENEW
    assert read_reports(path) == {each["sha256"]: each for each in answers["reports"].values()}
    with closing(Reader(path)) as reader:
        assert reader.read_binary(hashlib.sha256(make_file.BINARY).hexdigest()) == make_file.BINARY


def test_the_search_indexes_can_be_made_anew_by_the_sql_of_the_specification(tmp_path: Path) -> None:
    path = tmp_path / "made.sampledb"
    make_file.make(path)
    (sql,) = re.findall(r"```sql\n(.*?)```", SPECIFICATION, re.DOTALL)
    with raw(path) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE sql LIKE '%USING fts5%'").fetchall():
            connection.execute(f"INSERT INTO {name} ({name}) VALUES ('delete-all')")  # noqa: S608
        connection.executescript(sql)
    with sampledb.open(path, readonly=True) as db:
        assert db.check(deep=True) == []
