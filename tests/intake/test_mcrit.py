"""MCRIT's files: what was read is written again, several functions at one offset included; hostile ones are refused."""

import base64
import gzip
import hashlib
import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smda.common.SmdaReport import SmdaReport

import sampledb
from sampledb import InvalidInputError, NotFoundError, SampleDB
from sampledb.intake.mcrit import members
from tests import strategies
from tests.intake.mcrit_files import CONFIG, export, function_entry, label, read, sample_entry, written
from tests.intake.packed import zipped
from tests.strategies import KERNEL, function, report

A, B = (hashlib.sha256(seed).hexdigest() for seed in (b"a", b"b"))
OFFSET = 0x401000


def of_one(*functions: Any, sha256: str = A, **fields: Any) -> dict[str, Any]:
    return export({sha256: sample_entry(sha256)}, {sha256: list(functions)}, **fields)


def add(db: SampleDB, *paths: Path) -> list[str]:
    """Add files, and return the outcomes, which may not be failures."""
    outcomes = list(db.add_samples(paths))
    assert [outcome.error for outcome in outcomes if outcome.error] == []
    return [outcome.status for outcome in outcomes]


@pytest.mark.parametrize("compress", [True, False])
def test_what_was_read_is_written_again(db: SampleDB, tmp_path: Path, compress: bool) -> None:
    functions = [
        function_entry(KERNEL, 1, [label("inflate"), label("inflate_fast", "bob", 2)]),
        # As in a library, whose object files all begin at one address.
        *(function_entry(0, seed, [label(f"object{seed}")]) for seed in range(2, 5)),
        function_entry(2**40, 5),
        function_entry(OFFSET, 6, minhash="", picblockhashes=[], pichash=5, new_key={"of": [2**64 - 1]}),
        function_entry(64, 7, xcfg=None, function_name="no_code"),
    ]
    samples = {
        B: sample_entry(B, base_addr=KERNEL - 2**64, family="", bitness=0, family_id=0),
        A: sample_entry(A, new_key=[None, 1.5], binweight=2.5),
    }
    mapping = {"7": "zlib", "0": ""}
    content = export(samples, {A: functions, B: [functions[0]]}, compress=compress, family_mapping=mapping)
    path = written(tmp_path / "in.mcrit", content)
    assert add(db, path) == ["added", "added"]
    first, second = db.list_samples().values()
    assert (first.sha256, first.base_addr, first.bitness, first.family) == (B, KERNEL, None, "")
    assert (second.sha256, second.family, second.version, second.component) == (A, "zlib", "1.2.11", "core")
    assert (second.name, second.is_library, second.smda_version) == ("zlib.lib", True, "1.12.3")
    assert second.num_functions == len(functions)
    assert [each.offset for each in db.iter_functions(2)] == [0, 64, OFFSET, 2**40, 2**41, 3 * 2**40, KERNEL]
    assert [(each.offset, each.name, each.username, each.is_current) for each in db.list_labels(2, history=True)] == [
        (0, "object2", "alice", True),
        (2**40, "object3", "alice", True),
        (2**41, "object4", "alice", True),
        (KERNEL, "inflate", "alice", False),
        (KERNEL, "inflate_fast", "bob", True),
    ]
    assert db.check(deep=True) == []
    db.export_mcrit(tmp_path / "out.mcrit")
    assert read(tmp_path / "out.mcrit") == read(path)
    # A store that has nothing but the file writes the same bytes.
    with sampledb.open(":memory:") as other:
        add(other, tmp_path / "out.mcrit")
        other.export_mcrit(tmp_path / "again.mcrit")
    assert (tmp_path / "again.mcrit").read_bytes() == (tmp_path / "out.mcrit").read_bytes()
    # SMDA loads what MCRIT has left of its report.
    assert SmdaReport.fromDict({**db.get_report(2), "statistics": {}}).num_functions == len(functions)


