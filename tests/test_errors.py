"""Every error has its place in the tree, a code, details in plain JSON, and survives pickling."""

import json
import pickle

import pytest

import sampledb
from sampledb import errors

TREE: dict[type[sampledb.SampleDBError], tuple[str, type[BaseException]]] = {
    sampledb.InvalidInputError: ("invalid_input", ValueError),
    sampledb.NotFoundError: ("not_found", LookupError),
    sampledb.ConflictError: ("conflict", sampledb.SampleDBError),
    sampledb.BusyError: ("busy", TimeoutError),
    sampledb.ReadOnlyError: ("read_only", PermissionError),
    sampledb.ClosedError: ("closed", sampledb.SampleDBError),
    sampledb.MissingExtraError: ("missing_extra", ImportError),
    sampledb.AnalysisError: ("analysis_failed", sampledb.SampleDBError),
    sampledb.StorageError: ("storage", OSError),
    sampledb.NotASampleDBError: ("not_a_sampledb", sampledb.StorageError),
    sampledb.NewerFormatError: ("newer_format", sampledb.StorageError),
    sampledb.CorruptFileError: ("corrupt", sampledb.StorageError),
}


@pytest.mark.parametrize("error", TREE)
def test_an_error_is_also_what_python_calls_it(error: type[sampledb.SampleDBError]) -> None:
    code, base = TREE[error]
    assert error.code == code
    assert issubclass(error, base)
    assert issubclass(error, sampledb.SampleDBError)


@pytest.mark.parametrize("error", [sampledb.SampleDBError, *TREE])
def test_an_error_pickles_with_all_it_says(error: type[sampledb.SampleDBError]) -> None:
    raised = error("Something is wrong.", {"id": 1})
    again = pickle.loads(pickle.dumps(raised))  # noqa: S301
    assert type(again) is error
    assert str(again) == again.message == "Something is wrong."
    assert again.to_dict() == {"code": error.code, "message": "Something is wrong.", "details": {"id": 1}}


def test_details_are_never_none() -> None:
    assert sampledb.ClosedError("Closed.").details == {}


def test_messages_end_at_500_characters_and_are_valid_unicode() -> None:
    error = sampledb.SampleDBError("\udc80" + "x" * 1000)
    assert len(error.message) == errors.MAX_MESSAGE
    assert json.loads(json.dumps(error.to_dict()).encode()) == error.to_dict()


@pytest.mark.parametrize(
    "value",
    ["x" * 10**6, b"y" * 10**6, pytest.param(10**5000, id="huge"), ["z"] * 10**6, object(), "\ud800", 1.5, None],
)
def test_values_are_shortened_whatever_they_are(value: object) -> None:
    error = sampledb.InvalidInputError.of("field", "short", value)
    assert len(error.details["value"]) <= errors.MAX_VALUE
    json.dumps(error.to_dict()).encode()


def test_a_sample_that_is_not_there_is_named() -> None:
    error = sampledb.NotFoundError.of("sample", 9317)
    assert error.to_dict() == {
        "code": "not_found",
        "message": "Sample 9317 not found.",
        "details": {"resource": "sample", "id": 9317},
    }
