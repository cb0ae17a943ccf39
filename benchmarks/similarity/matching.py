"""Time the match of a sample with others, here and in MCRIT, one after the other.

`python -m benchmarks.similarity.matching` takes the base builds of the programs of the evaluation, as far as they are
disassembled, and the largest of them is asked about. All is in memory; counted are seconds of one core.
"""

import time

import sampledb
from benchmarks.similarity import peer, programs
from benchmarks.similarity.disassemble import report_of
from benchmarks.similarity.programs import BASE


def main() -> None:
    """Print one line."""
    names = (f"{name}@{BASE.suite}@{BASE.arch}" for name in programs.EVALUATE)
    reports = [path for name in names if (path := report_of(name)).exists()]
    with sampledb.open(":memory:") as db:
        for report in reports:
            db.add_sample(report)
        largest = max(db.iter_samples(), key=lambda sample: sample.num_functions)
        db.update_signatures()
        db.similar_samples(largest.sample_id)
        seconds = []
        for _ in range(10):
            begun = time.process_time()
            db.similar_samples(largest.sample_id)
            seconds.append(time.process_time() - begun)
    theirs = peer.measure_match(reports)
    about = f"a sample of {largest.num_functions} functions against {len(reports) - 1}"
    print(f"{about}: sampledb {1000 * min(seconds):.0f} ms, MCRIT 1.9.0 {1000 * theirs:.0f} ms")


if __name__ == "__main__":
    main()
