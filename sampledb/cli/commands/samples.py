"""The commands about samples: add media, list, show, change and delete them."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import click

from sampledb import Family, RecordList, Sample, SampleDB
from sampledb.cli.program import LIMIT, SAMPLE, START, Access, command, get_sample
from sampledb.cli.progress import Progress
from sampledb.cli.table import Column, format_card, format_table
from sampledb.cli.terminal import Answer, Screen
from sampledb.cli.views import format_short_size, format_size, format_time
from sampledb.intake.media import has_mediainfo
from sampledb.text import escape_unprintable

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
@click.option("--tag", "tags", multiple=True, help="Add this tag; can be given many times.")
@click.option("--notes", help="Free text.")
def add_media(db: SampleDB, progress: Progress, media: Sequence[str], **fields: Any) -> Answer:  # noqa: ANN401 - of add_media
    """Add media files with their metadata from MediaInfo.

    Their content is not stored. Without the extra `media` there is no metadata.
    """
    if not has_mediainfo():
        progress.advise("MediaInfo is not installed, so media_info stays empty; pip install 'sampledb[media]'")
    if fields["name"] is not None and len(media) > 1:
        raise click.UsageError("--name is for one file; leave it out to add many.")
    progress.run_each("added", media, lambda source: db.add_media(source, **fields))
    return progress.summarize("added")


@command("list corpus.sampledb --family upatre --limit 20", "list corpus.sampledb --library --json")
@click.option("--family", help="Only samples of this family; '' means without one.")
@click.option("--tag", help="Only samples with this tag.")
@click.option("--name", help="Only samples with this name.")
@click.option("--extension", help="Only samples with this extension, without the dot.")
@click.option("--library/--no-library", "is_library", default=None, help="Only libraries, or only other samples.")
@START
@LIMIT
def list_(db: SampleDB, **filters: Any) -> Answer:  # noqa: ANN401 - those of list_samples
    """List samples."""
    found = db.list_samples(**filters)
    return Answer(found.to_dicts, partial(_format_samples, samples=found.values()))


def _format_samples(screen: Screen, samples: Iterable[Sample]) -> list[str]:
    return format_table(screen, _SAMPLES, map(_format_sample, samples))


def _format_sample(sample: Sample) -> Sequence[str]:
    """Return a row of the table; media have no size."""
    count = f"{sample.num_functions}" if sample.architecture else ""
    size = format_short_size(sample.binary_size) if sample.binary_size else ""
    tags, code = ", ".join(sample.tags), _format_code(sample)
    return f"{sample.sample_id}", sample.name, sample.family, tags, code, count, size, sample.sha256


def _format_code(sample: Sample) -> str:
    return f"{sample.architecture} {sample.bitness or ''}".strip()


@command("show corpus.sampledb 12", "show corpus.sampledb 6b4195e6 --json")
@SAMPLE
def show(db: SampleDB, sample: str) -> Answer:
    """Show all fields of a sample."""
    return _answer_sample(get_sample(db, sample))


def _answer_sample(sample: Sample) -> Answer:
    return Answer(sample.to_dict, partial(_format_card, sample=sample))


def _format_card(screen: Screen, sample: Sample) -> Iterator[str]:
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
        "binweight": f"{sample.binweight:,.0f}",
        "statistics": ", ".join(f"{key.removeprefix('num_')} {value}" for key, value in sample.statistics.items()),
        "SMDA": sample.smda_version,
    }
    groups: dict[str, Mapping[str, str | list[str]]] = {
        f"Sample {sample.sample_id}": identity,
        "Code": code if sample.architecture else {},
        "Media": _format_media(sample.media_info),
    }
    return format_card(screen, groups)


def _format_media(media_info: Mapping[str, Any]) -> dict[str, str]:
    """Return a line for each track of MediaInfo, and for each other key."""
    lines = {str(key): str(value) for key, value in media_info.items() if key != "tracks"}
    tracks = media_info.get("tracks")
    for number, track in enumerate(tracks if isinstance(tracks, list) else [tracks] if tracks else [], start=1):
        lines[f"track {number}"] = _format_track(track) if isinstance(track, dict) else str(track)
    return {escape_unprintable(key): value for key, value in lines.items()}


def _format_track(track: Mapping[str, Any]) -> str:
    """Return the few fields by which people recognise a track."""
    frame = f"{track['Width']}x{track['Height']}" if {"Width", "Height"} <= track.keys() else ""
    numbers = [f"{track[field]}{unit}" for field, unit in _TRACK_UNITS.items() if field in track]
    parts = [track.get("@type"), track.get("Format"), frame, *numbers, track.get("Language"), track.get("Title")]
    return ", ".join(str(part) for part in parts if part)


def _access_families(arguments: dict[str, Any]) -> Access:
    return "read" if all(value is None for value in arguments.values()) else "write"


@command(
    "families corpus.sampledb",
    "families corpus.sampledb --rename emotet win.emotet",
    "families corpus.sampledb --library zlib",
    access=_access_families,
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


def _format_families(screen: Screen, families: Sequence[Family]) -> list[str]:
    rows = (
        (f"{each.num_samples:,}", f"{each.num_libraries:,}", f"{each.num_functions:,}", each.name) for each in families
    )
    return format_table(screen, _FAMILIES, rows)


@command(
    "update corpus.sampledb 12 --family upatre --version 2.1",
    "update corpus.sampledb 12 --notes 'packed' --library",
    "update corpus.sampledb 12 --no-notes",
    access="write",
)
@SAMPLE
@click.option("--family", "family_name", help="The malware family or the library; '' for none.")
@click.option("--version", help="The version of the family.")
@click.option("--component", help="The component of the family.")
@click.option("--library/--no-library", "is_library", default=None, help="Whether it is a library.")
@click.option("--name", help="The file's name.")
@click.option("--extension", help="Without the dot.")
@click.option("--notes", help="Free text that replaces the notes.")
@click.option("--no-notes", is_flag=True, help="Remove the notes.")
@click.option("--media-info", metavar="JSON", help="A JSON object that replaces the media info.")
def update(db: SampleDB, sample: str, *, no_notes: bool, media_info: str | None, **fields: Any) -> Answer:  # noqa: ANN401 - of update_sample
    """Change fields of a sample; the others stay unchanged."""
    changes = {field: value for field, value in fields.items() if value is not None}
    if no_notes and "notes" in changes:
        raise click.UsageError("--notes and --no-notes exclude each other; give one of them.")
    if no_notes:
        changes["notes"] = None
    if media_info is not None:
        changes["media_info"] = _parse_json(media_info)
    if not changes:
        raise click.UsageError("There is nothing to change; give an option such as --family.")
    return _answer_sample(db.update_sample(get_sample(db, sample).sample_id, **changes))


def _parse_json(media_info: str) -> object:
    try:
        return json.loads(media_info)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"give JSON: {error}", param_hint="'--media-info'") from error


@command("tag corpus.sampledb 12 packed reviewed", "tag corpus.sampledb 12 --remove packed", access="write")
@SAMPLE
@click.argument("tags", metavar="[TAG]...", nargs=-1)
@click.option("--remove", metavar="TAG", multiple=True, help="Remove this tag; can be given many times.")
def tag(db: SampleDB, sample: str, tags: Sequence[str], remove: Sequence[str]) -> Answer:
    """Add tags to a sample, and remove others."""
    if not tags and not remove:
        raise click.UsageError("There is nothing to change; give a tag, or --remove TAG.")
    return _answer_sample(db.tag_sample(get_sample(db, sample).sample_id, *tags, remove=remove))


@command("delete corpus.sampledb 12 13", access="write")
@click.argument("samples", metavar="SAMPLE...", nargs=-1, required=True)
def delete(db: SampleDB, samples: Sequence[str]) -> Answer:
    """Delete samples with their functions and metadata.

    None is deleted if one of them does not exist.
    """
    found = {sample.sample_id: sample for sample in (get_sample(db, each) for each in samples)}
    deleted = RecordList(sample for sample in found.values() if db.delete_sample(sample.sample_id))

    def show(screen: Screen) -> Iterator[str]:
        red = screen.paint("deleted", "red")
        return (f"{red} {sample.sample_id} {escape_unprintable(sample.name)}" for sample in deleted)

    return Answer(deleted.to_dicts, show)
