"""Public calls for functions: list by offset, get with disassembly, find by address or hash."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from sampledb import limits
from sampledb.database.engine.paging import paged, require_growth, window
from sampledb.database.handle import Handle
from sampledb.errors import NotFoundError
from sampledb.model import Function, RecordDict, RecordList
from sampledb.store.tables import functions, samples
from sampledb.store.tables.lookup import addresses

if TYPE_CHECKING:
    import sqlite3

# What iter_functions holds at a time, and no lock between two pages.
_PAGE: Final = 500
_PAGE_WITH_DISASSEMBLY: Final = 64


def read_frame(
    frame: bytes,
    rows: Iterable["Mapping[str, Any] | sqlite3.Row"],
    *,
    first_function_id: int | None = None,
    checksum: int | None = None,
) -> RecordList[Function]:
    """Return functions with their disassembly from what SQL has read, without opening a file.

    For tools that have a connection of their own, such as Datasette: `SELECT * FROM disassembly` gives frames, each
    with the functions from its `first_function_id` up to the next frame. Labels are left out.

    Args:
        frame: The blob in `disassembly.frame`.
        rows: The rows of the table `functions` in this frame, or consecutive ones of them, by the names of the columns:
            dicts, or what `sqlite3.Row` makes.
        first_function_id: That of the frame; by default, `rows` begins with its first function.
        checksum: That of the frame, to be compared; by default it is not.

    Raises:
        InvalidInputError: An argument is something else.
        CorruptFileError: The frame is damaged, or does not hold these functions.
    """
    return RecordList(functions.read_frame(frame, rows, first_function_id, checksum))


class Functions(Handle):
    """The functions of samples."""

    def list_functions(
        self, sample_id: int, *, start: int = 0, limit: int = 0, disassembly: bool = False
    ) -> RecordDict[int, Function]:
        """Return the functions of a sample by `function_id`, sorted by unsigned offset.

        This is MCRIT's `GET /samples/{id}/functions`. `start` is a position, from 0; `limit` is the most to return, 0
        for all. A sample without an analysis has no functions.

        Raises:
            NotFoundError: There is no such sample.
        """
        sample_id = limits.identity("sample_id", sample_id)
        disassembly = limits.flag("disassembly", disassembly)
        start, count = window(start, limit)
        with self._connections.snapshot() as connection:
            first, last = samples.locate(connection, sample_id).function_ids
            first = min(first + start, last + 1)
            found = functions.select(connection, first, last, limit=count, disassembly=disassembly)
        return RecordDict({function.function_id: function for function in found})

    def iter_functions(self, sample_id: int | None = None, *, disassembly: bool = False) -> Iterator[Function]:
        """Yield the functions of a sample, or of all samples, in `function_id` order and bounded memory.

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
                require_growth(begin - 1, page[-1].function_id if page else None)
            return page

        return paged(page_after)

    def get_function(self, sample_id: int, function_id: int) -> Function:
        """Return a function with its disassembly (MCRIT's `GET /samples/{id}/functions/{fid}`).

        Raises:
            NotFoundError: There is no such sample, or it has no such function.
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
        """Return the function whose blocks contain `address`, an integer or `"0x401000"`, with its disassembly.

        If functions share the block, the one whose entry is nearest below the address is returned.

        Raises:
            NotFoundError: There is no such sample, or none of its blocks contains the address.
        """
        sample_id = limits.identity("sample_id", sample_id)
        number = limits.address("address", address)
        with self._connections.snapshot() as connection:
            ids = samples.locate(connection, sample_id).function_ids
            found = addresses.find_containing(connection, *ids, number)
        if found is None:
            raise NotFoundError.of("function", f"0x{number:x}")
        return found

    def functions_with_pic_hash(self, pic_hash: int) -> RecordList[Function]:
        """Return all functions with this hash, of all samples, in `function_id` order; an empty list for none.

        Whatever version of SMDA has made it; `twins` leaves out those that do not compare.
        """
        pic_hash = limits.u64("pic_hash", pic_hash)
        with self._connections.reading() as connection:
            return RecordList(functions.select_by_pic_hash(connection, pic_hash))
