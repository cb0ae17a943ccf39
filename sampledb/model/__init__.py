"""The records that the calls return: frozen structs.

Their terms are those of SMDA, MCRIT and the CCExtractor platform. Field order is column order:
`samples` and `functions` derive their SELECTs from it.
"""

from sampledb.model.file import Problem, Stats
from sampledb.model.functions import Function, Instruction
from sampledb.model.jobs import Job, JobProgress, JobState
from sampledb.model.labels import Label, Suggestion
from sampledb.model.record import Counts, FunctionId, Record, RecordDict, RecordList, RowList, SampleId, render_records
from sampledb.model.samples import Family, Known, Sample, find_hash_era
from sampledb.model.search import FunctionHit, Hit, HitField
from sampledb.model.similar import (
    Comparison,
    Explanation,
    FunctionMatch,
    FunctionPair,
    Reason,
    SampleMatch,
    least_score,
)
from sampledb.model.transfer import Difference, Outcome, Progress

__all__ = [
    "Comparison", "Counts", "Difference", "Explanation", "Family", "Function", "FunctionHit", "FunctionId",
    "FunctionMatch", "FunctionPair", "Hit", "HitField", "Instruction", "Job", "JobProgress", "JobState",
    "Known", "Label", "Outcome", "Problem", "Progress", "Reason", "Record", "RecordDict", "RecordList",
    "RowList", "Sample", "SampleId", "SampleMatch", "Stats", "Suggestion", "find_hash_era", "least_score",
    "render_records",
]  # fmt: skip
