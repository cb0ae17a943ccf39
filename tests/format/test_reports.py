"""Reports come back as they went in, and those that break the format are refused with the place named."""

import copy
import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from smda.common.SmdaReport import SmdaReport

import sampledb
from sampledb import InvalidInputError, SampleDB
from sampledb.format import xcfg
from tests import strategies
from tests.intake.packed import BOMBS, VARIANTS
from tests.markers import ALL, every_platform, mostly_slow
from tests.strategies import function, instruction, report

Parsed = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def memory() -> SampleDB:
    return sampledb.open(":memory:")


def stored_and_read(db: SampleDB, given: Any) -> dict[str, Any]:
    return db.get_report(db.add_sample(given, replace=True).sample_id)


@every_platform
def test_real_reports_come_back_as_they_were(filled: SampleDB, parsed: Parsed) -> None:
    for expected in parsed.values():
        assert filled.get_report(filled.get_sample_by_sha256(expected["sha256"]).sample_id) == expected


@pytest.mark.slow
@pytest.mark.parametrize("sources", [ALL], indirect=True)
def test_every_platform_is_there(filled: SampleDB) -> None:
    found = {(sample.architecture, sample.bitness) for sample in filled.list_samples().values()}
    assert found == {("intel", 32), ("intel", 64), ("aarch64", 64), ("cil", 64)}
    assert all(sample.num_functions > 10 for sample in filled.list_samples().values())


@given(strategies.reports())
def test_any_valid_report_comes_back_as_it_was(memory: SampleDB, given: dict[str, Any]) -> None:
    assert stored_and_read(memory, given) == given
    assert memory.check(deep=True) == []


def test_a_report_may_be_a_dict_bytes_a_path_or_an_object(
    db: SampleDB, reports: dict[str, Path], parsed: Parsed
) -> None:
    path, expected = reports["pe-x86"], parsed["pe-x86"]
    for spelled in (path, str(path), path.read_bytes(), bytearray(path.read_bytes()), copy.deepcopy(expected)):
        assert stored_and_read(db, spelled) == expected
    smda_report = SmdaReport.fromFile(str(path))
    assert stored_and_read(db, smda_report) == json.loads(json.dumps(smda_report.toDict()))


@pytest.mark.parametrize("variant", mostly_slow(VARIANTS, list(VARIANTS)[:2]))
def test_a_path_may_be_that_of_a_compressed_file(
    memory: SampleDB, reports: dict[str, Path], parsed: Parsed, tmp_path: Path, variant: str
) -> None:
    (tmp_path / "report").write_bytes(VARIANTS[variant](reports["pe-x86"].read_bytes()))
    assert stored_and_read(memory, tmp_path / "report") == parsed["pe-x86"]


@pytest.mark.parametrize("kind", mostly_slow(BOMBS, list(BOMBS)[:2]))
def test_a_small_file_that_unpacks_to_gigabytes_is_refused(memory: SampleDB, tmp_path: Path, kind: str) -> None:
    (tmp_path / "report").write_bytes(BOMBS[kind]())
    with pytest.raises(InvalidInputError, match="times its size") as raised:
        memory.add_sample(tmp_path / "report")
    assert raised.value.details["value"] == str(tmp_path / "report")


def test_a_missing_file_is_named(memory: SampleDB) -> None:
    with pytest.raises(InvalidInputError, match=r"^missing\.smda: cannot be read: No such file"):
        memory.add_sample("missing.smda")


@every_platform
def test_smda_reads_back_what_we_give_back(filled: SampleDB) -> None:
    for sample in filled.list_samples().values():
        smda_report = SmdaReport.fromDict(filled.get_report(sample.sample_id))
        assert smda_report is not None
        assert smda_report.num_functions == sample.num_functions


