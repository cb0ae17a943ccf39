"""The records that the calls return: frozen structs, in the terms of SMDA, MCRIT and the CCExtractor platform.

Field order is column order: `samples` and `functions` derive their SELECTs from it.
"""

import re
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any, ClassVar, Final, Generic, Literal, NewType, TypeAlias, TypeVar

import msgspec

from sampledb.errors import InvalidInputError, SampleDBError

SampleId = NewType("SampleId", int)
FunctionId = NewType("FunctionId", int)


class Record(msgspec.Struct, frozen=True):
    """A frozen struct that converts to plain JSON types, and shows itself as a card in notebooks."""

    #: Columns of a table of such records; empty means all fields.
    _columns: ClassVar[tuple[str, ...]] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name; tuples as lists, datetimes as ISO 8601 text ending in `Z`."""
        # Without the round trip, tuples inside would stay tuples.
        fields: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return fields

    def _repr_html_(self) -> str:
        from sampledb.render.html import render_card  # noqa: PLC0415 - for notebooks only

        return render_card(self._title, {field: getattr(self, field) for field in self.__struct_fields__})

    @property
    def _title(self) -> str:
        """Return the kind of the record, and its id if it has one."""
        kind = type(self).__name__
        return f"{kind} {getattr(self, f'{kind.lower()}_id', '')}".rstrip()


K = TypeVar("K")
R = TypeVar("R", bound=Record)


class RecordDict(dict[K, R], Generic[K, R]):
    """A dict of records, by id; a table in notebooks."""

    __slots__ = ()

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return each record's `to_dict()`, in order: the rows of a data frame."""
        return [record.to_dict() for record in self.values()]

    def _repr_html_(self) -> str:
        return render_records(self.values())


class RecordList(list[R], Generic[R]):
    """A list of records; a table in notebooks."""

    __slots__ = ()

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return each record's `to_dict()`, in order: the rows of a data frame."""
        return [record.to_dict() for record in self]

    def _repr_html_(self) -> str:
        return render_records(self)