def test_a_file_is_found_however_it_is_packed(db: SampleDB, tmp_path: Path) -> None:
    content = json.dumps(of_one(function_entry(0, 1), function_entry(0, 2))).encode()
    wrapped = b'{"status": "successful", "data": %s}' % content
    (tmp_path / "a.mcrit").write_bytes(content)
    (tmp_path / "b.MCRIT.gz").write_bytes(gzip.compress(wrapped))
    (tmp_path / "c.mcrit.zip").write_bytes(zipped({"d/c.mcrit": content}))
    found = list(sampledb.find_reports(tmp_path))
    names = ["a.mcrit", "b.MCRIT.gz", "c.mcrit.zip/d/c.mcrit"]
    assert [each.source for each in found] == [f"{tmp_path}/{name}/{A}" for name in names]
    reports = [json.loads(each.open().read()) for each in found]
    assert reports[0] == reports[1] == reports[2]
    # A path among other items stands for its samples.
    items = [report(function(1), seed="x"), tmp_path / "a.mcrit", str(tmp_path / "b.MCRIT.gz")]
    outcomes = [(each.index, each.status, each.source) for each in db.add_samples(items)]
    assert outcomes == [(0, "added", ""), (1, "added", found[0].source), (2, "existed", found[1].source)]
    with pytest.raises(InvalidInputError, match=r"add_samples\(\) reads it from"):
        db.add_sample(content)


def test_labels_of_others_are_added_and_what_is_said_here_stays(db: SampleDB, tmp_path: Path) -> None:
    ours, theirs = (label("ours", day=3), label("theirs", "bob", 5))
    add(db, written(tmp_path / "1.mcrit", of_one(function_entry(0, 1, [ours]), function_entry(9, 2, [theirs]))))
    db.label_function(1, 0, name="mine", comment="sure", username="carol")
    db.delete_label(1, 9)
    path = written(tmp_path / "2.mcrit", of_one(function_entry(0, 1, [ours, theirs]), function_entry(9, 2, [theirs])))
    assert add(db, path, path) == ["existed", "existed"]
    history = [(each.offset, each.name, each.username, each.is_current) for each in db.list_labels(history=True)]
    assert history == [
        *((0, "ours", "alice", False), (0, "theirs", "bob", False), (0, "mine", "carol", True)),
        *((9, "theirs", "bob", False), (9, "", "anonymous", False)),
    ]
    db.export_mcrit(tmp_path / "out.mcrit")
    said = [each["function_labels"] for each in read(tmp_path / "out.mcrit")[1][A]]
    assert [[each["function_label"] for each in labels] for labels in said] == [[], ["ours", "theirs", "mine"]]


def test_minhashes_of_another_configuration_are_left_out(db: SampleDB, tmp_path: Path) -> None:
    config = {"version": "1.9.0", "shingler": "s", "minhash": "m", "escaper": {"intel": "e"}}
    path = written(tmp_path / "other.mcrit", of_one(function_entry(0, 1), config=config))
    add(db, path)
    db.export_mcrit(tmp_path / "alone.mcrit")
    assert json.loads((tmp_path / "alone.mcrit").read_bytes())["config"] == config
    assert read(tmp_path / "alone.mcrit") == read(path)
    add(db, written(tmp_path / "usual.mcrit", of_one(function_entry(0, 2), sha256=B)))
    db.add_sample(report(function(1, function_name="f", pic_hash=None), seed="none", statistics={}), family="made")
    db.export_mcrit(tmp_path / "both.mcrit")
    _, functions = read(tmp_path / "both.mcrit")
    assert {sha256: found[0]["minhash"][:2] for sha256, found in functions.items()} == {
        A: "",
        B: "02",
        db.get_sample(3).sha256: "",
    }
    assert functions[db.get_sample(3).sha256][0]["pichash"] == 0
    content = json.loads((tmp_path / "both.mcrit").read_bytes())
    assert content["config"] == {"version": "1.9.0", **{key: CONFIG[key] for key in ("shingler", "minhash")}}
    assert content["content"] == {"is_compressed": True, "num_families": 2, "num_samples": 3, "num_functions": 3}


def test_what_cannot_be_exported_leaves_no_file(db: SampleDB, tmp_path: Path) -> None:
    media = db.add_media(sha256=B)
    db.add_sample(report(function(1)))
    for ids in ([media.sample_id], [3], [2, 2**70]):
        with pytest.raises(NotFoundError):
            db.export_mcrit(tmp_path / "out.mcrit", ids)
    wrong: list[Any] = [[0], 1, "1", ["1"]]
    for ids in wrong:
        with pytest.raises(InvalidInputError):
            db.export_mcrit(tmp_path / "out.mcrit", ids)
    assert [each.name for each in tmp_path.iterdir() if "mcrit" in each.name] == []
    db.export_mcrit(tmp_path / "out.mcrit", [])
    assert read(tmp_path / "out.mcrit") == ({}, {})
    with pytest.raises(InvalidInputError, match="exists already"):
        db.export_mcrit(tmp_path / "out.mcrit")


