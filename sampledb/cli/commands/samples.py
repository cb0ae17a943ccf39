"""The commands about samples: add media, list and show them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import click

from sampledb import Family, Known, RecordList, Sample, SampleDB
from sampledb.cli.listing import Orders, select_part, take_part
from sampledb.cli.marking import Marks, take_marks
from sampledb.cli.names import SAMPLES, get_samples, is_one
from sampledb.cli.program import command
from sampledb.cli.progress import Progress
from sampledb.cli.table import Column, format_card, format_table
from sampledb.cli.terminal import Answer, Screen
from sampledb.cli.views import format_short_size, format_size, format_time
from sampledb.intake.media import has_mediainfo
from sampledb.render.text import escape_unprintable

_SAMPLES: Final = (
    Column("id", "cyan", is_number=True),
    Column("name", gives_way=True),
    Column("family", "green", gives_way=True, is_optional=True),
    Column("tags", "yellow", gives_way=True, is_optional=True),
    Column("code"),
    Column("functions", is_number=True),
    Column("size", is_number=True),
    Column("sha256", "dim", gives_way=True),
)
_ORDERS: Final[Orders] = {
    "id": lambda sample: sample.sample_id,
    "name": lambda sample: sample.name.lower(),
    "family": lambda sample: sample.family,
    "functions": lambda sample: -sample.num_functions,
    "size": lambda sample: -sample.binary_size,
    "added": lambda sample: -sample.added_at.timestamp(),
}
_FAMILIES: Final = (
    *(Column(name, is_number=True) for name in ("samples", "libraries", "functions")),
    Column("family", "green", gives_way=True),
)
# The numbers of a track, as MediaInfo names them.
_TRACK_UNITS: Final = {
    "Duration": " s",
    "BitRate": " bit/s",
    "FrameRate": " fps",
    "Channels": " channels",
    "SamplingRate": " Hz",
}


@command(
    "add-media corpus.sampledb trailer.mp4 --tag trailer --tag hd",
    "add-media corpus.sampledb *.ts --notes 'from the broadcast'",
    access="create",
    many=True,
)
@click.argument("media", metavar="MEDIA...", nargs=-1, required=True)
@click.option("--name", help="The sample's name; for one file only.")
@click.option("--notes", help="Free text.")
@take_marks()
def add_media(
    db: SampleDB,
    progress: Progress,
    media: Sequence[str],
    name: str | None,
    notes: str | None,
    **marks: Any,  # noqa: ANN401 - of Marks
) -> Answer:
    """Add media files with their metadata from MediaInfo.

    Their content is not stored. Samples that have metadata already stay as they are. Without the extra `media` there is
    none.
    """
    if not has_mediainfo():
        progress.advise("MediaInfo is not installed, so media_info stays empty; pip install 'sampledb[media]'")
    if name is not None and len(media) > 1:
        raise click.UsageError("--name is for one file; leave it out to add many.")
    checked = Marks(**marks)
    progress.run_each("added", media, lambda source: checked.set(db, db.add_media(source, name=name, notes=notes)))
    checked.advise(progress)
    return progress.summarize("added")


@command(
    "list corpus.sampledb --family upatre --limit 20",
    "list corpus.sampledb --name '*.dll' --sort functions",
    columns=Sample.__struct_fields__,
)
@click.option("--family", help="Only samples of this family; '' means without one.")
@click.option("--tag", help="Only samples with this tag.")
@click.option("--extension", help="Only samples with this extension, without the dot.")
@click.option("--library/--no-library", "is_library", default=None, help="Only libraries, or only other samples.")
@take_part(_ORDERS)
def list_(
    db: SampleDB,
    family: str | None,
    tag: str | None,
    extension: str | None,
    *,
    is_library: bool | None,
    **part: Any,  # noqa: ANN401 - of select_part
) -> Answer:
    """List samples."""
    matching = db.iter_samples(family=family, tag=tag, extension=extension, is_library=is_library)
    found = select_part(matching, _ORDERS, **part)
    return Answer(lambda: (each.to_dict() for each in found), partial(_format_samples, samples=found))


def _format_samples(screen: Screen, samples: Iterable[Sample]) -> Iterator[str]:
    return format_table(screen, _SAMPLES, map(_format_sample, samples))


def _format_sample(sample: Sample) -> Sequence[str]:
    """Return a row of the table; media have formats where others have code."""
    count = f"{sample.num_functions}" if sample.architecture else ""
    size = format_short_size(sample.binary_size) if sample.binary_size else ""
    tags, code = ", ".join(sample.tags), _format_code(sample) or _format_formats(sample.media_info)
    return f"{sample.sample_id}", sample.name, sample.family, tags, code, count, size, sample.sha256


def _format_code(sample: Sample) -> str:
    return f"{sample.architecture} {sample.bitness or ''}".strip()


@command("show corpus.sampledb 12", "show corpus.sampledb 6b4195e6 'lib*.so' --json")
@SAMPLES
def show(db: SampleDB, samples: Sequence[str]) -> Answer:
    """Show all fields of samples."""
    return answer_samples(db, get_samples(db, samples), samples, as_cards=True)


def answer_samples(db: SampleDB, samples: Sequence[Sample], names: Sequence[str], *, as_cards: bool = False) -> Answer:
    """Return the answer of a command about the samples that have these names.

    For machines, a single name that is no glob gives an object, others a list. For people, it gives a card, others a
    table.
    """
    data = samples[0].to_dict if is_one(names) else RecordList(samples).to_dicts
    if as_cards or is_one(names):
        return Answer(data, partial(_format_cards, db=db, samples=samples))
    return Answer(data, partial(_format_samples, samples=samples))


def _format_cards(screen: Screen, db: SampleDB, samples: Sequence[Sample]) -> Iterator[str]:
    for number, sample in enumerate(samples):
        if number:
            yield ""
        yield from _format_card(screen, sample, db.known(sample.sample_id))


def _format_card(screen: Screen, sample: Sample, known: Known) -> Iterator[str]:
    identity: dict[str, str | list[str]] = {
        "name": sample.name,
        "extension": sample.extension,
        "family": sample.family,
        "version": sample.version,
        "component": sample.component,
        "library": "yes" if sample.is_library else "no",
        "tags": ", ".join(sample.tags),
        "notes": (sample.notes or "").splitlines(),
        "sha256": sample.sha256,
        "sha1": sample.sha1,
        "md5": sample.md5,
        "added": f"{format_time(sample.added_at)} UTC by {sample.username}",
    }
    code = {
        "architecture": _format_code(sample),
        "base address": f"{sample.base_addr:#x}",
        "size": format_size(sample.binary_size),
        "functions": f"{sample.num_functions:,}",
        "known": _format_known(known),
        "binweight": f"{sample.binweight:,.0f}",
        "statistics": ", ".join(f"{key.removeprefix('num_')} {value}" for key, value in sample.statistics.items()),
        "SMDA": f"{sample.smda_version}{', whose PIC hashes differ from those of today' * sample.has_old_hashes}",
    }
    groups: dict[str, Mapping[str, str | list[str]]] = {
        f"Sample {sample.sample_id}": identity,
        "Code": code if sample.architecture else {},
        "Media": _format_media(sample.media_info),
    }
    return format_card(screen, groups)


def _format_known(known: Known) -> str:
    counts = f"{known.num_elsewhere:,} of {known.num_functions:,} functions of 10 or more instructions are elsewhere"
    return f"{counts}, {known.num_in_libraries:,} in libraries"


def _format_media(media_info: Mapping[str, Any]) -> dict[str, str]:
    """Return a line for each track of MediaInfo, and for each other key."""
    lines = {str(key): str(value) for key, value in media_info.items() if key != "tracks"}
    for number, track in enumerate(_list_tracks(media_info), start=1):
        lines[f"track {number}"] = _format_track(track) if isinstance(track, dict) else str(track)
    return {escape_unprintable(key): value for key, value in lines.items()}


def _format_formats(media_info: Mapping[str, Any]) -> str:
    """Return the formats of the tracks, the container first, each once: `MPEG-4, AVC, AAC`."""
    tracks = [each for each in _list_tracks(media_info) if isinstance(each, dict)]
    return ", ".join(dict.fromkeys(str(each["Format"]) for each in tracks if each.get("Format")))


def _list_tracks(media_info: Mapping[str, Any]) -> list[Any]:
    """Return the tracks, which users may have stored in any shape."""
    tracks = media_info.get("tracks")
    return tracks if isinstance(tracks, list) else [tracks] if tracks else []


def _format_track(track: Mapping[str, Any]) -> str:
    """Return the few fields by which people recognise a track."""
    frame = f"{track['Width']}x{track['Height']}" if {"Width", "Height"} <= track.keys() else ""
    numbers = [f"{track[field]}{unit}" for field, unit in _TRACK_UNITS.items() if field in track]
    parts = [track.get("@type"), track.get("Format"), frame, *numbers, track.get("Language"), track.get("Title")]
    return ", ".join(str(part) for part in parts if part)


@command(
    "families corpus.sampledb",
    "families corpus.sampledb --rename emotet win.emotet",
    "families corpus.sampledb --library zlib",
    access=lambda arguments: "read" if all(value is None for value in arguments.values()) else "write",
    columns=Family.__struct_fields__,
)
@click.option("--rename", nargs=2, metavar="OLD NEW", help="Give all samples of a family another one first.")
@click.option("--library", metavar="NAME", help="Mark all samples of this family as libraries first.")
@click.option("--no-library", metavar="NAME", help="Mark all samples of this family as no libraries first.")
def families(db: SampleDB, rename: tuple[str, str] | None, library: str | None, no_library: str | None) -> Answer:
    """List families with their samples, libraries and functions."""
    if rename:
        db.update_family(rename[0], new_name=rename[1])
    for name, is_library in ((library, True), (no_library, False)):
        if name is not None:
            db.update_family(name, is_library=is_library)
    found = db.describe_families()
    return Answer(found.to_dicts, partial(_format_families, families=found))


def _format_families(screen: Screen, families: Sequence[Family]) -> Iterator[str]:
    rows = (
        (f"{each.num_samples:,}", f"{each.num_libraries:,}", f"{each.num_functions:,}", each.name) for each in families
    )
    return format_table(screen, _FAMILIES, rows)
