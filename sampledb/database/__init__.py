"""The public calls: each checks its arguments, opens one transaction, and asks the tables."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from itertools import count
from typing import Any, Final, TypeVar

from msgspec import UNSET, UnsetType

from sampledb import limits
from sampledb.database.jobs import JobQueue
from sampledb.errors import (
    ConflictError,
    CorruptFileError,
    InvalidInputError,
    NotFoundError,
)
from sampledb.files import new_file
from sampledb.format.report import join_report, parse_report
from sampledb.intake import media
from sampledb.intake.source import read_source
from sampledb.model import Function, Hit, Outcome, Problem, Progress, RecordDict, RecordList, Sample, Stats
from sampledb.store.care import check as checks
from sampledb.store.connection import file_statistics
from sampledb.store.tables import functions, jobs, samples, search
from sampledb.store.tables import reports as storing

# iter_samples and iter_functions hold this many records at a time, and no lock between two pages.
_PAGE: Final = 500
_PAGE_WITH_DISASSEMBLY: Final = 64


def open(path: str | os.PathLike[str], *, readonly: bool = False, timeout: float = 5.0) -> "SampleDB":  # noqa: A001
    """Open a file, creating it if it is missing.

    Opening an up-to-date file writes nothing. With `readonly`, nothing ever does, and a missing file is an error.

    Args:
        path: The file, or `":memory:"` for a store that lasts as long as the handle.
        readonly: Only read; works on read-only media too.
        timeout: Seconds to wait for another writer before BusyError.

    Raises:
        NotASampleDBError: The file is something else.
        NewerFormatError: A later version of this package wrote the file.
        CorruptFileError: The file is damaged.
        ReadOnlyError: The file is of an older format and must be upgraded, which `readonly` forbids.
        StorageError: The file cannot be opened or created.
    """
    return SampleDB(path, readonly=readonly, timeout=timeout)


def salvage(damaged: str | os.PathLike[str], path: str | os.PathLike[str]) -> list[Problem]:
    """Put all that can be read of a damaged file into a new one; what was lost, empty when that is nothing.

    The damaged file is only read, and needs free space of its size beside the new one. No handle of this process may
    have it open: those have a `salvage` of their own.

    Raises:
        InvalidInputError: There is a file at `path` already, or a handle has the damaged one open.
        NotASampleDBError: There is nothing of ours in it.
        StorageError: It cannot be read at all, or the new one cannot be written.
    """
    from sampledb.store.care import salvage as salvaging  # noqa: PLC0415 - as above

    return salvaging.salvage(limits.path(damaged), limits.path(path))


class SampleDB(JobQueue):
    """A store of samples and their functions in one SQLite file.

    May be shared by threads, survives `fork`, and pickles to its path. Every call that changes something is one
    transaction: when it returns, the change is on disk; when it raises, nothing has changed. Any call can raise
    ClosedError after `close()`, BusyError when another connection holds the file for longer than `timeout`,
    CorruptFileError when it meets damage, and StorageError when the disk fails.
    """

    # Adding

    def add_sample(
        self,
        smda_report: object,
        *,
        username: str = "anonymous",
        exist_ok: bool = False,
        replace: bool = False,
        family: str | None = None,
        version: str | None = None,
        component: str | None = None,
        is_library: bool | None = None,
        name: str | None = None,
    ) -> Sample:
        """Store an SMDA report with all its functions (MCRIT's `POST /samples`).

        A sample known by its media metadata only gets the analysis attached.

        Args:
            smda_report: A dict, JSON bytes, the path of a report, or an `SmdaReport`. A dict is stored as JSON has
                it: integer keys become text, tuples become lists.
            username: Who adds it.
            exist_ok: Return the stored sample unchanged when its SHA-256 already has an analysis.
            replace: Replace the analysis of a stored sample. It keeps its `sample_id`, name, tags and notes; its
                functions get new ids.
            family: Wins over the report's, as do `version`, `component`, `is_library` and `name`.
            version: The version of the family.
            component: The component of the family.
            is_library: Whether it is a library.
            name: The file's name, which the report keeps as `filename`.

        Raises:
            InvalidInputError: The report or an argument breaks a rule; in reports, `details["path"]` says where.
            ConflictError: The SHA-256 already has an analysis.
        """
        given = {
            "family": family,
            "version": version,
            "component": component,
            "is_library": is_library,
            "name": name,
        }
        overrides = {field: value for field, value in given.items() if value is not None}
        username = limits.username(username)
        exist_ok = limits.flag("exist_ok", exist_ok)
        replace = limits.flag("replace", replace)
        self._connections.require_writable()
        report = parse_report(read_source(smda_report), overrides)
        with self._connections.writing() as connection:
            sample_id, _ = storing.add(
                connection, report, overrides, username=username, exist_ok=exist_ok, replace=replace
            )
            return samples.get(connection, sample_id)

    def add_samples(
        self, reports: Iterable[object], *, exist_ok: bool = True, progress: Progress | None = None
    ) -> Iterator[Outcome]:
        """Store many reports, and yield what became of each, in order, when it is on disk.

        Reads a few reports ahead of what is asked for, in bounded memory. After half a second of it, packs them on
        all cores. Those whose SHA-256 has an analysis are skipped unread. A report that fails does not stop others,
        nor does a file that is busy; a disk that is full or fails does. While an iterator waits for its next report,
        up to twice as many as there are cores wait with it.

        Args:
            reports: What `add_sample` takes, many of it; `find_reports` finds them in folders and archives.
            exist_ok: Whether a SHA-256 that has an analysis counts as `existed` rather than `failed`.
            progress: Called after each with how many are done, how many there are (`None` if unknown), the outcome.
        """
        # Threads and processes, which nothing else here needs.
        from sampledb.database.bulk import Ingestion  # noqa: PLC0415

        exist_ok = limits.flag("exist_ok", exist_ok)
        self._connections.require_writable()
        if isinstance(reports, str | bytes | Mapping) or not isinstance(reports, Iterable):
            raise InvalidInputError.of("reports", "an iterable of reports", reports)
        total = len(reports) if isinstance(reports, Sized) else None

        def outcomes() -> Iterator[Outcome]:
            for outcome in Ingestion(self._connections, exist_ok=exist_ok).outcomes(reports):
                if progress is not None:
                    progress(outcome.index + 1, total, outcome)
                yield outcome

        return outcomes()

    def add_media(
        self,
        file: str | os.PathLike[str] | None = None,
        *,
        sha256: str | None = None,
        name: str | None = None,
        extension: str | None = None,
        tags: list[str] | tuple[str, ...] = (),
        media_info: dict[str, Any] | None = None,
        notes: str | None = None,
        username: str = "anonymous",
        exist_ok: bool = False,
    ) -> Sample:
        """Store the metadata of a media file; its bytes are not stored.

        A sample known by its analysis gets the media metadata attached: names, notes and media_info given here win,
        tags come behind those it has.

        Args:
            file: Hashed as a stream; gives `name` and `extension`, and `media_info` when MediaInfo is installed
                (extra `media`).
            sha256: Required without a file.
            name: The file's name.
            extension: Without the dot.
            tags: At most 50, in order.
            media_info: A JSON object to keep instead of what MediaInfo says.
            notes: Free text.
            username: Who adds it.
            exist_ok: Return the stored sample unchanged when its SHA-256 already has media metadata.

        Raises:
            InvalidInputError: An argument breaks a rule, or the file cannot be read.
            ConflictError: The SHA-256 already has media metadata.
        """
        username = limits.username(username)
        exist_ok = limits.flag("exist_ok", exist_ok)
        self._connections.require_writable()
        described = media.describe(
            file,
            sha256=None if sha256 is None else limits.sha256(sha256),
            given=limits.fields({"name": name, "extension": extension, "notes": notes}, absent=None),
            tags=limits.tags(tags),
            media_info=None if media_info is None else limits.json_object("media_info", media_info),
        )
        with self._connections.writing() as connection:
            stored = samples.find(connection, sha256=described.sha256)
            if stored and stored.has_media:
                if not exist_ok:
                    raise ConflictError.of_sample(stored.sample_id, described.sha256, "media metadata")
                return samples.get(connection, stored.sample_id)
            stored = stored or samples.insert(connection, described.sha256, username)
            samples.put_media(connection, stored, described)
            return samples.get(connection, stored.sample_id)

    # Samples

    def list_samples(
        self,
        start: int = 0,
        limit: int = 0,
        *,
        family: str | None = None,
        tag: str | None = None,
        name: str | None = None,
        extension: str | None = None,
        is_library: bool | None = None,
    ) -> RecordDict[int, Sample]:
        """The samples by `sample_id`, in its order (MCRIT's `GET /samples`); those that match all filters given.

        `start` is a position among the matches, `limit` how many at most, 0 for all. `family=""` matches samples
        without a family.
        """
        start, count = _window(start, limit)
        filters = _filters(family=family, tag=tag, name=name, extension=extension, is_library=is_library)
        with self._connections.reading() as connection:
            found = samples.select(connection, filters, start=start, limit=count)
        return RecordDict({sample.sample_id: sample for sample in found})

    def iter_samples(
        self,
        *,
        family: str | None = None,
        tag: str | None = None,
        name: str | None = None,
        extension: str | None = None,
        is_library: bool | None = None,
    ) -> Iterator[Sample]:
        """As `list_samples`, but in bounded memory; changes made meanwhile may or may not be seen."""
        filters = _filters(family=family, tag=tag, name=name, extension=extension, is_library=is_library)

        def page_after(sample: Sample | None) -> list[Sample]:
            after = sample.sample_id if sample else 0
            with self._connections.reading() as connection:
                page = samples.select(connection, filters | {"after": after}, limit=_PAGE)
                _require_growth(after, page[-1].sample_id if page else None)
            return page

        return _paged(page_after)

    def get_sample(self, sample_id: int) -> Sample:
        """The sample of that id (MCRIT's `GET /samples/{id}`), or NotFoundError."""
        sample_id = limits.identity("sample_id", sample_id)
        with self._connections.reading() as connection:
            return samples.get(connection, sample_id)

    def get_sample_by_sha256(self, sha256: str) -> Sample:
        """The sample of that hash, whatever its case (MCRIT's `GET /samples/sha256/{sha256}`), or NotFoundError."""
        sha256 = limits.sha256(sha256)
        with self._connections.reading() as connection:
            return samples.get_by_sha256(connection, sha256)

    def find_sample(self, hash: str) -> Sample:  # noqa: A002 - what users call it
        """The sample with that MD5, SHA-1 or SHA-256, or with a hash that begins with these 8 or more hex digits.

        Raises:
            NotFoundError: There is none.
            InvalidInputError: There are several, or these are no hex digits.
        """
        prefix = limits.digits(hash)
        with self._connections.reading() as connection:
            return samples.get_by_hash(connection, prefix)

    def search(self, text: str, *, limit: int = 50) -> RecordList[Hit]:
        """Samples and functions by what they are called, the best hits first.

        Looks in names, families, versions, components, tags and notes of samples, and in names of functions (of
        very long ones, in the first 1,000 characters). Each word of `text` must be there, be it inside of another:
        `crypt` finds `aes_encrypt_block`. Capitals do not matter in ASCII, and no character has a special meaning.

        Args:
            text: At most 1,000 characters and 50 different words. Words of one or two characters take longer, as no
                index knows them.
            limit: How many hits at most, 0 for all. As long as there are other names, each is given once.
        """
        text = limits.text("text", text, longest=limits.MAX_SEARCH)
        limit = limits.position("limit", limit) or -1
        with self._connections.snapshot() as connection:
            return RecordList(search.find(connection, text, limit=limit))

    def update_sample(
        self,
        sample_id: int,
        *,
        family_name: str | UnsetType = UNSET,
        version: str | UnsetType = UNSET,
        component: str | UnsetType = UNSET,
        is_library: bool | UnsetType = UNSET,
        name: str | UnsetType = UNSET,
        extension: str | UnsetType = UNSET,
        tags: list[str] | tuple[str, ...] | UnsetType = UNSET,
        media_info: dict[str, Any] | UnsetType = UNSET,
        notes: str | UnsetType | None = UNSET,
    ) -> Sample:
        """Change what is given, leave the rest alone, and return the sample (MCRIT's `PUT /samples/{id}`).

        `tags` replaces all tags; `notes=None` removes the notes. The stored report stays as it was given.

        Raises:
            NotFoundError: There is no such sample.
            InvalidInputError: A value breaks a rule.
        """
        sample_id = limits.identity("sample_id", sample_id)
        given: dict[str, object] = {
            "family": family_name,
            "version": version,
            "component": component,
            "is_library": is_library,
        }
        given |= {
            "name": name,
            "extension": extension,
            "tags": tags,
            "media_info": media_info,
            "notes": notes,
        }
        changes = limits.fields(given, absent=UNSET)
        with self._connections.writing() as connection:
            stored = samples.locate(connection, sample_id)
            samples.update(connection, stored.sample_id, changes)
            return samples.get(connection, sample_id)

    def tag_sample(self, sample_id: int, *tags: str, remove: Iterable[str] = ()) -> Sample:
        """Add tags behind those the sample has, and remove others; tags that are there, or are not, stay so.

        Raises:
            NotFoundError: There is no such sample.
            InvalidInputError: A tag breaks a rule, or there would be more than 50.
        """
        sample_id = limits.identity("sample_id", sample_id)
        added, removed = limits.tags(tags), limits.tags(remove if isinstance(remove, str) else tuple(remove))
        with self._connections.writing() as connection:
            stored = samples.locate(connection, sample_id)
            samples.retag(connection, stored.sample_id, added, removed)
            return samples.get(connection, sample_id)

    def delete_sample(self, sample_id: int) -> bool:
        """Delete a sample with everything it has (MCRIT's `DELETE /samples/{id}`); `False` if there was none."""
        sample_id = limits.identity("sample_id", sample_id)
        with self._connections.writing() as connection:
            try:
                stored = samples.locate(connection, sample_id)
            except NotFoundError:
                return False
            functions.delete(connection, *stored.function_ids)
            jobs.delete_binary(connection, stored.sample_id)
            samples.delete(connection, stored.sample_id)
            return True

    def get_report(self, sample_id: int) -> dict[str, Any]:
        """The SMDA report as it was given, unknown keys included; changes made since are not in it.

        Raises:
            NotFoundError: There is no such sample, or it has no report.
        """
        sample_id = limits.identity("sample_id", sample_id)
        with self._connections.snapshot() as connection:
            stored = samples.locate(connection, sample_id)
            header = samples.report_header(connection, sample_id)
            found = functions.select(connection, *stored.function_ids, disassembly=True)
        if len(found) != stored.num_functions:
            where = f"samples, sample_id {sample_id}"
            raise CorruptFileError.of(f"{len(found)} functions are there of {stored.num_functions}", where)
        return join_report(header, ((function.offset, function.disassembly) for function in found))

    def list_families(self) -> dict[str, int]:
        """Samples per family, in alphabetical order; samples without one are counted under `""`."""
        with self._connections.reading() as connection:
            return samples.families(connection)

    # Functions

    def list_functions(
        self, sample_id: int, *, start: int = 0, limit: int = 0, disassembly: bool = False
    ) -> RecordDict[int, Function]:
        """The functions by `function_id`, sorted by unsigned offset (MCRIT's `GET /samples/{id}/functions`).

        `start` is a position, `limit` how many at most, 0 for all. A sample without an analysis has none.

        Raises:
            NotFoundError: There is no such sample.
        """
        sample_id = limits.identity("sample_id", sample_id)
        disassembly = limits.flag("disassembly", disassembly)
        start, count = _window(start, limit)
        with self._connections.snapshot() as connection:
            first, last = samples.locate(connection, sample_id).function_ids
            first = min(first + start, last + 1)
            found = functions.select(connection, first, last, limit=count, disassembly=disassembly)
        return RecordDict({function.function_id: function for function in found})

    def iter_functions(self, sample_id: int | None = None, *, disassembly: bool = False) -> Iterator[Function]:
        """The functions of a sample, or of all, in `function_id` order and bounded memory.

        Raises:
            NotFoundError: There is no such sample.
        """
        first, last = 1, limits.MAX_ID
        disassembly = limits.flag("disassembly", disassembly)
        if sample_id is not None:
            with self._connections.reading() as connection:
                first, last = samples.locate(connection, limits.identity("sample_id", sample_id)).function_ids

        def page_after(function: Function | None) -> list[Function]:
            begin = function.function_id + 1 if function else first
            limit = _PAGE_WITH_DISASSEMBLY if disassembly else _PAGE
            with self._connections.snapshot() as connection:
                page = functions.select(connection, begin, last, limit=limit, disassembly=disassembly)
                _require_growth(begin - 1, page[-1].function_id if page else None)
            return page

        return _paged(page_after)

    def get_function(self, sample_id: int, function_id: int) -> Function:
        """A function with its disassembly (MCRIT's `GET /samples/{id}/functions/{fid}`).

        Raises:
            NotFoundError: There is no such sample, or the function is not one of its.
        """
        sample_id = limits.identity("sample_id", sample_id)
        function_id = limits.identity("function_id", function_id)
        with self._connections.reading() as connection:
            found = functions.get(connection, sample_id, function_id)
            if found is None:
                samples.locate(connection, sample_id)
                raise NotFoundError.of("function", function_id)
        return found

    def find_function(self, sample_id: int, address: int | str) -> Function:
        """The function with a block that contains `address`, an integer or `"0x401000"`; with its disassembly.

        Where functions share the block, it is the one whose entry is nearest below the address.

        Raises:
            NotFoundError: There is no such sample, or no block of it contains the address.
        """
        sample_id = limits.identity("sample_id", sample_id)
        number = limits.address("address", address)
        with self._connections.snapshot() as connection:
            ids = samples.locate(connection, sample_id).function_ids
            found = functions.containing(connection, *ids, number)
        if found is None:
            raise NotFoundError.of("function", f"0x{number:x}")
        return found

    def functions_with_pic_hash(self, pic_hash: int) -> RecordList[Function]:
        """All functions of all samples with this hash, in `function_id` order; empty when there are none."""
        pic_hash = limits.u64("pic_hash", pic_hash)
        with self._connections.reading() as connection:
            return RecordList(functions.with_pic_hash(connection, pic_hash))

    # The file

    def stats(self) -> Stats:
        """What is in the file."""
        with self._connections.snapshot() as connection:
            return Stats(
                **samples.statistics(connection),
                disassembly_bytes=functions.disassembly_bytes(connection),
                **file_statistics(connection),
            )

    def query(self, sql: str, params: Iterable[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        """Run one SELECT of yours: the rows as dicts by column name. It can read this file and do nothing else.

        The tables are described by `python -m sampledb schema FILE`. Addresses and hashes are SQLite's signed
        integers; `printf('0x%x', offset)` shows them unsigned. Of columns of one name, the second is `name:1`. It may
        take as long as it takes: Ctrl-C ends it.

        Raises:
            InvalidInputError: The SQL does not run, or would do more than read.
        """
        if not isinstance(sql, str):
            raise InvalidInputError.of("sql", "text", sql)
        if not isinstance(params, Iterable):
            raise InvalidInputError.of("params", "a sequence or a mapping", params)
        # Before a connection is taken: making them may run code of the caller's.
        bound = dict(params) if isinstance(params, Mapping) else tuple(params)
        with self._connections.querying() as connection:
            columns, rows = _answer(connection.execute(sql, bound))
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def check(self, *, deep: bool = False) -> list[Problem]:
        """What is wrong with the file; empty when it is whole.

        `deep` also reads, hashes and decodes every blob, and makes the search indexes anew to compare them: it takes
        somewhat longer than reading every report.
        """
        return checks.run(self._connections, deep=limits.flag("deep", deep))

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Write a consistent copy to a new file, while this one is in use; the copy appears only when complete.

        Raises:
            InvalidInputError: There is a file at `path` already.
            StorageError: The copy cannot be written.
        """
        # Needed rarely.
        from sampledb.store.care.backup import backup  # noqa: PLC0415

        backup(self._connections, limits.path(path))

    def salvage(self, path: str | os.PathLike[str]) -> list[Problem]:
        """Put all that can be read into a new file, ids included; what was lost, empty when that is nothing.

        For a damaged file; where it cannot even be opened, `sampledb.salvage` does the same. Functions of samples
        that are damaged get new ids.

        Raises:
            InvalidInputError: There is a file at `path` already.
            StorageError: The new file cannot be written.
        """
        # Needed once in a lifetime.
        from sampledb.store.care import salvage as salvaging  # noqa: PLC0415

        with new_file(limits.path(path)) as partial, self._connections.snapshot() as connection:
            return salvaging.into(connection, partial)

    def compact(self) -> None:
        """Make the file smaller: compress reports as hard as can be, and give back the space of what was deleted.

        Takes about half a millisecond a function that has not been through it before, and free disk space of twice
        the file's size. Other handles can read and write between its steps, and nothing changes for them.
        """
        for compact in (functions.compact, samples.compact, search.compact):
            after: int | None = 0
            while after is not None:
                with self._connections.writing() as connection:
                    before, after = after, compact(connection, after)
                    _require_growth(before, after)
        with self._connections.maintaining() as connection:
            connection.execute("VACUUM")


_T = TypeVar("_T")


def _answer(cursor: Any) -> tuple[list[str], list[tuple[Any, ...]]]:  # noqa: ANN401 - of which module, the platform decides
    """The names of the columns, and the rows."""
    columns: dict[str, None] = {}
    for column, *_ in cursor.description or ():
        # As SQLite names the columns of a view or a table made of such a SELECT.
        others = (f"{column}:{number}" for number in count(1))
        columns[column if column not in columns else next(each for each in others if each not in columns)] = None
    return list(columns), cursor.fetchall()


def _paged(page_after: Callable[[_T | None], list[_T]]) -> Iterator[_T]:
    last = None
    while page := page_after(last):
        yield from page
        last = page[-1]


def _require_growth(before: int, after: int | None) -> None:
    """In a damaged tree, what comes after an id may be that id again: without end."""
    if after is not None and after <= before:
        raise CorruptFileError.of(f"after the id {before} comes {after}", "the tables")


def _window(start: int, limit: int) -> tuple[int, int]:
    """`start` and `limit` as SQLite wants them: -1 for all."""
    return limits.position("start", start), limits.position("limit", limit) or -1


def _filters(**values: object) -> dict[str, Any]:
    return limits.fields(values, absent=None)
