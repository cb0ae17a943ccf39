"""Child processes share the memory of the machine, or what a container leaves of it."""

from pathlib import Path

import pytest

from sampledb.workers.memory import LEAST_MEMORY, MOST_MEMORY, share_memory
from tests.intake.packed import written

GIB = 1024**3


def container(root: Path, groups: str, limits: dict[str, str]) -> Path:
    """A root folder in which this process is in control groups; limits by the path of their file."""
    written(root / "proc/self/cgroup", groups.encode())
    for path, limit in limits.items():
        written(root / "sys/fs/cgroup" / path, limit.encode())
    return root


@pytest.mark.parametrize(
    ("groups", "limits"),
    [
        ("0::/", {"memory.max": "2147483648\n"}),
        ("0::/docker/abc\n", {"docker/abc/memory.max": "2147483648\n", "memory.max": "max\n"}),
        ("0::/pod/one\n", {"pod/one/memory.max": "max\n", "pod/memory.max": "2147483648\n"}),
        ("0::/pod/one\n", {"pod/one/memory.max": "2147483648\n", "pod/memory.max": f"{2**60}\n"}),
        ("0::/seen/from/outside\n", {"memory.max": "2147483648\n"}),
        ("4:cpu,cpuacct:/a\n3:memory:/a\n0::/a\n", {"memory/a/memory.limit_in_bytes": "2147483648\n"}),
        ("3:memory:/a\n", {"memory/memory.limit_in_bytes": "2147483648\n"}),
    ],
)
def test_the_limit_of_a_container_is_shared(tmp_path: Path, groups: str, limits: dict[str, str]) -> None:
    root = container(tmp_path, groups, limits)
    assert share_memory(1, root) == (1, 2 * GIB)
    assert share_memory(2, root) == (2, GIB)


def test_where_memory_is_short_fewer_processes_share_it(tmp_path: Path) -> None:
    assert share_memory(64, container(tmp_path, "0::/", {"memory.max": f"{2 * GIB}"})) == (2, GIB)
    assert share_memory(64, container(tmp_path, "0::/", {"memory.max": f"{GIB // 4}"})) == (1, GIB // 2)


@pytest.mark.parametrize(
    ("groups", "limits"),
    [
        ("", {}),
        ("0::/\n", {}),
        ("0::/\n", {"memory.max": "max\n"}),
        ("0::/a\n", {"a/memory.max": "\u00b2"}),
        ("0::/a\n", {"a/memory.max/folder": "1"}),
        ("nonsense\n:::::\n", {"memory.max": ""}),
        ("3:memory:/a\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}),
    ],
)
def test_without_a_limit_the_memory_of_the_machine_is_shared(
    tmp_path: Path, groups: str, limits: dict[str, str]
) -> None:
    assert share_memory(4, container(tmp_path / "made", groups, limits)) == share_memory(4, tmp_path / "missing")
    count, size = share_memory(4, tmp_path / "missing")
    assert 1 <= count <= 4
    assert LEAST_MEMORY <= size <= MOST_MEMORY
