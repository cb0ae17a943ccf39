"""Python's own SQLite in place of pysqlite3's: in a child process, or in the whole test run and all its children.

`SAMPLEDB_TESTS=own-sqlite python -m pytest` hides pysqlite3 before anything imports it.
"""

import os
import sqlite3 as python_sqlite
import sys
from pathlib import Path

HIDING = str(Path(__file__).parent / "without_pysqlite3")


def environment() -> dict[str, str]:
    """Return the environment of a child process in which pysqlite3 cannot be imported."""
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([HIDING, *([path] if path else [])])}


def hide() -> None:
    """Hide pysqlite3 from this process and its children, if this run is to do without it."""
    if os.environ.get("SAMPLEDB_TESTS") == "own-sqlite" and HIDING not in sys.path:
        sys.path.insert(0, HIDING)
        os.environ.update(environment())


def report() -> str:
    """Return the SQLite that is tested; fail if the run is to do without pysqlite3 and does not."""
    from sampledb.store import sqlite  # noqa: PLC0415 - after hide()

    is_own = sqlite.sqlite3 is python_sqlite
    assert is_own or HIDING not in sys.path
    return f"SQLite {sqlite.VERSION} of {'Python' if is_own else 'pysqlite3'}"
