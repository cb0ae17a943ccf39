"""An embedded, single-file store for samples and their functions. Start with `sampledb.open(path)`."""

from sampledb.database import SampleDB, open  # noqa: A004 - sampledb.open is the way in, as sqlite3.connect is
from sampledb.errors import (
    AnalysisError,
    BusyError,
    ClosedError,
    ConflictError,
    CorruptFileError,
    InvalidInputError,
    MissingExtraError,
    NewerFormatError,
    NotASampleDBError,
    NotFoundError,
    ReadOnlyError,
    SampleDBError,
    StorageError,
)
from sampledb.model import Function, FunctionId, Job, Outcome, Problem, RecordDict, RecordList, Sample, SampleId, Stats

__all__ = [
    "AnalysisError",
    "BusyError",
    "ClosedError",
    "ConflictError",
    "CorruptFileError",
    "Function",
    "FunctionId",
    "InvalidInputError",
    "Job",
    "MissingExtraError",
    "NewerFormatError",
    "NotASampleDBError",
    "NotFoundError",
    "Outcome",
    "Problem",
    "ReadOnlyError",
    "RecordDict",
    "RecordList",
    "Sample",
    "SampleDB",
    "SampleDBError",
    "SampleId",
    "Stats",
    "StorageError",
    "open",
]
