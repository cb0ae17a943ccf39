"""Similar code is found, told apart from libraries, explained, and never guessed."""

import copy
import hashlib
import itertools
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

import sampledb
from sampledb import CorruptFileError, InvalidInputError, MissingExtraError, NotFoundError, SampleDB
from sampledb.database import tables
from sampledb.database.engine import signer
from sampledb.model import least_score
from sampledb.similarity import ALGORITHM
from sampledb.store.tables.signatures import Signed
from tests.raw import raw
from tests.similarity.test_signatures import ARM64, X86, contents, made, sign
from tests.strategies import function, report

Parsed = dict[str, dict[str, Any]]
ROWS = "SELECT sample_id, functions, signs, details, checksum, details_checksum FROM signatures ORDER BY sample_id"


@pytest.fixture
def copied(filled_path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(filled_path, tmp_path / "copied.sampledb"))


def relative(smda_report: dict[str, Any], seed: str, *, renames: bool = True) -> dict[str, Any]:
    """Return a report of another file with the same code, in which all functions have another name."""
    other = copy.deepcopy(smda_report) | {"sha256": hashlib.sha256(seed.encode()).hexdigest()}
    for number, each in enumerate(other["xcfg"].values()) if renames else ():
        each["metadata"]["function_name"] = f"renamed{number}"
    return other


def variant(text: str = X86, at: int = 0x1000, pic_hash: int | None = 7, **fields: Any) -> dict[str, Any]:
    """Return a report of one large function, and one that is too small."""
    large = made(text)
    large["metadata"] |= {"pic_hash": pic_hash, "function_name": fields.pop("function_name", "")}
    return report(large, function(0x8000, pic_hash=9), seed=f"{at}{fields}", **fields)


CHANGED = X86.replace("imul eax", "sub eax").replace("cmove eax", "mov eax").replace("rol eax, 7", "not eax")


def test_the_same_code_is_found_in_each_real_sample(copied: Path, parsed: Parsed) -> None:
    with sampledb.open(copied) as db:
        for number, smda_report in enumerate(parsed.values(), 1):
            other = db.add_sample(relative(smda_report, f"{number}")).sample_id
            best = db.similar_samples(number)[0]
            assert best.sample_id == other
            assert (best.percent, best.percent_without_libraries) == pytest.approx((100, 100))
            same = db.compare(number, other)
            assert {pair.score for pair in same.pairs} == {100}
            assert all(
                pair.a.offset == pair.b.offset or not pair.exact for pair in same.pairs if pair.a.pic_hash is None
            )
            for side in ("a", "b"):
                ids = [getattr(pair, side).function_id for pair in same.pairs]
                ids += [each.function_id for each in getattr(same, f"only_{side}")]
                assert sorted(ids) == sorted(db.list_functions(number if side == "a" else other))
            large = max(db.list_functions(number).values(), key=lambda each: each.num_instructions)
            twin = db.similar_functions(number, large.function_id)[0]
            assert (twin.sample_id, twin.offset, twin.score, twin.exact) == (other, large.offset, 100, True)