def test_reports_of_smda_1_5_are_accepted(db: SampleDB, parsed: Parsed) -> None:
    old = copy.deepcopy(parsed["pe-x86"])
    later = {"abi", "oep", "md5", "sha1", "xheader", "xmetadata", "xdata_refs_from", "xdata_refs_to", "pe_header_hash"}
    old = {key: value for key, value in old.items() if key not in later} | {"smda_version": "1.5.12", "timestamp": ""}
    for each in old["xcfg"].values():
        del each["stringrefs"], each["is_exported"], each["architecture_metadata"]
        each["metadata"].update(pic_hash=None, tfidf=None)
    sample = db.add_sample(old)
    assert db.get_report(sample.sample_id) == old
    assert sample.smda_version == "1.5.12"
    assert {function.pic_hash for function in db.list_functions(sample.sample_id).values()} == {None}


def test_reports_that_ran_into_a_timeout_or_an_error_are_accepted(db: SampleDB) -> None:
    for seed, status in enumerate(("timeout", "error")):
        given = report(seed=str(seed), status=status, statistics={}, bitness=None, base_addr=None)
        sample = db.add_sample(given)
        assert (sample.num_functions, sample.bitness, sample.base_addr) == (0, None, 0)
        assert db.get_report(sample.sample_id) == given


def test_a_report_without_metadata_has_empty_text(db: SampleDB) -> None:
    sample = db.add_sample(report(function(1, binweight=3.0), function(5, binweight=4.5)))
    assert (sample.family, sample.version, sample.component, sample.name, sample.md5) == ("", "", "", "", "")
    assert sample.is_library is False
    assert sample.binweight == 7.5


def test_numbers_keep_every_digit(db: SampleDB) -> None:
    given = report(
        function(2**64 - 16, pic_hash=2**64 - 1, tfidf=0.1 + 0.2),
        sha256="AB" * 32,
        huge=[10**40, -(10**40), 2**63, 2**64 - 1],
        small=[5e-324, 1.7976931348623157e308, -0.0, 1e22],
    )
    assert stored_and_read(db, given) == given
    assert json.dumps(stored_and_read(db, given)["small"]) == json.dumps(given["small"])


def test_spellings_that_msgspec_does_not_use_are_read_alike(db: SampleDB) -> None:
    text = json.dumps(report(function(4096, function_name="naïve \U0001f600"), note="é"), indent=3, ensure_ascii=True)
    text = text.replace("-1.25", "-1.2500e0").replace('"inrefs"', '"inre\\u0066s"').replace('"note"', '"not\\u0065"')
    assert "\\u00ef" in text
    assert stored_and_read(db, text.encode()) == json.loads(text)


DUPLICATES = {
    "$": ('"status": "ok"', '"status": "ok", "status": "error"'),
    "$.xcfg": ('"xcfg": {', '"xcfg": {"4096": {"offset": 4096},'),
    "$.xcfg.4096": ('"apirefs": {}', '"apirefs": {"1": "a", "1": "b"}'),
    "$.xcfg.4096 ": ('"offset": 4096', '"offset": 4097, "offset": 4096'),
}


@pytest.mark.parametrize("path", DUPLICATES)
def test_a_key_that_stands_twice_is_an_error(db: SampleDB, path: str) -> None:
    text = json.dumps(report(function(4096)))
    was, becomes = DUPLICATES[path]
    assert was in text
    with pytest.raises(InvalidInputError, match="twice") as raised:
        db.add_sample(text.replace(was, becomes).encode())
    assert raised.value.details["path"] == path.strip()


REQUIRED = [
    "sha256",
    "architecture",
    "xcfg",
    "base_addr",
    "binary_size",
    "bitness",
    "smda_version",
    "status",
    "message",
]
REQUIRED_OF_FUNCTIONS = ["offset", "blocks", "apirefs", "blockrefs", "inrefs", "outrefs", "metadata"]


@pytest.mark.parametrize("key", REQUIRED)
def test_what_smda_requires_of_a_report_must_be_there(db: SampleDB, key: str) -> None:
    given = report(function(4096))
    del given[key]
    with pytest.raises(InvalidInputError, match="missing") as raised:
        db.add_sample(given)
    assert raised.value.details["path"] == f"$.{key}"


