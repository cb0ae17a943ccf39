"""MCRIT's MinHash of functions, made by MCRIT itself. `peer` runs it in a virtual environment of its own.

Reads lines of JSON, `[report, offsets or null for all]`, and writes one for each: `{offset: signature in hex}`, and the
seconds of one core that hashing took.
"""

import json
import logging
import sys
import time
from pathlib import Path

import zstandard
from mcrit.config.McritConfig import McritConfig
from mcrit.minhash.MinHasher import MinHasher
from smda.common.SmdaReport import SmdaReport


def main() -> None:
    """Answer each line."""
    logging.disable(logging.CRITICAL)
    config = McritConfig()
    hasher = MinHasher(config.MINHASH_CONFIG, config.SHINGLER_CONFIG)
    for line in sys.stdin:
        path, offsets = json.loads(line)
        content = zstandard.ZstdDecompressor().decompress(Path(path).read_bytes(), max_output_size=1 << 31)
        found, spent = {}, 0.0
        for function in SmdaReport.fromDict(json.loads(content)).getFunctions():
            if (offsets is None or function.offset in offsets) and hasher.isMinHashableFunction(function):
                begun = time.process_time()
                found[function.offset] = hasher.calculateMinHashFromStorage((0, function)).getMinHash().hex()
                spent += time.process_time() - begun
        print(json.dumps([found, spent]), flush=True)


if __name__ == "__main__":
    main()
