"""Train the zstd dictionary of a frame format: `python -m benchmarks.dictionary FILE`.

The released ones are part of the format and never made again; this is how a new one is made, and how
`sampledb/format/frame2.dict` was. It learns from other binaries than those that the benchmarks measure, of all
architectures that SMDA knows: x86, x64 and aarch64 of three systems, ARM, CIL and Dalvik.
"""

import argparse
import io
import random
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from benchmarks import corpus
from sampledb.format import encoder, smda
from sampledb.format.zstd import zstd

# The pinned versions are those that frame2.dict was trained on.
PACKAGES: Final = (
    "bitarray==3.12.3",
    "cffi==2.1.1",
    "frozenlist==1.8.0",
    "greenlet==3.5.6",
    "kiwisolver==1.5.1",
    "lz4==4.4.5",
    "multidict==7.2.1",
    "pythonnet==3.2.1",  # CIL
    "setproctitle==1.3.8",
    "simplejson==4.3.0",
    "uiautomator2==3.7.1",  # Dalvik
    "wrapt==2.5.2",
)
PLATFORMS: Final = (*corpus.PLATFORMS, "manylinux_2_17_x86_64", "manylinux_2_17_aarch64", "manylinux_2_31_armv7l")
MAGICS: Final = (*corpus.MAGICS, b"dex\n")
MAX_BINARY_BYTES: Final = 4_000_000
# So that each architecture gets its share: frames of each, of so many bytes at most.
FRAMES: Final = {"intel": 800, "aarch64": 400, "arm": 150, "cil": 150, "dalvik": 150}
MAX_FRAME_BYTES: Final = 1 << 16
# With 32 KiB frames are 1 to 2 % larger.
DICTIONARY_BYTES: Final = 112 * 1024


class _Report(msgspec.Struct):
    architecture: str
    xcfg: dict[str, msgspec.Raw]


_parse = msgspec.json.Decoder(_Report).decode


def main() -> None:
    """Make the reports that are missing, and train."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dictionary", description=__doc__)
    parser.add_argument("file", type=Path, help="the file to write the dictionary to")
    file = parser.parse_args().file
    folder = corpus.CACHE / "dictionary" / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.iterdir()):
        corpus.disassemble_missing(folder, find_binaries())
    frames = choose_frames(sorted(folder.glob("*.smda")))
    file.write_bytes(zstd.train_dict(frames, DICTIONARY_BYTES).dict_content)


def find_binaries() -> Iterator[tuple[str, bytes]]:
    """Yield names and contents, also of those in archives within the wheels."""
    for wheel in corpus.download_wheels(corpus.CACHE / "dictionary" / "wheels", PACKAGES, PLATFORMS):
        yield from _read_archive(zipfile.ZipFile(wheel))


def _read_archive(archive: zipfile.ZipFile) -> Iterator[tuple[str, bytes]]:
    for member in archive.infolist():
        name = Path(member.filename).name
        if name.endswith((".jar", ".apk")):
            yield from _read_archive(zipfile.ZipFile(io.BytesIO(archive.read(member))))
        elif not member.is_dir() and member.file_size <= MAX_BINARY_BYTES:
            content = archive.read(member)
            if content.startswith(MAGICS):
                yield name, content


def choose_frames(paths: list[Path]) -> list[bytes]:
    """Return frames of reports, of each architecture its share."""
    chance = random.Random(1)  # noqa: S311 - the same choice in every run
    frames: dict[str, list[bytes]] = defaultdict(list)
    for path in paths:
        report = _parse(path.read_bytes())
        frames[report.architecture] += _encode(report)
    chosen = []
    for architecture, wanted in FRAMES.items():
        chance.shuffle(frames[architecture])
        chosen += [frame[:MAX_FRAME_BYTES] for frame in frames[architecture][:wanted]]
    chance.shuffle(chosen)
    return chosen


def _encode(report: _Report) -> Iterator[bytes]:
    texts = [msgspec.json.format(bytes(report.xcfg[key]), indent=-1) for key in sorted(report.xcfg, key=int)]
    for begin, end in encoder.split_into_frames(map(len, texts)):
        jsons = texts[begin:end]
        yield encoder.encode_frame([smda.parse_function(json) for json in jsons], jsons)[0]


if __name__ == "__main__":
    main()
