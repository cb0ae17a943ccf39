"""What the tests of the command line share."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def copy(filled_path: Path, tmp_path: Path) -> Path:
    """A file with all reports that may be changed."""
    return Path(shutil.copy(filled_path, tmp_path / "copy.sampledb"))