@pytest.mark.parametrize("key", REQUIRED_OF_FUNCTIONS)
def test_what_smda_requires_of_a_function_must_be_there(db: SampleDB, key: str) -> None:
    given = report(function(4096))
    del given["xcfg"]["4096"][key]
    with pytest.raises(InvalidInputError, match="missing") as raised:
        db.add_sample(given)
    assert raised.value.details["path"] == f"$.xcfg.4096.{key}"


def broken_reports() -> dict[str, tuple[Any, str]]:
    """Return, by name, a report with one fault, and the JSON path that the error must name."""
    good = report(function(4096))

    def within(**changes: Any) -> dict[str, Any]:
        return {**good, "xcfg": {"4096": {**good["xcfg"]["4096"], **changes}}}

    def metadata(**changes: Any) -> dict[str, Any]:
        return within(metadata={**good["xcfg"]["4096"]["metadata"], **changes})

    block = [instruction(4096)]
    return {
        "key that is not the offset": ({**good, "xcfg": {"4097": function(4096)}}, "$.xcfg.4097.offset"),
        "key in hex": ({**good, "xcfg": {"0x1000": function(4096)}}, "$.xcfg"),
        "key with a leading zero": ({**good, "xcfg": {"04096": function(4096)}}, "$.xcfg"),
        "key past 64 bits": ({**good, "xcfg": {str(2**64): function(4096)}}, "$.xcfg"),
        "xcfg that is a list": ({**good, "xcfg": []}, "$.xcfg"),
        "function that is a list": ({**good, "xcfg": {"4096": []}}, "$.xcfg.4096"),
        "offset that is text": (within(offset="4096"), "$.xcfg.4096.offset"),
        "negative offset": (within(offset=-1), "$.xcfg.4096.offset"),
        "blocks that are a list": (within(blocks=[]), "$.xcfg.4096.blocks"),
        "block key that is no address": (within(blocks={"x": block}), "$.xcfg.4096.blocks"),
        "block that is an object": (within(blocks={"4096": {}}), "$.xcfg.4096.blocks.4096"),
        "instruction of three": (within(blocks={"4096": [[1, "90", "nop"]]}), "$.xcfg.4096.blocks.4096[0]"),
        "instruction without a number": (
            within(blocks={"4096": [["1", "90", "a", ""]]}),
            "$.xcfg.4096.blocks.4096[0][0]",
        ),
        "instruction without text": (within(blocks={"4096": [[1, "90", None, ""]]}), "$.xcfg.4096.blocks.4096[0][2]"),
        "instruction past 64 bits": (within(blocks={"4096": [instruction(2**64)]}), "$.xcfg.4096.blocks.4096"),
        "negative pic_hash": (metadata(pic_hash=-1), "$.xcfg.4096.metadata.pic_hash"),
        "pic_hash past 64 bits": (metadata(pic_hash=2**64), "$.xcfg.4096.metadata.pic_hash"),
        "name with NUL": (metadata(function_name="a\0b"), "$.xcfg.4096.metadata.function_name"),
        "sha256 too short": ({**good, "sha256": "ab"}, "$.sha256"),
        "sha256 that is null": ({**good, "sha256": None}, "$.sha256"),
        "md5 too short": ({**good, "md5": "ab"}, "$.md5"),
        "bitness of 16": ({**good, "bitness": 16}, "$.bitness"),
        "base_addr past 64 bits": ({**good, "base_addr": 2**64}, "$.base_addr"),
        "architecture that is null": ({**good, "architecture": None}, "$.architecture"),
        "family with a space": ({**good, "metadata": {"family": "a b"}}, "$.metadata.family"),
        "version with a newline": ({**good, "metadata": {"version": "1\n"}}, "$.metadata.version"),
        "filename too long": ({**good, "metadata": {"filename": "x" * 256}}, "$.metadata.filename"),
        "is_library that is a number": ({**good, "metadata": {"is_library": 1}}, "$.metadata.is_library"),
        "statistics that are a list": ({**good, "statistics": []}, "$.statistics"),
        "number that is not finite": ({**good, "x": float("inf")}, "$"),
        "value that JSON does not know": ({**good, "x": {1, 2}}, "$"),
        "half a surrogate pair": ({**good, "x": "\ud800"}, "$"),
        "deep nesting": (json.dumps(good)[:-1].encode() + b',"x":' + b"[" * 10**5 + b"]" * 10**5 + b"}", "$"),
        "no object": (b"[1]", "$"),
        "no JSON": (b"MZ\x90\x00", "$"),
        "nothing": (b"", "$"),
        "cut off": (json.dumps(good).encode()[:-1], "$"),
        "more behind it": (json.dumps(good).encode() + b"{}", "$"),
        "no UTF-8": (json.dumps(good).encode().replace(b'"ok"', b'"\xff"'), "$"),
    }


