"""Public calls for many samples: add reports, merge a store, write what people typed as text."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import TYPE_CHECKING, Final

from sampledb import limits
from sampledb.database.handle import Handle
from sampledb.errors import InvalidInputError
from sampledb.intake.files import new_file, open_regular
from sampledb.model import Outcome, Progress
from sampledb.store import forks
from sampledb.store.connection import Connections
from sampledb.store.tables import samples

if TYPE_CHECKING:
    from sampledb.database.transfer.decision import Policy
    from sampledb.database.transfer.merge import Source

# How a text of annotations begins.
_BEGIN: Final = b'{"sampledb": "annotations"'


class Transfer(Handle):
    """Many samples in, and what people know of them out."""

    def add_samples(
        self, reports: Iterable[object], *, exist_ok: bool = True, progress: Progress | None = None
    ) -> Iterator[Outcome]:
        """Store many reports and yield an outcome for each, in order, once it is on disk.

        Reads up to 64 reports ahead, in bounded memory, and after a tenth of a second parses them on all cores. Reports
        whose SHA-256 has an analysis are skipped unread, unless they bring labels. A report that fails does not stop
        the others, nor does a busy file; a full or failing disk does. While the iterable waits for its next report,
        those that were read ahead wait with it.

        Args:
            reports: Anything that `add_sample` takes, or paths of MCRIT's `.mcrit` files, each sample of which is a
                report with its labels; `find_reports` finds them in folders and archives.
            exist_ok: Report a SHA-256 that has an analysis as `existed`, not as `failed`. Labels that such a report
                brings are added to the history of those that its functions have, which stay.
            progress: Called after each report with the number done, the number in all (`None` if unknown) and the
                outcome.
        """
        # Threads and processes, which nothing else here needs.
        from sampledb.database.transfer.bulk import BulkAdd, is_export  # noqa: PLC0415

        exist_ok = limits.flag("exist_ok", exist_ok)
        self._connections.require_writable()
        if isinstance(reports, str | bytes | Mapping) or not isinstance(reports, Iterable):
            raise InvalidInputError.of("reports", "an iterable of reports", reports)
        total = len(reports) if isinstance(reports, Sized) and not any(map(is_export, reports)) else None

        def outcomes() -> Iterator[Outcome]:
            for outcome in BulkAdd(self._connections, exist_ok=exist_ok).run(reports):
                if progress is not None:
                    progress(outcome.index + 1, total, outcome)
                yield outcome

        return forks.in_one_process(outcomes())

    def merge(
        self, other: "str | os.PathLike[str] | Handle", *, policy: "Policy" = "keep", progress: Progress | None = None
    ) -> Iterator[Outcome]:
        """Merge the samples of another store into this one, and yield an outcome for each once it is on disk.

        Samples are the same if their SHA-256 is. What is not here comes here, with its dates and users: samples with
        their reports, tags, media metadata, kept binaries, labels with their history. Where a sample has a gap here, it
        is filled: an empty field, a library flag that is not set, a missing analysis. Tags are united, ours first. Jobs
        stay where they are, and so do ids. Where both sides say something different, the outcome has a Difference for
        each, and `policy` decides.

        A merge that ended early goes on when it is begun again, and a second one changes nothing. A sample that cannot
        be merged does not stop the others; a full or failing disk does, and a busy file.

        The other store may come from anybody. It is opened read-only, none of its SQL runs, and every value is checked
        as on every way in, the disassembly against checksums, rows and counts. Not compared are the disassembly's
        details with what is derived of them: how far the blocks of a function reach, and the APIs and strings that it
        refers to. `check(deep=True)` does.

        Args:
            other: The path of another store, one that is open, or the path of a text of `export_annotations`. Such a
                text says nothing about samples that are not here; their outcome is `failed`.
            policy: `keep` what is here, take `theirs`, or what is `newest`: of a label, the one that was said later; of
                all else, that of the sample that was added later. A text has no such date, so that `newest` keeps.
            progress: Called after each sample with the number done, the number in all (`None` if unknown) and the
                outcome.

        Raises:
            InvalidInputError: `other` is this file, or no text or file that can be read.
            NotASampleDBError: It is no store.
            NewerFormatError: A later version of this package wrote it.
        """
        # As all that is merged or written is: most programs do neither.
        from sampledb.database.transfer.decision import POLICIES  # noqa: PLC0415
        from sampledb.database.transfer.merge import Merge  # noqa: PLC0415

        limits.choice("policy", policy, POLICIES)
        self._connections.require_writable()
        source = self._open_source(other)

        def outcomes() -> Iterator[Outcome]:
            for outcome in Merge(self._connections, policy).run(source):
                if progress is not None:
                    progress(outcome.index + 1, source.total, outcome)
                yield outcome

        return outcomes()

    def export_annotations(self, path: str | os.PathLike[str]) -> int:
        """Write what people typed to a new text file, one JSON object a line, and return the number of lines.

        These are tags, notes, families, versions, components, names, extensions, library flags, and labels with their
        history. The same content gives the same bytes, whatever the order of adding: they fit a version control system.
        `merge` reads them.

        Raises:
            InvalidInputError: `path` exists.
            StorageError: The file cannot be written.
        """
        from sampledb.database.transfer.annotations import write_lines  # noqa: PLC0415 - as in merge()

        count = 0
        with (
            new_file(limits.path(path)) as partial,
            self._connections.snapshot() as connection,
            partial.open("w", encoding="ascii", newline="\n") as text,
        ):
            for line in write_lines(connection):
                text.write(line)
                count += 1
            text.flush()
            os.fsync(text.fileno())
        return count

    def export_mcrit(self, path: str | os.PathLike[str], sample_ids: Iterable[int] | None = None) -> None:
        """Write samples with their functions and labels to a new `.mcrit` file, which MCRIT and `add_samples` import.

        Samples without an SMDA report are left out. MinHashes and block hashes are those that came from MCRIT; where
        there are none, or of another configuration than the file can name, they are left empty, and MCRIT computes
        MinHashes when it is asked to. The same content makes the same bytes. The file appears whole, from one moment
        of the store, and never replaces one. Without a WAL, others wait meanwhile before they write.

        Args:
            path: The new file.
            sample_ids: The samples, `None` for all.

        Raises:
            InvalidInputError: `path` exists, or an id is none.
            NotFoundError: There is no such sample, or it has no report.
            StorageError: The new file cannot be written.
        """
        from sampledb.database.transfer.mcrit import write_export  # noqa: PLC0415 - as in merge()

        if not isinstance(sample_ids, Iterable | None):
            raise InvalidInputError.of("sample_ids", "a list of ids", sample_ids)
        path = limits.path(path)
        wanted = None if sample_ids is None else {limits.identity("sample_ids", each) for each in sample_ids}
        with (
            self._connections.snapshot() as connection,
            new_file(path) as partial_path,
            partial_path.open("wb") as file,
        ):
            write_export(connection, wanted, file)

    def _open_source(self, other: object) -> "Source":
        """Return the samples to merge."""
        from sampledb.database.transfer.merge import Source, list_store  # noqa: PLC0415 - as in merge()

        if isinstance(other, Handle):
            connections = self._require_other(other)
            return Source(list_store(connections), _count(connections), other, is_own=False)
        path = limits.path(other)
        # Closing a file after a look at it would drop the locks of handles that have it open.
        text = None if forks.is_open(path) else _open_text(path)
        if text:
            return text
        store = Handle(path, readonly=True, timeout=self._connections.timeout)
        try:
            connections = self._require_other(store)
            return Source(list_store(connections), _count(connections), store)
        except BaseException:
            store.close()
            raise

    def _require_other(self, other: Handle) -> Connections:
        """Return the connections of another store; raise InvalidInputError if it is this one."""
        found = other._connections  # noqa: SLF001 - of one package
        ours, theirs = self._connections.identity, found.identity
        if other is self or (ours and theirs and ours.is_same_file(theirs)):
            raise InvalidInputError.in_file(other.path, "is this store itself; give another one", field="other")
        return found


def _count(connections: Connections) -> int:
    with connections.reading() as connection:
        return int(samples.count(connection)["num_samples"])


def _open_text(path: str) -> "Source | None":
    """Return the samples of a text of annotations, or `None` for another file."""
    from sampledb.database.transfer.annotations import list_text  # noqa: PLC0415 - as in merge()
    from sampledb.database.transfer.merge import Source  # noqa: PLC0415

    file = open_regular(path, "other")
    try:
        if file.read(len(_BEGIN)) == _BEGIN:
            file.seek(0)
            return Source(list_text(file, path), None, file)
    except BaseException:
        file.close()
        raise
    file.close()
    return None
