"""A stranger's file ends every call with an answer or an error of ours: no crash, no hang, no SQL of its author."""

import hashlib
import random
import signal
import sqlite3 as python_sqlite
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import msgspec
import pytest

import sampledb
from sampledb import CorruptFileError, StorageError
from sampledb.format import codec
from sampledb.format import frame as frames
from tests.conftest import Record
from tests.markers import SWEEP_EVERY, mostly_slow
from tests.raw import raw, register_next_format
from tests.strategies import function, report
from tests.torture import victim
from tests.torture.attacked import Attacked, Verdict

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="bounds on memory are Linux's")

MIB = 1 << 20
# What a file of a quarter of a megabyte may take, Python and SQLite included.
PEAK = 256 * MIB
# And one whose frame unfolds to all that a frame may hold: 64 MiB, as Python objects.
FORGED_PEAK = 3 << 30

# Files of a kind: in the default run, and in the sweep, whose seeds are others.
FEW = 4
SWEPT = 200 // SWEEP_EVERY

Change = Callable[[bytearray, random.Random], None]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return victim.make(tmp_path_factory.mktemp("victim") / "victim.sampledb")


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    # In memory where there is such a folder: what syncing costs is nothing to these tests.
    memory = Path("/dev/shm")  # noqa: S108
    folder = tmp_path_factory.mktemp("attacked")
    if memory.is_dir():
        folder = memory / f"{folder.parent.name}-{folder.name}-{time.time_ns()}"
    with Attacked(folder) as server:
        yield server
    server.remove()


def survived(verdict: Verdict, about: object, *, peak: int = PEAK) -> Verdict:
    assert verdict.defects == [], about
    assert verdict.peak <= peak, about
    return verdict


def test_a_whole_file_answers_every_call(attacked: Attacked, whole: bytes) -> None:
    verdict = survived(attacked.open(whole), "whole")
    assert {call for call, outcome in verdict.calls.items() if outcome != "answer"} == {
        "callers",
        "explain",
        "find_function",
        "get_binary",
        "get_report",
        "label_function",
        "similar_functions",
        "twins",
    }


# The schema

SLOW = "instr(zeroblob(100000000), zeroblob(10000000) || x'01')"
ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x AS {} FROM c"
TRIGGER = "CREATE TRIGGER planted AFTER {} BEGIN DELETE FROM functions; END"


def _as_view(name: str, columns: str) -> list[str]:
    """What puts a view in the place of a table that SQLite or FTS5 reads."""
    view = f"CREATE VIEW {name} AS {ENDLESS.format(columns)}"
    return [
        f"DELETE FROM sqlite_schema WHERE name = lower('{name}')",  # noqa: S608
        f"INSERT INTO sqlite_schema VALUES ('view', '{name}', '{name}', 0, '{view}')",  # noqa: S608
    ]


