"""Write samples in the format of MCRIT's exports."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import IO, Any, Final

import msgspec

from sampledb.errors import CorruptFileError, SampleDBError
from sampledb.format.report import KnownFunction, read_mcrit
from sampledb.intake.mcrit import packing, records
from sampledb.model import Function, Label, SampleId
from sampledb.store.sqlite import Connection
from sampledb.store.tables import functions, labels, samples
from sampledb.store.tables.reports import get_header, list_samples

# Functions whose disassembly is in memory at a time.
_PAGE: Final = 500
# What MCRIT refuses MinHashes of other makings by, unchanged from its version 0.19 to 1.9.
_PAIR: Final = {
    "shingler": "7ae53d3b2514730a4d48f993a3e4cd6c6d4a5ca26f93bbed98e0f498295552de",
    "minhash": "d8e7556837291ca72b3e70ebf4c328286a418bc761c63385ee61b0a767fcc99d",
}
# Of MCRIT, where no sample came from it: the first whose files are the same as now.
_VERSION: Final = "1.0.5"

_Listed = Sequence[tuple[str, SampleId, str]]
_unparse = msgspec.json.Encoder().encode


def write_export(connection: Connection, wanted: Collection[int] | None, file: IO[bytes]) -> None:
    """Write the samples of these ids, all for `None`.

    Raises:
        NotFoundError: There is no such sample, or it has no report.
        CorruptFileError: A sample cannot be read.
    """
    for sample_id in sorted(wanted or ()):
        samples.locate(connection, sample_id)
        get_header(connection, sample_id)
    listed = [each for each in list_samples(connection) if wanted is None or each[1] in wanted]
    try:
        _write(connection, listed, file)
    except SampleDBError:
        raise
    except (AttributeError, LookupError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise CorruptFileError.of(f"a sample cannot be written: {error}", "samples") from error


def _write(connection: Connection, listed: _Listed, file: IO[bytes]) -> None:
    """Write the samples, by SHA-256; none of them is in memory whole."""
    families = {family: number for number, family in enumerate(sorted({"", *(each[2] for each in listed)}))}
    used = {family for _, _, family in listed}
    configs: list[dict[str, Any]] = []
    file.write(b'{"sample_entries":{')
    for number, (sha256, sample_id, family) in enumerate(listed):
        timestamp, mcrit = read_mcrit(get_header(connection, sample_id))
        configs += [mcrit.config] if mcrit.config not in configs and mcrit.config else []
        values = msgspec.structs.asdict(samples.get(connection, sample_id))
        ids = {"sample_id": number, "family_id": families[family]}
        _write_member(file, number, sha256, _unparse(records.make_sample_entry(values, timestamp, mcrit.sample, **ids)))
    config = _agree(configs)
    file.write(b'\n},\n"function_entries":{')
    count = 0
    for number, (sha256, sample_id, family) in enumerate(listed):
        ids = {"sample_id": number, "family_id": families[family]}
        entries = _list_functions(connection, sample_id, config, ids, count)
        count += samples.locate(connection, sample_id).num_functions
        _write_member(file, number, sha256, b'"' + packing.pack(entries) + b'"')
    content = {
        "is_compressed": True,
        "num_families": len(used),
        "num_samples": len(listed),
        "num_functions": count,
    }
    mapping = {str(number): family for family, number in families.items() if family in used}
    rest = {"family_mapping": mapping, "config": config, "content": content}
    file.write(b"\n},\n" + _unparse(rest)[1:] + b"\n")


def _write_member(file: IO[bytes], number: int, sha256: str, value: bytes) -> None:
    file.write(b'%s\n"%s":%s' % (b"," if number else b"", sha256.encode(), value))


def _agree(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the configuration of the file: what those of all samples have in common, and the latest version."""
    first = configs[0] if configs else {}
    shared = {key: value for key, value in first.items() if all(key in each and each[key] == value for each in configs)}
    version = max((str(each.get("version", "")) for each in configs), key=_order, default="") or _VERSION
    return {**shared, **({} if _PAIR.keys() <= shared.keys() else _PAIR), "version": version}


def _order(version: str) -> list[int]:
    return [int(part) if part.isdecimal() else 0 for part in version.split(".")]


def _list_functions(
    connection: Connection, sample_id: SampleId, config: Mapping[str, Any], ids: Mapping[str, int], first_id: int
) -> Iterator[bytes]:
    """Yield the JSON of the entries of a sample's functions, by unsigned offset, in pieces."""
    _, mcrit = read_mcrit(get_header(connection, sample_id))
    sample = samples.get(connection, sample_id)
    said = _list_labels(connection, sample_id)
    is_same = all(mcrit.config.get(key) == config[key] for key in _PAIR)
    yield b"{"
    for number, function in enumerate(_iterate(connection, sample_id)):
        known = mcrit.functions.get(str(function.offset), KnownFunction())
        entry = records.make_function_entry(
            function.offset,
            function.disassembly or {},
            minhash=known.minhash if is_same else "",
            picblockhashes=known.picblockhashes,
            moved=known.moved,
            more=known.more,
            architecture=sample.architecture,
            function_labels=said.get(function.offset, []),
            function_id=first_id + number,
            **ids,
        )
        yield b'%s"%d":%s' % (b"," if number else b"", first_id + number, _unparse(entry))
    yield b"}"


def _iterate(connection: Connection, sample_id: SampleId) -> Iterator[Function]:
    first, last = samples.locate(connection, sample_id).function_ids
    for start in range(first, last + 1, _PAGE):
        yield from functions.select(connection, start, min(start + _PAGE - 1, last), disassembly=True)


def _list_labels(connection: Connection, sample_id: SampleId) -> dict[int, list[dict[str, str]]]:
    """Return the labels of each offset as MCRIT stores them: each name once for each user, oldest first.

    Names that somebody removed are left out.
    """
    found = labels.select(connection, sample_id, history=True)
    return {offset: _make_labels(group) for offset, group in groupby(found, attrgetter("offset"))}


def _make_labels(history: Iterable[Label]) -> list[dict[str, str]]:
    said: dict[tuple[str, str], dict[str, str]] = {}
    for label in history:
        if not (label.name or label.comment):
            said.clear()
        elif label.name:
            timestamp = label.updated_at.replace(tzinfo=None).isoformat(timespec="seconds")
            said.setdefault(
                (label.name, label.username),
                {"function_label": label.name, "username": label.username, "timestamp": timestamp},
            )
    return list(said.values())
