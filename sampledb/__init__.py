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
from sampledb.gathering import FoundReport, find_reports, read_stream
from sampledb.model import Function, FunctionId, Job, Outcome, Problem, Sample, SampleId, Stats

__all__ = [
    "AnalysisError",
    "BusyError",
    "ClosedError",
    "ConflictError",
    "CorruptFileError",
    "FoundReport",
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
    "Sample",
    "SampleDB",
    "SampleDBError",
    "SampleId",
    "Stats",
    "StorageError",
    "find_reports",
    "open",
    "read_stream",
]
