"""Public calls for samples: add, list, get, change, delete."""

import os
from collections.abc import Iterable, Iterator
from typing import Any, Final

from msgspec import UNSET, UnsetType

from sampledb import limits
from sampledb.database.engine.paging import paged, require_growth, window
from sampledb.database.handle import Handle, refuse_open_store
from sampledb.errors import ConflictError, CorruptFileError, InvalidInputError, NotFoundError
from sampledb.format.report import join_report, parse_report
from sampledb.intake import media
from sampledb.intake.source import read_source
from sampledb.model import Counts, Family, RecordDict, RecordList, Sample
from sampledb.store.tables import families, functions, jobs, references, samples
from sampledb.store.tables.reports import add_report, get_header

# What iter_samples holds at a time, and no lock between two pages.
_PAGE: Final = 500


class Samples(Handle):
    """Samples in, samples out."""

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

        A sample that so far has only media metadata gets the analysis added.

        Args:
            smda_report: A dict, JSON bytes, the path of a report, or an `SmdaReport`. A dict is stored as JSON:
                integer keys become text, tuples become lists.
            username: Who adds it.
            exist_ok: Return the stored sample unchanged if its SHA-256 already has an analysis; only labels that come
                with a report from MCRIT are added.
            replace: Replace the analysis of a stored sample. The sample keeps its `sample_id`, name, tags and notes;
                its functions get new ids.
            family: Overrides the report's own, as do `version`, `component`, `is_library` and `name`.
            version: The version of the family.
            component: The component of the family.
            is_library: Whether the sample is a library.
            name: The name of the file; `filename` in the report.

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
        refuse_open_store(smda_report, "smda_report")
        report = parse_report(read_source(smda_report), overrides)
        with self._connections.writing() as connection:
            sample_id, _ = add_report(
                connection, report, overrides, username=username, exist_ok=exist_ok, replace=replace
            )
            return samples.get(connection, sample_id)

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

        A sample that so far has only an analysis gets the media metadata added: name, notes and media_info given here
        override what it has, tags are appended.

        Args:
            file: Hashed as a stream. Name and extension are taken from its path, `media_info` from MediaInfo if that
                is installed (extra `media`).
            sha256: Required without a file.
            name: The file's name.
            extension: Without the dot.
            tags: At most 50, in order.
            media_info: A JSON object to store instead of MediaInfo's.
            notes: Free text.
            username: Who adds it.
            exist_ok: Return the stored sample unchanged if its SHA-256 already has media metadata.

        Raises:
            InvalidInputError: An argument breaks a rule, or the file cannot be read.
            ConflictError: The SHA-256 already has media metadata.
        """
        username = limits.username(username)
        exist_ok = limits.flag("exist_ok", exist_ok)
        self._connections.require_writable()
        refuse_open_store(file, "file")
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
        """Return the samples that match all filters, by `sample_id` and in its order (MCRIT's `GET /samples`).

        `start` is a position among the matches, from 0; `limit` is the most to return, 0 for all. `family=""` matches
        samples without a family. ASCII capitals are ignored in `tag`.
        """
        start, count = window(start, limit)
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
        """Yield what `list_samples` returns, in bounded memory; changes made meanwhile may or may not be seen."""
        filters = _filters(family=family, tag=tag, name=name, extension=extension, is_library=is_library)

        def page_after(sample: Sample | None) -> list[Sample]:
            after = sample.sample_id if sample else 0
            with self._connections.reading() as connection:
                page = samples.select(connection, filters | {"after": after}, limit=_PAGE)
                require_growth(after, page[-1].sample_id if page else None)
            return page

        return paged(page_after)

    def get_sample(self, sample_id: int) -> Sample:
        """Return a sample by its id (MCRIT's `GET /samples/{id}`).

        Raises:
            NotFoundError: There is no such sample.
        """
        sample_id = limits.identity("sample_id", sample_id)
        with self._connections.reading() as connection:
            return samples.get(connection, sample_id)

    def get_sample_by_sha256(self, sha256: str) -> Sample:
        """Return a sample by its SHA-256, in any case (MCRIT's `GET /samples/sha256/{sha256}`).

        Raises:
            NotFoundError: There is no such sample.
        """
        sha256 = limits.sha256(sha256)
        with self._connections.reading() as connection:
            return samples.get_by_sha256(connection, sha256)

    def find_sample(self, hash: str) -> Sample:  # noqa: A002 - what users call it
        """Return a sample by its MD5, SHA-1 or SHA-256, or by the first 8 or more digits of one.

        Raises:
            NotFoundError: There is no such sample.
            InvalidInputError: Several samples match, or `hash` is not hex digits.
        """
        prefix = limits.digits(hash)
        with self._connections.reading() as connection:
            return samples.get_by_hash(connection, prefix)

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
        """Change the given fields of a sample and return it (MCRIT's `PUT /samples/{id}`).

        Arguments left out change nothing. `tags` replaces all tags; `notes=None` removes the notes. The stored report
        does not change.

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
        """Append tags to a sample, remove those in `remove`, and return it.

        Adding a tag that the sample has, or removing one that it has not, changes nothing. ASCII capitals are ignored.

        Raises:
            NotFoundError: There is no such sample.
            InvalidInputError: A tag breaks a rule, or the sample would have more than 50.
        """
        sample_id = limits.identity("sample_id", sample_id)
        added, removed = limits.tags(tags), limits.tags(remove if isinstance(remove, str) else tuple(remove))
        with self._connections.writing() as connection:
            stored = samples.locate(connection, sample_id)
            samples.retag(connection, stored.sample_id, added, removed)
            return samples.get(connection, sample_id)

    def delete_sample(self, sample_id: int) -> bool:
        """Delete a sample and everything that belongs to it (MCRIT's `DELETE /samples/{id}`).

        Returns `False` if there is no such sample.
        """
        sample_id = limits.identity("sample_id", sample_id)
        with self._connections.writing() as connection:
            try:
                stored = samples.locate(connection, sample_id)
            except NotFoundError:
                return False
            references.delete(connection, stored.sample_id)
            functions.delete(connection, *stored.function_ids)
            jobs.delete_binary(connection, stored.sample_id)
            samples.delete(connection, stored.sample_id)
            return True

    def get_report(self, sample_id: int) -> dict[str, Any]:
        """Return the SMDA report of a sample, equal to the JSON that was added.

        Unknown keys are included; changes made since by `update_sample` are not.

        Raises:
            NotFoundError: There is no such sample, or it has no report.
        """
        sample_id = limits.identity("sample_id", sample_id)
        with self._connections.snapshot() as connection:
            stored = samples.locate(connection, sample_id)
            header = get_header(connection, sample_id)
            found = functions.read_dicts(connection, *stored.function_ids)
        if len(found) != stored.num_functions:
            where = f"samples, sample_id {sample_id}"
            raise CorruptFileError.of(f"{len(found)} functions are there of {stored.num_functions}", where)
        return join_report(header, found)

    def list_families(self) -> dict[str, int]:
        """Return the number of samples in each family, by name; samples without a family are under `""`."""
        with self._connections.reading() as connection:
            return Counts(families.count(connection), ("family", "samples"))

    def describe_families(self) -> RecordList[Family]:
        """Return each family by name, with the numbers of its samples, libraries and functions.

        Samples without a family are under `""`.
        """
        with self._connections.reading() as connection:
            return RecordList(families.describe(connection))

    def update_family(self, name: str, *, new_name: str | None = None, is_library: bool | None = None) -> int:
        """Change all samples of a family, and return how many there are.

        Args:
            name: The family; `""` are the samples without one.
            new_name: Its name from now on. If there is such a family, they become one.
            is_library: Whether its samples are libraries.

        Raises:
            InvalidInputError: A value breaks a rule, or there is nothing to change.
            NotFoundError: There is no such family.
        """
        name = limits.family("name", name)
        changes = limits.fields({"family": new_name, "is_library": is_library}, absent=None)
        if not changes:
            raise InvalidInputError.of("new_name", "given, or is_library", new_name)
        with self._connections.writing() as connection:
            changed = families.update(connection, name, changes)
            if not changed:
                raise NotFoundError.of("family", name)
        return changed


def _filters(**values: object) -> dict[str, Any]:
    return limits.fields(values, absent=None)
