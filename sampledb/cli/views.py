"""What people see of each record: as a row of a table, as a card, as a listing."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sampledb.cli.table import Column, card, table
from sampledb.cli.terminal import Answer, Screen, safe, safe_lines
from sampledb.model import Function, Hit, Job, Problem, Record, Sample, Stats

_ID: Final = Column("id", "cyan", is_number=True)
_SAMPLES: Final = (
    _ID,
    Column("name", gives_way=True),
    Column("family", "green", gives_way=True, is_optional=True),
    Column("tags", "yellow", gives_way=True, is_optional=True),
    Column("code"),
    Column("functions", is_number=True),
    Column("size", is_number=True),
    Column("sha256", "dim", gives_way=True),
)
_FUNCTIONS: Final = (
    _ID,
    Column("offset", "green", is_number=True),
    Column("blocks", is_number=True),
    Column("instructions", is_number=True),
    Column("binweight", is_number=True),
    Column("name", gives_way=True),
)
_JOBS: Final = (
    Column("job_id", "cyan"),
    Column("state"),
    Column("file", gives_way=True),
    Column("attempts", is_number=True),
    Column("sample", is_number=True, is_optional=True),
    Column("submitted", "dim"),
    Column("error", "red", gives_way=True, is_optional=True),
)
_HITS: Final = (
    Column("sample", "cyan", is_number=True),
    Column("name", gives_way=True),
    Column("field", "dim"),
    Column("offset", "green", is_number=True, is_optional=True),
    Column("text", gives_way=True),
)
_PROBLEMS: Final = (
    Column("sample", "cyan", is_number=True),
    Column("where", gives_way=True),
    Column("what", "red", gives_way=True),
)
_FAMILIES: Final = (Column("samples", is_number=True), Column("family", "green", gives_way=True))
_LISTING: Final = (
    Column("", "green", is_number=True),
    Column("", "dim", gives_way=True),
    Column("", "bold"),
    Column("", gives_way=True),
    Column("", "yellow", gives_way=True),
)
_UNITS: Final = ("KiB", "MiB", "GiB", "TiB", "PiB")
_KILO: Final = 1024


def samples(screen: Screen, found: Iterable[Sample]) -> list[str]:
    """A table of samples; of media there is no size to show."""
    return table(screen, _SAMPLES, map(_sample_row, found))


def _sample_row(sample: Sample) -> Sequence[str]:
    size = short_size(sample.binary_size) if sample.binary_size else ""
    count = str(sample.num_functions) if sample.architecture else ""
    tags, code = ", ".join(sample.tags), _code(sample)
    return str(sample.sample_id), sample.name, sample.family, tags, code, count, size, sample.sha256


def sample_card(screen: Screen, sample: Sample) -> Iterator[str]:
    """All that is known of a sample."""
    groups = {f"Sample {sample.sample_id}": _identity(sample)}
    if sample.architecture:
        groups["Code"] = _analysis(sample)
    groups["Media"] = _media(sample.media_info)
    return card(screen, groups)


def _identity(sample: Sample) -> dict[str, str]:
    return {
        "name": sample.name,
        "extension": sample.extension,
        "family": sample.family,
        "version": sample.version,
        "component": sample.component,
        "library": _yes(sample.is_library),
        "tags": ", ".join(sample.tags),
        "notes": sample.notes or "",
        "sha256": sample.sha256,
        "sha1": sample.sha1,
        "md5": sample.md5,
        "added": f"{sample.added_at:%Y-%m-%d %H:%M:%S} UTC by {sample.username}",
    }


def _analysis(sample: Sample) -> dict[str, str]:
    return {
        "architecture": _code(sample),
        "base address": f"{sample.base_addr:#x}",
        "size": size(sample.binary_size),
        "functions": f"{sample.num_functions:,}",
        "binweight": f"{sample.binweight:,.0f}",
        "statistics": ", ".join(f"{key.removeprefix('num_')} {value}" for key, value in sample.statistics.items()),
        "SMDA": sample.smda_version,
    }


def _code(sample: Sample) -> str:
    return f"{sample.architecture} {sample.bitness or ''}".strip()


def _media(media_info: Mapping[str, Any]) -> dict[str, str]:
    """A line for each track of MediaInfo's; other keys as they are."""
    lines = {str(key): str(value) for key, value in media_info.items() if key != "tracks"}
    tracks = media_info.get("tracks")
    for number, track in enumerate(tracks if isinstance(tracks, list) else [tracks] if tracks else [], start=1):
        lines[f"track {number}"] = _track(track) if isinstance(track, dict) else str(track)
    return {safe(key): value for key, value in lines.items()}