#: What would run when somebody calls us, and how it got into the schema.
PLANTED = {
    "a trigger": [TRIGGER.format("INSERT ON samples")],
    "a trigger whose kind is a blob": [
        TRIGGER.format("INSERT ON samples"),
        "UPDATE sqlite_schema SET type = CAST(type AS BLOB) WHERE name = 'planted'",
    ],
    "a trigger on the view of samples": [
        "CREATE TRIGGER planted INSTEAD OF INSERT ON sample_list BEGIN SELECT 1; END",
    ],
    "a trigger on a table that check() makes for a moment": [
        f"CREATE TRIGGER planted AFTER INSERT ON samples BEGIN SELECT {SLOW}; END",
        "UPDATE sqlite_schema SET sql = replace(sql, 'ON samples', 'ON new_sample_search_data'),"
        " tbl_name = 'new_sample_search_data' WHERE name = 'planted'",
    ],
    "an index of an expression": [f"CREATE INDEX planted ON samples ({SLOW})"],
    "an index of another expression": ["CREATE INDEX planted ON samples (name || family)"],
    "an index of some rows": [f"CREATE INDEX planted ON samples (name) WHERE {SLOW} OR TRUE"],
    "a constraint": [f"CREATE TABLE planted (a, CHECK ({SLOW}))"],
    "a constraint in disguise": ["CREATE TABLE planted (a -- ' \n, /* ' */ cHeCk/**/(a > 1))"],
    "a generated column": [f"CREATE TABLE planted (a, b AS ({SLOW}) UNIQUE)"],
    "a default": [f"CREATE TABLE planted (a DEFAULT /* ( */ ({SLOW}) REFERENCES samples ON DELETE SET DEFAULT)"],
    "a virtual table": ["CREATE VIRTUAL TABLE planted USING fts5(a)"],
    "a column": ["ALTER TABLE samples ADD COLUMN planted TEXT"],
    "a column that is generated": [f"ALTER TABLE samples ADD COLUMN planted BLOB AS ({SLOW})"],
    "a constraint in a table of this package": [
        f"UPDATE sqlite_schema SET sql = rtrim(sql, ') STRICT') || ', CHECK ({SLOW})) STRICT' WHERE name = 'reports'",  # noqa: S608
    ],
    "a column after a zero byte": ["UPDATE sqlite_schema SET sql = sql || char(0) || ', x)' WHERE name = 'reports'"],
    "a table in place of a search index": [f"CREATE TABLE sample_search_more (a, CHECK ({SLOW}))"],
    "a view in place of the id counters": _as_view("sqlite_sequence", "name, x AS seq"),
    "a view in place of a search index": _as_view("sample_search_idx", "segid, x AS term, x AS pgno"),
    "a view in place of the index of labels": _as_view("label_search_idx", "segid, x AS term, x AS pgno"),
    "a view in place of a search index, in capitals": _as_view("SAMPLE_SEARCH_IDX", "segid, x AS term, x AS pgno"),
    "a view in place of the search index of labels": _as_view("label_search_idx", "segid, x AS term, x AS pgno"),
}

ONLY_TRIGGERS = {"a trigger", "a trigger on the view of samples"}


@pytest.fixture
def own(tmp_path: Path, whole: bytes) -> Path:
    path = tmp_path / "own.sampledb"
    path.write_bytes(whole)
    return path


def plant(path: Path, *statements: str) -> None:
    """Write what a stranger may write, whether SQLite would run it or not."""
    with raw(path) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        for statement in statements:
            connection.execute(statement.replace(SLOW, "zeroblob(1)"))
        connection.execute("UPDATE sqlite_schema SET sql = replace(sql, 'zeroblob(1)', ?)", (SLOW,))


@pytest.mark.parametrize("planted", PLANTED)
def test_sql_in_the_schema_is_refused_and_not_run(attacked: Attacked, own: Path, planted: str) -> None:
    plant(own, *PLANTED[planted])
    before = own.read_bytes()
    verdict = survived(attacked.open(before), planted)
    # Nothing that a readonly handle does has a trigger.
    reads = {"answer", "not_found"} if planted in ONLY_TRIGGERS else set()
    assert set(verdict.calls.values()) - reads <= {"corrupt", "storage"}
    with pytest.raises(StorageError, match=r"could run SQL of|malformed|missing or altered"):
        sampledb.open(own)
    assert own.read_bytes() == before


