"""Forks: every pool of connections is emptied before one.

SQLite keeps its locks in a table of the process, which a fork copies: a child with a connection of its parent would
trust locks that it does not hold. Noticing the fork afterwards, by the process id, would be too late.
"""

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final, Protocol, TypeVar

from sampledb.errors import ClosedError, StorageError
from sampledb.intake.files import Identity

_T = TypeVar("_T")


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


# By id, because other threads may add to it at any time: a WeakSet cannot be read then.
_all: "weakref.WeakValueDictionary[int, Forkable]" = weakref.WeakValueDictionary()
# A signal handler may fork inside a fork.
_lock: Final = threading.RLock()
_changed: Final = threading.Condition(_lock)
# Seconds that a fork waits for what other threads do with SQLite.
PATIENCE: Final = 60.0
# Seconds that these wait for a fork. A finalizer may close a handle in a thread for which the fork waits.
_PATIENCE: Final = 5.0
# The threads that use SQLite outside of a pool's loans.
_busy: Final[list[threading.Thread]] = []
# The pools that are prepared, for each fork under way.
_prepared: Final[list[list[Forkable]]] = []
# Connections that could not be closed before a fork; closing them in the child would harm the file.
_abandoned: Final[list[object]] = []


def watch(pool: Forkable) -> None:
    """Call a pool at every fork, while the pool exists."""
    _all[id(pool)] = pool


def _find_pools() -> list[Forkable]:
    pools = [reference() for reference in _all.valuerefs()]
    return [pool for pool in pools if pool is not None and not pool.closed]


def is_open(path: str) -> bool:
    """Return whether this process has an open pool for the file at `path`, also under another name of the file."""
    try:
        identity = Identity.of(path)
    except StorageError:
        return False
    return any(pool.identity and pool.identity.is_same_file(identity) for pool in _find_pools())


@contextmanager
def delay() -> Iterator[None]:
    """Delay forks in other threads: the child would inherit a lock inside SQLite that is never released."""
    is_locked = _lock.acquire(timeout=_PATIENCE)
    try:
        _busy.append(threading.current_thread())
    finally:
        if is_locked:
            _lock.release()
    try:
        yield
    finally:
        _busy.remove(threading.current_thread())
        # Only a fork can have the lock for long, and that one was not waiting for this.
        if _lock.acquire(timeout=_PATIENCE):
            _changed.notify_all()
            _lock.release()


def in_one_process(items: Iterator[_T]) -> Iterator[_T]:
    """Yield items that threads make, in the process that has these threads.

    A child that was forked meanwhile has copies of their locks, which nobody releases: it must ask for nothing more.

    Raises:
        ClosedError: In such a child.
    """
    owner = os.getpid()
    for item in items:
        yield item
        if os.getpid() != owner:
            raise ClosedError("This iterator belongs to the process that was forked; begin another one here.")


def abandon(*connections: object) -> None:
    """Keep connections of the parent alive, and so open, until this process ends."""
    _abandoned.extend(connections)


def _before_fork() -> None:
    # Two threads may fork at the same moment.
    _lock.acquire()
    _changed.wait_for(lambda: all(each is threading.current_thread() for each in _busy), timeout=PATIENCE)
    prepared: list[Forkable] = []
    _prepared.append(prepared)
    for pool in _find_pools():
        pool.before_fork()
        prepared.append(pool)


def _after_fork(*, in_child: bool) -> None:
    # Python forks even if an interrupt has ended _before_fork half-way.
    prepared = _prepared.pop() if _prepared else []
    for pool in [each for each in _find_pools() if each not in prepared] if in_child else []:
        pool.lose()
    while prepared:
        prepared.pop().after_fork(in_child=in_child)
    if in_child:
        _busy[:] = [each for each in _busy if each is threading.current_thread()]
    with suppress(RuntimeError):
        _lock.release()


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=partial(_after_fork, in_child=False),
        after_in_child=partial(_after_fork, in_child=True),
    )