@pytest.mark.parametrize("fault", broken_reports())
def test_a_broken_report_is_refused_and_nothing_is_stored(memory: SampleDB, fault: str) -> None:
    before = memory.stats()
    given, path = broken_reports()[fault]
    with pytest.raises(InvalidInputError) as raised:
        memory.add_sample(given)
    assert raised.value.details["path"] == path
    assert {"field", "rule"} <= raised.value.details.keys()
    assert memory.stats() == before


def test_a_report_that_contains_itself_is_refused(memory: SampleDB) -> None:
    given = report()
    given["x"] = given
    with pytest.raises(InvalidInputError):
        memory.add_sample(given)


@pytest.mark.parametrize(
    "given", [None, 5, [], "missing.smda", Path("missing.smda"), "a\0b", Path(sys.executable).parent]
)
def test_what_is_no_report_is_refused(memory: SampleDB, given: Any) -> None:
    with pytest.raises(InvalidInputError) as raised:
        memory.add_sample(given)
    assert raised.value.details["field"] == "smda_report"


def test_overrides_win_over_what_the_report_says_and_over_its_faults(db: SampleDB) -> None:
    metadata = {"family": "not valid!", "version": "\n", "component": "c", "is_library": False, "filename": "x" * 999}
    given = report(metadata=metadata)
    sample = db.add_sample(given, family="win.good", version="2", component="d", is_library=True, name="a.DLL")
    found = (sample.family, sample.version, sample.component, sample.is_library, sample.name, sample.extension)
    assert found == ("win.good", "2", "d", True, "a.DLL", "dll")
    assert db.get_report(sample.sample_id) == given


def test_digests_and_hashes_are_lower_case_in_samples_and_untouched_in_reports(db: SampleDB) -> None:
    given = report(sha256="AB" * 32, md5="CD" * 16, sha1="EF" * 20)
    sample = db.add_sample(given)
    assert (sample.sha256, sample.md5, sample.sha1) == ("ab" * 32, "cd" * 16, "ef" * 20)
    assert db.get_sample_by_sha256("Ab" * 32) == sample
    assert db.get_report(sample.sample_id) == given


@every_platform
def test_msgspec_and_python_read_the_same_numbers_from_a_real_report(reports: dict[str, Path]) -> None:
    # What get_report() relies on: it parses with msgspec what users compare with Python's parser.
    for path in reports.values():
        assert msgspec.json.decode(path.read_bytes()) == json.loads(path.read_bytes())


def test_a_report_with_many_keys_and_one_twice_is_refused_at_once(memory: SampleDB) -> None:
    keys = ",".join(f'"k{number}":1' for number in range(200_000))
    text = json.dumps(report())[:-1] + f', "x": {{{keys}, "z": 1, "z": 2}}}}'
    with pytest.raises(InvalidInputError, match='"z" twice'):
        memory.add_sample(text.encode())


