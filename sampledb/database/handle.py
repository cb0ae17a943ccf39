"""Open, close, share and pickle a store."""

import os
import sys
from typing import Any, Self
from weakref import finalize

from sampledb import limits
from sampledb.errors import ClosedError, InvalidInputError
from sampledb.store import forks
from sampledb.store.connection import Connections


class Handle:
    """An open store: its path, its connections, its end."""

    def __init__(self, path: str | os.PathLike[str], *, readonly: bool = False, timeout: float = 5.0) -> None:
        readonly = limits.flag("readonly", readonly)
        timeout = limits.seconds("timeout", timeout)
        self._connections = Connections(limits.path(path), readonly=readonly, timeout=timeout)
        # Also at interpreter exit and when the handle is forgotten, so that one file is left and not three.
        self._close = finalize(self, self._connections.close)
        if "multiprocessing.util" in sys.modules:
            # Workers of multiprocessing end without running what weakref.finalize would run at exit.
            sys.modules["multiprocessing.util"].Finalize(self, self._connections.close, exitpriority=0)

    def close(self) -> None:
        """Close the file; a second call does nothing. Other calls then raise ClosedError."""
        self._close()

    def __enter__(self) -> Self:
        if self.closed:
            raise ClosedError("This SampleDB is closed.", {"path": self.path})
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else "readonly" if self.readonly else "open"
        return f"<SampleDB {self.path!r} {state}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self.path == limits.MEMORY:
            raise InvalidInputError.of(
                "path", "a file to be pickled: a store in memory has nothing to reopen", limits.MEMORY
            )
        return _reopen, (type(self), self.path, self.readonly, self._connections.timeout)

    @property
    def path(self) -> str:
        """Return the absolute path of the file, or `":memory:"`."""
        return self._connections.path

    @property
    def readonly(self) -> bool:
        """Tell whether the handle never writes."""
        return self._connections.readonly

    @property
    def closed(self) -> bool:
        """Tell whether `close()` was called."""
        return self._connections.closed


def refuse_open_store(given: object, field: str) -> None:
    """Raise InvalidInputError for the path of a store that this process has open, or for a report found there.

    Closing that file after reading it would drop the POSIX locks of its handles.
    """
    given = getattr(given, "path", given)
    path = os.fsdecode(given) if isinstance(given, str | os.PathLike) else ""
    # A path with a NUL is no file's, and is refused later.
    if path and "\0" not in path and forks.is_open(path):
        raise InvalidInputError.in_file(path, "is an open store; close it first, or give another file", field=field)


def _reopen(kind: type[Handle], path: str, readonly: bool, timeout: float) -> Handle:  # noqa: FBT001 - what pickle calls
    return kind(path, readonly=readonly, timeout=timeout)
