"""Samples, their families, and what is known of their code from other samples."""

import re
from datetime import datetime
from typing import Any, Final

from sampledb.model.record import Record, SampleId

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
