"""Outcomes of adding and merging many samples."""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from sampledb.errors import SampleDBError
from sampledb.model.record import Record
from sampledb.model.samples import Sample


class Difference(Record, frozen=True):
    """A value of a sample that two stores know differently, as `merge()` found it.

    Attributes:
        field: The field of the sample; `analysis` for its report with all functions, `label` for that of a function.
        ours: The value that was here, of JSON's types. Of an analysis, its SMDA version and number of functions; of a
            label, its name and comment.
        theirs: The value in the other store.
        kept: Which of them is here now.
        offset: The function of a label, unsigned 64-bit; `None` for other fields.
    """

    field: str
    ours: Any
    theirs: Any
    kept: Literal["ours", "theirs"]
    offset: int | None = None


class Outcome(Record, frozen=True):
    """The result of adding one of many reports, or of merging one of many samples.

    Attributes:
        index: Position of the report or sample, from 0.
        status: `added`; `existed`, if its SHA-256 had an analysis already, or if a merged sample says nothing new;
            `updated`, if a merge added to a stored sample or changed it; or `failed`.
        sample: The stored sample; `None` if it failed.
        error: The reason why it failed; `None` if it did not.
        source: The path or label of the report, for people; `""` for a dict or bytes. Of a merged sample, its SHA-256.
        differences: What a merge found different here and there; empty for a report.
    """

    index: int
    status: Literal["added", "existed", "updated", "failed"]
    sample: Sample | None
    error: SampleDBError | None
    source: str = ""
    differences: tuple[Difference, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as for every record, with the error's own `to_dict()`."""
        return {
            "index": self.index,
            "status": self.status,
            "sample": self.sample and self.sample.to_dict(),
            "error": self.error and self.error.to_dict(),
            "source": self.source,
            "differences": [each.to_dict() for each in self.differences],
        }


#: Called after each report with the number done, the number of all (`None` if unknown), and the outcome.
Progress: TypeAlias = Callable[[int, int | None, Outcome], object]
