"""Describe media files: hashes, names, and their tracks as MediaInfo shows them."""

import os
from typing import Any, Final

import msgspec

from sampledb import limits
from sampledb.errors import InvalidInputError
from sampledb.intake.files import open_regular

_CHUNK_BYTES: Final = 1024 * 1024
# Of each track: its format, the names under which it is sold, and the code of its codec; as MediaInfo calls them, and
# as pymediainfo does.
_FORMATS: Final = (
    "Format", "Format_Commercial", "Format_Commercial_IfAny", "CodecID", "format", "commercial_name", "codec_id"
)  # fmt: skip
# Of a file, and characters of each: more than MediaInfo finds, which users may give.
_MOST_FORMATS, _LONGEST_FORMAT = 100, 100


class Media(msgspec.Struct, frozen=True):
    """Checked media metadata, ready to be stored.

    Attributes:
        given: Columns that the caller named: `name`, `extension`, `notes`.
        found_name: The file's name, `""` without a file.
        size: Bytes; 0 without a file.
    """

    sha256: str
    md5: str
    sha1: str
    size: int
    found_name: str
    given: dict[str, str]
    tags: tuple[str, ...]
    media_info: dict[str, Any]


def describe(
    file: str | os.PathLike[str] | None,
    *,
    sha256: str | None,
    given: dict[str, str],
    tags: tuple[str, ...],
    media_info: dict[str, Any] | None,
) -> Media:
    """Return the metadata of a media file, or of a SHA-256 alone; the arguments are checked already.

    The file is hashed as a stream. MediaInfo is asked if `media_info` is `None`.

    Raises:
        InvalidInputError: There is neither a file nor a hash, they disagree, or the file cannot be read.
    """
    if file is None:
        if sha256 is None:
            raise InvalidInputError.of("sha256", "given when there is no file", sha256)
        digests, size, name = (sha256, "", ""), 0, given.get("name", "")
    else:
        digests, size = _hash_file(file)
        name = limits.name_of(file)
        if sha256 not in (None, digests[0]):
            raise InvalidInputError.of("sha256", f"that of the file, {digests[0]}", sha256)
        if media_info is None:
            media_info = _ask_mediainfo(file)
    return Media(*digests, size, name, given, tags, media_info or {})


def list_formats(media_info: dict[str, Any]) -> list[str]:
    """Return the formats and codecs of MediaInfo's tracks, each once and on one line; what is no text is left out."""
    tracks = media_info.get("tracks")
    found: dict[str, None] = {}
    for track in tracks if isinstance(tracks, list) else ():
        for value in map(track.get, _FORMATS) if isinstance(track, dict) else ():
            if isinstance(value, str):
                found[" ".join(value[:_LONGEST_FORMAT].replace("\0", " ").split())] = None
    found.pop("", None)
    return list(found)[:_MOST_FORMATS]


def _hash_file(file: str | os.PathLike[str]) -> tuple[tuple[str, str, str], int]:
    """Return the SHA-256, MD5 and SHA-1 of a file, and its bytes."""
    # It loads OpenSSL, which only jobs and media need.
    import hashlib  # noqa: PLC0415

    # MD5 and SHA-1 protect nothing: other tools know files by them.
    hashes = (
        hashlib.sha256(),
        hashlib.md5(usedforsecurity=False),
        hashlib.sha1(usedforsecurity=False),
    )
    size = 0
    with open_regular(file, "file") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            size += len(chunk)
            for digest in hashes:
                digest.update(chunk)
    sha256, md5, sha1 = (digest.hexdigest() for digest in hashes)
    return (sha256, md5, sha1), size


def has_mediainfo() -> bool:
    """Return whether MediaInfo is installed, without which files are added without `media_info`."""
    try:
        from pymediainfo import MediaInfo  # noqa: PLC0415 - as below
    except ImportError:
        return False
    return bool(MediaInfo.can_parse())


def _ask_mediainfo(file: str | os.PathLike[str]) -> dict[str, Any]:
    """Return MediaInfo's tracks under its own names, `{"tracks": [{"@type": "General", "Format": …}, …]}`.

    Empty if MediaInfo is not installed, or cannot read the file.
    """
    try:
        from pymediainfo import MediaInfo  # noqa: PLC0415 - an extra, and it loads a large library
    except ImportError:
        return {}
    try:
        # An absolute path, because MediaInfo opens URLs too. Without `full`, it leaves out where the file lies.
        text = MediaInfo.parse(os.path.abspath(file), output="JSON", full=False, encoding_errors="replace")
        found = limits.json_object("media_info", msgspec.json.decode(text))
    except (OSError, RuntimeError, ValueError):
        return {}
    media = found.get("media") or {}
    return {"tracks": media.get("track", [])}
