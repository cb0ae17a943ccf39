"""The schema of a file, compared with this package's: what is damaged, and what others added."""

import re
from collections.abc import Iterator
from contextlib import closing
from typing import Final, NamedTuple

from sampledb.store import schema
from sampledb.store.sqlite import Connection, sqlite3

_COMMENT_OR_QUOTED: Final = re.compile(r"""--[^\n]*|/\*.*?(?:\*/|\Z)|'[^']*'|"[^"]*"|`[^`]*`|\[[^\]]*\]""", re.DOTALL)
# Keywords, which SQLite takes for nothing else unless they are quoted.
_EXPRESSION: Final = re.compile(r"\b(?:CHECK|AS)\b|\bDEFAULT\s*\(", re.IGNORECASE)
_COLUMN: Final = r"\s*\w+(?:\s+COLLATE\s+\w+)?(?:\s+(?:ASC|DESC))?\s*"
_INDEX_OF_COLUMNS: Final = re.compile(
    rf"CREATE (?:UNIQUE )?INDEX \w+\s+ON\s+\w+\s*\({_COLUMN}(?:,{_COLUMN})*\)\s*", re.IGNORECASE
)
# What an addition can be, in the order of removal: triggers write to tables, and indexes go with them.
_REMOVABLE: Final = ("trigger", "index", "table")
# SQLite and FTS5 read tables by these names.
_RESERVED: Final = re.compile(r"sqlite_|(?:sample|function|string|label)_search", re.IGNORECASE)


class Addition(NamedTuple):
    """Something that another program added to the schema, and that could run SQL of its author's.

    Attributes:
        kind: `trigger`, `index`, `table`, or `column` of a table of this package.
        name: Its name; that of a column follows its table's and a dot.
        removal: The statement that removes it.
    """

    kind: str
    name: str
    removal: str


def inspect(connection: Connection, *, is_current: bool = True) -> tuple[str, list[Addition]]:
    """Return what is wrong with the schema, or `""`, and what others added that could run their SQL.

    Tables of others do no harm, nor do views and indexes of columns: only SQL that names them uses them. Triggers,
    CHECK constraints, generated columns, indexes of expressions and virtual tables would run in this package's
    transactions and in `check()`, for as long as their author likes.

    Args:
        connection: A connection to the file.
        is_current: Whether the file claims FORMAT_VERSION, and must have all its statements.
    """
    rows = connection.execute("SELECT type, name, sql FROM sqlite_schema").fetchall()
    own = _own_statements()
    found = {sql for _, _, sql in rows}
    missing = [statement for statement in schema.STATEMENTS if statement not in found] if is_current else []
    suspects = [row for row in rows if row[2] not in own and not _is_harmless(*row)]
    if not missing and not suspects:
        return "", []
    columns = [each for row in rows if row[2] not in own for each in _find_columns(connection, *row)]
    # Any other difference of a table than its new columns is no addition.
    wider = {each.name.partition(".")[0] for each in columns}
    for statement in missing:
        if _name_of(statement) not in wider:
            return f"{' '.join(statement.split()[:3])} is missing or altered", []
    suspects = [row for row in suspects if row[1] not in wider]
    forged = next((row for row in suspects if not _is_addition(*row)), None)
    if forged is not None:
        return f"{forged[0]} {forged[1]} was forged, which could run SQL of its author's", []
    suspects.sort(key=lambda row: _REMOVABLE.index(row[0]))
    return "", [Addition(kind, name, f"DROP {kind.upper()} {_quote(name)};") for kind, name, _ in suspects] + columns


def _own_statements() -> tuple[str, ...]:
    return schema.STATEMENTS + schema.FORMER_STATEMENTS


def _find_columns(connection: Connection, kind: object, table: object, sql: object) -> Iterator[Addition]:
    """Yield the columns that were added to a table of this package, the last first, if nothing else was changed."""
    own = _own_statements()
    before = next((each for each in own if kind == "table" and _name_of(each) == table and _is_part(each, sql)), None)
    if before is None:
        return
    with closing(sqlite3.connect(":memory:")) as memory:
        memory.execute(before)
        read = f"PRAGMA table_xinfo({table})"
        known, all_columns = ([name for _, name, *_ in each.execute(read)] for each in (memory, connection))
    for name in reversed(all_columns[len(known) :]):
        yield Addition("column", f"{table}.{name}", f"ALTER TABLE {table} DROP COLUMN {_quote(name)};")


def _is_part(statement: str, sql: object) -> bool:
    """Return whether something was inserted into a statement at one place, as ALTER TABLE ADD COLUMN does."""
    if not isinstance(sql, str) or len(sql) <= len(statement):
        return False
    pairs = enumerate(zip(statement, sql, strict=False))
    same = next((place for place, (ours, theirs) in pairs if ours != theirs), len(statement))
    return sql.endswith(statement[same:])


def _name_of(statement: str) -> str:
    """Return the name of what a statement of this package creates."""
    return statement.removeprefix("CREATE ").removeprefix("UNIQUE ").removeprefix("VIRTUAL ").split(maxsplit=2)[1]


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _is_addition(kind: object, name: object, _: object) -> bool:
    """Return whether somebody may have added it with plain SQL, and can remove it."""
    own = {_name_of(statement) for statement in _own_statements()}
    return kind in _REMOVABLE and isinstance(name, str) and name not in own and not _RESERVED.match(name)


def _is_harmless(kind: object, name: object, sql: object) -> bool:
    if sql is None:
        return True  # the index of a UNIQUE or PRIMARY KEY
    # SQLite reads these columns as text, whatever type they have; a BLOB would match no pattern below.
    if not (isinstance(kind, str) and isinstance(name, str) and isinstance(sql, str)):
        return False
    tokens = _COMMENT_OR_QUOTED.sub(lambda found: " " if found[0][0] in "-/" else "quoted", sql)
    if kind == "table":
        return tokens.startswith("CREATE TABLE ") and not _EXPRESSION.search(tokens)
    if kind == "index":
        return _INDEX_OF_COLUMNS.fullmatch(tokens) is not None
    return kind == "view" and tokens.startswith("CREATE VIEW ") and not _RESERVED.match(name)