class RowList(list[dict[str, Any]]):
    """The rows of a query, as dicts by column name; a table in notebooks."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        from sampledb.render.html import render_table  # noqa: PLC0415 - for notebooks only

        columns = list(self[0]) if self else []
        return render_table(_count("Row", len(self)), columns, ([*row.values()] for row in self), len(self))


class Counts(dict[str, int]):
    """Numbers by name; a table in notebooks.

    Attributes:
        columns: The titles of the names and of the numbers.
    """

    __slots__ = ("columns",)

    def __init__(self, counts: Mapping[str, int], columns: tuple[str, str]) -> None:
        super().__init__(counts)
        self.columns = columns

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self), self.columns)

    def _repr_html_(self) -> str:
        from sampledb.render.html import render_table  # noqa: PLC0415 - for notebooks only

        return render_table("", self.columns, self.items(), len(self))


def _count(noun: str, number: int) -> str:
    """Return a number of records, as in `12 function hits`."""
    words = re.sub("(?<!^)(?=[A-Z])", " ", noun).lower()
    return f"{number:,} {words}{'' if number == 1 else 'es' if words.endswith('ch') else 's'}"


def render_records(records: Collection[Record], *, title: str = "", count: int | None = None) -> str:
    """Return a table of records, as notebooks show it; `count` is how many there are if these are the first of them."""
    from sampledb.render.html import render_note, render_table  # noqa: PLC0415 - for notebooks only

    kind = type(next(iter(records), None))
    if not issubclass(kind, Record):
        return render_note("No records.")
    columns = kind._columns or kind.__struct_fields__  # noqa: SLF001 - tables are made here only
    rows = ([getattr(record, column) for column in columns] for record in records)
    count = len(records) if count is None else count
    return render_table(title or _count(kind.__name__, count), columns, rows, count)


# The versions of SMDA from which on the PIC hashes of an architecture are others than before.
_HASHES_CHANGED: Final = {
    "intel": [(1, 3, 0), (4, 3, 5)],
    "aarch64": [(1, 3, 0), (4, 2, 0)],
    "cil": [(1, 3, 0), (4, 3, 8)],
    "dalvik": [(1, 3, 0), (4, 4, 2)],
}
_VERSION: Final = re.compile(r"(?:MCRIT4IDA .*|v)?(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:[^.\d].*)?")


def find_hash_era(architecture: str, smda_version: str) -> tuple[object, ...]:
    """Return what is the same for two analyses exactly if their PIC hashes compare."""
    match = _VERSION.fullmatch(smda_version)
    if not match:
        return architecture, smda_version
    version = tuple(map(int, match.groups()))
    return architecture, sum(version >= each for each in _HASHES_CHANGED.get(architecture, ()))


class Sample(Record, frozen=True):
    """One file, known by its SHA-256, with its code analysis, its media metadata, or both.

    Unknown text is `""`, unknown numbers are 0; only `bitness` and `notes` can be `None`.

    Attributes:
        sample_id: From 1, growing, never used again.
        sha256: 64 lower-case hex digits.
        name: The file's name, extension included.
        extension: The part of the name after its last dot, lower-case.
        tags: In the order of adding, without duplicates, whatever their ASCII capitals are.
        media_info: MediaInfo's tracks, `{"tracks": [{"@type": "General", …}, …]}`, or another JSON object.
        notes: Free text, or `None`.
        family: The malware family or the library, as in SMDA's and MCRIT's `family`.
        version: The version of the family.
        component: The component of the family, as in SMDA.
        is_library: Whether the sample is a library rather than malware, as in MCRIT.
        architecture: As in SMDA: `intel`, `aarch64`, `arm`, `cil`, `dalvik`; `""` without an analysis.
        bitness: 32 or 64; `None` when unknown.
        base_addr: The address where the image is mapped, unsigned 64-bit.
        binary_size: Bytes.
        binweight: SMDA's weight of all functions together, the bytes that tell them apart.
        num_functions: Functions in the report; 0 without an analysis.
        statistics: SMDA's counts (`num_instructions`, …), `{}` when the report has none.
        smda_version: The version of SMDA that wrote the report. PIC hashes compare while SMDA makes them alike, which
            `has_old_hashes` tells. MCRIT keeps this version where it has computed the hashes anew by a later one.
        md5: 32 lower-case hex digits, or `""`.
        sha1: 40 lower-case hex digits, or `""`.
        username: The user who added the sample first.
        added_at: The time when the sample was added first, UTC.
    """

    _columns = (
        *("sample_id", "name", "family", "version", "tags", "architecture", "bitness", "binary_size", "num_functions"),
        *("added_at", "sha256"),
    )

    sample_id: SampleId
    sha256: str
    name: str
    extension: str
    tags: tuple[str, ...]
    media_info: dict[str, Any]
    notes: str | None
    family: str
    version: str
    component: str
    is_library: bool
    architecture: str
    bitness: int | None
    base_addr: int
    binary_size: int
    binweight: float
    num_functions: int
    statistics: dict[str, Any]
    smda_version: str
    md5: str
    sha1: str
    username: str
    added_at: datetime

    @property
    def has_old_hashes(self) -> bool:
        """Tell whether its PIC hashes are of a version of SMDA that made others than 5.0 does; `twins` knows it."""
        latest = len(_HASHES_CHANGED.get(self.architecture, ()))
        return bool(self.architecture) and find_hash_era(self.architecture, self.smda_version)[1] != latest


class Instruction(Record, frozen=True):
    """One instruction of a function.

    Attributes:
        address: Unsigned 64-bit.
        code: Its bytes, as hex digits.
        mnemonic: As SMDA's disassembler, mostly Capstone, prints it, as are the operands.
        operands: `""` when there are none.
    """

    address: int
    code: str
    mnemonic: str
    operands: str


class Function(Record, frozen=True):
    """One function of a sample.

    Attributes:
        function_id: From 1, growing, never used again; consecutive within a sample, in offset order.
        sample_id: The sample it was found in.
        offset: Address of its entry, unsigned 64-bit.
        name: SMDA's `function_name`, `""` when there is no symbol.
        num_blocks: Basic blocks.
        num_instructions: Instructions in all blocks.
        binweight: SMDA's weight: the bytes of the code without those that depend on addresses.
        pic_hash: SMDA's position-independent code hash, unsigned 64-bit, or `None`. It belongs to the
            sample's `smda_version`: some versions hash the same code to other values.
        disassembly: SMDA's whole function dict, or `None` where a call leaves it out.
        label: The name that somebody gave it, `""` for none; `label_function` sets it.
        comment: The comment that somebody gave it, `""` for none.
    """

    _columns = (
        *("function_id", "sample_id", "offset", "name", "label", "num_blocks", "num_instructions", "binweight"),
        *("pic_hash",),
    )

    function_id: FunctionId
    sample_id: SampleId
    offset: int
    name: str
    num_blocks: int
    num_instructions: int
    binweight: float
    pic_hash: int | None
    disassembly: dict[str, Any] | None = None
    label: str = ""
    comment: str = ""

    @property
    def instructions(self) -> RecordList[Instruction]:
        """Return the instructions, block after block in the order of SMDA's report.

        Raises:
            InvalidInputError: The function came without its disassembly.
        """
        blocks = self._require_disassembly()["blocks"].values()
        return RecordList([Instruction(*instruction[:4]) for block in blocks for instruction in block])

    @property
    def comments(self) -> dict[int, str]:
        """Return the APIs and the strings, in quotes, that instructions refer to, by address.

        Raises:
            InvalidInputError: The function came without its disassembly.
        """
        from sampledb.format.references import comment_instructions  # noqa: PLC0415 - few ask

        return comment_instructions(self._require_disassembly())

    def _require_disassembly(self) -> dict[str, Any]:
        if self.disassembly is None:
            message = "The function came without its disassembly; get_function() and disassembly=True give it."
            raise InvalidInputError(message, {"field": "disassembly", "rule": "SMDA's function dict", "value": "None"})
        return self.disassembly

    def to_dot(self) -> str:
        """Return the control-flow graph as text for Graphviz, with at most its first 200 blocks.

        Raises:
            InvalidInputError: The function came without its disassembly.
        """
        from sampledb.render.graph import write_dot  # noqa: PLC0415 - few who read functions draw them

        return write_dot(self.disassembly)

    def to_svg(self, *, compared_to: "Function | None" = None) -> str:
        """Return the control-flow graph as an SVG picture, with at most its first 200 blocks.

        Args:
            compared_to: Another function; the blocks of this one are marked as the same, changed, or only here.

        Raises:
            InvalidInputError: A function came without its disassembly.
            MissingExtraError: The extra `notebook` is not installed.
        """
        from sampledb.render.graph import read_graph  # noqa: PLC0415 - as above
        from sampledb.render.svg import draw_graph  # noqa: PLC0415 - as above

        graph = read_graph(self.disassembly)
        if compared_to is not None:
            from sampledb.render.comparison import mark_blocks  # noqa: PLC0415 - as above

            graph = mark_blocks(graph, read_graph(compared_to.disassembly))
        return draw_graph(graph)

    def _repr_html_(self) -> str:
        from sampledb.render.html import render_card  # noqa: PLC0415 - as above
        from sampledb.render.notebook import render_disassembly  # noqa: PLC0415 - as above

        fields = [*self._columns, "comment"] if self.comment else self._columns
        head = render_card(self._title, {field: getattr(self, field) for field in fields})
        return head if self.disassembly is None else head + render_disassembly(self.disassembly)


HitField: TypeAlias = Literal[
    "name", "family", "version", "component", "tag", "notes", "codec", "extension", "sha256", "md5", "sha1",
    "function", "label", "comment", "pic_hash", "api", "string",
]  # fmt: skip


class Hit(Record, frozen=True):
    """A sample or function that `search()` found.

    Attributes:
        sample_id: The sample, or the sample of the function.
        function_id: The function; `None` for a sample.
        field: The field that matches: `name`, `family`, `version`, `component`, `tag`, `notes`, `codec`, `extension`,
            `sha256`, `md5`, `sha1`; of functions `function` for the name, `label`, `comment`, `pic_hash`, and `api` or
            `string` for what it refers to. Where words find an API or a string, `function_id` is the first function
            that refers to it.
        text: The whole content of this field.
        sample: The sample's name.
        offset: Of the function, unsigned 64-bit; `None` for a sample.
        score: The quality of the match, above 0; 1 means that the field equals the text, or meets the conditions of a
            search without words.
    """

    sample_id: SampleId
    function_id: FunctionId | None
    field: HitField
    text: str
    sample: str
    offset: int | None
    score: float


class FunctionHit(Record, frozen=True):
    """A function that `find_functions()` found.

    Attributes:
        sample_id: The sample it was found in.
        function_id: The function.
        offset: Address of its entry, unsigned 64-bit.
        name: SMDA's `function_name`, `""` when there is no symbol.
        num_instructions: Instructions in all blocks.
        address: Of the first match of the last condition that was given, in the order of `api`, `string`, `constant`,
            `mnemonics`, `code`, `text`; `None` if there was none of these, or if the report has no address.
        match: What matched there: the API, the string, the instruction or run of instructions, or the bytes; the name
            the label or the hash of the function if only these were asked for.
        label: The name that somebody gave to the function, `""` for none.
        comment: The comment that somebody gave to the function, `""` for none.
    """

    sample_id: SampleId
    function_id: FunctionId
    offset: int
    name: str
    num_instructions: int
    address: int | None
    match: str
    label: str = ""
    comment: str = ""


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


class Known(Record, frozen=True):
    """How much of the code of a sample is in other samples too.

    Attributes:
        sample_id: The sample.
        num_functions: Functions that were looked for: of at least so many instructions, with a PIC hash.
        num_elsewhere: Those of them that another sample has too, by `pic_hash`.
        num_in_libraries: Those that a library has, which is another sample.
    """

    sample_id: SampleId
    num_functions: int
    num_elsewhere: int
    num_in_libraries: int


class Family(Record, frozen=True):
    """The samples of one family.

    Attributes:
        name: The family; `""` for the samples without one.
        num_samples: Its samples.
        num_libraries: Those of them that are libraries.
        num_functions: The functions of all of them.
    """

    name: str
    num_samples: int
    num_libraries: int
    num_functions: int


class FunctionMatch(Record, frozen=True):
    """A function that is like another one.

    Attributes:
        sample_id: Its sample.
        function_id: The function.
        offset: Address of its entry, unsigned 64-bit.
        name: SMDA's `function_name`, `""` when there is no symbol.
        family: Of its sample, `""` for none.
        score: From 0 to 100: from 60 on it is most likely the same function, one of less than 40 instructions from 70
            on; from 50 on perhaps. Builds for other architectures, and without optimization, score lower: there, what
            is first counts.
        exact: Whether both have the same `pic_hash`, from the same version of SMDA; the score is 100.
        label: The name that somebody gave to the function, `""` for none.
        num_instructions: Instructions in all blocks; functions of less than 20 are alike by chance more often.
    """

    sample_id: SampleId
    function_id: FunctionId
    offset: int
    name: str
    family: str
    score: int
    exact: bool
    label: str
    num_instructions: int


class SampleMatch(Record, frozen=True):
    """A sample that has functions like those of another one.

    Attributes:
        sample_id: The sample.
        name: The file's name.
        family: `""` for none.
        is_library: Whether it is a library.
        num_matched: Functions of the other one of which it has one that is like it.
        percent: Their share of the code of the other one, by `binweight` of all functions of more than 10
            instructions, from 0 to 100.
        percent_without_libraries: The same, of the code that is in no library. It is 0 for a library.
    """

    sample_id: SampleId
    name: str
    family: str
    is_library: bool
    num_matched: int
    percent: float
    percent_without_libraries: float


class FunctionPair(Record, frozen=True):
    """Two functions that are alike.

    Attributes:
        a: The function of the first sample.
        b: The function of the second sample.
        score: From 0 to 100, as in FunctionMatch.
        exact: Whether both have the same `pic_hash`, from the same version of SMDA.
    """

    a: Function
    b: Function
    score: int
    exact: bool


class Comparison(Record, frozen=True):
    """What two samples have in common.

    Attributes:
        pairs: Functions that are alike, best first, each function once; disassembly is left out.
        only_a: All other functions of the first sample, by offset.
        only_b: All other functions of the second sample, by offset.
        percent_a: The share of the functions in pairs in the first sample, by `binweight`, from 0 to 100.
        percent_b: The same of the second sample.
    """

    pairs: tuple[FunctionPair, ...]
    only_a: tuple[Function, ...]
    only_b: tuple[Function, ...]
    percent_a: float
    percent_b: float


class Reason(Record, frozen=True):
    """One kind of what makes two functions alike.

    Attributes:
        kind: `constants`, `fields`, `instructions`, `order` (of what instructions do) or `shape`.
        points: How much of the score it is; negative if it makes them less alike.
        text: What both have, for people: numbers, offsets of fields, instructions, counts.
    """

    kind: Literal["constants", "fields", "instructions", "order", "shape"]
    points: int
    text: str


class Explanation(Record, frozen=True):
    """What the score of two functions is made of.

    Attributes:
        score: From 0 to 100, as in FunctionMatch; `None` if one of the functions cannot have any: it has at most 10
            instructions, or an architecture that signatures know nothing of.
        exact: Whether both have the same `pic_hash`, from the same version of SMDA.
        reasons: What says most first; their points are nearly those of the score, unless the functions are exact.
    """

    score: int | None
    exact: bool
    reasons: tuple[Reason, ...]


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


class Stats(Record, frozen=True):
    """The content and size of a file.

    Attributes:
        num_samples: All samples.
        num_analyzed: Samples with an SMDA report.
        num_media: Samples with media metadata.
        num_functions: Functions of all samples.
        num_shared: Functions of at least 10 instructions that another sample has too, by `pic_hash`.
        num_families: Different families.
        num_tags: Different tags.
        disassembly_bytes: Stored bytes of compressed disassembly.
        file_bytes: Size of the database, free pages included.
        free_bytes: The least that `compact()` would free.
        format_version: The file's `user_version`.
        journal_mode: SQLite's current journal mode.
        sqlite_version: The version of the SQLite library in use.
    """

    num_samples: int
    num_analyzed: int
    num_media: int
    num_functions: int
    num_shared: int
    num_families: int
    num_tags: int
    disassembly_bytes: int
    file_bytes: int
    free_bytes: int
    format_version: int
    journal_mode: str
    sqlite_version: str


class Problem(Record, frozen=True):
    """A fault that `check()` found, or a loss of `salvage()`.

    Attributes:
        what: The fault, a sentence.
        where: The table and row, or the part of the file.
        sample_id: The sample that it affects, or `None`.
    """

    what: str
    where: str
    sample_id: int | None = None


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


JobState: TypeAlias = Literal["queued", "running", "finished", "failed", "cancelled"]


class Job(Record, frozen=True):
    """The disassembly of a submitted binary.

    Attributes:
        job_id: Returned by `submit_binary`.
        state: `queued`, `running`, `finished` (there is a sample), `failed` (there is an error) or `cancelled`.
        sha256: Of the binary, 64 lower-case hex digits.
        filename: As submitted; `""` when unknown.
        attempts: Number of attempts, at most 3.
        sample_id: The resulting sample; `None` before it exists, and after it was deleted.
        error: The reason why it failed, as an error's `to_dict()`; `None` if it did not.
        submitted_at: Time of submission, UTC.
        started_at: Start of the last attempt, UTC; `None` before.
        finished_at: End, whether finished, failed or cancelled, UTC; `None` before.
    """

    job_id: str
    state: JobState
    sha256: str
    filename: str
    attempts: int
    sample_id: SampleId | None
    error: dict[str, Any] | None
    submitted_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


#: Called after each job with the number of jobs that have ended, the number of all, and the job.
JobProgress: TypeAlias = Callable[[int, int, Job], object]

#: Called after each report with the number done, the number of all (`None` if unknown), and the outcome.
Progress: TypeAlias = Callable[[int, int | None, Outcome], object]
