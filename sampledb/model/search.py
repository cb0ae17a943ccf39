"""Samples and functions that were searched for, and what matched."""

from typing import Literal, TypeAlias

from sampledb.model.record import FunctionId, Record, SampleId

HitField: TypeAlias = Literal[
    "name", "family", "version", "component", "tag", "notes", "codec", "extension", "sha256", "md5", "sha1",
    "function", "label", "comment", "pic_hash", "api", "string",
]  # fmt: skip


class Hit(Record, frozen=True):
    """A sample or function that `search()` found.

    Attributes:
        sample_id: The sample, or the sample of the function.
        function_id: The function; `None` for a sample.
        field: The field that matches: `name`, `family`, `version`, `component`, `tag`, `notes`, `codec`, `extension`,
            `sha256`, `md5`, `sha1`; of functions `function` for the name, `label`, `comment`, `pic_hash`, and `api` or
            `string` for what it refers to. Where words find an API or a string, `function_id` is the first function
            that refers to it.
        text: The whole content of this field.
        sample: The sample's name.
        offset: Of the function, unsigned 64-bit; `None` for a sample.
        score: The quality of the match, above 0; 1 means that the field equals the text, or meets the conditions of a
            search without words.
    """

    sample_id: SampleId
    function_id: FunctionId | None
    field: HitField
    text: str
    sample: str
    offset: int | None
    score: float


class FunctionHit(Record, frozen=True):
    """A function that `find_functions()` found.

    Attributes:
        sample_id: The sample it was found in.
        function_id: The function.
        offset: Address of its entry, unsigned 64-bit.
        name: SMDA's `function_name`, `""` when there is no symbol.
        num_instructions: Instructions in all blocks.
        address: Of the first match of the last condition that was given, in the order of `api`, `string`, `constant`,
            `mnemonics`, `code`, `text`; `None` if there was none of these, or if the report has no address.
        match: What matched there: the API, the string, the instruction or run of instructions, or the bytes; the name
            the label or the hash of the function if only these were asked for.
        label: The name that somebody gave to the function, `""` for none.
        comment: The comment that somebody gave to the function, `""` for none.
    """

    sample_id: SampleId
    function_id: FunctionId
    offset: int
    name: str
    num_instructions: int
    address: int | None
    match: str
    label: str = ""
    comment: str = ""
