"""The peers of this environment: each is asked the same questions, with the durability that it offers.

A peer that keeps whole reports must read a whole report to return one function.
"""

import os
import sqlite3
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import sqlite_utils
import zstandard

import sampledb
from benchmarks import corpus
from benchmarks.peers.environment import make_mcrit_environment
from benchmarks.peers.questions import Report, Store, ask_store, read_reports
from benchmarks.report.figures import Peer

_parse_members = msgspec.json.Decoder(type=dict[str, msgspec.Raw]).decode


def measure(paths: Sequence[Path], folder: Path) -> list[Peer]:
    """Measure every peer with the same reports, one after another, in new files."""
    reports = read_reports(paths)
    stores: list[Store] = [
        SampleDB(folder / "peer.sampledb"),
        Folder(folder / "peer"),
        SqliteUtils(folder / "peer.db"),
        DuckDB(folder / "peer.duckdb"),
    ]
    return [*(ask_store(store, reports) for store in stores), _measure_mcrit(paths)]


class SampleDB:
    """This project, measured like the others."""

    name = "sampledb"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db = sampledb.open(path)
        self._ids: dict[tuple[str, int], tuple[int, int]] = {}

    def add(self, report: Report) -> object:
        """Store it in one durable transaction."""
        return self._db.add_sample(report.json)

    def prepare(self, reports: Sequence[Report]) -> None:
        """Look up the ids of samples and functions."""
        for report in reports:
            sample_id = self._db.get_sample_by_sha256(report.sha256).sample_id
            ids = self._db.list_functions(sample_id)
            self._ids.update({(report.sha256, each.offset): (sample_id, each.function_id) for each in ids.values()})

    def sample(self, sha256: str) -> object:
        """Return it by hash."""
        return self._db.get_sample_by_sha256(sha256)

    def functions(self, sha256: str) -> object:
        """Return them by hash and id, without disassembly."""
        return self._db.list_functions(self._db.get_sample_by_sha256(sha256).sample_id)

    def function(self, sha256: str, offset: int) -> object:
        """Return it by id."""
        return self._db.get_function(*self._ids[sha256, offset])

    def report(self, sha256: str) -> object:
        """Return it by hash and id."""
        return self._db.get_report(self._db.get_sample_by_sha256(sha256).sample_id)

    def close(self) -> int | None:
        """Close it, and return the size of its file."""
        self._db.close()
        return self._path.stat().st_size


class Folder:
    """A folder of reports, each compressed with zstd at level 3 and named by its hash."""

    name = "folder of .json.zst"

    def __init__(self, path: Path) -> None:
        self._path = path
        path.mkdir()

    def _file(self, sha256: str) -> Path:
        return self._path / f"{sha256}.json.zst"

    def add(self, report: Report) -> object:
        """Write, sync and rename a file."""
        path = self._file(report.sha256)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            file.write(zstandard.compress(report.json, 3))
            file.flush()
            os.fsync(file.fileno())
        return partial.replace(path)

    def prepare(self, reports: Sequence[Report]) -> None:
        """Do nothing: a peer that is asked by hash needs no ids."""

    def sample(self, sha256: str) -> object:
        """Read the whole file and parse its first level."""
        return self._members(sha256)

    def functions(self, sha256: str) -> object:
        """Read the whole file and parse two levels."""
        return _parse_members(self._members(sha256)["xcfg"])

    def function(self, sha256: str, offset: int) -> object:
        """Read the whole file, parse two levels and the function."""
        return msgspec.json.decode(_parse_members(self._members(sha256)["xcfg"])[str(offset)])

    def report(self, sha256: str) -> object:
        """Read and parse the whole file."""
        return msgspec.json.decode(self._content(sha256))

    def _members(self, sha256: str) -> dict[str, msgspec.Raw]:
        return _parse_members(self._content(sha256))

    def _content(self, sha256: str) -> bytes:
        content: bytes = zstandard.decompress(self._file(sha256).read_bytes())
        return content

    def close(self) -> int | None:
        """Return the bytes in the files; a file system takes more, in whole blocks."""
        return sum(path.stat().st_size for path in self._path.iterdir())


