"""The table `signatures`: what similar code is found by, a row for each sample.

A row is made when it is first asked for, and goes with the functions of its sample. It follows from their frames.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from sampledb import limits
from sampledb.errors import CorruptFileError
from sampledb.format import codec
from sampledb.model import Problem
from sampledb.store.sqlite import Connection

# Numbers and bytes of each function, the same for all algorithms so far.
COORDINATES: Final = 256
SIGN_BYTES: Final = 32
DETAIL_BYTES: Final = 96

_SOURCES: Final = """
SELECT samples.sample_id, first_function_id, num_functions, architecture, base_addr, binary_size, is_library, checksum
FROM samples LEFT JOIN signatures ON signatures.sample_id = samples.sample_id AND algorithm = :algorithm
WHERE num_functions > 0 AND samples.sample_id BETWEEN :first AND :last
ORDER BY samples.sample_id"""
_STORED: Final = """
SELECT
    sample_id, first_function_id, num_functions, architecture, base_addr, binary_size, is_library, checksum, algorithm
FROM signatures JOIN samples USING (sample_id)
WHERE sample_id = (SELECT min(sample_id) FROM signatures WHERE sample_id BETWEEN ? AND ?)
ORDER BY algorithm"""
_SIGNS: Final = "SELECT checksum, functions, signs FROM signatures WHERE sample_id = ? AND algorithm = ?"
_DETAILS: Final = (
    "SELECT details_checksum, details FROM signatures WHERE sample_id = ? AND algorithm = ? AND checksum = ?"
)
# Only if these are still the functions from which the signatures were made.
_INSERT: Final = """
INSERT OR IGNORE INTO signatures (sample_id, algorithm, checksum, details_checksum, functions, signs, details)
SELECT sample_id, ?, ?, ?, ?, ?, ?
FROM samples
WHERE sample_id = ? AND first_function_id = ?"""
_ALGORITHMS: Final = "SELECT DISTINCT algorithm FROM signatures ORDER BY algorithm"
_ORPHANS: Final = """
SELECT sample_id
FROM signatures
WHERE sample_id NOT IN (SELECT sample_id FROM samples WHERE num_functions > 0)"""


class Source(NamedTuple):
    """A sample whose functions have signatures, or may get them.

    Attributes:
        first: The id of its first function.
        base_addr: The address of the loaded program, as is `binary_size` without sign.
        checksum: Of what `read_signs` returns; `None` if nothing is stored.
    """

    sample_id: int
    first: int
    num_functions: int
    architecture: str
    base_addr: int
    binary_size: int
    is_library: bool
    checksum: int | None


class Signed(NamedTuple):
    """The signatures of a sample's functions.

    Attributes:
        functions: Which functions they are: bit `1 << n % 8` of byte `n // 8` for the n-th.
        signs: SIGN_BYTES for each, in the order of the functions.
        details: DETAIL_BYTES for each.
    """

    functions: bytes
    signs: bytes
    details: bytes

    def list_positions(self) -> list[int]:
        """Return which functions of the sample have signatures."""
        return [8 * place + bit for place, byte in enumerate(self.functions) for bit in range(8) if byte >> bit & 1]

    @property
    def checksum(self) -> int:
        """Return the checksum of the signs."""
        return codec.checksum(self.functions + self.signs)


# Reading


def select_sources(connection: Connection, algorithm: int, sample_id: int | None = None) -> list[Source]:
    """Return all samples that have functions, or one of them, by id."""
    # A range even of one: with `:sample IS NULL OR …`, SQLite reads all samples.
    first, last = (-limits.MAX_ID, limits.MAX_ID) if sample_id is None else (sample_id, sample_id)
    rows = connection.execute(_SOURCES, {"algorithm": algorithm, "first": first, "last": last})
    return [_make_source(row) for row in rows]


def _make_source(row: tuple[Any, ...]) -> Source:
    # Any: somebody may have tampered with the file.
    sample_id, first, count, architecture, base, size, is_library, checksum = row
    if not isinstance(first, int) or not isinstance(count, int) or not 1 <= first < first + count <= limits.MAX_ID:
        raise CorruptFileError.of("impossible function ids", f"samples, sample_id {sample_id}")
    image = base & codec.MASK, size & codec.MASK
    return Source(sample_id, first, count, architecture, *image, bool(is_library), checksum)


def select_next(connection: Connection, begin: int, last: int) -> list[tuple[Source, int]]:
    """Return the next sample whose id is from `begin` to `last` and that has signatures, once for each algorithm."""
    rows = connection.execute(_STORED, (begin, last))
    return [(_make_source(row[:-1]), row[-1]) for row in rows]


def is_current(connection: Connection, source: Source) -> bool:
    """Return whether a sample is still there, with the same functions: their ids are never used again."""
    sql = "SELECT 1 FROM samples WHERE sample_id = ? AND first_function_id = ?"
    return connection.execute(sql, (source.sample_id, source.first)).fetchone() is not None


def read(connection: Connection, source: Source, algorithm: int) -> Signed:
    """Return the signatures of a sample, which must be stored."""
    functions, signs = read_signs(connection, source, algorithm)
    details = read_details(connection, source, algorithm) or b""
    if len(details) // DETAIL_BYTES != len(signs) // SIGN_BYTES:
        raise _make_error("there are not as many details as signatures", source.sample_id)
    return Signed(functions, signs, details)


def read_signs(connection: Connection, source: Source, algorithm: int) -> tuple[bytes, bytes]:
    """Return which functions of a sample have signatures, and their signs, which must be stored."""
    row = connection.execute(_SIGNS, (source.sample_id, algorithm)).fetchone()
    return _check_signs(source.sample_id, source.num_functions, *(row or (None, None, None)))


def _check_signs(sample_id: int, count: int, checksum: object, functions: object, signs: object) -> tuple[bytes, bytes]:
    if not isinstance(functions, bytes) or not isinstance(signs, bytes):
        raise _make_error("there are no signatures", sample_id)
    if codec.checksum(functions + signs) != checksum:
        raise _make_error("signatures do not match their checksum", sample_id)
    # All bits as one number: its length is the number of functions.
    bits = int.from_bytes(functions, "little")
    if bits.bit_length() > count or len(signs) != SIGN_BYTES * bits.bit_count():
        raise _make_error("the signatures are not those of the sample's functions", sample_id)
    return functions, signs


def read_details(connection: Connection, source: Source, algorithm: int) -> bytes | None:
    """Return the details that belong to signs; `None` if they are no longer stored."""
    key = (source.sample_id, algorithm, source.checksum)
    row = connection.execute(_DETAILS, key).fetchone()
    return None if row is None else _check_details(source.sample_id, *row)


def _check_details(sample_id: int, checksum: object, details: object) -> bytes:
    if not isinstance(details, bytes) or codec.checksum(details) != checksum or len(details) % DETAIL_BYTES:
        raise _make_error("details of signatures do not match their checksum", sample_id)
    return details


def _make_error(what: str, sample_id: int) -> CorruptFileError:
    return CorruptFileError.of(f"{what}; delete the row, and it is made again", f"signatures, sample_id {sample_id}")


# Writing


def insert(connection: Connection, source: Source, algorithm: int, signed: Signed) -> None:
    """Insert the signatures of a sample, unless its functions were replaced, or others have inserted them."""
    checksums = signed.checksum, codec.checksum(signed.details)
    connection.execute(_INSERT, (algorithm, *checksums, *signed, source.sample_id, source.first))


def delete(connection: Connection, sample_id: int) -> None:
    """Delete the signatures of a sample, whose functions go; those of a deleted sample go with its row."""
    connection.execute("DELETE FROM signatures WHERE sample_id = ?", (sample_id,))


# Checking


def find_differences(connection: Connection, sample_id: int | None = None) -> Iterator[Problem]:
    """Yield a Problem for each damaged row, of one sample or of all. What they say is not made again."""
    for (algorithm,) in connection.execute(_ALGORITHMS).fetchall():
        for source in select_sources(connection, algorithm, sample_id):
            try:
                if source.checksum is not None:
                    read(connection, source, algorithm)
            except CorruptFileError as error:
                yield Problem(str(error.details["what"]), str(error.details["where"]), source.sample_id)
    for (found,) in connection.execute(_ORPHANS):
        if sample_id in (None, found):
            yield Problem(
                "the sample has no functions that signatures could be of", f"signatures, sample_id {found}", found
            )
