"""Compressed reports are unpacked as they were, and within bounds."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampledb import InvalidInputError, find_reports
from sampledb.intake import compression
from sampledb.intake.source import read_file
from tests.intake import packed
from tests.intake.packed import PACKERS, SMALL, VARIANTS, read, written


@pytest.mark.parametrize("variant", VARIANTS)
@given(content=st.binary(min_size=1, max_size=5000) | st.integers(0, 10**6).map(lambda size: b" " * size))
def test_content_is_unpacked_as_it_was(tmp_path: Path, variant: str, content: bytes) -> None:
    (found,) = find_reports(written(tmp_path / "file", VARIANTS[variant](b"{" + content)))
    with found.open() as file:
        assert read_file(file, "file") == b"{" + content


@pytest.mark.parametrize("variant", VARIANTS)
@given(data=st.data())
def test_damage_is_an_error_of_ours_or_does_no_harm(tmp_path: Path, variant: str, data: st.DataObject) -> None:
    whole = bytearray(VARIANTS[variant](SMALL))
    position = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans(), "cut"):
        del whole[position:]
    else:
        whole[position] ^= data.draw(st.integers(1, 255))
    path = written(tmp_path / "file", bytes(whole))
    for source in (path, *find_reports(path)):
        try:
            content = read(source)
        except InvalidInputError:
            continue
        assert content == SMALL or variant in ("nothing", "xz without a check")


@pytest.mark.parametrize("suffix", ["gz", "zst", "xz"])
@pytest.mark.parametrize("tail", [b"garbage", b"\0{", SMALL])
def test_something_behind_the_end_is_an_error(tmp_path: Path, suffix: str, tail: bytes) -> None:
    with pytest.raises(InvalidInputError, match=r"cannot be unpacked|behind it"):
        read(written(tmp_path / "file", PACKERS[suffix](SMALL) + tail))


# Prints how many bytes of memory it took to refuse a file, twice: by its path, and as what is found there.
READ = """
import resource, sys
from sampledb import InvalidInputError, find_reports
from sampledb.intake.source import read_source
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for source in (sys.argv[1], next(find_reports(sys.argv[1]))):
    try:
        read_source(source)
    except InvalidInputError as error:
        assert "times its size" in error.message and sys.argv[1] in error.message, error.message
    else:
        raise AssertionError
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (1 if sys.platform == "darwin" else 1024))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no resource module")
@pytest.mark.parametrize("kind", packed.BOMBS)
def test_bombs_end_in_little_memory(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path / "bomb.smda", packed.BOMBS[kind]())
    run = subprocess.run([sys.executable, "-c", READ, path], check=True, capture_output=True, text=True, timeout=60)
    assert int(run.stdout) < 200 * 1024**2


def test_content_is_bounded_however_large_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "MAX_REPORT", 100_000)
    noise = os.urandom(100_001)
    for content in (noise, *(pack(noise) for pack in PACKERS.values())):
        path = written(tmp_path / "file", content)
        with pytest.raises(InvalidInputError, match="more than 100000 bytes"):
            read(path)
    path = written(tmp_path / "file", gzip.compress(noise[1000:]))
    with path.open("rb") as file:
        assert read_file(file, "file") == noise[1000:]


def test_a_frame_that_asks_for_too_much_memory_is_refused(tmp_path: Path) -> None:
    # Its header declares a window of 256 MiB; there is one block, which is empty.
    frame = b"\x28\xb5\x2f\xfd\x00" + bytes(((28 - 10) << 3,)) + b"\x01\x00\x00"
    with pytest.raises(InvalidInputError, match="too much memory"):
        read(written(tmp_path / "file", frame))
