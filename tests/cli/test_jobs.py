"""The commands that disassemble."""

import shutil
from pathlib import Path

import pytest

import sampledb
from tests import binaries
from tests.cli.consoles import answered, dicts, run

SMALL = binaries.launcher("t32")


@pytest.mark.slow
def test_binaries_are_queued_run_and_listed(tmp_path: Path) -> None:
    path, bad = tmp_path / "new.sampledb", tmp_path / "bad.exe"
    bad.write_bytes(b"no program")
    queued = answered("submit", path, SMALL, bad, "--family", "distlib", "--keep-binary")
    with sampledb.open(path, readonly=True) as db:
        assert [each["job"] for each in queued] == dicts(db.list_jobs())
    assert run("submit", path, SMALL).output.startswith(f"existed {queued[0]['job']['job_id']} {SMALL}\n")

    shown = run("run", path, "--timeout", 60)
    assert shown.code == 3
    assert "finished 1 t32.exe\n" in shown.output
    assert shown.output.splitlines()[-1].startswith("1 finished, 1 failed in ")
    assert "bad.exe: The binary could not be disassembled" in shown.errors
    with sampledb.open(path, readonly=True) as db:
        assert answered("jobs", path, "--state", "failed") == dicts(db.list_jobs("failed"))
        assert (db.get_sample(1).family, db.get_binary(1)) == ("distlib", SMALL.read_bytes())
    assert "could not be disassembled" in run("jobs", path).output
    assert answered("submit", path, SMALL)[0]["sample"]["sample_id"] == 1
    assert answered("run", path) == []


def test_of_a_folder_only_programs_are_queued(tmp_path: Path) -> None:
    path, text = tmp_path / "samples" / "new.sampledb", tmp_path / "samples" / "read.me"
    (tmp_path / "samples" / "sub").mkdir(parents=True)
    text.write_text("how these were found")
    (tmp_path / "samples" / "empty").touch()
    program = Path(shutil.copy(SMALL, tmp_path / "samples" / "sub"))
    shown = run("submit", path, tmp_path / "samples")
    assert (shown.code, shown.errors) == (0, "")
    assert shown.output.splitlines()[0].endswith(f" {program}")
    assert shown.output.splitlines()[1].startswith("1 queued, 2 skipped in ")
    # A file that is named is tried, whatever it is; so are dumps.
    assert [each["source"] for each in answered("submit", path, text)] == [str(text)]
    dumped = answered("submit", path, tmp_path / "samples", "--dump")
    assert [(each["source"], each["status"]) for each in dumped] == [(str(text), "existed"), (str(program), "existed")]
    program.unlink()
    shown = run("submit", path, tmp_path / "samples" / "sub")
    assert (shown.code, shown.errors.startswith("Error: no PE, ELF, Mach-O or DEX files were found")) == (3, True)


def test_what_cannot_be_submitted_is_named_once(tmp_path: Path) -> None:
    path, missing, empty = tmp_path / "new.sampledb", tmp_path / "it's missing", tmp_path / "empty"
    empty.touch()
    shown = run("submit", path, missing, empty, path)
    assert shown.code == 3
    assert shown.errors.splitlines() == [
        f"Error: {missing}: cannot be read: No such file or directory.",
        f"Error: {empty}: binary must be from 1 to 536870912 bytes long, not 0.",
        f"Error: {path}: is an open store; close it first, or give another file.",
    ]


@pytest.mark.slow
def test_a_job_is_cancelled(tmp_path: Path) -> None:
    path = tmp_path / "new.sampledb"
    (queued,) = answered("submit", path, SMALL)
    (cancelled,) = answered("jobs", path, "--cancel", queued["job"]["job_id"])
    assert cancelled["state"] == "cancelled"
    assert run("jobs", path, "--cancel", "nope").code == 1


@pytest.mark.slow
def test_a_binary_is_analyzed_in_one_go(tmp_path: Path) -> None:
    path = tmp_path / "new.sampledb"
    (added,) = answered("analyze", path, SMALL, "--family", "distlib")
    with sampledb.open(path, readonly=True) as db:
        assert (added["status"], added["sample"]) == ("added", db.get_sample(1).to_dict())
    shown = run("analyze", path, SMALL, tmp_path / "missing.exe")
    assert (shown.code, shown.output.splitlines()[0]) == (3, f"existed 1 {SMALL}")
    assert "missing.exe" in shown.errors
