"""A report becomes a sample with functions, inside a transaction that the caller has begun."""

from collections.abc import Mapping

from sampledb.errors import ConflictError
from sampledb.format.report import Report
from sampledb.model import SampleId
from sampledb.store.connection import Connection
from sampledb.store.tables import functions, samples


def add(
    connection: Connection,
    report: Report,
    overrides: Mapping[str, object],
    *,
    username: str,
    exist_ok: bool = False,
    replace: bool = False,
) -> tuple[SampleId, bool]:
    """The sample of a report, and whether the report was stored now; the rules are those of `add_sample`.

    Raises:
        ConflictError: The SHA-256 has an analysis, and neither `exist_ok` nor `replace` is set.
    """
    stored = samples.find(connection, sha256=report.sha256)
    if stored and stored.is_analyzed and not replace:
        if not exist_ok:
            raise ConflictError.of_sample(stored.sample_id, report.sha256, "an analysis")
        return stored.sample_id, False
    stored = stored or samples.insert(connection, report.sha256, username)
    functions.delete(connection, *stored.function_ids)
    first = functions.next_id(connection) if report.functions else None
    samples.put_analysis(connection, stored, report, first, overrides)
    if first is not None:
        functions.insert(connection, stored.sample_id, first, report.functions, report.frames)
    return stored.sample_id, True
