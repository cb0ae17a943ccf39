"""The command line: words on a terminal, one SampleDB call, text. The only module that prints."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec

import click
from tabulate import tabulate

import sampledb
from sampledb import SampleDB, SampleDBError
from sampledb.model import Function, Record, Sample

_P = ParamSpec("_P")
_FILE: Final = click.argument("file", type=click.Path())
_NUMBERS: Final = (
    click.option("--start", default=0, help="Position of the first."),
    click.option("--limit", default=0, help="At most so many; 0: all."),
)


@click.group()
@click.version_option(package_name="sampledb")
def main() -> None:
    """Keep samples and their functions in one file."""


def _command(*, writes: bool = False) -> Callable[[Callable[Concatenate[SampleDB, _P], "_Answer"]], click.Command]:
    """A sub-command of `main`: the file first, `--json` for machines, our errors as one line and exit code 1."""

    def decorate(call: Callable[Concatenate[SampleDB, _P], "_Answer"]) -> click.Command:
        @wraps(call)
        def run(file: str, as_json: bool, *args: _P.args, **kwargs: _P.kwargs) -> None:
            try:
                with sampledb.open(file, readonly=not writes) as db:
                    answer = call(db, *args, **kwargs)
            except SampleDBError as error:
                click.echo(_json(error.to_dict()) if as_json else f"Error: {_safe(error.message)}", err=True)
                sys.exit(1)
            click.echo(_json({"status": "successful", "data": answer.data}) if as_json else answer.text)
            sys.exit(answer.exit_code)

        as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
        return main.command(name=call.__name__.removesuffix("_"))(_FILE(as_json(run)))

    return decorate


class _Answer:
    """What a command prints: JSON data, or text for people."""

    def __init__(self, data: Any, text: str, exit_code: int = 0) -> None:  # noqa: ANN401 - any JSON
        self.data = data
        self.text = text
        self.exit_code = exit_code


@_command(writes=True)
@click.argument("reports", nargs=-1, required=True, type=click.Path())
def add(db: SampleDB, reports: Sequence[str]) -> _Answer:
    """Add SMDA reports; those whose SHA-256 is known are left alone."""
    outcomes = list(db.add_samples(reports))
    rows = [
        (report, outcome.status, outcome.sample.sample_id if outcome.sample else "", outcome.error or "")
        for report, outcome in zip(reports, outcomes, strict=True)
    ]
    failed = any(outcome.error for outcome in outcomes)
    text = _table(("report", "outcome", "sample_id", "error"), rows)
    return _Answer([outcome.to_dict() for outcome in outcomes], text, exit_code=int(failed))


@_command()
@_NUMBERS[0]
@_NUMBERS[1]
@click.option("--family", help="Only this family.")
@click.option("--tag", help="Only with this tag.")
def list_(db: SampleDB, start: int, limit: int, family: str | None, tag: str | None) -> _Answer:
    """List the samples."""
    found = db.list_samples(start, limit, family=family, tag=tag).values()
    columns = ("sample_id", "name", "family", "architecture", "bitness", "num_functions", "sha256")
    return _Answer(_dicts(found), _records(columns, found))


@_command()
@click.argument("sample")
def show(db: SampleDB, sample: str) -> _Answer:
    """Show a sample, named by its id or its SHA-256."""
    found = _sample(db, sample)
    fields = found.to_dict()
    fields["base_addr"] = hex(found.base_addr)
    rows = [(name, value if isinstance(value, str | int) else json.dumps(value)) for name, value in fields.items()]
    return _Answer(found.to_dict(), _table((), rows))


@_command()
@click.argument("sample")
@_NUMBERS[0]
@_NUMBERS[1]
def functions(db: SampleDB, sample: str, start: int, limit: int) -> _Answer:
    """List the functions of a sample in offset order."""
    found = db.list_functions(_sample(db, sample).sample_id, start=start, limit=limit).values()
    columns = ("function_id", "offset", "name", "num_blocks", "num_instructions", "pic_hash")
    return _Answer(_dicts(found), _records(columns, found))


@_command()
@click.argument("sample")
@click.argument("function_id", type=int)
def function(db: SampleDB, sample: str, function_id: int) -> _Answer:
    """Show a function with its disassembly."""
    found = db.get_function(_sample(db, sample).sample_id, function_id)
    title = f"{found.offset:#x} {_safe(found.name)}, {found.num_blocks} blocks, {found.num_instructions} instructions"
    return _Answer(found.to_dict(), f"{title}\n{_disassembly(found)}")


@_command()
def schema(db: SampleDB) -> _Answer:
    """Print the file's schema, which documents it."""
    rows = db.query("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid")
    statements = [row["sql"] for row in rows]
    return _Answer(statements, "\n\n".join(f"{_safe_lines(statement)};" for statement in statements))


def _sample(db: SampleDB, sample: str) -> Sample:
    """By id or SHA-256; 64 decimal digits are a hash."""
    if sample.isdecimal() and len(sample) < 64:  # noqa: PLR2004
        return db.get_sample(int(sample))
    return db.get_sample_by_sha256(sample)


def _disassembly(function: Function) -> str:
    blocks = (function.disassembly or {})["blocks"]
    rows = [
        (f"{address:#x}", code, f"{mnemonic} {operands}")
        for key in sorted(blocks, key=int)
        for address, code, mnemonic, operands, *_ in blocks[key]
    ]
    return _table((), rows)


def _dicts(records: Iterable[Record]) -> list[dict[str, Any]]:
    return [record.to_dict() for record in records]


def _records(columns: Sequence[str], records: Iterable[Record]) -> str:
    rows = [[_shown(column, getattr(record, column)) for column in columns] for record in records]
    return _table(columns, rows)


def _shown(column: str, value: object) -> str:
    if column in {"offset", "pic_hash"} and isinstance(value, int):
        return hex(value)
    return "" if value is None else str(value)


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    cells = [[_safe(str(value)) for value in row] for row in rows]
    return str(tabulate(cells, headers=columns, tablefmt="plain", disable_numparse=True))


def _safe(text: str) -> str:
    """Names come from malware: a terminal must not obey the control sequences in them."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def _safe_lines(text: str) -> str:
    return "\n".join(map(_safe, text.splitlines()))


def _json(value: object) -> str:
    return json.dumps(value, indent=1)
