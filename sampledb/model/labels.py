"""Labels: those that people gave to functions, and those that are suggested."""

from datetime import datetime

from sampledb.model.record import FunctionId, Record, SampleId


class Label(Record, frozen=True):
    """The name and the comment that somebody gave to a function.

    Attributes:
        sample_id: The sample of the function.
        offset: Address of the function's entry, unsigned 64-bit.
        name: `""` for none, as is the comment; both are empty where a label was removed.
        comment: Free text.
        username: The user who said so.
        updated_at: The time when they did, UTC.
        is_current: Whether it is the label of the function now, and not a former one.
        function_id: The function at this offset in the present analysis, `None` if there is none.
    """

    _columns = ("sample_id", "offset", "name", "comment", "username", "updated_at", "is_current")

    sample_id: SampleId
    offset: int
    name: str
    comment: str
    username: str
    updated_at: datetime
    is_current: bool
    function_id: FunctionId | None


class Suggestion(Record, frozen=True):
    """A name for a function that has none, from a function that is like it.

    Attributes:
        sample_id: The sample of the function without a name.
        function_id: The function without a name.
        offset: Address of its entry, unsigned 64-bit.
        name: The label of the other function, or else its own name.
        score: From 0 to 100, as in FunctionMatch.
        exact: Whether both have the same `pic_hash`, from the same version of SMDA.
        source_sample_id: The sample of the other function.
        source_function_id: The other function.
    """

    sample_id: SampleId
    function_id: FunctionId
    offset: int
    name: str
    score: int
    exact: bool
    source_sample_id: SampleId
    source_function_id: FunctionId
