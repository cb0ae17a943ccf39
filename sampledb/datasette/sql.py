"""SQL functions that read code; `add_functions` adds them to a connection."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Final

from pluggy import HookimplMarker

from sampledb import Function, read_frame
from sampledb.render.graph import read_graph
from sampledb.render.notebook import format_lines
from sampledb.render.text import escape_unprintable
from sampledb.store.schema import APPLICATION_ID

_ONE: Final = """
SELECT functions.*, first_function_id, checksum, frame
FROM functions JOIN disassembly
     ON first_function_id = (SELECT max(first_function_id) FROM disassembly WHERE first_function_id <= function_id)
WHERE function_id = ?"""


@HookimplMarker("sqlite_utils")
def prepare_connection(conn: sqlite3.Connection) -> None:
    """Add the functions to each store that sqlite-utils opens."""
    if is_store(conn):
        add_functions(conn)


def is_store(connection: sqlite3.Connection) -> bool:
    """Return whether the main database of a connection says that it is a store."""
    try:
        ((number,),) = connection.execute("PRAGMA application_id")
    except connection.Error:
        return False
    return bool(number == APPLICATION_ID)


def add_functions(connection: sqlite3.Connection) -> None:
    """Add the SQL functions to a connection, which then lives until it is closed.

    `sampledb_disassembly(function_id)` is the text of a function, with the APIs and strings that it refers to, and
    `sampledb_json(function_id)` SMDA's function dict. Both are NULL where there is no such function.
    """
    for name, write in (("sampledb_disassembly", _write_text), ("sampledb_json", _write_json)):
        connection.create_function(name, 1, partial(_call, connection, write))


def _call(connection: sqlite3.Connection, write: Callable[[Function], str], function_id: object) -> str | None:
    # A cursor of its own, because the connection's may make rows of any kind.
    with closing(connection.cursor()) as cursor:
        cursor.row_factory = None
        row = cursor.execute(_ONE, (function_id,)).fetchone() if isinstance(function_id, int) else None
        if row is None:
            return None
        fields = dict(zip((name for name, *_ in cursor.description), row, strict=True))
    first, checksum, frame = (fields[name] for name in ("first_function_id", "checksum", "frame"))
    (function,) = read_frame(frame, [fields], first_function_id=first, checksum=checksum)
    return write(function)


def _write_text(function: Function) -> str:
    lines = format_lines(read_graph(function.disassembly))
    return "\n".join(escape_unprintable(line.text) for line in lines).rstrip()


def _write_json(function: Function) -> str:
    return json.dumps(function.disassembly)