def test_a_huge_key_does_not_make_a_huge_error(memory: SampleDB) -> None:
    key = json.dumps("k" * 10**6)
    with pytest.raises(InvalidInputError) as raised:
        memory.add_sample((json.dumps(report())[:-1] + f", {key}: 1, {key}: 2}}").encode())
    assert len(json.dumps(raised.value.to_dict())) < 2000


@pytest.mark.parametrize("tail", [b',"\\u0061":"\xff"}', b',"\\u0061":1,"x":' + b"1" * 5000 + b"}"])
def test_faults_behind_escaped_keys_are_ours(db: SampleDB, tail: bytes) -> None:
    good = report(function(16), seed="after")
    bad = json.dumps(report(function(16))).encode()[:-1] + tail
    assert [outcome.status for outcome in db.add_samples([bad, good])] == ["failed", "added"]


class Broken:
    """An object whose `toDict` fails."""

    def toDict(self) -> dict[str, Any]:  # noqa: N802 - SMDA's name
        raise KeyError("no luck")


@pytest.mark.parametrize("given", [Broken(), Broken, SmdaReport])
def test_an_object_that_cannot_be_asked_is_refused(memory: SampleDB, given: Any) -> None:
    with pytest.raises(InvalidInputError, match="toDict"):
        memory.add_sample(given)


@pytest.mark.parametrize("given", ["ab", b"ab", {"a": 1}, 5, None])
def test_what_is_no_list_of_reports_is_refused(memory: SampleDB, given: Any) -> None:
    with pytest.raises(InvalidInputError, match="reports must be"):
        memory.add_samples(given)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize("where", ["report", "function", "stringrefs"])
def test_what_is_accepted_can_be_read_from_deep_within_a_program(memory: SampleDB, where: str) -> None:
    def given(depth: int) -> dict[str, Any]:
        deep = function(16)
        deep["unknown" if where == "function" else "stringrefs"] = nested(depth if where != "report" else 1)
        return report(deep, seed=where, x=nested(depth if where == "report" else 1))

    with pytest.raises(InvalidInputError, match="nested"):
        memory.add_sample(given(250))
    sample = memory.add_sample(given(150))

    def read(frames: int) -> dict[str, Any]:
        return read(frames - 1) if frames else memory.get_report(sample.sample_id)

    assert read(500) == given(150)


def test_weights_that_add_up_to_infinity_are_refused(memory: SampleDB) -> None:
    with pytest.raises(InvalidInputError, match="finite"):
        memory.add_sample(report(function(1, binweight=1e308), function(9, binweight=1e308), seed="inf"))


def test_a_device_without_end_is_refused(memory: SampleDB) -> None:
    with pytest.raises(InvalidInputError):
        memory.add_sample("/dev/zero")


def test_zeros_with_a_sign_can_be_read_again(memory: SampleDB) -> None:
    given = report(function(16, binweight=-0.0, tfidf=-0.0, confidence=-0.0), function(32), seed="zero")
    assert stored_and_read(memory, given) == given
    assert str(stored_and_read(memory, given)["xcfg"]["16"]["metadata"]["binweight"]) == "-0.0"


def test_a_function_of_too_many_bytes_is_refused(memory: SampleDB) -> None:
    huge = function(16, characteristics="x" * xcfg.MAX_FUNCTION_BYTES)
    with pytest.raises(InvalidInputError, match="longer") as raised:
        memory.add_sample(report(huge))
    assert raised.value.details["path"] == "$.xcfg.16"


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("key", ["before", 'a"xcfg', "xcfg\\", "xcfg"])
def test_functions_are_told_from_what_looks_like_them(memory: SampleDB, key: str, last: bool) -> None:
    """Another object of the same text, under the same key further inside, or under one that ends like it."""
    given = report(function(4096), seed=f"{key} {last}")
    xcfg = given.pop("xcfg")
    alike = {key: xcfg} if key != "xcfg" else {"inside": {"xcfg": xcfg}}
    given = {**alike, "xcfg": xcfg, **given} if last else {"xcfg": xcfg, **given, **alike}
    assert memory.get_report(memory.add_sample(given).sample_id) == given