def test_a_trigger_does_not_see_a_file_being_upgraded(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(own, *PLANTED["a trigger"])
    before = own.read_bytes()
    register_next_format(monkeypatch, lambda database: database.table("samples").add_column("more", int))
    with pytest.raises(StorageError, match='DROP TRIGGER "planted"'):
        sampledb.open(own)
    assert own.read_bytes() == before


HARMLESS = [
    "CREATE TABLE mine (a TEXT DEFAULT 'AS (CHECK', \"check\" INTEGER REFERENCES samples ON DELETE CASCADE, [as])",
    "CREATE TABLE mine (a INTEGER PRIMARY KEY -- CHECK (this)\n, /* AS (that) */ UNIQUE (a)) WITHOUT ROWID",
    "CREATE UNIQUE INDEX mine ON samples (name COLLATE NOCASE DESC, sha256)",
    'CREATE INDEX "mine ()" ON functions ("offset")',
    "CREATE VIEW mine AS SELECT count(*) FROM samples WHERE name LIKE '%'",
]


@pytest.mark.parametrize("statement", HARMLESS)
def test_tables_views_and_indexes_of_columns_may_be_added(attacked: Attacked, own: Path, statement: str) -> None:
    plant(own, statement)
    verdict = survived(attacked.open(own.read_bytes()), statement)
    assert verdict.calls["check what was written"] == "answer"
    with sampledb.open(own) as db:
        assert db.check(deep=True) == []


def test_a_query_of_a_view_without_end_can_be_interrupted(own: Path) -> None:
    plant(own, f"CREATE VIEW mine AS {ENDLESS.format('n')}")
    program = """
import sys, sampledb
with sampledb.open(sys.argv[1], readonly=True) as db:
    try:
        print("ready", flush=True)
        db.query("SELECT count(*) FROM mine")
    except KeyboardInterrupt:
        print(len(db.query("SELECT 1")), "interrupted")
"""
    command = [sys.executable, "-c", program, str(own)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(0.3)
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=30)[0] == "1 interrupted\n"
        finally:
            # It has ended, unless whoever started the tests had it ignore Ctrl-C.
            process.kill()


# Values

VALUES = [
    "NULL",
    "'text'",
    "x'ff'",
    "1.5",
    "-1",
    "9223372036854775807",
    "-9223372036854775808",
    "printf('%.200000c', '[')",
]
TABLES = [
    "samples",
    "sample_tags",
    "reports",
    "functions",
    "disassembly",
    "signatures",
    "jobs",
    "binaries",
    "sqlite_sequence",
]


def _columns(path: Path) -> list[tuple[str, str]]:
    with raw(path) as connection:
        return [
            (table, column)
            for table in TABLES
            for _, column, *_ in connection.execute(f"PRAGMA table_info({table})").fetchall()
        ]


def _with_value(path: Path, table: str, column: str, value: str) -> bytes:
    """The file with a value that SQLite itself would not let in."""
    with raw(path) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        (sql,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
        loose = sql.replace(") STRICT", ") ").replace(" WITHOUT ROWID", " STRICT, WITHOUT ROWID")
        loose = loose.replace(" STRICT,", "") if ", WITHOUT" in sql else loose
        loose = loose.replace(" NOT NULL", " ").replace("INTEGER ", "BLOB ").replace("TEXT ", "BLOB ")
        loose = loose.replace("BLOB PRIMARY KEY", "INTEGER PRIMARY KEY")
        connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (loose, table))
    with raw(path) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        try:
            connection.execute(f'UPDATE OR IGNORE {table} SET "{column}" = {value}')  # noqa: S608
        except python_sqlite.Error:
            return b""  # an id that is no integer: not even SQLite could be made to write it
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (sql, table))
    return path.read_bytes()


def _try_values(attacked: Attacked, path: Path, whole: bytes, cells: list[tuple[tuple[str, str], str]]) -> int:
    tried = 0
    for (table, column), value in cells:
        path.write_bytes(whole)
        content = _with_value(path, table, column, value)
        if content:
            survived(attacked.open(content), f"{table}.{column} = {value}")
            tried += 1
    return tried


def test_values_of_any_kind_in_any_column(attacked: Attacked, own: Path, whole: bytes) -> None:
    cells = [(column, value) for column in _columns(own) for value in VALUES][::SWEEP_EVERY]
    assert _try_values(attacked, own, whole, random.Random(1).sample(cells, 10)) > 4  # noqa: S311


def test_errors_that_are_kept_hold_no_lock(own: Path) -> None:
    _with_value(own, "functions", "offset", "'text'")
    kept = []
    with sampledb.open(own, readonly=True) as db:
        for _ in range(2):
            with pytest.raises(CorruptFileError) as raised:
                db.list_functions(1)
            kept.append(raised.value)
    with sampledb.open(own, timeout=0.1) as db:
        assert db.tag_sample(1, "not busy").tags[-1] == "not busy"
    assert [each.code for each in kept] == ["corrupt"] * 2
    assert [each.name for each in own.parent.iterdir()] == [own.name]


def test_a_value_that_no_code_of_ours_expects_is_damage(own: Path) -> None:
    _with_value(own, "samples", "name", "NULL")
    with sampledb.open(own) as db, pytest.raises(CorruptFileError, match="cannot be read") as raised:
        db.add_media(sha256=hashlib.sha256(b"one").hexdigest())
    assert raised.value.details["path"] == str(own)
    assert isinstance(raised.value.__cause__, AttributeError)


# Pages and bytes


