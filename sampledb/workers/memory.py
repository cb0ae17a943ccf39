"""The memory of this machine or container, and its division among child processes."""

import os
from pathlib import Path
from typing import Final

# Bytes of address space for each child process: SMDA takes up to a few hundred times the size of a binary, 1.8 GB for
# one of 3 MB. Not more than its share of the memory, so that the system does not kill something else.
MOST_MEMORY: Final = 8 * 1024**3
# With less for each, fewer processes disassemble more.
LEAST_MEMORY: Final = 1024**3
# A process alone gets at least this: SMDA and its libraries take 300 MB before the first binary.
_LOADED: Final = 512 * 1024**2
# The limit of a container in both versions of Linux's control groups, and the folder where each version keeps it.
_LIMITS: Final = {"": ("", "memory.max"), "memory": ("memory", "memory.limit_in_bytes")}


def share_memory(count: int, root: Path = Path("/")) -> tuple[int, int]:
    """Return how many child processes may run, at most `count`, and the bytes of address space for each.

    `root` is the folder that holds `proc` and `sys`.
    """
    found = [_find_physical(), *_find_limits(root)]
    memory = min((each for each in found if each), default=count * MOST_MEMORY)
    count = max(min(count, memory // LEAST_MEMORY), 1)
    return count, max(min(memory // count, MOST_MEMORY), _LOADED)


def _find_physical() -> int:
    """Return the bytes of memory of the machine, 0 if unknown."""
    try:
        return max(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), 0)
    except (AttributeError, ValueError, OSError):
        return 0


def _find_limits(root: Path) -> list[int]:
    """Return the limits in bytes of the control groups of this process, and of all groups around them."""
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        for controller in _LIMITS.keys() & set(controllers.split(",")):
            folder, name = _LIMITS[controller]
            top = root / "sys/fs/cgroup" / folder
            # A container may see the path of its group, but only that group itself, at the top.
            group = top / path.strip("/")
            found += [_read_limit(each / name) for each in (group, *group.parents) if each.is_relative_to(top)]
    return found


def _read_limit(path: Path) -> int:
    """Return the bytes that a group may take, 0 without a limit."""
    try:
        text = path.read_text("ascii").strip()
    except (OSError, ValueError):
        return 0
    return int(text) if text.isdecimal() else 0
