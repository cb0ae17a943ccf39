"""What the calls return: frozen structs, in the terms of SMDA, MCRIT and the CCExtractor sample platform.

Field order is column order: `samples` and `functions` derive their SELECTs from it.
"""

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, ClassVar, Generic, Literal, NewType, TypeAlias, TypeVar

import msgspec

from sampledb.errors import SampleDBError

SampleId = NewType("SampleId", int)
FunctionId = NewType("FunctionId", int)


class Record(msgspec.Struct, frozen=True):
    """A frozen struct that can turn itself into plain JSON types, and into a card in notebooks."""

    #: Columns of a table of them; all fields where there are none.
    _columns: ClassVar[tuple[str, ...]] = ()

    def to_dict(self) -> dict[str, Any]:
        """The fields by name; tuples as lists, datetimes as ISO 8601 text ending in `Z`."""
        # Without the round trip, tuples inside would stay tuples.
        fields: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return fields

    def _repr_html_(self) -> str:
        from sampledb.render import html as pages  # noqa: PLC0415 - for notebooks only

        return pages.card(type(self).__name__, {field: getattr(self, field) for field in self.__struct_fields__})


K = TypeVar("K")
R = TypeVar("R", bound=Record)


class RecordDict(dict[K, R], Generic[K, R]):
    """A dict of records, by id; a table in notebooks."""

    __slots__ = ()

    def to_dicts(self) -> list[dict[str, Any]]:
        """Each record's `to_dict()`, in order: the rows of a data frame."""
        return [record.to_dict() for record in self.values()]

    def _repr_html_(self) -> str:
        return _table(self.values())


class RecordList(list[R], Generic[R]):
    """A list of records; a table in notebooks."""

    __slots__ = ()

    def to_dicts(self) -> list[dict[str, Any]]:
        """Each record's `to_dict()`, in order: the rows of a data frame."""
        return [record.to_dict() for record in self]

    def _repr_html_(self) -> str:
        return _table(self)


def _table(records: Collection[Record]) -> str:
    from sampledb.render import html as pages  # noqa: PLC0415 - for notebooks only

    kind = type(next(iter(records), None))
    if not issubclass(kind, Record):
        return pages.note("No records.")
    columns = kind._columns or kind.__struct_fields__  # noqa: SLF001 - a table of them is drawn nowhere else
    rows = ([getattr(record, column) for column in columns] for record in records)
    return pages.table(f"{kind.__name__}: {len(records):,}", columns, rows, len(records))


class Sample(Record, frozen=True):
    """One file, known by its SHA-256, with its code analysis, its media metadata, or both.

    Unknown text is `""`, unknown numbers are 0; only `bitness` and `notes` can be `None`.

    Attributes:
        sample_id: From 1, growing, never used again.
        sha256: 64 lower-case hex digits.
        name: The file's name, extension included.
        extension: What follows the last dot of the name, lower-case, without the dot.
        tags: In the order given, without duplicates.
        media_info: MediaInfo's tracks, `{"tracks": [{"@type": "General", …}, …]}`, or what was given.
        notes: Free text, or `None`.
        family: The malware family or the library, as in SMDA's and MCRIT's `family`.
        version: The version of the family.
        component: The component of the family, as in SMDA.
        is_library: Whether the sample is a library rather than malware, as in MCRIT.
        architecture: SMDA's: `intel`, `aarch64`, `arm`, `cil`, `dalvik`; `""` without an analysis.
        bitness: 32 or 64; `None` when unknown.
        base_addr: Where the image is mapped, unsigned 64-bit.
        binary_size: Bytes.
        binweight: SMDA's weight of all functions together, the bytes that tell them apart.
        num_functions: Functions in the report; 0 without an analysis.
        statistics: SMDA's counts (`num_instructions`, …), `{}` when the report has none.
        smda_version: Of the SMDA that wrote the report; pic hashes compare within one version only.
        md5: 32 lower-case hex digits, or `""`.
        sha1: 40 lower-case hex digits, or `""`.
        username: Who added the sample first.
        added_at: When the sample was added first, UTC.
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


class Function(Record, frozen=True):
    """One function of a sample.

    Attributes:
        function_id: From 1, growing, never used again; consecutive within a sample, in offset order.
        sample_id: The sample it was found in.
        offset: Address of its entry, unsigned 64-bit.
        name: SMDA's `function_name`, `""` when there is no symbol.
        num_blocks: Basic blocks.
        num_instructions: Instructions in all blocks.
        binweight: SMDA's weight: the bytes of the code less what addresses change.
        pic_hash: SMDA's position-independent code hash, unsigned 64-bit, or `None`. It belongs to the
            sample's `smda_version`: other versions hash the same code to other values.
        disassembly: SMDA's function dict, whole, or `None` where a call leaves it out.
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

    def to_dot(self) -> str:
        """The control-flow graph, for Graphviz; the first 200 blocks of it.

        Raises:
            InvalidInputError: The function came without its disassembly.
        """
        from sampledb.render import graph as graphs  # noqa: PLC0415 - the calls for tables of functions draw nothing

        return graphs.dot(self.disassembly)

    def to_svg(self) -> str:
        """The control-flow graph as a picture; the first 200 blocks of it.

        Raises:
            InvalidInputError: The function came without its disassembly.
            MissingExtraError: The extra `notebook` is not installed.
        """
        from sampledb.render import graph as graphs  # noqa: PLC0415 - as above

        return graphs.svg(self.disassembly)

    def _repr_html_(self) -> str:
        from sampledb.render import graph as graphs  # noqa: PLC0415 - as above
        from sampledb.render import html as pages  # noqa: PLC0415 - as above

        head = pages.card("Function", {field: getattr(self, field) for field in self._columns})
        return head if self.disassembly is None else head + graphs.html(self.disassembly)


