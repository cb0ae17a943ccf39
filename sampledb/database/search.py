"""Public calls that search the texts of samples and functions."""

from sampledb import limits
from sampledb.database.handle import Handle
from sampledb.model import Hit, RecordList
from sampledb.store.tables import search


class Search(Handle):
    """Find samples and functions by their texts."""

    def search(self, text: str, *, limit: int = 50) -> RecordList[Hit]:
        """Return samples and functions whose texts contain every word of `text`, best first.

        Searches the names, families, versions, components, tags and notes of samples, the names of functions (their
        first 1,000 characters), and the APIs and strings that functions refer to, each of which is one hit. A word may
        be part of a longer one: `crypt` finds `aes_encrypt_block`. ASCII capitals are ignored, and no character has a
        special meaning.

        Args:
            text: At most 1,000 characters and 50 different words. Words of one or two characters take longer, because
                the index holds trigrams.
            limit: The most hits to return, 0 for all. Functions that share a name follow after all other names.
        """
        text = limits.text("text", text, longest=limits.MAX_SEARCH)
        limit = limits.position("limit", limit) or -1
        with self._connections.snapshot() as connection:
            return RecordList(search.find(connection, text, limit=limit))