def _track(track: Mapping[str, Any]) -> str:
    """The few fields of a track by which people know it, as MediaInfo names them."""
    frame = f"{track['Width']}x{track['Height']}" if {"Width", "Height"} <= track.keys() else ""
    units = {"Duration": " s", "BitRate": " bit/s", "FrameRate": " fps", "Channels": " channels", "SamplingRate": " Hz"}
    numbers = [f"{track[field]}{unit}" for field, unit in units.items() if field in track]
    parts = [track.get("@type"), track.get("Format"), frame, *numbers, track.get("Language"), track.get("Title")]
    return ", ".join(str(part) for part in parts if part)


def functions(screen: Screen, found: Iterable[Function]) -> list[str]:
    """A table of functions."""
    return table(screen, _FUNCTIONS, map(_function_row, found))


def _function_row(function: Function) -> Sequence[str]:
    numbers = (function.num_blocks, function.num_instructions, f"{function.binweight:g}")
    return str(function.function_id), f"{function.offset:#x}", *map(str, numbers), function.name


def listing(screen: Screen, function: Function) -> Iterator[str]:
    """A function's disassembly, block by block, with the names of what it calls and the text it refers to."""
    fields = {
        "name": function.name,
        "sample": str(function.sample_id),
        "size": f"{function.num_blocks} blocks, {function.num_instructions} instructions",
        "binweight": f"{function.binweight:g}",
        "PIC hash": "" if function.pic_hash is None else f"{function.pic_hash:#018x}",
    }
    yield from card(screen, {f"Function {function.function_id} at {function.offset:#x}": fields})
    disassembly = function.disassembly or {}
    blocks = disassembly.get("blocks", {})
    keys = sorted(blocks, key=int)
    comments = _comments(disassembly)
    # One table, so that the columns of all blocks stand below each other.
    rows = [_instruction_row(each, comments) for key in keys for each in blocks[key]]
    lines = iter(table(screen, _LISTING, rows))
    for key in keys:
        yield ""
        yield screen.paint(f"{int(key):#x}:", "bold cyan") + _successors(disassembly, key)
        yield from (next(lines) for _ in blocks[key])


def _instruction_row(instruction: Sequence[Any], comments: Mapping[str, str]) -> Sequence[str]:
    address, code, mnemonic, operands = instruction[:4]
    comment = comments.get(str(address), "")
    return f"{address:#x}", code, mnemonic, operands, comment and f"; {comment}"


def _comments(disassembly: Mapping[str, Any]) -> dict[str, str]:
    """By address as JSON has it: SMDA's names of what is called, and the text that is referred to."""
    comments: dict[str, str] = {}
    for references in (disassembly.get("apirefs"), disassembly.get("stringrefs")):
        if isinstance(references, dict):
            comments |= {address: str(name) for address, name in references.items()}
    return comments


def _successors(disassembly: Mapping[str, Any], key: str) -> str:
    references = disassembly.get("blockrefs")
    targets = references.get(key) if isinstance(references, dict) else None
    shown = [f"{target:#x}" for target in targets or () if isinstance(target, int)]
    return f" -> {', '.join(shown)}" if shown else ""


def jobs(screen: Screen, found: Iterable[Job]) -> list[str]:
    """A table of jobs."""
    return table(screen, _JOBS, map(_job_row, found))


def _job_row(job: Job) -> Sequence[str]:
    sample = "" if job.sample_id is None else str(job.sample_id)
    submitted = f"{job.submitted_at:%Y-%m-%d %H:%M:%S}"
    return job.job_id, job.state, job.filename, str(job.attempts), sample, submitted, reason(job)


def reason(job: Job) -> str:
    """Why a job failed, `""` if it did not."""
    return str(job.error["message"]) if job.error else ""


def families(screen: Screen, found: Mapping[str, int]) -> list[str]:
    """A table of families."""
    return table(screen, _FAMILIES, ((str(count), family) for family, count in found.items()))


