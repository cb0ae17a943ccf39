"""Forks: every pool of connections is emptied before one.

SQLite keeps its locks in a table of the process, which a fork copies: a child with a connection of its parent would
trust locks that it does not hold. Noticing the fork afterwards, by the process id, would be too late.
"""

import os
import threading
import weakref
from contextlib import suppress
from functools import partial
from typing import Final, Protocol

from sampledb.files import Identity


class Forkable(Protocol):
    """Something that must know of forks."""

    identity: Identity | None
    closed: bool

    def before_fork(self) -> None:
        """Close all connections and lend none until the fork is done."""

    def after_fork(self, *, in_child: bool) -> None:
        """Lend connections again."""

    def lose(self) -> None:
        """Give up all connections, in a child whose fork `before_fork` could not prepare."""


_all: "weakref.WeakSet[Forkable]" = weakref.WeakSet()
# A signal handler may fork inside a fork.
_lock: Final = threading.RLock()
# The pools that are prepared, for each fork under way.
_prepared: Final[list[list[Forkable]]] = []
# Connections that could not be closed before a fork; closing them in the child would harm the file.
_abandoned: Final[list[object]] = []


def watch(pool: Forkable) -> None:
    """Tell a pool of every fork, for as long as it exists."""
    _all.add(pool)


def is_open(path: str) -> bool:
    """Return whether this process has an open pool for the file at `path`, perhaps by another name of the file."""
    try:
        identity = Identity.of(path)
    except OSError:
        return False
    return any(pool.identity and pool.identity.is_same_file(identity) for pool in list(_all) if not pool.closed)


def abandon(*connections: object) -> None:
    """Keep connections of the parent alive, and so open, until this process ends."""
    _abandoned.extend(connections)


def _before_fork() -> None:
    # Two threads may fork at the same moment.
    _lock.acquire()
    prepared: list[Forkable] = []
    _prepared.append(prepared)
    for pool in list(_all):
        if not pool.closed:
            pool.before_fork()
            prepared.append(pool)


def _after_fork(*, in_child: bool) -> None:
    # Python forks even if an interrupt has ended _before_fork half-way.
    prepared = _prepared.pop() if _prepared else []
    for pool in [each for each in _all if each not in prepared] if in_child else []:
        pool.lose()
    while prepared:
        prepared.pop().after_fork(in_child=in_child)
    with suppress(RuntimeError):
        _lock.release()


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=partial(_after_fork, in_child=False),
        after_in_child=partial(_after_fork, in_child=True),
    )