BOMB = base64.b85encode(zipped({"content": b"{" + b" " * 2**24})).decode()
# The functions of a sample that each make it fail, or its fields.
BROKEN: list[Any] = [
    *('"', base64.b85encode(b"PK no zip").decode(), BOMB),
    base64.b85encode(zipped({"content": b"{}", "more": b"{}"})).decode(),
    base64.b85encode(zipped({"../content": b"{}"})).decode(),
    base64.b85encode(zipped({"content": b"{"})).decode(),
    *([], None, {"0": 5}, {"0": {}}, {"0": {"offset": "5"}}, {"0": {"offset": 10**30}}),
    {"0": function_entry(0, 1, [{"function_label": 5}])},  # type: ignore[dict-item]
    {"0": function_entry(0, 1, [label("x" * 10_001)])},
    {"0": function_entry(0, 1, [label("x", "\x1b[2J")])},
    {"0": function_entry(0, 1, [{**label("x"), "timestamp": "now"}])},
    {"0": function_entry(0, 1, picblockhashes=[5])},
    {"0": function_entry(0, 1, picblockhashes=[dict.fromkeys(["offset", "length", "size", "hash"], "")])},
    {"0": function_entry(0, 1, minhash=[1])},
    {"0": function_entry(0, 1, xcfg=[])},
    {"0": function_entry(0, 1, xcfg=function(4))},
    {str(seed): function_entry(0, seed, xcfg=function(0, {"x": []})) for seed in (1, 2)},
]
BROKEN_FIELDS: list[dict[str, Any]] = [{"sha256": "0" * 64}, {"family": "a b"}, {"base_addr": "0"}, {"bitness": 16}]
BROKEN_FILES = [
    *("", "[]", "{", '{"a"}', '{"a":1', '{"sample_entries":{}', '{"sample_entries":[]}', '{"config":{}}', "\0" * 99),
    *('{"sample_entries":{"a":{}}}', f'{{"sample_entries":{{"{A}":{{}},"{A.upper()}":{{}}}}}}', '{"config":[' * 9),
    *('{"' + "x" * 9999 + '":1}', '{"config":5,"sample_entries":{}}', '{"data":' * 9999),
]


def test_broken_samples_fail_alone_and_in_little_memory(db: SampleDB, tmp_path: Path) -> None:
    keys = [hashlib.sha256(bytes([number])).hexdigest() for number in range(len(BROKEN) + len(BROKEN_FIELDS))]
    samples = {key: sample_entry(key) for key in [*keys, A]}
    functions: dict[str, Any] = dict(zip(keys, BROKEN, strict=False))
    for key, fields in zip(keys[len(BROKEN) :], BROKEN_FIELDS, strict=True):
        samples[key] |= fields
    content = export(samples, {A: [function_entry(0, 1)]})
    content["function_entries"] |= functions
    path = written(tmp_path / "broken.mcrit", content)
    tracemalloc.start()
    outcomes = list(db.add_samples([path]))
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
    assert [outcome.source[-64:] for outcome in outcomes if outcome.status == "added"] == [A]
    assert [type(outcome.error) for outcome in outcomes if outcome.error] == [InvalidInputError] * len(keys)
    assert db.stats().num_samples == db.stats().num_functions == 1


def test_broken_files_fail_as_a_whole(db: SampleDB, tmp_path: Path) -> None:
    for number, content in enumerate(BROKEN_FILES):
        (tmp_path / f"{number:02}.mcrit").write_text(content)
    outcomes = list(db.add_samples(sampledb.find_reports(tmp_path)))
    assert [Path(outcome.source).name for outcome in outcomes] == [f"{each:02}.mcrit" for each in range(len(outcomes))]
    assert [type(outcome.error) for outcome in outcomes] == [InvalidInputError] * len(BROKEN_FILES)


@given(st.dictionaries(st.text('ab"\\é', max_size=5), strategies.json_values, max_size=5), st.sampled_from([None, 1]))
def test_members_are_located_wherever_a_piece_ends(value: dict[str, Any], indent: int | None) -> None:
    content = json.dumps(value, indent=indent).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(members, "_PIECE", 3)
        reader = members.Reader(io.BytesIO(content))
        spans = [reader.skip() for _ in reader.members()]
    assert [json.loads(span.read(io.BytesIO(content))) for span in spans] == list(value.values())
