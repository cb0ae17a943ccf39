"""What is left of a damaged file goes into a new one, and what is lost is listed."""

import random
import shutil
from pathlib import Path

import pytest

import sampledb
from sampledb import InvalidInputError, NotASampleDBError, SampleDB, SampleDBError
from sampledb.store.schema import PAGE_BYTES
from tests.markers import mostly_slow
from tests.raw import raw
from tests.store.test_check import FAULTS
from tests.strategies import function, report


@pytest.fixture
def damaged(filled_path: Path, tmp_path: Path) -> Path:
    """A copy of the filled file, with tags and notes, and a queue; to be damaged."""
    path = Path(shutil.copy(filled_path, tmp_path / "damaged.sampledb"))
    with sampledb.open(path) as db:
        for sample_id in db.list_samples():
            db.update_sample(sample_id, notes=f"note {sample_id}", tags=[f"tag{sample_id}", "all"])
        db.add_media(sha256="f" * 64, name="film.mkv", media_info={"tracks": []})
        db.submit_binary(b"MZ queued")
    return path


def salvaged(path: Path) -> tuple[SampleDB, list[sampledb.Problem]]:
    """The new file, which is whole whatever the old one was, and what was lost."""
    target = path.with_name("new.sampledb")
    lost = sampledb.salvage(path, target)
    assert {each.name for each in path.parent.iterdir()} == {path.name, target.name}
    db = sampledb.open(target)
    assert db.check(deep=True) == []
    return db, lost


def contents(path: Path) -> dict[str, object]:
    tables = (
        *("samples", "sample_tags", "reports", "functions", "disassembly", "jobs", "binaries", "sqlite_sequence"),
        *("function_apis", "function_strings"),
    )
    with sampledb.open(path, readonly=True) as db:
        return {table: sorted(db.query(f"SELECT * FROM {table}"), key=repr) for table in tables}  # noqa: S608


def test_nothing_is_lost_of_a_whole_file(damaged: Path) -> None:
    before = damaged.read_bytes()
    db, lost = salvaged(damaged)
    db.close()
    assert lost == []
    assert damaged.read_bytes() == before
    assert contents(Path(db.path)) == contents(damaged)


def test_a_handle_salvages_its_own_file(damaged: Path) -> None:
    target = damaged.with_name("new.sampledb")
    with sampledb.open(damaged) as db:
        with pytest.raises(InvalidInputError, match="salvage"):
            sampledb.salvage(damaged, target)
        assert db.salvage(target) == []
        with pytest.raises(InvalidInputError, match="exists already"):
            db.salvage(target)
    assert contents(target) == contents(damaged)


@pytest.mark.parametrize("fault", mostly_slow(FAULTS, {"a flipped bit in a frame", "a report that went missing"}))
def test_a_fault_costs_only_what_it_hit(damaged: Path, fault: str) -> None:
    with sampledb.open(damaged, readonly=True) as db:
        samples = db.list_samples()
        reports = {sample_id: db.get_report(sample_id) for sample_id, each in samples.items() if each.smda_version}
    with raw(damaged) as connection:
        connection.execute(FAULTS[fault][0])
    db, lost = salvaged(damaged)
    with db:
        kept = db.list_samples()
        assert kept.keys() == samples.keys()
        unhurt = [sample_id for sample_id in reports if sample_id not in {problem.sample_id for problem in lost}]
        assert len(unhurt) >= len(reports) - 1
        for sample_id in unhurt:
            assert db.get_report(sample_id) == reports[sample_id]
        for sample_id in set(reports) - set(unhurt):
            found = db.get_report(sample_id)["xcfg"]
            assert len(found) >= len(reports[sample_id]["xcfg"]) - 16
            assert found.items() <= reports[sample_id]["xcfg"].items()


def test_what_people_said_of_a_sample_survives_the_loss_of_its_analysis(damaged: Path) -> None:
    with sampledb.open(damaged) as db:
        before = db.get_sample(2)
    with raw(damaged) as connection:
        connection.execute("UPDATE reports SET report = x'00' WHERE sample_id = 2")
        connection.execute("UPDATE disassembly SET frame = x'00' WHERE first_function_id IN"
                           " (SELECT function_id FROM functions WHERE sample_id = 2)")  # fmt: skip
    db, lost = salvaged(damaged)
    with db:
        after = db.get_sample(2)
        assert after.num_functions == 0
        assert (after.name, after.tags, after.notes, after.added_at) == (
            before.name, before.tags, before.notes, before.added_at
        )  # fmt: skip
        assert {problem.sample_id for problem in lost} == {2}
        assert len(lost) == 1 + before.num_functions


@pytest.mark.slow
def test_a_sample_without_its_row_comes_back_from_its_report(damaged: Path) -> None:
    with sampledb.open(damaged) as db:
        expected = db.get_report(3)
    with raw(damaged) as connection:
        connection.execute("DELETE FROM samples WHERE sample_id = 3")
    db, lost = salvaged(damaged)
    with db:
        assert db.get_report(3) == expected
        assert [problem.what for problem in lost] == ["its row cannot be read"]


def test_ids_of_what_was_lost_are_not_given_again(damaged: Path) -> None:
    with sampledb.open(damaged) as db:
        last = max(db.list_samples())
        last_function = db.query("SELECT max(function_id) AS id FROM functions")[0]["id"]
        db.delete_sample(last)
    db, _ = salvaged(damaged)
    with db:
        new = db.add_sample(report(function(4096)))
        assert new.sample_id == last + 1
        assert next(iter(db.list_functions(new.sample_id))) > last_function


@pytest.mark.slow
def test_a_job_without_its_binary_is_lost(damaged: Path) -> None:
    with raw(damaged) as connection:
        connection.execute("UPDATE binaries SET binary = x'00'")
    db, lost = salvaged(damaged)
    with db:
        assert db.list_jobs() == []
        assert [problem.where.split(",")[0] for problem in lost] == ["binaries", "jobs"]


@pytest.mark.parametrize("seed", mostly_slow(range(4), {0}))
def test_broken_pages_cost_only_what_is_on_them(damaged: Path, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    content = bytearray(damaged.read_bytes())
    pages = len(content) // PAGE_BYTES
    for page in chance.sample(range(20, pages), 3):
        content[page * PAGE_BYTES : (page + 1) * PAGE_BYTES] = chance.randbytes(PAGE_BYTES)
    damaged.write_bytes(content)
    db, lost = salvaged(damaged)
    with db:
        assert lost == [] or db.list_samples()


def test_a_file_that_is_cut_off_gives_what_is_before(damaged: Path) -> None:
    content = damaged.read_bytes()
    damaged.write_bytes(content[: len(content) * 3 // 4])
    with pytest.raises(SampleDBError):
        sampledb.open(damaged)
    db, lost = salvaged(damaged)
    with db:
        assert lost
        assert sum(sample.num_functions for sample in db.iter_samples()) > 100


def test_what_is_no_file_of_ours_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    other = tmp_path / "other"
    for content in (b"", b"no database" * 1000, bytes(8192)):
        other.write_bytes(content)
        with pytest.raises(NotASampleDBError):
            sampledb.salvage(other, tmp_path / "new")
    with pytest.raises(SampleDBError):
        sampledb.salvage(tmp_path / "missing", tmp_path / "new")
    assert [each.name for each in tmp_path.iterdir()] == ["other"]
