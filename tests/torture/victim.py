"""A small file with something of everything, and what its pages are: what hostile files are made of."""

import random
import sqlite3 as python_sqlite
from pathlib import Path
from typing import Final

import sampledb
from tests.strategies import function, instruction, report

_RANDOM: Final = random.Random(20)  # noqa: S311 - the same file each time
_INTERIOR: Final = {2, 5}
_LEAVES: Final = {10, 13}


def make(path: Path) -> bytes:
    """A file with two analyses of several frames, media, jobs, binaries, overflowing cells and free pages."""
    with sampledb.open(path) as db:
        for seed in ("one", "two", "gone"):
            functions = [_function(0x1000 * place, f"sub_{place:x}_{seed}") for place in range(1, 41)]
            db.add_sample(report(*functions, seed=seed, filler=_RANDOM.randbytes(9000).hex()), family="win.test")
        db.add_media(sha256="0" * 64, name="clip.mp4", tags=["reviewed"], media_info={"tracks": [{"Format": "AVC"}]})
        db.label_function(1, 0x1000, name="found_it", comment="said once")
        db.label_function(1, 0x1000, comment="said twice " * 20)
        db.label_function(2, 0x2000, name="also_found")
        db.update_sample(1, tags=["reviewed", "linux"], notes="note " * 200)
        kept = db.submit_binary(_RANDOM.randbytes(9000), keep_binary=True)
        db.cancel_job(kept)
        db.submit_binary(_RANDOM.randbytes(9000), filename="queued.exe")
        db.update_signatures()
        db.delete_sample(3)
    return path.read_bytes()


def _function(offset: int, name: str) -> dict[str, object]:
    # Signatures do not count what does nothing.
    words = ["nop"] * 45 + ["xor"] * 15
    block = [instruction(offset + place, "90", word, _RANDOM.randbytes(6).hex()) for place, word in enumerate(words)]
    return function(offset, {str(offset): block}, function_name=name)


def page_size(content: bytes | bytearray) -> int:
    """Bytes of a page, as the header says."""
    return int.from_bytes(content[16:18], "big")


def kind(content: bytes | bytearray, number: int) -> str:
    """What a page is, counted from 1: `interior`, `leaf`, or `chain` for overflow and free pages."""
    size = page_size(content)
    first = content[(number - 1) * size + (100 if number == 1 else 0)]
    return "interior" if first in _INTERIOR else "leaf" if first in _LEAVES else "chain"


def roots(path: Path) -> dict[str, int]:
    """The root page of every table and index."""
    connection = python_sqlite.connect(path)
    try:
        return dict(connection.execute("SELECT name, rootpage FROM sqlite_schema WHERE rootpage"))
    finally:
        connection.close()
