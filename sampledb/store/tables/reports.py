"""The table `reports`: SMDA's reports without their functions.

`add` stores a whole report, in this table and those of samples, functions and references.
"""

from collections.abc import Mapping

from sampledb.errors import ConflictError, CorruptFileError, NotFoundError
from sampledb.format import codec
from sampledb.format.report import Report
from sampledb.model import SampleId
from sampledb.store.sqlite import Connection
from sampledb.store.tables import functions, labels, references, samples, signatures


def add_report(
    connection: Connection,
    report: Report,
    overrides: Mapping[str, object],
    *,
    username: str,
    exist_ok: bool = False,
    replace: bool = False,
) -> tuple[SampleId, bool]:
    """Store a report by the rules of `SampleDB.add_sample`; with `exist_ok`, at least the labels that it brings.

    Returns:
        The id of its sample, and whether the report was stored; it was not if the sample already had an analysis.

    Raises:
        ConflictError: The SHA-256 has an analysis, and neither `exist_ok` nor `replace` is set.
    """
    stored = samples.find(connection, sha256=report.sha256)
    if stored and stored.is_analyzed and not replace:
        if not exist_ok:
            raise ConflictError.of_sample(stored.sample_id, report.sha256, "an analysis")
        labels.receive(connection, stored.sample_id, report.labels)
        return stored.sample_id, False
    stored = stored or samples.insert(connection, report.sha256, username)
    references.delete(connection, stored.sample_id)
    signatures.delete(connection, stored.sample_id)
    functions.delete(connection, *stored.function_ids)
    first = functions.next_id(connection) if report.functions else None
    samples.put_analysis(connection, stored, report, first, overrides)
    connection.execute(
        "INSERT OR REPLACE INTO reports (sample_id, checksum, report) VALUES (?, ?, ?)",
        (stored.sample_id, codec.checksum(report.header), report.header),
    )
    if first is not None:
        functions.insert(connection, stored.sample_id, first, report.functions, report.frames)
        references.insert(connection, stored.sample_id, report.references)
    labels.receive(connection, stored.sample_id, report.labels)
    return stored.sample_id, True


def list_samples(connection: Connection) -> list[tuple[str, SampleId, str]]:
    """Return the SHA-256, the id and the family of each sample that has a report, by SHA-256."""
    rows = connection.execute(
        "SELECT sha256, sample_id, family FROM samples JOIN reports USING (sample_id) ORDER BY sha256"
    )
    return [(sha256, SampleId(sample_id), family) for sha256, sample_id, family in rows]


def get_header(connection: Connection, sample_id: int) -> bytes:
    """Return the JSON of a sample's report without its `xcfg`.

    Raises:
        NotFoundError: The sample has no report.
    """
    row = connection.execute("SELECT checksum, report FROM reports WHERE sample_id = ?", (sample_id,)).fetchone()
    if row is None:
        raise NotFoundError(
            f"Sample {sample_id} has no SMDA report: it is known by its media metadata only.",
            {"resource": "sample", "id": sample_id},
        )
    checksum, blob = row
    try:
        return codec.decode(codec.JSON, blob, checksum)
    except codec.DecodeError as error:
        raise CorruptFileError.of(str(error), f"reports, sample_id {sample_id}") from error


def compact(connection: Connection, after: int) -> int | None:
    """Compress the next report after an id harder. Returns its id, or `None` at the end."""
    row = connection.execute(
        "SELECT sample_id, report FROM reports WHERE sample_id > ? ORDER BY sample_id LIMIT 1", (after,)
    ).fetchone()
    if row is None:
        return None
    sample_id, blob = row
    if not codec.is_compact(blob):
        (smaller,) = codec.encode_many(codec.JSON, [get_header(connection, sample_id)], compact=True)
        connection.execute(
            "UPDATE reports SET checksum = ?, report = ? WHERE sample_id = ?",
            (codec.checksum(smaller), smaller, sample_id),
        )
    return int(sample_id)
