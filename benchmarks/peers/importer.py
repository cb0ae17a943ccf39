"""Import a `.mcrit` file into MCRIT, and export it again.

`exchange` runs it in MCRIT's environment; nothing imports it.
"""

import json
import sys
from pathlib import Path

from mcrit.config.McritConfig import McritConfig
from mcrit.config.StorageConfig import StorageConfig
from mcrit.index.MinHashIndex import MinHashIndex
from mcrit.storage.StorageFactory import StorageFactory


def exchange(given: Path, written: Path) -> dict[str, int]:
    """Return what MCRIT says about the import."""
    config = McritConfig()
    config.STORAGE_CONFIG = StorageConfig(STORAGE_METHOD=StorageFactory.STORAGE_METHOD_MEMORY)
    index = MinHashIndex(config)
    report = index.addImportData(json.loads(given.read_text("utf-8")))
    written.write_text(json.dumps(index.getExportData(compress_data=True), indent=1), "utf-8")
    return dict(report)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(exchange(Path(sys.argv[1]), Path(sys.argv[2]))))
