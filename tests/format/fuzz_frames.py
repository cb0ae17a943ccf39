"""Coverage-guided fuzzing of the decoder of frames; pytest does not collect it.

`pip install atheris`, then
`python -m tests.format.fuzz_frames FOLDER -max_total_time=600 -rss_limit_mb=1024 -timeout=5`:
whatever ends it, other than the time, is a defect. FOLDER keeps the inputs that reached something new.
"""

import random
import sys
from pathlib import Path
from typing import Any

import atheris
import msgspec

with atheris.instrument_imports(include=["sampledb"]):
    from sampledb.format.decoder import count_functions, decode_frame
    from sampledb.format.frame import FrameError, Row

from tests.format.test_frame import ODD, framed, smda_function


def decode(data: bytes) -> None:
    """Decode a frame without its first or last function, so that the checksum of rows is not compared."""
    try:
        # The offset of the odd functions.
        rows = [Row(4096, "", 0.0, None)] * count_functions(data)
        for first, end in ((0, len(rows) - 1), (1, len(rows))):
            assert all(isinstance(each, dict) for each in decode_frame(data, rows[first:end], first))
    except FrameError:
        return


def mutated(data: bytes, max_size: int, seed: int) -> bytes:
    """Return the frame with one value changed; bytes changed anywhere are hardly ever MessagePack again."""
    chance = random.Random(seed)  # noqa: S311 - it must be repeatable
    try:
        columns = msgspec.msgpack.decode(data)
        inside, place = columns, chance.randrange(len(columns))
        while isinstance(inside[place], list) and inside[place] and chance.random() < 0.9:
            inside = inside[place]
            place = chance.randrange(len(inside))
        inside[place] = _changed(inside[place], chance)
        content = msgspec.msgpack.encode(columns)
        return content if len(content) <= max_size else data
    except (ValueError, TypeError, KeyError, OverflowError):
        return bytes(atheris.Mutate(data, len(data)))


def _changed(value: Any, chance: random.Random) -> Any:
    if isinstance(value, bytes):
        return bytes(atheris.Mutate(value, len(value) + 8))
    if isinstance(value, str):
        return bytes(atheris.Mutate(value.encode(), len(value) + 8)).decode("utf-8", "replace")
    if isinstance(value, int):
        return chance.choice([value + 1, value - 1, -value, 0, 1 << 40, (1 << 64) - 1, chance.randrange(300), [value]])
    if isinstance(value, list):
        return chance.choice([value[:-1], value * 2, [*value, 0], []])
    return chance.choice([None, 0, "", b"", [], {0: b"{}"}])


def main() -> None:
    """Begin with frames that are right."""
    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    for name, odd in ODD.items():
        content, *_ = framed([smda_function(1), odd, smda_function(9)])
        (folder / f"seed {name}").write_bytes(content)
    atheris.Setup(sys.argv, decode, custom_mutator=mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
