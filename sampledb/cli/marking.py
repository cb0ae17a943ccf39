"""Options that describe what is added: its family and version, tags, whether it is a library."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from sampledb import Sample, SampleDB, limits
from sampledb.cli.progress import Progress

_Call = TypeVar("_Call", bound=Callable[..., Any])


class Marks:
    """What the options say, checked before anything is added, and set on each sample that is."""

    def __init__(
        self,
        *,
        family: str | None = None,
        version: str | None = None,
        is_library: bool | None = None,
        tags: Sequence[str] = (),
    ) -> None:
        """Check the values.

        Raises:
            InvalidInputError: One breaks a rule.
        """
        given = {"family": family, "version": version, "is_library": is_library}
        self._fields = limits.fields(given, absent=None)
        self._tags = limits.tags(tags)

    def set(self, db: SampleDB, sample: Sample) -> Sample:
        """Set them on a sample that was added, and return it."""
        if self._fields:
            fields = {"family_name" if field == "family" else field: value for field, value in self._fields.items()}
            sample = db.update_sample(sample.sample_id, **fields)
        return db.tag_sample(sample.sample_id, *self._tags) if self._tags else sample

    def advise(self, progress: Progress) -> None:
        """Tell that samples which existed stay as they are, if there were any."""
        count = progress.count("existed")
        if count and (self._fields or self._tags):
            progress.advise(f"{count:,} existed and were not changed; `update` and `tag` change them.")


def take_marks(*, known: bool = False) -> Callable[[_Call], _Call]:
    """Give a command the options whose values `Marks` takes.

    Args:
        known: Whether the command has options for the family and its version already.
    """
    options = [
        click.option("--family", help="The malware family or the library."),
        click.option("--version", help="The version of the family."),
        click.option("--library/--no-library", "is_library", default=None, help="Whether it is a library."),
        click.option("--tag", "tags", multiple=True, help="Add this tag; can be given many times."),
    ]

    def decorate(call: _Call) -> _Call:
        for option in reversed(options[2:] if known else options):
            call = option(call)
        return call

    return decorate
