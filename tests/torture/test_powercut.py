"""The model of the disk keeps what was synced, and may lose anything else."""

import random
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.torture import strace
from tests.torture.powercut import (
    SECTOR,
    Acknowledge,
    Create,
    Disk,
    Event,
    Link,
    Remove,
    Rename,
    Sync,
    Truncate,
    Write,
    sectors,
)

seeds = st.integers(0, 2**32)
writes = st.builds(Write, st.just("a"), st.integers(0, 3000), st.binary(min_size=1, max_size=3000))
changes = st.lists(writes | st.builds(Truncate, st.just("a"), st.integers(0, 3000)), max_size=6)


def played(files: dict[str, bytes], *events: Event) -> Disk:
    disk = Disk(files)
    for event in events:
        disk.apply(event)
    return disk


def left(disk: Disk) -> list[dict[str, bytes]]:
    """What two hundred power cuts leave."""
    return [disk.cut(random.Random(seed)) for seed in range(200)]  # noqa: S311


@given(changes=changes, seed=seeds)
def test_what_was_synced_stays(changes: list[Write | Truncate], seed: int) -> None:
    disk = played({"a": b"old"}, *changes, Sync("a"))
    assert disk.synced() == disk.written() == disk.cut(random.Random(seed))  # noqa: S311


@given(changes=changes)
def test_what_was_not_synced_may_be_lost(changes: list[Write | Truncate]) -> None:
    disk = played({"a": b"old"}, *changes)
    assert disk.synced() == {"a": b"old"}
    assert {"a": b"old"} in left(disk)
    assert disk.written() in left(disk)


@given(write=writes)
def test_sectors_make_up_the_write(write: Write) -> None:
    parts = sectors(write)
    assert played({"a": b""}, *parts).written() == played({"a": b""}, write).written()
    for part in parts:
        assert isinstance(part, Write)
        assert part.offset // SECTOR == (part.offset + len(part.content) - 1) // SECTOR


def test_a_write_is_torn_between_sectors_only() -> None:
    found = {cut["a"] for cut in left(played({"a": b"-" * 1024}, Write("a", 0, b"+" * 1024)))}
    assert found == {first * 512 + second * 512 for first in (b"-", b"+") for second in (b"-", b"+")}


def test_writes_are_lost_in_any_order() -> None:
    disk = played({"a": b"--"}, Write("a", 0, b"1"), Write("a", 1, b"2"))
    assert {cut["a"] for cut in left(disk)} == {b"--", b"1-", b"-2", b"12"}


def test_what_was_never_written_is_anything() -> None:
    disk = played({"a": b""}, Write("a", 0, b"1"), Write("a", 4, b"2"))
    assert {cut["a"][:4] for cut in left(disk) if cut["a"][4:] == b"2"} >= {b"\0\0\0\0", b"1\0\0\0"}
    assert any(set(cut["a"][1:4]) > {0} for cut in left(disk))


def test_a_name_is_safe_when_its_folder_is_synced() -> None:
    created = played({}, Create("a"), Write("a", 0, b"1"), Sync("a"))
    assert {frozenset(cut.items()) for cut in left(created)} == {frozenset(), frozenset({("a", b"1")})}
    created.apply(Sync(""))
    assert all(cut == {"a": b"1"} for cut in left(created))


def test_a_removed_file_may_come_back_until_its_folder_is_synced() -> None:
    removed = played({"a": b"1"}, Remove("a"))
    assert removed.written() == {}
    assert {"a": b"1"} in left(removed)
    removed.apply(Sync(""))
    assert all(cut == {} for cut in left(removed))


def test_a_renamed_file_has_one_name_or_the_other_or_both_or_none() -> None:
    renamed = played({"a": b"1"}, Rename("a", "b"), Acknowledge("done"))
    assert renamed.written() == {"b": b"1"}
    assert {tuple(cut) for cut in left(renamed)} == {("a",), ("b",), ("a", "b"), ()}


def test_a_second_name_is_of_the_same_file() -> None:
    linked = played({"a": b"1"}, Link("a", "b"), Remove("a"), Write("b", 0, b"2"))
    assert linked.written() == {"b": b"2"}
    assert {tuple(cut) for cut in left(linked)} == {("a",), ("b",), ("a", "b"), ()}


LOG = r"""
7 openat(AT_FDCWD<\x2f>, "\x2f\x64\x2f\x61", O_RDWR|O_CREAT|O_CLOEXEC, 0644) = 3<\x2f\x64\x2f\x61>
7 openat(AT_FDCWD<\x2f>, "\x2f\x64\x2f\x6b", O_RDWR|O_CREAT|O_CLOEXEC, 0644) = 4<\x2f\x64\x2f\x6b>
7 pwrite64(3<\x2f\x64\x2f\x61>, "\x31\x32", 2, 512) = 2
7 pwrite64(3<\x2f\x64\x2f\x61>, "\x31\x32", 2, 514) = -1 EIO (Input/output error) (INJECTED)
7 pwrite64(9<\x2f\x65>, "\x31\x32", 2, 512) = 2
7 fdatasync(3<\x2f\x64\x2f\x61>) = 0
7 fsync(5<\x2f\x64>)             = 0
7 ftruncate(3<\x2f\x64\x2f\x61>, 7) = 0
7 rename("\x2f\x64\x2f\x61", "\x2f\x64\x2f\x62") = 0
7 link("\x2f\x64\x2f\x62", "\x2f\x64\x2f\x63") = 0
7 unlink("\x2f\x64\x2f\x62") = 0
7 write(6<\x70\x69\x70\x65\x3a\x5b\x31\x5d>, "\x64\x0a", 2) = 2
7 +++ exited with 0 +++
"""


def test_what_strace_writes_is_understood(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(LOG)
    assert list(strace.events(log, Path("/d"), ["k"])) == [
        Create("a"),
        Write("a", 512, b"12"),
        Sync("a"),
        Sync(""),
        Truncate("a", 7),
        Rename("a", "b"),
        Link("b", "c"),
        Remove("b"),
        Acknowledge("d\n"),
    ]
    assert strace.counted(log)["pwrite64"] == 3
