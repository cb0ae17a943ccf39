"""Public calls that search code: functions by what they say and do, callers, callees and twins."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final

from sampledb import limits
from sampledb.database.handle import Handle
from sampledb.errors import InvalidInputError, NotFoundError
from sampledb.format import references as names
from sampledb.model import Counts, Function, FunctionHit, Known, RecordList, SampleId
from sampledb.store import forks
from sampledb.store.sqlite import Connection
from sampledb.store.tables import functions, labels, references, samples
from sampledb.store.tables.lookup import addresses
from sampledb.store.tables.lookup.twins import LONG, count_known
from sampledb.store.tables.references import Kind

if TYPE_CHECKING:
    from sampledb.database.engine.scanner import ScanProgress

# Of a run of mnemonics, and of bytes.
_MOST_MNEMONICS: Final = 100
_MOST_BYTES: Final = 1000
_CODE: Final = re.compile(r"(?:[0-9a-f]{2}|\?\?)+")


class Find(Handle):
    """Find functions by their code."""

    def find_functions(
        self,
        *,
        name: str | None = None,
        label: str | None = None,
        api: str | None = None,
        string: str | None = None,
        constant: int | None = None,
        mnemonics: Sequence[str] | None = None,
        code: str | None = None,
        text: str | None = None,
        pic_hash: int | str | None = None,
        sample_id: int | None = None,
        family: str | None = None,
        tag: str | None = None,
        is_library: bool | None = None,
        min_instructions: int = 0,
        limit: int = 0,
        progress: "ScanProgress | None" = None,
    ) -> Iterator[FunctionHit]:
        """Yield the functions that meet all conditions, by sample and offset, in bounded memory.

        Names, APIs, strings and hashes are looked up. For `constant`, `mnemonics`, `code` and `text`, the instructions
        of the functions that meet all other conditions are looked through, on all cores where that pays. Globs know
        `*`, `?`, `[a-z]` and `[!a-z]`; capitals are ignored in them and in `string`.

        Args:
            name: A glob for the function's name.
            label: A glob for the function's label.
            api: A glob for an API that it refers to, by name (`CreateFile*`) or with its library (`kernel32.dll!*`).
            string: A part of a string that it refers to.
            constant: An immediate operand from -2**63 to 2**64 - 1, however it is spelled; -1 and 2**64 - 1 are the
                same. Displacements, as in `[rsp + 0x10]`, are none; `text` finds them.
            mnemonics: A run of instructions in one block, `"*"` for any: `["xor", "*", "rol"]`.
            code: A run of bytes in one block, as hex digits, `??` for any: `"6a 40 68 ??"`.
            text: A regular expression, as of Python's `re`, that is searched in each instruction as
                `mnemonic operands`. It runs in a process of its own, which is ended if it takes too long.
            pic_hash: Exactly this hash, an integer or hex text such as `"0x88400bfc6390d494"`.
            sample_id: Only functions of this sample.
            family: Only functions of samples of this family.
            tag: Only functions of samples with this tag, ASCII capitals ignored.
            is_library: Only functions of samples that are libraries, or that are not.
            min_instructions: Only functions of at least so many instructions.
            limit: The most hits to yield, 0 for all.
            progress: Called now and then with the number of functions looked at, and the number of all.

        Raises:
            InvalidInputError: There is no condition, or one breaks a rule; while iterating, if `text` takes too long.
            NotFoundError: There is no such sample.
        """
        # Threads and processes, which nothing else here needs.
        from sampledb.database.engine.scanner import FunctionSearch  # noqa: PLC0415
        from sampledb.format.scan.scanner import Scan  # noqa: PLC0415
        from sampledb.store.tables.lookup.candidates import Conditions  # noqa: PLC0415

        scan = Scan(
            api=_check_text("api", api),
            string=_check_text("string", string),
            constant=None if constant is None else limits.constant("constant", constant),
            mnemonics=None if mnemonics is None else _check_mnemonics(mnemonics),
            code=None if code is None else _check_code(code),
            text=_check_text("text", text),
        )
        filters = limits.fields({"family": family, "tag": tag, "is_library": is_library}, absent=None)
        if sample_id is not None:
            filters["sample_id"] = limits.identity("sample_id", sample_id)
        conditions = Conditions(
            filters=filters,
            name=None if _check_text("name", name) is None else names.compile_glob(str(name)),
            name_literals=() if name is None else names.list_literals(name),
            label=None if _check_text("label", label) is None else labels.compile_globs([str(label)]),
            label_literals=() if label is None else names.list_literals(label),
            names=_list_names(scan.api, scan.string),
            pic_hash=None if pic_hash is None else limits.address("pic_hash", pic_hash),
            min_instructions=limits.position("min_instructions", min_instructions),
        )
        most = limits.position("limit", limit) or None
        if conditions == Conditions() and scan == Scan():
            raise InvalidInputError(
                "find_functions needs at least one condition.", {"field": "name", "rule": "one condition"}
            )
        if sample_id is not None:
            with self._connections.reading() as connection:
                samples.locate(connection, filters["sample_id"])
        hits = FunctionSearch(self._connections, conditions, scan).run(progress)
        return forks.in_one_process(islice(hits, most))

    def list_apis(self, sample_id: int | None = None, *, pattern: str = "*") -> dict[str, int]:
        """Return the number of functions that refer to each API, most first, in a sample or in all.

        Args:
            sample_id: The sample, `None` for all.
            pattern: A glob for the API, by name or with its library, capitals ignored.

        Raises:
            NotFoundError: There is no such sample.
        """
        pattern = limits.text("pattern", pattern, longest=limits.MAX_SEARCH)
        return self._count(references.APIS, sample_id, names.compile_api_glob(pattern))

    def list_strings(self, sample_id: int | None = None, *, pattern: str = "*") -> dict[str, int]:
        """Return the number of functions that refer to each string, most first, in a sample or in all.

        Args:
            sample_id: The sample, `None` for all.
            pattern: A glob for the whole string, capitals ignored.

        Raises:
            NotFoundError: There is no such sample.
        """
        pattern = limits.text("pattern", pattern, longest=limits.MAX_SEARCH)
        return self._count(references.STRINGS, sample_id, names.compile_glob(pattern))

    def _count(self, kind: Kind, sample_id: int | None, matches: Callable[[str], bool]) -> dict[str, int]:
        with self._connections.snapshot() as connection:
            if sample_id is not None:
                samples.locate(connection, limits.identity("sample_id", sample_id))
            counts = references.count(connection, kind, sample_id, matches)
        return Counts(counts, (kind.field, "functions"))

    def callers(self, sample_id: int, function_id: int) -> RecordList[Function]:
        """Return the functions of the sample that refer to this one, by offset, as SMDA's `inrefs` say.

        A function that calls itself is among them. `disassembly` is left out.

        Raises:
            NotFoundError: There is no such sample, or it has no such function.
        """
        return self._find_neighbours(sample_id, function_id, lambda code: code["inrefs"])

    def callees(self, sample_id: int, function_id: int) -> RecordList[Function]:
        """Return the functions of the sample that this one refers to, by offset, as SMDA's `outrefs` say.

        APIs are not among them, unless by the stubs that lead to them; `disassembly["apirefs"]` of the function has
        their names.

        Raises:
            NotFoundError: There is no such sample, or it has no such function.
        """
        return self._find_neighbours(sample_id, function_id, lambda code: chain.from_iterable(code["outrefs"].values()))

    def _find_neighbours(
        self, sample_id: int, function_id: int, list_addresses: Callable[[dict[str, Any]], Iterable[object]]
    ) -> RecordList[Function]:
        with self._connections.snapshot() as connection:
            function = get_function(connection, sample_id, function_id)
            first, last = samples.locate(connection, function.sample_id).function_ids
            found = [each for each in list_addresses(function.disassembly or {}) if isinstance(each, int)]
            ids = addresses.find_all_containing(connection, first, last, found)
            return RecordList(functions.select_ids(connection, ids))

    def twins(self, sample_id: int, function_id: int, *, min_instructions: int = LONG) -> RecordList[Function]:
        """Return all other functions with the `pic_hash` of this one, in all samples, by sample and offset.

        Samples whose hashes another version of SMDA has made in another way are left out.

        Args:
            sample_id: The sample of the function.
            function_id: The function.
            min_instructions: Functions of fewer instructions are left out: thousands of stubs are all the same.

        Raises:
            NotFoundError: There is no such sample, or it has no such function.
        """
        least = limits.position("min_instructions", min_instructions)
        with self._connections.snapshot() as connection:
            function = get_function(connection, sample_id, function_id)
            if function.pic_hash is None:
                return RecordList()
            found = functions.select_by_pic_hash(connection, function.pic_hash, least)
            eras = samples.find_hash_eras(connection, {function.sample_id, *(each.sample_id for each in found)})
        era = eras.get(function.sample_id)
        same = [each for each in found if eras.get(each.sample_id) == era and each.function_id != function.function_id]
        return RecordList(sorted(same, key=lambda each: (each.sample_id, each.function_id)))

    def known(self, sample_id: int, *, min_instructions: int = LONG) -> Known:
        """Return how many functions of a sample are in other samples and in libraries too, by `pic_hash`.

        Args:
            sample_id: The sample.
            min_instructions: Functions of fewer instructions are left out, as by `twins`.

        Raises:
            NotFoundError: There is no such sample.
        """
        sample_id = limits.identity("sample_id", sample_id)
        least = min(limits.position("min_instructions", min_instructions), limits.MAX_ID)
        with self._connections.snapshot() as connection:
            first, last = samples.locate(connection, sample_id).function_ids
            return Known(SampleId(sample_id), *count_known(connection, first, last, least))


def get_function(connection: Connection, sample_id: int, function_id: int) -> Function:
    """Return a function with its disassembly, or raise NotFoundError."""
    sample_id = limits.identity("sample_id", sample_id)
    function_id = limits.identity("function_id", function_id)
    found = functions.get(connection, sample_id, function_id)
    if found is None:
        samples.locate(connection, sample_id)
        raise NotFoundError.of("function", function_id)
    return found


def _list_names(api: str | None, string: str | None) -> tuple[tuple[Kind, Callable[[str], bool], Sequence[str]], ...]:
    """Return the names that a function must refer to, as Conditions take them."""
    apis = () if api is None else ((references.APIS, names.compile_api_glob(api), ()),)
    strings = () if string is None else ((references.STRINGS, names.compile_part(string), [string.lower()]),)
    return (*apis, *strings)


def _check_text(field: str, value: str | None) -> str | None:
    return None if value is None else limits.text(field, value, longest=limits.MAX_SEARCH, shortest=1)


def _check_mnemonics(value: object) -> tuple[str, ...]:
    rule = f'a list of 1 to {_MOST_MNEMONICS} mnemonics, "*" for any'
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= _MOST_MNEMONICS:
        raise InvalidInputError.of("mnemonics", rule, value)
    return tuple(limits.text("mnemonics", each, longest=limits.MAX_LABEL, shortest=1) for each in value)


def _check_code(value: object) -> str:
    """Return the hex digits, small and without spaces."""
    digits = "".join(value.split()).lower() if isinstance(value, str) else ""
    if not _CODE.fullmatch(digits) or len(digits) > 2 * _MOST_BYTES:
        raise InvalidInputError.of("code", f'1 to {_MOST_BYTES} bytes as hex digits, "??" for any byte', value)
    return digits
