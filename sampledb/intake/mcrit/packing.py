"""Pack the functions of a sample as MCRIT does, and unpack them: JSON, zipped, in base 85."""

import base64
import io
from collections.abc import Iterable
from typing import Final

from sampledb.errors import InvalidInputError
from sampledb.intake import archive
from sampledb.intake.compression import Share

_MEMBER: Final = "content"
# Digits at a time, whole groups of five: Python's decoder makes an object of each group.
_DIGITS: Final = 5 * 64 * 1024


def unpack(text: str, name: str, share: Share) -> bytes:
    """Return the JSON of functions, not yet parsed.

    Raises:
        InvalidInputError: The text is damaged, or breaks the bounds of `compression`; the error calls it `name`.
    """
    packed = io.BytesIO()
    try:
        for start in range(0, len(text), _DIGITS):
            packed.write(base64.b85decode(text[start : start + _DIGITS]))
    except ValueError as error:
        raise InvalidInputError.in_file(name, f"has damaged functions ({error}); make or fetch it again") from error
    members = archive.list_members(packed, name)
    if [member.filename for member in members] != [_MEMBER]:
        raise InvalidInputError.in_file(name, "has functions that MCRIT has not packed; make or fetch it again")
    content = io.BytesIO()
    for piece in archive.unpack_member(packed, members[0], name, share):
        content.write(piece)
    return content.getvalue()


def pack(pieces: Iterable[bytes]) -> bytes:
    """Return the digits of pieces of JSON; the same pieces make the same digits, whenever that is."""
    return base64.b85encode(archive.pack_member(_MEMBER, pieces))
