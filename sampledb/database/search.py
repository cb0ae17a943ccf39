"""Public calls that search the texts of samples and functions."""

from sampledb import limits
from sampledb.database.handle import Handle
from sampledb.model import Hit, RecordList


class Search(Handle):
    """Find samples and functions by their texts."""

    def search(self, text: str, *, limit: int = 50, start: int = 0) -> RecordList[Hit]:
        """Return the samples and functions that meet all terms of `text`, best first.

        A **word**, or a "quoted phrase", is searched in the names, families, versions, components, tags, notes, formats
        and extensions of samples, in the names of functions (their first 1,000 characters), in their labels and the
        comments of these, and in the APIs and strings that functions refer to, each of which is one hit. All words must
        be in the same sample, or in the same name. It may be part of a longer one: `crypt` finds `aes_encrypt_block`.
        ASCII capitals are ignored, and no character in it has a special meaning. 8 or more hex digits alone find
        samples by the beginning of a hash too, and `0x` with 16 digits finds functions by their `pic_hash`.

        A **condition** is `field:value` or `field:"a value"`, in which `*` stands for any characters and capitals are
        ignored; `field:""` means without one. The value is the whole text of the field, or a part of it for `notes` and
        `string`.

        - `family`, `tag`, `notes`, `version`, `component`, `codec`, `extension`, `hash` and `sha256` (8 or more digits
          of the beginning) are those of samples. Functions are found in these samples only.
        - `api` (by name, or with its library as in `kernel32.dll!*`), `string`, `label` and `pic_hash` are those of
          functions, and only functions are found.
        - `name` is the name of the sample or of the function.
        - `kind:sample` or `kind:function` leaves out the others. Conditions of samples alone find functions only with
          it.

        A colon has no meaning behind one letter, or before a second one or a slash: `std::string` and `C:/x` are words.

        Args:
            text: At most 1,000 characters and 50 different terms. Words of one or two characters take longer, because
                the index holds trigrams.
            limit: The most hits to return, 0 for all.
            start: Position of the first hit, from 0. Functions that share a name follow after all other names. The
                order is the same for all pages, as long as nothing is changed.

        Raises:
            InvalidInputError: A quote is not closed, or there is no such field; the message shows how to write it.
        """
        # Importing them takes as long as a search.
        from sampledb.intake.terms import parse_terms  # noqa: PLC0415
        from sampledb.store.tables.lookup import search  # noqa: PLC0415

        terms = parse_terms(limits.text("text", text, longest=limits.MAX_SEARCH))
        start, limit = limits.position("start", start), limits.position("limit", limit)
        with self._connections.snapshot() as connection:
            return RecordList(search.find(connection, terms, start=start, limit=limit))
