"""MCRIT's signatures of functions, made once and kept in the cache folder."""

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.similarity.disassemble import report_of
from benchmarks.similarity.fetch import CACHE

# Not this one: MCRIT is GPL.
_ENVIRONMENT: Final = CACHE / "mcrit"
_HASHES: Final = CACHE / "hashes"
BYTES: Final = 64

Hashes = dict[int, bytes]


def hash_functions(wanted: Mapping[str, Iterable[int] | None]) -> dict[str, Hashes]:
    """Return the MinHash of functions of each binary by their offsets; `None` asks for all of them.

    Functions that MCRIT does not hash are missing.
    """
    _HASHES.mkdir(exist_ok=True)
    missing = {name: offsets for name, offsets in wanted.items() if not _kept(name).exists()}
    if missing:
        questions = [
            json.dumps([str(report_of(name)), None if offsets is None else list(offsets)])
            for name, offsets in missing.items()
        ]
        with subprocess.Popen(
            [_python(), "-m", "benchmarks.similarity.mcrit"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        ) as process:
            assert process.stdin
            assert process.stdout
            process.stdin.write("\n".join(questions) + "\n")
            process.stdin.close()
            for name, answer in zip(missing, process.stdout, strict=True):
                _kept(name).write_text(answer, "utf-8")
    answers = {name: json.loads(_kept(name).read_text("utf-8")) for name in wanted}
    return {
        name: {int(offset): bytes.fromhex(each) for offset, each in found.items()}
        for name, (found, _) in answers.items()
    }


def measure_match(reports: Iterable[Path]) -> float:
    """Return the seconds in which MCRIT matches the largest of some samples with the others."""
    command = [_python(), "-m", "benchmarks.similarity.mcrit_matching", *map(str, reports)]
    return float(subprocess.check_output(command, text=True, cwd=Path(__file__).parents[2]))


def measure_rate() -> float:
    """Return how many functions MCRIT hashed in a second of one core, of all that were hashed."""
    answers = [json.loads(path.read_text("utf-8")) for path in _HASHES.glob("*.json")]
    return float(sum(len(found) for found, _ in answers) / sum(spent for _, spent in answers))


def _kept(name: str) -> Path:
    return _HASHES / f"{name}.json"


def _python() -> str:
    python = _ENVIRONMENT / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(_ENVIRONMENT)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "mcrit==1.9.0", "zstandard"], check=True)
    return str(python)


def count_equal(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Return how many bytes of signatures are equal, of each with each."""
    return np.stack([(right == row).sum(axis=1, dtype=np.int16) for row in left])
