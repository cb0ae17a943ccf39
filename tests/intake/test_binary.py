"""Binaries are known by their first bytes, and found in folders by them."""

import os
from pathlib import Path

import pytest

from sampledb.intake.binary import is_program
from sampledb.intake.finder import find_binaries
from tests.intake.packed import written

PE = b"MZ" + bytes(0x3A) + b"\x80\0\0\0" + bytes(0x40) + b"PE\0\0" + bytes(20)
PROGRAMS = {
    "PE": PE,
    "ELF": b"\x7fELF" + bytes(60),
    "Mach-O, 32 bits": bytes.fromhex("cefaedfe") + bytes(60),
    "Mach-O, 64 bits": bytes.fromhex("cffaedfe") + bytes(60),
    "Mach-O, big-endian": bytes.fromhex("feedface") + bytes(60),
    "fat Mach-O": bytes.fromhex("cafebabe00000002") + bytes(60),
    "fat Mach-O, 64 bits": bytes.fromhex("cafebabf00000001") + bytes(60),
    "DEX": b"dex\n035\0" + bytes(60),
}
OTHERS = {
    "nothing": b"",
    "DOS": b"MZ" + bytes(100),
    "the beginning of a PE": PE[:0x70],
    "MZ": b"MZ",
    "a Java class": bytes.fromhex("cafebabe00000034") + bytes(60),
    "text": b"dexterity\n",
    "SQLite": b"SQLite format 3\0" + bytes(100),
    "zip": b"PK\3\4" + bytes(100),
}


@pytest.mark.parametrize("kind", [*PROGRAMS, *OTHERS])
def test_a_program_is_known_by_its_first_bytes(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path / "file", PROGRAMS.get(kind) or OTHERS[kind])
    assert is_program(str(path)) == (kind in PROGRAMS)


def test_real_programs_are_known(sources: dict[str, Path]) -> None:
    assert all(is_program(str(path)) for path in sources.values())


def test_in_a_folder_programs_are_found_and_others_left_out(tmp_path: Path) -> None:
    program, text = written(tmp_path / "a/b/program", PE), written(tmp_path / "a/text", b"text")
    empty, store = written(tmp_path / "a/c/empty", b""), written(tmp_path / "a/corpus.sampledb", b"MZ")
    written(tmp_path / "a/corpus.sampledb-wal", b"MZ")
    written(tmp_path / "a/.hidden", PE)
    (tmp_path / "a/link").symlink_to(tmp_path / "a", target_is_directory=True)
    gone = tmp_path / "a/z"
    gone.symlink_to(tmp_path / "missing")

    def found(path: Path, *, is_dump: bool) -> list[tuple[str, bool]]:
        return list(find_binaries(str(path), is_dump=is_dump, store=str(store)))

    kinds = {program: (True, True), empty: (False, False), text: (False, True), gone: (True, True)}
    for is_dump in (False, True):
        assert found(tmp_path / "a", is_dump=is_dump) == [(str(path), kinds[path][is_dump]) for path in kinds]
    for path in (text, empty, tmp_path / "missing"):
        assert found(path, is_dump=False) == [(str(path), True)]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_what_cannot_be_read_is_left_to_fail_where_it_is_submitted(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0)
    assert list(find_binaries(str(tmp_path), is_dump=False, store="x")) == [(f"{folder}{os.sep}", True)]