def test_a_message_of_no_text_is_damage(own: Path) -> None:
    own.write_bytes(own.read_bytes().replace(b"CREATE VIEW function_list", b"CREATE V\xff\xffW function_list"))
    with pytest.raises(CorruptFileError) as raised:
        sampledb.open(own)
    assert raised.value.details["path"] == str(own)


def test_a_tree_that_leads_back_to_its_beginning_ends(attacked: Attacked, tmp_path: Path) -> None:
    path = tmp_path / "looped.sampledb"
    with sampledb.open(path) as db:
        db.add_sample(report(*[function(16 * place, function_name=f"name {place}" * 9) for place in range(500)]))
    looped = bytearray(path.read_bytes())
    for table in ("disassembly", "functions"):
        number = victim.roots(path)[table]
        assert victim.kind(looped, number) == "interior"
        root = (number - 1) * victim.page_size(looped)
        first = root + int.from_bytes(looped[root + 12 : root + 14], "big")
        looped[root + 8 : root + 12] = looped[first : first + 4]
    verdict = survived(attacked.open(bytes(looped), calls=["compact"]), "looped")
    assert verdict.calls["compact"] == "corrupt"
    path.write_bytes(looped)
    with sampledb.open(path) as db, pytest.raises(CorruptFileError):
        assert len(list(islice(db.iter_functions(), 5000))) <= 1000


def _flip(content: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice([1, 1, 4, 30])):
        content[chance.randrange(len(content))] = chance.randrange(256)


