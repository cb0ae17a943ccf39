"""The file as a whole: its content, its size and its faults."""

from sampledb.model.record import Record


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
