"""The commands that look after the file."""

import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.cli.consoles import answered, run_here


def test_the_schema_documents_itself(filled_path: Path) -> None:
    printed = run_here("schema", filled_path).output
    assert "-- One row for each sample" in printed
    assert "CREATE VIEW function_list" in printed
    assert "\n\n".join(f"{each};" for each in answered("schema", filled_path)) == printed.rstrip("\n")


@pytest.mark.slow
def test_a_copy_is_whole_and_replaces_nothing(copy: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.sampledb"
    assert run_here("backup", copy, other).output.startswith(f"Wrote {other}, ")
    assert answered("check", other) == []
    assert run_here("backup", copy, other).code == 1


@pytest.mark.slow
def test_a_damaged_file_is_salvaged_and_what_was_lost_is_listed(copy: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copy(copy, tmp_path / "damaged.sampledb"))
    assert "nothing was lost" in run_here("salvage", damaged, tmp_path / "whole.sampledb").output
    content = damaged.read_bytes()
    damaged.write_bytes(content[: len(content) * 3 // 4])
    assert run_here("list", damaged).code == 1
    lost = answered("salvage", damaged, tmp_path / "new.sampledb", code=3)
    assert lost
    assert run_here("check", tmp_path / "new.sampledb", "--deep").output == "The file is whole.\n"
    shown = run_here("salvage", damaged, tmp_path / "shown.sampledb")
    assert (shown.code, f"{len(lost):,} things were lost" in shown.output) == (3, True)


@pytest.mark.slow
def test_compacting_says_what_it_brings(copy: Path) -> None:
    before = copy.stat().st_size
    assert answered("compact", copy) == {"bytes_before": before, "bytes_after": copy.stat().st_size}
    assert copy.stat().st_size < before
    assert "saved" in run_here("compact", copy).output


def test_damage_is_told_by_the_exit_code(copy: Path) -> None:
    with contextlib.closing(sqlite3.connect(copy)) as connection, connection:
        connection.execute("UPDATE samples SET num_functions = num_functions + 1 WHERE sample_id = 1")
    assert answered("check", copy, code=3)[0]["sample_id"] == 1
    assert run_here("check", copy).code == 3