def _flip_header(content: bytearray, chance: random.Random) -> None:
    """Where a page says what is in it."""
    start = chance.randrange(len(content) // victim.page_size(content)) * victim.page_size(content)
    for _ in range(chance.choice([1, 4, 30])):
        content[start + chance.randrange(200)] = chance.choice([0, 1, 127, 128, 255, chance.randrange(256)])


def _swap(content: bytearray, chance: random.Random) -> None:
    """One page in place of another."""
    size = victim.page_size(content)
    here, there = (chance.randrange(len(content) // size) * size for _ in range(2))
    content[here : here + size] = content[there : there + size]


def _overwrite(content: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(content))
    end = min(start + chance.randrange(400), len(content))
    content[start:end] = chance.randbytes(end - start)


def _point(content: bytearray, chance: random.Random) -> None:
    """A page that leads to itself, to the first, to none, or astray: loops of trees, of overflow and of free pages."""
    size = victim.page_size(content)
    number = chance.randrange(2, len(content) // size + 1)
    start = (number - 1) * size
    target = chance.choice([number, 1, 0, 2**32 - 1, chance.randrange(2, len(content) // size + 1)])
    place = {"chain": 0, "interior": 8}.get(victim.kind(content, number))
    if place is None:
        # The first cell of a leaf, which claims to be as long as can be.
        place, target = int.from_bytes(content[start + 8 : start + 10], "big") % (size - 4), 0x8FFFFF7F
    content[start + place : start + place + 4] = target.to_bytes(4, "big")


CHANGES: list[Change] = [_flip, _flip_header, _swap, _overwrite, _point]


def _damage(attacked: Attacked, whole: bytes, change: Change, seed: int) -> Counter[str]:
    content = bytearray(whole)
    change(content, random.Random(seed))  # noqa: S311
    return Counter(survived(attacked.open(bytes(content)), f"{change.__name__}, seed {seed}").calls.values())


@pytest.mark.parametrize("change", CHANGES)
def test_damaged_pages(attacked: Attacked, whole: bytes, change: Change) -> None:
    for seed in range(FEW):
        _damage(attacked, whole, change, seed)


def test_a_file_cut_off(attacked: Attacked, whole: bytes) -> None:
    for size in range(512, len(whole), 512 * 83):
        survived(attacked.open(whole[:size]), f"{size} bytes")


def _with_roots_swapped(path: Path, chance: random.Random) -> bytes:
    found = victim.roots(path)
    one, other = chance.sample(sorted(found), 2)
    with raw(path) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        for name, root in ((one, found[other]), (other, chance.choice([found[one], found[other], 1]))):
            connection.execute("UPDATE sqlite_schema SET rootpage = ? WHERE name = ?", (root, name))
    return path.read_bytes()


def test_tables_in_place_of_others(attacked: Attacked, own: Path, whole: bytes) -> None:
    for seed in range(FEW):
        own.write_bytes(whole)
        survived(attacked.open(_with_roots_swapped(own, random.Random(seed))), f"seed {seed}")  # noqa: S311


# The search indexes


def _with_index_changed(path: Path, chance: random.Random) -> bytes:
    """A block of FTS5's in which anything may stand."""
    table = chance.choice(["sample_search", "function_search"])
    with raw(path) as connection:
        rows = connection.execute(f"SELECT id, block FROM {table}_data ORDER BY id").fetchall()  # noqa: S608
        row, block = chance.choice([*rows, rows[0], rows[1]])  # averages and structure twice as often
        changed = _changed(bytearray(block), chance)
        connection.execute(f"UPDATE {table}_data SET block = ? WHERE id = ?", (bytes(changed), row))  # noqa: S608
        if chance.random() < 0.3:
            pages = chance.choice([0, -1, 2**40, chance.randrange(2**16)])
            connection.execute(f"UPDATE {table}_idx SET pgno = ?", (pages,))  # noqa: S608
            key, value = chance.choice([("version", 5), ("pgsz", 2**31), ("automerge", -1), ("rank", "x(")])
            connection.execute(f"INSERT OR REPLACE INTO {table}_config VALUES (?, ?)", (key, value))  # noqa: S608
    return path.read_bytes()


def _changed(block: bytearray, chance: random.Random) -> bytearray:
    place = chance.randrange(len(block) + 1)
    how = chance.randrange(5)
    if how == 0:
        return bytearray(chance.randbytes(chance.randrange(200)))
    if how == 1:
        return block[:place]
    if how == 2:  # a varint as large as there is
        return block[:place] + b"\xff" * 9 + block[place:]
    if how == 3:
        return block[:place] + bytes(chance.choice([8, 4000, 70000]))
    for _ in range(min(len(block), chance.choice([1, 3, 20]))):
        block[chance.randrange(len(block))] = chance.choice([0, 1, 127, 128, 255])
    return block


def test_search_indexes_that_lie(attacked: Attacked, own: Path, whole: bytes) -> None:
    for seed in range(FEW):
        own.write_bytes(whole)
        survived(attacked.open(_with_index_changed(own, random.Random(seed))), f"seed {seed}")  # noqa: S311


# Blobs whose checksums are right


def _with_blob(path: Path, kind: int, content: bytes, row: int | None = None) -> bytes:
    """The file with a forged blob in the place of a sample's report, or of a frame."""
    table, column, key = {
        codec.JSON: ("reports", "report", "sample_id"),
        codec.FRAME: ("disassembly", "frame", "first_function_id"),
    }[kind]
    blob = codec.encode(kind, content)
    with raw(path) as connection:
        connection.execute(
            f"UPDATE {table} SET checksum = ?, {column} = ? WHERE {key} = ? OR ? IS NULL",  # noqa: S608
            (codec.checksum(blob), blob, row, row),
        )
    return path.read_bytes()


def _frame_of(path: Path, first: int = 1) -> bytes:
    with raw(path) as connection:
        (row,) = connection.execute(
            "SELECT checksum, frame FROM disassembly WHERE first_function_id = ?", (first,)
        ).fetchall()
    return codec.decode(codec.FRAME, row[1], row[0])


def _forged(content: bytes, chance: random.Random) -> bytes:
    """A frame with one value in it changed, whatever that is."""
    columns = msgspec.msgpack.decode(content)
    inside, place = columns, chance.randrange(len(columns))
    while isinstance(inside[place], list) and inside[place] and chance.random() < 0.8:
        inside = inside[place]
        place = chance.randrange(len(inside))
    inside[place] = _another(inside[place], chance)
    return msgspec.msgpack.encode(columns)


def _another(value: object, chance: random.Random) -> object:
    if isinstance(value, bytes):
        return chance.choice([b"", value[:-1], value * 2, chance.randbytes(len(value))])
    if isinstance(value, str):
        return chance.choice(["", value[:-1], value + "\0", value.replace("\n", "", 1), "\n" + value])
    if isinstance(value, int):
        return chance.choice([value + 1, -1, 0, 2**40, 2**63, -(2**63), [value]])
    if isinstance(value, list):
        return chance.choice([value[:-1], value * 2, [*value, 0], [], [[[]]]])
    return chance.choice([None, {0: b"{}"}, {99: b"{}"}, {0: b'{"offset": 4096, "blocks": {"x": [[1]]}}'}])


def _with_frame_forged(path: Path, chance: random.Random) -> bytes:
    return _with_blob(path, codec.FRAME, _forged(_frame_of(path), chance), 1)


def test_frames_that_are_sealed_but_wrong(attacked: Attacked, own: Path, whole: bytes) -> None:
    for seed in range(FEW):
        own.write_bytes(whole)
        survived(attacked.open(_with_frame_forged(own, random.Random(seed))), f"seed {seed}")  # noqa: S311


HEADERS = {
    "no JSON": b"{",
    "a list": b"[]",
    "nothing": b"{}",
    "a report with functions of its own": b'{"sha256": 5, "xcfg": []}',
    "deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a huge number": b'{"a":' + b"9" * 100_000 + b"}",
    "no Unicode": b'{"a":"\xff"}',
}


@pytest.mark.parametrize("header", HEADERS)
def test_reports_that_are_sealed_but_none(attacked: Attacked, own: Path, header: str) -> None:
    survived(attacked.open(_with_blob(own, codec.JSON, HEADERS[header])), header)


def _claiming(size: int) -> bytes:
    """A blob of zstd whose header says that this many bytes are in it."""
    return bytes((codec.FRAME,)) + b"\x28\xb5\x2f\xfd\xe0" + size.to_bytes(8, "little") + b"\x01\x00\x00"


@pytest.mark.parametrize("size", [64 * MIB + 1, 10**12, 2**63, 2**64 - 3])
def test_a_blob_that_says_it_unfolds_to_gigabytes(attacked: Attacked, own: Path, size: int) -> None:
    blob = _claiming(size)
    with raw(own) as connection:
        connection.execute("UPDATE disassembly SET checksum = ?, frame = ?", (codec.checksum(blob), blob))
    verdict = survived(attacked.open(own.read_bytes()), size)
    assert verdict.calls["get_function"] == "corrupt"


_FULL = codec.MAX_BYTES[codec.FRAME] - 4096


def _instructions(count: int, **columns: object) -> dict[str, object]:
    """Columns of a function whose only block has this many instructions without a text."""
    return {"num_instructions": [count], "lines": "\n" * (3 * count - 1), **columns}


def _references(count: int) -> dict[str, object]:
    """Columns of a function whose instructions each refer to an address and to a name."""
    outrefs = {"num_outrefs": [count], "outref_places": [0] + [1] * (count - 1), "outref_targets": [1] * count}
    apirefs = {"num_apirefs": [count], "apiref_places": [0] + [1] * (count - 1), "apiref_names": "\n" * (count - 1)}
    return _instructions(count, **outrefs, **apirefs)


def _blocks(count: int) -> dict[str, object]:
    empty = {"gaps": [0] * count, "num_successors": [0] * count, "targets": bytes(count)}
    return _instructions(count, **empty) | {"num_blocks": [count], "num_instructions": [1] * count}


#: Columns as long as a frame may be; a few kilobytes in the file, gigabytes here, so each is made when its turn comes.
UNFOLDING: dict[str, Callable[[], dict[str, object]]] = {
    "lines of nothing": lambda: {"lines": "\n" * _FULL},
    "lines of two letters": lambda: {"lines": "ab\n" * (_FULL // 3)},
    "lines of a letter that takes two bytes": lambda: {"lines": "\u0101\n" * (_FULL // 3)},
    "callers": lambda: {"inrefs": [1] * (_FULL // 2), "num_inrefs": [_FULL // 2]},
    "large numbers": lambda: {"inrefs": [1 << 15] * (_FULL // 3), "num_inrefs": [_FULL // 3]},
    "more than JSON can say": lambda: {"inrefs": [1] * (_FULL - 4096), "num_inrefs": [_FULL - 4096]},
    "targets of one reference": lambda: {
        "num_outrefs": [1],
        "outref_places": [0],
        "outref_sizes": [_FULL // 2 - 99],
        "outref_targets": [1] * (_FULL // 2 - 99),
    },
    "targets that were never stored": lambda: {"num_outrefs": [1], "outref_places": [0], "outref_sizes": [2**40]},
    "components": lambda: {"num_components": [_FULL // 5 - 99], "components": [0] * (_FULL // 5 - 99)},
    "components of nothing": lambda: {
        "num_components": [_FULL // 3 - 99], "component_sizes": [0] * (_FULL // 3 - 99), "components": []
    },
    "successors": lambda: {"num_successors": [_FULL // 2 - 99], "successors": [0] * (_FULL // 2 - 99)},
    "blocks": lambda: _blocks(_FULL // 26),
    "instructions": lambda: _instructions(_FULL // 12 - 99),
    "references": lambda: _references(_FULL // 28),
    "a huge address": lambda: _instructions(
        1, lines="90\ncall\n0x" + "1" * (_FULL // 2),
        num_outrefs=[1], outref_places=[0], outref_sizes=[9999], outref_targets=[0] * 9999,
    ),
    "a function kept whole": lambda: {
        "odd": {0: b'{"offset":4096,"blocks":{"4096":[' + b"{}," * (_FULL // 3) + b"{}]}}"}
    },
    "names by the million": lambda: {"apiref_names": "\n" * _FULL, "num_apirefs": [1], "apiref_places": [0]},
    "odd functions by the million": lambda: {"odd": dict.fromkeys(range(_FULL // 8), b"")},
    "absent keys by the million": lambda: {"absent": [""] * _FULL},
    "functions by the million": lambda: {"num_blocks": [0] * (_FULL // 2)},
}  # fmt: skip
UNFOLDING_AT_ONCE = {"targets that were never stored", "more than JSON can say", "a huge address"}


@pytest.mark.parametrize("unfolding", mostly_slow(UNFOLDING, UNFOLDING_AT_ONCE))
def test_a_frame_that_unfolds_has_a_bound(attacked: Attacked, path: Path, unfolding: str) -> None:
    names = frames.Frame.__struct_fields__
    columns = dict(zip(names, msgspec.msgpack.decode(_frame_of(path)), strict=True)) | UNFOLDING[unfolding]()
    content = _with_blob(path, codec.FRAME, msgspec.msgpack.encode(list(columns.values())))
    assert len(content) < 2 * MIB
    verdict = attacked.open(content, calls=["get_function"], memory=8 << 30)
    survived(verdict, unfolding, peak=FORGED_PEAK)


# All of it, many times


@pytest.mark.sweep
@pytest.mark.parametrize("change", CHANGES)
def test_damaged_pages_by_the_thousand(attacked: Attacked, whole: bytes, change: Change, record: Record) -> None:
    outcomes: Counter[str] = Counter()
    for seed in range(100, 100 + SWEPT):
        outcomes += _damage(attacked, whole, change, seed)
    record(f"files damaged by {change.__name__[1:]}", {"files": SWEPT, **outcomes})


@pytest.mark.sweep
def test_a_file_cut_off_everywhere(attacked: Attacked, whole: bytes, record: Record) -> None:
    sizes = range(0, len(whole), 512 * SWEEP_EVERY)
    for size in sizes:
        survived(attacked.open(whole[:size]), f"{size} bytes")
    record("files cut off", {"files": len(sizes)})


@pytest.mark.sweep
def test_every_kind_of_value_in_every_column(attacked: Attacked, own: Path, whole: bytes, record: Record) -> None:
    cells = [(column, value) for column in _columns(own) for value in VALUES][::SWEEP_EVERY]
    record("files with a value of another kind", {"files": _try_values(attacked, own, whole, cells)})


#: Files that are made anew each time, by a seed.
MADE = {
    "tables in place of others": _with_roots_swapped,
    "search indexes that lie": _with_index_changed,
    "frames sealed but wrong": _with_frame_forged,
}


@pytest.mark.sweep
@pytest.mark.parametrize("made", MADE)
def test_files_made_by_the_hundred(attacked: Attacked, own: Path, whole: bytes, made: str, record: Record) -> None:
    for seed in range(100, 100 + SWEPT):
        own.write_bytes(whole)
        survived(attacked.open(MADE[made](own, random.Random(seed))), f"seed {seed}")  # noqa: S311
    record(f"files with {made}", {"files": SWEPT})