def test_stored_signatures_are_those_that_are_computed(
    copied: Path, parsed: Parsed, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sampledb.open(copied, readonly=True) as db:
        seen: list[tuple[int, int]] = []
        expected = db.similar_samples(1)
        assert expected == db.similar_samples(1)
        assert db.update_signatures(progress=lambda *numbers: seen.append(numbers)) == 0 == len(seen)
    before = copied.read_bytes()
    with sampledb.open(copied, readonly=True) as db:
        assert db.update_signatures() > 0
    assert copied.read_bytes() == before
    rows = {}
    for patience in (60.0, -1.0):
        monkeypatch.setattr(signer, "_PATIENCE", patience)
        with raw(copied) as connection:
            connection.execute("DELETE FROM signatures")
        with sampledb.open(copied) as db:
            number = db.update_signatures(progress=lambda *numbers: seen.append(numbers))
            assert db.similar_samples(1) == expected
            rows[patience] = db.query(ROWS)
            assert db.update_signatures() == 0
            assert seen[-1][0] == seen[-1][1] == sum(each.num_functions for each in db.list_samples().values())
    assert rows[60.0] == rows[-1.0]
    for row, smda_report in zip(rows[60.0], parsed.values(), strict=True):
        found = sign(smda_report)
        assert (row["signs"], row["details"]) == (found.signs, found.details)
        assert row["checksum"] == Signed(row["functions"], found.signs, b"").checksum
        number -= len(found.positions)
    assert number == 0


def test_the_order_of_samples_changes_nothing(tmp_path: Path, parsed: Parsed) -> None:
    answers: list[tuple[set[object], set[object]]] = []
    for order in itertools.islice(itertools.permutations(parsed.items()), 0, 6, 5):
        with sampledb.open(tmp_path / f"{len(answers)}.sampledb") as db:
            for platform, smda_report in order:
                db.add_sample(smda_report, name=platform)
            names = {each.sample_id: each.name for each in db.list_samples().values()}
            asked = db.list_samples(name=next(iter(parsed)))
            (sample,) = asked.values()
            found = db.similar_samples(sample.sample_id, threshold=40)
            one = max(db.list_functions(sample.sample_id).values(), key=lambda each: each.num_instructions)
            like = db.similar_functions(sample.sample_id, one.function_id, threshold=20, limit=0)
            answers.append((
                {(each.name, each.num_matched, each.percent) for each in found},
                {(names[each.sample_id], each.offset, each.score) for each in like},
            ))  # fmt: skip
    assert answers[0] == answers[1]
    assert all(answers[0])


def test_other_builds_are_alike_and_exact_is_of_one_version_of_smda(db: SampleDB) -> None:
    ids = [
        db.add_sample(variant(function_name="init")).sample_id,
        db.add_sample(variant(at=1, base_addr=0x500000, smda_version="1.0"), family="old").sample_id,
        db.add_sample(variant(CHANGED, pic_hash=8, at=2), family="changed").sample_id,
        db.add_sample(variant(ARM64, pic_hash=10, architecture="aarch64"), name="arm").sample_id,
        db.add_sample(variant(at=3)).sample_id,
    ]
    found = db.similar_functions(ids[0], 1, threshold=1)
    assert [(each.sample_id, each.score, each.exact) for each in found[:2]] == [(5, 100, True), (2, 100, False)]
    assert [(each.sample_id, each.family) for each in found[2:]] == [(3, "changed"), (4, "")]
    assert 60 <= found[2].score < 100
    assert [each.sample_id for each in db.similar_functions(ids[2], 5, limit=2)] == [1, 2]
    assert [each.sample_id for each in db.similar_functions(ids[0], 1, among=[2, 3])] == [2, 3]
    # Only the exact one is of another sample, and its function that is too small is like none.
    assert db.similar_functions(ids[0], 2, threshold=1) == []
    pairs = db.compare(ids[0], ids[1]).pairs
    assert [(pair.a.name, pair.score, pair.exact) for pair in pairs] == [("init", 100, False)]
    assert [pair.exact for pair in db.compare(ids[0], ids[4]).pairs] == [True, True]


def test_code_that_signatures_know_nothing_of_is_compared_by_equal_hashes_only(db: SampleDB) -> None:
    for number, fields in enumerate(("5.0.1", "5.0.1", "1.0")):
        db.add_sample(variant(at=number, architecture="cil", smda_version=fields))
    for number in (7, 8):
        db.add_sample(variant(at=number, pic_hash=1, architecture="cil" if number == 7 else "intel"))
    assert [(each.sample_id, each.exact) for each in db.similar_functions(1, 1, threshold=1)] == [(2, True)]
    assert [(each.sample_id, each.percent) for each in db.similar_samples(1, threshold=1)] == [(2, 100.0)]
    assert db.explain(1, 1, 4, 7) == sampledb.Explanation(None, exact=False, reasons=())


def test_code_of_libraries_is_told_apart(db: SampleDB) -> None:
    own = {**made("|".join(f"xor eax, {number:#x}" for number in range(0x1234, 0x1244))), "offset": 0x3000}
    own["metadata"] |= {"pic_hash": 5}
    one, library = report(made(X86), own), report(made(X86), seed="library")
    asked = db.add_sample(one, name="one").sample_id
    db.add_sample(library, is_library=True, name="zlib")
    db.add_sample(relative(one, "two"), name="two")
    found = {each.name: each for each in db.similar_samples(asked)}
    assert list(found) == ["two", "zlib"]
    assert (found["two"].num_matched, found["two"].percent, found["two"].percent_without_libraries) == (2, 100, 100)
    assert (found["zlib"].percent, found["zlib"].percent_without_libraries, found["zlib"].is_library) == (50, 0, True)
    assert [each.name for each in db.similar_samples(asked, exclude_libraries=True)] == ["two"]
    assert [each.sample_id for each in db.similar_functions(asked, 1, exclude_libraries=True)] == [3]
    # A report is not stored, and everything of it may be there.
    before = db.stats()
    assert [each.name for each in db.similar_samples(relative(one, "new"))] == ["one", "two", "zlib"]
    assert db.stats() == before


def test_signatures_go_with_their_functions_and_other_handles_see_it(db: SampleDB, tmp_path: Path) -> None:
    db.add_sample(variant())
    second = db.add_sample(variant(at=1)).sample_id
    with sampledb.open(tmp_path / "test.sampledb") as other:
        assert [each.sample_id for each in db.similar_functions(1, 1)] == [2]
        assert [each.sample_id for each in other.similar_functions(1, 1)] == [2]
        assert other.query("SELECT count(*) AS n FROM signatures") == [{"n": 2}]
        other.add_sample(
            relative(variant(CHANGED, pic_hash=3), "x") | {"sha256": db.get_sample(2).sha256}, replace=True
        )
        assert other.query("SELECT count(*) AS n FROM signatures") == [{"n": 1}]
        (found,) = db.similar_functions(1, 1)
        assert (found.sample_id, found.function_id, found.name, found.exact) == (2, 5, "renamed0", False)
        other.add_sample(variant(at=3))
        assert [each.sample_id for each in db.similar_functions(1, 1)] == [3, 2]
        db.delete_sample(second)
        assert other.query("SELECT sample_id FROM signatures ORDER BY 1") == [{"sample_id": 1}, {"sample_id": 3}]
        assert [each.sample_id for each in other.similar_functions(1, 1)] == [3]
    with sampledb.open(tmp_path / "received.sampledb") as received:
        assert [outcome.status for outcome in received.merge(tmp_path / "test.sampledb")] == ["added", "added"]
        (found,) = received.similar_functions(1, 1)
        assert (found.sample_id, found.exact) == (2, True)
        assert received.check(deep=True) == []
    assert db.check(deep=True) == []


def test_other_engines_take_signatures_as_a_table_and_find_the_same(copied: Path, tmp_path: Path) -> None:
    with sampledb.open(copied) as db:
        made = db.update_signatures()
        db.table("signatures").write_parquet(tmp_path / "signatures.parquet")
        everything = duckdb.read_parquet(str(tmp_path / "signatures.parquet"))  # noqa: F841 - found by its name
        own = db.table("signatures", sample_id=1, columns=["function_id", "coordinates"])  # noqa: F841
        (one, *_), *_ = duckdb.sql("SELECT max(function_id) FROM own").fetchall()
        found = duckdb.execute(
            "SELECT other.function_id, 100 * array_cosine_similarity(own.coordinates::FLOAT[256], "
            "other.coordinates::FLOAT[256]) FROM own, everything AS other WHERE own.function_id = ?",
            [one],
        ).fetchall()
        scores = dict(found)
        assert len(scores) == made
        expected = db.similar_functions(1, one, threshold=30, limit=0)
        assert len(expected) > 1
        assert all(each.exact or each.score <= scores[each.function_id] + 0.01 < each.score + 1.02 for each in expected)
        differ = "SELECT bit_count(xor(a.signs::BIT, b.signs::BIT)) FROM everything AS a JOIN everything AS b "
        assert set(duckdb.sql(f"{differ} USING (function_id, architecture, algorithm)").fetchall()) == {(0,)}
        db.table("signatures", sample_id=1).write_csv(tmp_path / "signatures.csv")
        row = (tmp_path / "signatures.csv").read_text().splitlines()[1].split(",")
        assert (row[0], len(row[4]), len(row[5])) == ("1", 64, 512)


def test_names_are_suggested_and_accepted_by_one_call(db: SampleDB) -> None:
    db.add_sample(variant())
    db.add_sample(variant(CHANGED, pic_hash=8, at=1, function_name="sub"))
    (first,) = db.suggest_labels(1)
    assert (first.name, first.exact, first.source_sample_id, first.source_function_id) == ("sub", False, 2, 3)
    db.add_sample(variant(at=2))
    db.label_function(3, 0x1000, name="rc4_init")
    (best,) = db.suggest_labels(1)
    assert (best.name, best.score, best.exact, best.source_sample_id) == ("rc4_init", 100, True, 3)
    assert db.list_labels(1) == []
    db.label_function(best.sample_id, best.offset, name=best.name)
    assert db.suggest_labels(1) == []


def test_small_functions_need_more_to_be_likely_and_to_give_a_name(db: SampleDB) -> None:
    other = CHANGED.replace("0x67452301", "0x11223344").replace("0x18", "0x28")
    db.add_sample(variant())
    db.add_sample(variant(other, pic_hash=8, at=1, function_name="sub"))
    (found,) = db.similar_functions(1, 1)
    pair = db.compare(1, 2).pairs[-1]
    assert 60 <= found.score == pair.score < 70
    assert (found.is_likely, pair.is_likely, found.num_instructions) == (False, False, 17)
    assert db.suggest_labels(1) == []
    assert [each.score for each in db.suggest_labels(1, threshold=50)] == [found.score]
    db.add_sample(variant(at=2))
    assert [each.is_likely for each in db.similar_functions(1, 1)] == [True, False]
    assert [least_score(60, size) for size in (11, 40, 41)] == [70, 70, 60]


def test_a_score_is_explained_in_words(db: SampleDB) -> None:
    db.add_sample(variant())
    db.add_sample(variant(CHANGED, pic_hash=8, at=1))
    found = db.explain(1, 1, 2, 3)
    (match,) = db.similar_functions(1, 1)
    assert found.score == match.score
    assert sum(each.points for each in found.reasons) == pytest.approx(match.score, abs=6)
    texts = {each.kind: each.text for each in found.reasons}
    assert {"0x67452301", "0xefcdab89"} <= set(texts["constants"].split(", "))
    assert "+0x18" in texts["fields"]
    assert "xor" in texts["instructions"]
    assert "loops 1" in texts["shape"]
    assert db.explain(1, 1, 1, 1).score == 100
    assert db.explain(1, 1, 2, 4).score is None


DAMAGE: dict[str, Callable[[bytes, bytes, bytes], tuple[bytes, bytes, bytes]]] = {
    "signs cut off": lambda functions, signs, details: (functions, signs[:-1], details),
    "a function too many": lambda functions, signs, details: (functions + b"\x80", signs + signs[:32], details),
    "details cut off": lambda functions, signs, details: (functions, signs, details[:-96]),
    "details of no function": lambda functions, signs, details: (functions, signs, details[:-1]),
}


@pytest.mark.parametrize("fault", [*DAMAGE, "a flipped bit", "a flipped bit in details"])
def test_damaged_signatures_are_found_and_made_again(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "damaged.sampledb"
    with sampledb.open(path) as db:
        for number in range(3):
            db.add_sample(variant(at=number))
        expected = db.similar_samples(1)
    with raw(path) as connection:
        row = connection.execute("SELECT functions, signs, details FROM signatures WHERE sample_id = 3").fetchone()
        changed = Signed(*(DAMAGE[fault](*row) if fault in DAMAGE else row))
        checksums = changed.checksum, Signed(b"", changed.details, b"").checksum
        flips = (fault == "a flipped bit", fault == "a flipped bit in details")
        checksums = checksums[0] ^ flips[0], checksums[1] ^ flips[1]
        connection.execute(
            "UPDATE signatures SET functions = ?, signs = ?, details = ?, checksum = ?, details_checksum = ? "
            "WHERE sample_id = 3",
            (*changed, *checksums),
        )
    with sampledb.open(path) as db:
        (problem,) = db.check(deep=True)
        assert (problem.where, problem.sample_id) == ("signatures, sample_id 3", 3)
        for asked in (1, 3):
            with pytest.raises(CorruptFileError):
                db.similar_samples(asked)
        assert db.salvage(tmp_path / "saved.sampledb") == []
    with sampledb.open(tmp_path / "saved.sampledb") as saved:
        assert saved.query("SELECT sample_id FROM signatures ORDER BY 1") == [{"sample_id": 1}, {"sample_id": 2}]
        assert saved.similar_samples(1) == expected
        assert saved.check(deep=True) == []


def test_what_cannot_be_read_is_damage_and_what_is_asked_wrong_is_an_error(db: SampleDB, tmp_path: Path) -> None:
    db.add_sample(variant())
    for call in (
        lambda: db.similar_functions(1, 1, threshold=0),
        lambda: db.similar_functions(1, 1, among=["1"]),  # type: ignore[list-item]
        lambda: db.similar_samples(1, threshold=101),
        lambda: db.similar_samples({"xcfg": 5}),
        lambda: db.similar_samples(True),
    ):
        with pytest.raises(InvalidInputError):
            call()
    for missing in (lambda: db.similar_functions(1, 9), lambda: db.similar_samples(9), lambda: db.compare(1, 9)):
        with pytest.raises(NotFoundError):
            missing()
    db.close()
    with raw(tmp_path / "test.sampledb") as connection:
        connection.executescript("UPDATE disassembly SET checksum = 1; DELETE FROM signatures")
    with sampledb.open(tmp_path / "test.sampledb") as damaged, pytest.raises(CorruptFileError, match="sample_id 1"):
        damaged.similar_samples(1)


def test_without_numpy_the_error_names_the_extra_and_twins_are_found(
    filled: SampleDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sampledb.database.engine.signer", None)
    with pytest.raises(MissingExtraError, match=r"sampledb\[similarity\]"):
        filled.update_signatures()
    assert filled.twins(1, 1) == []
    monkeypatch.setattr(tables, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"sampledb\[similarity\]"):
        filled.table("signatures")
    assert filled.table("signatures", columns=["signs"]).columns == ("signs",)


def test_a_report_made_to_be_like_everything_costs_no_more_than_its_size(db: SampleDB) -> None:
    many = [{**made(X86), "offset": 0x1000 * number} for number in range(1, 600)]
    hostile = json.loads(json.dumps(report(*many)))
    assert len(contents(hostile)) > 30
    for seed in "ab":
        db.add_sample(relative(hostile, seed, renames=False))
    assert db.similar_samples(1)[0].percent == 100
    assert len(db.compare(1, 2).pairs) == 599
    assert len(db.similar_functions(1, 1)) == 10
    assert ALGORITHM == 1
