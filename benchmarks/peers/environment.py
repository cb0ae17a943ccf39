"""The environment in which MCRIT runs: one of its own, because it is GPL."""

import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks import corpus

_MCRIT: Final = corpus.CACHE / "mcrit"


def make_mcrit_environment() -> Path:
    """Return the Python of the environment, which is made when it is missing."""
    python = _MCRIT / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(_MCRIT)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "mcrit", "msgspec"], check=True)
    return python
