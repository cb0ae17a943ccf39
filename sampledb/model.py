"""The records that the calls return: frozen structs, in the terms of SMDA, MCRIT and the CCExtractor platform.

Field order is column order: `samples` and `functions` derive their SELECTs from it.
"""

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, ClassVar, Generic, Literal, NewType, TypeAlias, TypeVar

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

        return render_card(type(self).__name__, {field: getattr(self, field) for field in self.__struct_fields__})


K = TypeVar("K")
R = TypeVar("R", bound=Record)


class RecordDict(dict[K, R], Generic[K, R]):
    """A dict of records, by id; a table in notebooks."""

    __slots__ = ()

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return each record's `to_dict()`, in order: the rows of a data frame."""
        return [record.to_dict() for record in self.values()]

    def _repr_html_(self) -> str:
        return _render_records(self.values())


class RecordList(list[R], Generic[R]):
    """A list of records; a table in notebooks."""

    __slots__ = ()

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return each record's `to_dict()`, in order: the rows of a data frame."""
        return [record.to_dict() for record in self]

    def _repr_html_(self) -> str:
        return _render_records(self)


def _render_records(records: Collection[Record]) -> str:
    from sampledb.render.html import render_note, render_table  # noqa: PLC0415 - for notebooks only

    kind = type(next(iter(records), None))
    if not issubclass(kind, Record):
        return render_note("No records.")
    columns = kind._columns or kind.__struct_fields__  # noqa: SLF001 - tables are made here only
    rows = ([getattr(record, column) for column in columns] for record in records)
    return render_table(f"{kind.__name__}: {len(records):,}", columns, rows, len(records))


class Sample(Record, frozen=True):
    """One file, known by its SHA-256, with its code analysis, its media metadata, or both.

    Unknown text is `""`, unknown numbers are 0; only `bitness` and `notes` can be `None`.

    Attributes:
        sample_id: From 1, growing, never used again.
        sha256: 64 lower-case hex digits.
        name: The file's name, extension included.
        extension: The part of the name after its last dot, lower-case.
        tags: In the order of adding, without duplicates.
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
        smda_version: The version of SMDA that wrote the report; PIC hashes compare within one version only.
        md5: 32 lower-case hex digits, or `""`.
        sha1: 40 lower-case hex digits, or `""`.
        username: The user who added the sample first.
        added_at: The time when the sample was added first, UTC.
    """

    _columns = (
        *("sample_id", "name", "sha256", "family", "version", "tags", "architecture", "bitness", "binary_size"),
        *("num_functions", "added_at"),
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
            sample's `smda_version`: other versions hash the same code to other values.
        disassembly: SMDA's whole function dict, or `None` where a call leaves it out.
        label: The name that somebody gave it, `""` for none; `label_function` sets it.
        comment: The comment that somebody gave it, `""` for none.
    """

    _columns = (
        *("function_id", "sample_id", "offset", "name", "num_blocks", "num_instructions", "binweight", "pic_hash"),
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
        if self.disassembly is None:
            message = "The function came without its disassembly; get_function() and disassembly=True give it."
            raise InvalidInputError(message, {"field": "disassembly", "rule": "SMDA's function dict", "value": "None"})
        blocks = self.disassembly["blocks"].values()
        return RecordList([Instruction(*instruction[:4]) for block in blocks for instruction in block])

    def to_dot(self) -> str:
        """Return the control-flow graph as text for Graphviz, with at most its first 200 blocks.

        Raises:
            InvalidInputError: The function came without its disassembly.
        """
        from sampledb.render.graph import write_dot  # noqa: PLC0415 - few who read functions draw them

        return write_dot(self.disassembly)

    def to_svg(self) -> str:
        """Return the control-flow graph as an SVG picture, with at most its first 200 blocks.

        Raises:
            InvalidInputError: The function came without its disassembly.
            MissingExtraError: The extra `notebook` is not installed.
        """
        from sampledb.render.graph import read_graph  # noqa: PLC0415 - as above
        from sampledb.render.svg import draw_graph  # noqa: PLC0415 - as above

        return draw_graph(read_graph(self.disassembly))

    def _repr_html_(self) -> str:
        from sampledb.render.html import render_card  # noqa: PLC0415 - as above
        from sampledb.render.notebook import render_disassembly  # noqa: PLC0415 - as above

        head = render_card("Function", {field: getattr(self, field) for field in self._columns})
        return head if self.disassembly is None else head + render_disassembly(self.disassembly)


HitField: TypeAlias = Literal["name", "family", "version", "component", "tag", "notes", "function", "api", "string"]


class Hit(Record, frozen=True):
    """A sample or function that `search()` found.

    Attributes:
        sample_id: The sample, or the sample of the function.
        function_id: The function; `None` for a sample.
        field: The field that matches: `name`, `family`, `version`, `component`, `tag`, `notes`; `function` for its
            name; `api` or `string` for what it refers to, of which `function_id` is the first function that does.
        text: The whole content of this field.
        sample: The sample's name.
        offset: Of the function, unsigned 64-bit; `None` for a sample.
        score: The quality of the match, above 0; 1 means that the field equals the text.
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


class Stats(Record, frozen=True):
    """The content and size of a file.

    Attributes:
        num_samples: All samples.
        num_analyzed: Samples with an SMDA report.
        num_media: Samples with media metadata.
        num_functions: Functions of all samples.
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
