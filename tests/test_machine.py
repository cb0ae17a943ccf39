"""A machine that plays SampleDB, its failures and reopenings included, against a plain dict."""

import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import sampledb
from sampledb import ConflictError, InvalidInputError, NotFoundError, Sample
from tests import strategies

# Few, so that the same file comes again and again.
digests = st.sampled_from([f"{number:064x}" for number in range(5)])
sample_ids = st.integers(1, 12)
families = st.sampled_from(["", "win.a", "win.b"])
tag_lists = st.lists(st.sampled_from(["red", "green", "blue"]), unique=True, max_size=3)


@dataclass
class Expected:
    """What the dict knows of a sample."""

    sha256: str
    family: str = ""
    tags: tuple[str, ...] = ()
    notes: str | None = None
    report: dict[str, Any] | None = None
    has_media: bool = False
    function_ids: list[int] = field(default_factory=list)


class SampleDBMachine(RuleBasedStateMachine):
    """Each rule does one thing to the file and to the dict; the invariants compare them."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.db = sampledb.open(self.folder / "machine.sampledb")
        self.model: dict[int, Expected] = {}
        self.last_sample_id = 0
        self.last_function_id = 0

    def teardown(self) -> None:
        self.db.close()
        assert [each.name for each in self.folder.iterdir()] == ["machine.sampledb"]
        shutil.rmtree(self.folder)

    def known(self, sha256: str) -> int | None:
        return next((sample_id for sample_id, each in self.model.items() if each.sha256 == sha256), None)

    def known_or_new(self, sha256: str, found: Sample) -> Expected:
        sample_id = self.known(sha256)
        if sample_id is None:
            self.last_sample_id += 1
            sample_id = self.last_sample_id
            self.model[sample_id] = Expected(sha256)
        assert found.sample_id == sample_id
        return self.model[sample_id]

    @rule(given=strategies.reports(), sha256=digests, family=families, replace=st.booleans(), exist_ok=st.booleans())
    def add_sample(self, given: dict[str, Any], sha256: str, family: str, replace: bool, exist_ok: bool) -> None:
        given["sha256"] = sha256
        known = self.known(sha256)
        analyzed = known is not None and self.model[known].report is not None
        if analyzed and not replace and not exist_ok:
            with pytest.raises(ConflictError) as raised:
                self.db.add_sample(given, family=family)
            assert raised.value.details["sample_id"] == known
            return
        found = self.db.add_sample(given, family=family, replace=replace, exist_ok=exist_ok)
        if analyzed and not replace:
            return
        expected = self.known_or_new(sha256, found)
        count = len(given["xcfg"])
        expected.report, expected.family = given, family
        expected.function_ids = list(range(self.last_function_id + 1, self.last_function_id + count + 1))
        self.last_function_id += count

    @rule(given=strategies.reports(), sha256=digests)
    def fail_to_add_sample(self, given: dict[str, Any], sha256: str) -> None:
        with pytest.raises(InvalidInputError):
            self.db.add_sample({**given, "sha256": sha256, "bitness": 7}, replace=True)

    @rule(sha256=digests, tags=tag_lists, notes=st.none() | strategies.notes, exist_ok=st.booleans())
    def add_media(self, sha256: str, tags: list[str], notes: str | None, exist_ok: bool) -> None:
        known = self.known(sha256)
        if known is not None and self.model[known].has_media:
            if exist_ok:
                assert self.db.add_media(sha256=sha256, tags=tags, notes=notes, exist_ok=True).sample_id == known
            else:
                with pytest.raises(ConflictError):
                    self.db.add_media(sha256=sha256, tags=tags, notes=notes)
            return
        expected = self.known_or_new(sha256, self.db.add_media(sha256=sha256, tags=tags, notes=notes))
        expected.has_media = True
        expected.tags = tuple(dict.fromkeys([*expected.tags, *tags]))
        expected.notes = expected.notes if notes is None else notes

    @rule(sample_id=sample_ids, family=families, tags=tag_lists, notes=st.none() | strategies.notes)
    def update_sample(self, sample_id: int, family: str, tags: list[str], notes: str | None) -> None:
        if sample_id not in self.model:
            with pytest.raises(NotFoundError):
                self.db.update_sample(sample_id, family_name=family)
            return
        self.db.update_sample(sample_id, family_name=family, tags=tags, notes=notes)
        expected = self.model[sample_id]
        expected.family, expected.tags, expected.notes = family, tuple(tags), notes

    @rule(sample_id=sample_ids, change=st.sampled_from(strategies.BROKEN_VALUES))
    def fail_to_update_sample(self, sample_id: int, change: tuple[str, Any]) -> None:
        changes = {"notes": "changed", "tags": ["changed"], **dict([change])}
        with pytest.raises(InvalidInputError):
            self.db.update_sample(sample_id, **changes)

    @rule(sample_id=sample_ids)
    def delete_sample(self, sample_id: int) -> None:
        assert self.db.delete_sample(sample_id) is (self.model.pop(sample_id, None) is not None)

    @rule()
    def reopen(self) -> None:
        self.db.close()
        self.db = sampledb.open(self.folder / "machine.sampledb")

    @rule()
    def compact(self) -> None:
        self.db.compact()

    @rule()
    def check(self) -> None:
        assert self.db.check(deep=True) == []

    @rule(start=st.integers(0, 6), limit=st.integers(0, 6), family=families, tag=st.sampled_from(["red", "green"]))
    def list_samples(self, start: int, limit: int, family: str, tag: str) -> None:
        matching = [key for key, each in sorted(self.model.items()) if each.family == family and tag in each.tags]
        assert list(self.db.list_samples(start, limit, family=family, tag=tag)) == matching[start:][: limit or None]

    @rule()
    def read_from_threads(self) -> None:
        with ThreadPoolExecutor(4) as pool:
            found = pool.map(self.db.get_sample, self.model)
            assert [sample.sha256 for sample in found] == [each.sha256 for each in self.model.values()]

    @invariant()
    def samples_agree(self) -> None:
        found = self.db.list_samples()
        assert list(found) == sorted(self.model)
        for sample_id, expected in self.model.items():
            sample = found[sample_id]
            assert (sample.sha256, sample.family) == (expected.sha256, expected.family)
            assert (sample.tags, sample.notes) == (expected.tags, expected.notes)
            assert sample.num_functions == len(expected.function_ids)

    @invariant()
    def functions_agree(self) -> None:
        for sample_id, expected in self.model.items():
            functions = self.db.list_functions(sample_id, disassembly=True)
            assert list(functions) == expected.function_ids
            if expected.report is not None:
                assert self.db.get_report(sample_id) == expected.report
                offsets = sorted(map(int, expected.report["xcfg"]))
                assert [each.offset for each in functions.values()] == offsets


TestSampleDBMachine = SampleDBMachine.TestCase
TestSampleDBMachine.settings = settings(max_examples=settings().max_examples // 2, stateful_step_count=20)