class SqliteUtils:
    """Rows made by `sqlite-utils insert`: nested values become JSON text."""

    name = "sqlite-utils insert"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db = sqlite_utils.Database(sqlite3.connect(path))

    def add(self, report: Report) -> object:
        """Insert the report and its functions, each table in its own transaction."""
        members = msgspec.json.decode(report.json)
        functions = members.pop("xcfg").values()
        self._db.table("samples").insert(members, pk="sha256", alter=True)
        rows = [{"sha256": report.sha256, **function} for function in functions]
        return self._db.table("functions").insert_all(rows, pk=("sha256", "offset"), alter=True)

    def prepare(self, reports: Sequence[Report]) -> None:
        """Do nothing: the primary keys are known."""

    def sample(self, sha256: str) -> object:
        """Return it by primary key."""
        return self._db.table("samples").get(sha256)

    def functions(self, sha256: str) -> object:
        """Return them by primary key, without the large columns."""
        return list(self._db.query('SELECT sha256, "offset", metadata FROM functions WHERE sha256 = ?', [sha256]))

    def function(self, sha256: str, offset: int) -> object:
        """Return it by primary key."""
        return _parse_row(self._db.table("functions").get((sha256, offset)))

    def report(self, sha256: str) -> object:
        """Join the rows to a report."""
        rows = self._db.query("SELECT * FROM functions WHERE sha256 = ?", [sha256])
        return {**self._db.table("samples").get(sha256), "xcfg": {str(row["offset"]): _parse_row(row) for row in rows}}

    def close(self) -> int | None:
        """Close it, and return the size of its file."""
        self._db.close()
        return self._path.stat().st_size


def _parse_row(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: msgspec.json.decode(value) if isinstance(value, str) and value[:1] in ("{", "[") else value
        for name, value in row.items()
    }


class DuckDB:
    """DuckDB with a JSON column."""

    name = "DuckDB, JSON column"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = duckdb.connect(str(path))
        self._connection.execute("CREATE TABLE samples (sha256 VARCHAR PRIMARY KEY, report JSON)")

    def add(self, report: Report) -> object:
        """Insert it durably."""
        return self._connection.execute("INSERT INTO samples VALUES (?, ?)", [report.sha256, report.json.decode()])

    def prepare(self, reports: Sequence[Report]) -> None:
        """Do nothing: a peer that is asked by hash needs no ids."""

    def _one(self, columns: str, *parameters: str) -> Any:  # noqa: ANN401 - whatever the columns are
        return self._connection.execute(f"SELECT {columns} FROM samples WHERE sha256 = ?", parameters).fetchone()  # noqa: S608

    def sample(self, sha256: str) -> object:
        """Extract some fields of the JSON."""
        return self._one("report ->> 'architecture', report ->> 'bitness', report -> 'statistics'", sha256)

    def functions(self, sha256: str) -> object:
        """Extract the metadata of all functions."""
        return self._one("json_extract(report, '$.xcfg.*.metadata')", sha256)

    def function(self, sha256: str, offset: int) -> object:
        """Extract it by its key."""
        return msgspec.json.decode(self._one("json_extract(report, ?)", f'$.xcfg."{offset}"', sha256)[0])

    def report(self, sha256: str) -> object:
        """Parse all of it."""
        return msgspec.json.decode(self._one("report", sha256)[0])

    def close(self) -> int | None:
        """Write a checkpoint, close it, and return the size of its file."""
        self._connection.execute("CHECKPOINT")
        self._connection.close()
        return self._path.stat().st_size


def _measure_mcrit(paths: Sequence[Path]) -> Peer:
    done = subprocess.run(
        [str(make_mcrit_environment()), "-m", "benchmarks.peers.mcrit"],
        input="\n".join(map(str, paths)), capture_output=True, text=True, check=True, cwd=corpus.CACHE.parent.parent,
    )  # fmt: skip
    return msgspec.json.decode(done.stdout, type=Peer)
