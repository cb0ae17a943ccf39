"""Varied reports of the benchmarks are other samples, and still real reports."""

import msgspec

from benchmarks.corpus import read_sha256, vary_report
from sampledb import SampleDB
from tests.format.test_reports import Parsed


def test_a_varied_report_is_another_sample_with_other_hashes(db: SampleDB, parsed: Parsed) -> None:
    for smda_report in parsed.values():
        content = msgspec.json.encode(smda_report)
        other = vary_report(content, 7)
        assert read_sha256(content) == smda_report["sha256"] != read_sha256(other)
        first, second = db.add_sample(content), db.add_sample(other)
        assert first.num_functions == second.num_functions
        for one, two in zip(db.iter_functions(first.sample_id), db.iter_functions(second.sample_id), strict=True):
            assert one.offset == two.offset
            assert (one.pic_hash is None) == (two.pic_hash is None)
            assert one.pic_hash is None or one.pic_hash != two.pic_hash


def test_numbers_make_different_reports_and_the_same_number_the_same() -> None:
    content = b'{"sha256": "' + b"0" * 64 + b'", "pic_hash": 5}'
    assert len({vary_report(content, number) for number in range(50)}) == 50
    assert vary_report(content, 3) == vary_report(content, 3)