def hits(screen: Screen, found: Sequence[Hit]) -> list[str]:
    """A table of what a search found, the best first."""
    return table(screen, _HITS, map(_hit_row, found)) if found else ["Nothing was found."]


def _hit_row(hit: Hit) -> Sequence[str]:
    offset = "" if hit.offset is None else f"{hit.offset:#x}"
    return str(hit.sample_id), hit.sample, hit.field, offset, hit.text


def problems(screen: Screen, found: Sequence[Problem]) -> list[str]:
    """What is wrong with a file, or that nothing is."""
    if not found:
        return [screen.paint("The file is whole.", "green")]
    rows = [("" if each.sample_id is None else str(each.sample_id), each.where, each.what) for each in found]
    return table(screen, _PROBLEMS, rows)


def losses(screen: Screen, lost: Sequence[Problem], path: Path) -> list[str]:
    """What salvage could not read, or that there was nothing."""
    wrote = f"Wrote {safe(str(path))};"
    if not lost:
        return [screen.paint(f"{wrote} nothing was lost.", "green")]
    return [screen.paint(f"{wrote} {len(lost):,} things were lost:", "red"), *problems(screen, lost)]


def rows(screen: Screen, found: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a query gave; nothing where it gave no rows."""
    if not found:
        return []
    columns = [
        Column(safe(name), is_number=isinstance(value, int | float), gives_way=not isinstance(value, int | float))
        for name, value in found[0].items()
    ]
    return table(screen, columns, ([_value(value) for value in row.values()] for row in found))


def _value(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    return "" if value is None else str(value)


def statistics(screen: Screen, stats: Stats) -> Iterator[str]:
    """What is in a file."""
    return card(screen, {"Content": _counts(stats), "File": _file(stats)})


def _counts(stats: Stats) -> dict[str, str]:
    return {
        "samples": f"{stats.num_samples:,}",
        "with code": f"{stats.num_analyzed:,}",
        "with media": f"{stats.num_media:,}",
        "functions": f"{stats.num_functions:,}",
        "families": f"{stats.num_families:,}",
        "tags": f"{stats.num_tags:,}",
    }


def _file(stats: Stats) -> dict[str, str]:
    return {
        "size": size(stats.file_bytes),
        "disassembly": size(stats.disassembly_bytes),
        "free": size(stats.free_bytes),
        "format": str(stats.format_version),
        "journal": stats.journal_mode,
        "SQLite": stats.sqlite_version,
    }


def schema(screen: Screen, statements: Iterable[str]) -> Iterator[str]:
    """A file's SQL, comments dimmed."""
    for number, statement in enumerate(statements):
        if number:
            yield ""
        for line in safe_lines(f"{statement};"):
            code, dashes, comment = line.partition("--")
            yield code + (screen.paint(dashes + comment, "dim") if dashes else "")


def written(path: Path) -> Answer:
    """That a file was written."""
    count = path.stat().st_size
    text = f"{safe(str(path))}, {size(count)}"
    return Answer(
        lambda: {"path": str(path), "bytes": count}, lambda screen: [f"{screen.paint('Wrote', 'green')} {text}"]
    )


def compacted(screen: Screen, before: int, after: int) -> list[str]:
    """What compacting a file has brought."""
    saved = (before - after) / before
    return [f"From {size(before)} to {size(after)}: {screen.paint(f'{saved:.0%} saved', 'green')}"]


def deleted(screen: Screen, found: Iterable[Sample]) -> list[str]:
    """A line for each sample that is gone."""
    return [f"{screen.paint('deleted', 'red')} {sample.sample_id} {safe(sample.name)}" for sample in found]


def dicts(records: Iterable[Record]) -> list[dict[str, Any]]:
    """The same records for machines."""
    return [record.to_dict() for record in records]


def size(count: int) -> str:
    """Bytes, exactly and for people."""
    exact = f"{count:,} bytes"
    return exact if count < _KILO else f"{exact} ({short_size(count)})"


def short_size(count: int) -> str:
    """Bytes for people: `1.5 MiB`."""
    if count < _KILO:
        return f"{count} B"
    exponent = min(int(math.log(count, _KILO)), len(_UNITS))
    return f"{count / _KILO**exponent:.1f} {_UNITS[exponent - 1]}"


def _yes(flag: bool) -> str:  # noqa: FBT001 - it is what is shown
    return "yes" if flag else "no"
