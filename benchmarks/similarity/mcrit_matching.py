"""MCRIT's match of the largest of some samples with the others, in memory. `matching` runs it in MCRIT's environment.

Takes the paths of reports; prints the seconds of one core that the fastest of three matches took.
"""

import json
import logging
import sys
import time
from pathlib import Path

import zstandard
from mcrit.config.McritConfig import McritConfig
from mcrit.config.QueueConfig import QueueConfig
from mcrit.config.StorageConfig import StorageConfig
from mcrit.index.MinHashIndex import MinHashIndex
from mcrit.matchers.MatcherSample import MatcherSample
from mcrit.queue.QueueFactory import QueueFactory
from mcrit.storage.StorageFactory import StorageFactory
from mcrit.Worker import Worker
from smda.common.SmdaReport import SmdaReport


def main() -> None:
    """Store the reports with their hashes, and match."""
    logging.disable(logging.CRITICAL)
    config = McritConfig()
    config.STORAGE_CONFIG = StorageConfig(STORAGE_METHOD=StorageFactory.STORAGE_METHOD_MEMORY)
    config.QUEUE_CONFIG = QueueConfig(QUEUE_METHOD=QueueFactory.QUEUE_METHOD_FAKE)
    config.MINHASH_CONFIG.MINHASH_POOL_INDEXING = config.MINHASH_CONFIG.MINHASH_POOL_MATCHING = False
    index = MinHashIndex(config)
    storage = index._storage  # noqa: SLF001 - it has no other way to it
    worker = Worker(queue=index.queue, config=config, storage=storage)
    samples = []
    for path in sys.argv[1:]:
        content = zstandard.ZstdDecompressor().decompress(Path(path).read_bytes(), max_output_size=1 << 31)
        report = SmdaReport.fromDict(json.loads(content))
        sample = storage.addSmdaReport(report)
        samples.append(sample)
        stored = {
            function.offset: function.function_id for function in storage.getFunctionsBySampleId(sample.sample_id)
        }
        functions = [each for each in report.getFunctions() if worker.minhasher.isMinHashableFunction(each)]
        hashes = [worker.minhasher.calculateMinHashFromStorage((stored[each.offset], each)) for each in functions]
        storage.addMinHashes(hashes)
    largest = max(samples, key=lambda sample: sample.statistics["num_functions"])
    seconds = []
    for _ in range(3):
        begun = time.process_time()
        MatcherSample(worker).getMatchesForSample(largest.sample_id)
        seconds.append(time.process_time() - begun)
    print(min(seconds))


if __name__ == "__main__":
    main()