HitField: TypeAlias = Literal["name", "family", "version", "component", "tag", "notes", "function"]


class Hit(Record, frozen=True):
    """Something that `search()` found.

    Attributes:
        sample_id: The sample that it is, or is in.
        function_id: The function whose name it is; `None` for a sample.
        field: Where it was found: `name`, `family`, `version`, `component`, `tag`, `notes`, or `function`.
        text: All that this field holds.
        sample: The sample's name.
        offset: Of the function, unsigned 64-bit; `None` for a sample.
        score: How well it fits, above 0 and up to 1, which is all of the text and nothing else.
    """

    sample_id: SampleId
    function_id: FunctionId | None
    field: HitField
    text: str
    sample: str
    offset: int | None
    score: float


class Stats(Record, frozen=True):
    """What is in the file.

    Attributes:
        num_samples: All samples.
        num_analyzed: Samples with an SMDA report.
        num_media: Samples with media metadata.
        num_functions: Functions of all samples.
        num_families: Different families, unnamed ones left out.
        num_tags: Different tags.
        disassembly_bytes: Stored bytes of compressed disassembly.
        file_bytes: Size of the database, free pages included.
        free_bytes: What `compact()` would give back at least.
        format_version: The file's `user_version`.
        journal_mode: SQLite's, at this moment.
        sqlite_version: Of the SQLite library in use.
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
    """One thing that `check()` found wrong.

    Attributes:
        what: The fault, a sentence.
        where: The table and row, or the part of the file.
        sample_id: The sample that suffers, or `None`.
    """

    what: str
    where: str
    sample_id: int | None = None


class Outcome(Record, frozen=True):
    """What became of one report given to `add_samples`.

    Attributes:
        index: Position in the reports given, from 0.
        status: `added`; `existed`, when the SHA-256 has an analysis already; or `failed`.
        sample: The sample as stored; `None` when it failed.
        error: Why it failed; `None` when it did not.
        source: The path or label of what was given, for people; `""` for a dict or bytes.
    """

    index: int
    status: Literal["added", "existed", "failed"]
    sample: Sample | None
    error: SampleDBError | None
    source: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As for every record, the error as its own `to_dict()`."""
        return {
            "index": self.index,
            "status": self.status,
            "sample": self.sample and self.sample.to_dict(),
            "error": self.error and self.error.to_dict(),
            "source": self.source,
        }


JobState: TypeAlias = Literal["queued", "running", "finished", "failed", "cancelled"]


class Job(Record, frozen=True):
    """A binary that is to be disassembled, is being disassembled, or was.

    Attributes:
        job_id: What `submit_binary` returned.
        state: `queued`, `running`, `finished` (there is a sample), `failed` (there is an error) or `cancelled`.
        sha256: Of the binary, 64 lower-case hex digits.
        filename: As submitted; `""` when unknown.
        attempts: How often it was begun, 3 times at most.
        sample_id: The sample that came of it; `None` before, and when the sample was deleted since.
        error: Why it failed, as an error's `to_dict()`: code, message, details; `None` when it did not.
        submitted_at: UTC.
        started_at: When the last attempt began, UTC; `None` before.
        finished_at: When it was finished, failed or cancelled, UTC; `None` before.
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


#: Called after each job with how many have ended, how many there are in all, and the job.
JobProgress: TypeAlias = Callable[[int, int, Job], object]

#: Called after each item with how many are done, how many there are (`None` when unknown), and the outcome.
Progress: TypeAlias = Callable[[int, int | None, Outcome], object]
