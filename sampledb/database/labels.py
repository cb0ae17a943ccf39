"""Public calls for labels: the names and comments that people give to functions."""

from sampledb import limits
from sampledb.database.handle import Handle
from sampledb.errors import InvalidInputError, NotFoundError
from sampledb.model import Label, RecordList
from sampledb.store.tables import functions, labels, samples


class Labels(Handle):
    """Names and comments of functions."""

    def label_function(
        self,
        sample_id: int,
        offset: int | str,
        *,
        name: str | None = None,
        comment: str | None = None,
        username: str = "anonymous",
    ) -> Label | None:
        """Give the function at an offset a name, a comment, or both.

        Returns the label; `None` if nothing is left of it. A label stays when the sample is analyzed again, and is
        deleted with the sample. What it said before is kept in its history. Where nothing changes, nothing is stored.

        Args:
            sample_id: The sample of the function.
            offset: Address of the function's entry, an integer or `"0x401000"`.
            name: At most 10,000 characters, `""` to remove it; `None` leaves it as it is.
            comment: At most 10,000 characters, `""` to remove it; `None` leaves it as it is.
            username: The user who says so.

        Raises:
            InvalidInputError: A value breaks a rule, or neither name nor comment is given.
            NotFoundError: There is no such sample, or no function begins at the offset.
        """
        sample_id, address = limits.identity("sample_id", sample_id), limits.address("offset", offset)
        given = limits.fields({"label": name, "comment": comment}, absent=None)
        username = limits.username(username)
        if not given:
            raise InvalidInputError(
                "label_function needs a name or a comment.", {"field": "name", "rule": "a name or a comment"}
            )
        with self._connections.writing() as connection:
            samples.locate(connection, sample_id)
            if not functions.has_offset(connection, sample_id, address):
                raise NotFoundError.of("function", f"0x{address:x}")
            before = labels.get(connection, sample_id, address)
            text = labels.Text(given.get("label", before.name), given.get("comment", before.comment))
            if text != before:
                labels.put(connection, sample_id, address, text, username=username)
            found = labels.select(connection, sample_id, address)
        return found[0] if found else None

    def delete_label(self, sample_id: int, offset: int | str, *, username: str = "anonymous") -> bool:
        """Remove the label at an offset; return whether there was one. Its history stays, with this removal.

        Raises:
            NotFoundError: There is no such sample.
        """
        sample_id, address = limits.identity("sample_id", sample_id), limits.address("offset", offset)
        username = limits.username(username)
        with self._connections.writing() as connection:
            samples.locate(connection, sample_id)
            found = any(labels.get(connection, sample_id, address))
            if found:
                labels.put(connection, sample_id, address, labels.Text(), username=username)
        return found

    def list_labels(self, sample_id: int | None = None, *, history: bool = False) -> RecordList[Label]:
        """Return the labels of a sample, or of all, by sample and unsigned offset.

        With `history`, each follows the former ones of its offset, oldest first; a removed label is one without name
        and comment. Labels of offsets where the present analysis has no function are among them.

        Raises:
            NotFoundError: There is no such sample.
        """
        history = limits.flag("history", history)
        with self._connections.snapshot() as connection:
            if sample_id is not None:
                sample_id = limits.identity("sample_id", sample_id)
                samples.locate(connection, sample_id)
            return RecordList(labels.select(connection, sample_id, history=history))
