"""Public calls for similar code: functions and samples that other builds of the same source share."""

from collections.abc import Collection
from functools import cached_property
from typing import TYPE_CHECKING

from sampledb import limits
from sampledb.database.find import get_function
from sampledb.database.handle import Handle, refuse_open_store
from sampledb.errors import InvalidInputError, MissingExtraError
from sampledb.format.report import parse_report
from sampledb.intake.source import read_source
from sampledb.model import Comparison, Explanation, Function, FunctionMatch, RecordList, SampleMatch, Suggestion

if TYPE_CHECKING:
    from sampledb.database.engine.resemblance import Resemblance
    from sampledb.database.engine.signer import SigningMatcher, SigningProgress


class Similar(Handle):
    """Find similar code: what builds of the same source share, whatever the compiler and the architecture."""

    def similar_functions(
        self,
        sample_id: int,
        function_id: int,
        *,
        threshold: int = 60,
        limit: int = 10,
        among: Collection[int] | None = None,
        exclude_libraries: bool = False,
    ) -> RecordList[FunctionMatch]:
        """Return the functions of all samples that are like this one, best first.

        Those with the same `pic_hash` of the same version of SMDA come first. Functions of at most 10 instructions are
        like none. Signatures are made of code for x86, x86-64 and AArch64; of others, equal hashes are found only.
        Signatures that are missing are made now, of all samples: `update_signatures` shows how far that is.

        Args:
            sample_id: The sample of the function.
            function_id: The function.
            threshold: The least score, 1 to 100. 60 is a match, 50 a suggestion; for other architectures and builds
                without optimization lower it, and look at what is first.
            limit: The most to return, 0 for all. Of those with just the least score, 1 in 100 is not found.
            among: Only functions of these samples.
            exclude_libraries: Without functions of samples that are libraries.

        Raises:
            NotFoundError: There is no such sample, or it has no such function.
            MissingExtraError: The extra `similarity` is not installed.
        """
        function = self._get(sample_id, function_id)
        threshold, limit = limits.score("threshold", threshold), limits.position("limit", limit)
        exclude_libraries = limits.flag("exclude_libraries", exclude_libraries)
        wanted = None if among is None else _check_ids(among)
        return RecordList(
            self._resemblance.find_functions(
                function, threshold, limit, among=wanted, exclude_libraries=exclude_libraries
            )
        )

    def similar_samples(
        self, what: object, *, threshold: int = 60, limit: int = 20, exclude_libraries: bool = False
    ) -> RecordList[SampleMatch]:
        """Return the samples that have functions like those of a sample or a report, best first.

        Functions of at most 10 instructions are left out.

        Args:
            what: The id of a sample, or a report in any form that `add_sample` takes, which is not stored.
            threshold: The least score of two functions, 1 to 100.
            limit: The most to return, 0 for all.
            exclude_libraries: Without samples that are libraries, and by `percent_without_libraries`.

        Raises:
            InvalidInputError: The report or an argument breaks a rule.
            NotFoundError: There is no such sample.
            MissingExtraError: The extra `similarity` is not installed.
        """
        threshold, limit = limits.score("threshold", threshold), limits.position("limit", limit)
        exclude_libraries = limits.flag("exclude_libraries", exclude_libraries)
        if isinstance(what, int):
            asked, _ = self._resemblance.ask_sample(limits.identity("what", what))
        else:
            refuse_open_store(what, "what")
            asked = self._resemblance.ask_report(parse_report(read_source(what), {}))
        return RecordList(self._resemblance.find_samples(asked, threshold, limit, exclude_libraries=exclude_libraries))

    def compare(self, a: int, b: int, *, threshold: int = 60) -> Comparison:
        """Return which functions of two samples are alike, one to one, and which are not.

        Functions with the same `pic_hash` of the same version of SMDA are paired first, also small ones.

        Args:
            a: The id of a sample.
            b: The id of another one.
            threshold: The least score of two functions, 1 to 100.

        Raises:
            NotFoundError: There is no such sample.
            MissingExtraError: The extra `similarity` is not installed.
        """
        threshold = limits.score("threshold", threshold)
        return self._resemblance.compare(limits.identity("a", a), limits.identity("b", b), threshold)

    def explain(self, sample_id: int, function_id: int, other_sample_id: int, other_function_id: int) -> Explanation:
        """Return what the score of two functions is made of, in words.

        Raises:
            NotFoundError: There is no such sample, or it has no such function.
            MissingExtraError: The extra `similarity` is not installed.
        """
        one, other = self._get(sample_id, function_id), self._get(other_sample_id, other_function_id)
        return self._resemblance.explain(one, other)

    def suggest_labels(self, sample_id: int, *, threshold: int = 60) -> RecordList[Suggestion]:
        """Return names for the functions of a sample that have none, best first, at most one for each.

        They are those of functions of the same or of other samples with the same `pic_hash`, and then of functions
        that are like them: their labels, or else their own names. Nothing is stored; to accept one is
        `label_function(found.sample_id, found.offset, name=found.name)`.

        Args:
            sample_id: The sample.
            threshold: The least score of two functions, 1 to 100; 10 more where they have at most 40 instructions, and
                are alike by chance more often.

        Raises:
            NotFoundError: There is no such sample.
            MissingExtraError: The extra `similarity` is not installed.
        """
        threshold = limits.score("threshold", threshold)
        return RecordList(self._resemblance.suggest(limits.identity("sample_id", sample_id), threshold))

    def update_signatures(self, progress: "SigningProgress | None" = None) -> int:
        """Make the signatures that are missing; return the number of functions that got one.

        Each sample is a transaction of its own. Calls that need signatures make them too; this one shows how far it is.
        With `readonly` they are made in memory, for as long as the handle is open.

        Args:
            progress: Called after each sample with the number of functions looked at, and the number of all.

        Raises:
            CorruptFileError: The disassembly of a sample cannot be read; those before it are done.
            MissingExtraError: The extra `similarity` is not installed.
        """
        return self._matcher.update(progress)

    def close(self) -> None:
        """Close the file; a second call does nothing. Other calls then raise ClosedError."""
        super().close()
        # It holds 36 bytes for each function.
        self.__dict__.pop("_matcher", None)

    @cached_property
    def _matcher(self) -> "SigningMatcher":
        try:
            from sampledb.database.engine.signer import SigningMatcher  # noqa: PLC0415 - an extra, and large
        except ImportError as error:
            raise MissingExtraError.of("similarity", "Finding similar code") from error
        return SigningMatcher(self._connections)

    @property
    def _resemblance(self) -> "Resemblance":
        matcher = self._matcher
        from sampledb.database.engine.resemblance import Resemblance  # noqa: PLC0415 - as above

        return Resemblance(self._connections, matcher)

    def _get(self, sample_id: int, function_id: int) -> Function:
        with self._connections.snapshot() as connection:
            return get_function(connection, sample_id, function_id)


def _check_ids(value: object) -> set[int]:
    if isinstance(value, str | bytes) or not isinstance(value, Collection):
        raise InvalidInputError.of("among", "ids of samples", value)
    return {limits.identity("among", each) for each in value}
