"""Functions, their instructions, and pictures of their control flow."""

from collections.abc import Mapping
from typing import Any

from sampledb.errors import InvalidInputError
from sampledb.model.record import FunctionId, Record, RecordList, SampleId


class Instruction(Record, frozen=True):
    """One instruction of a function.

    Attributes:
        address: Unsigned 64-bit.
        code: Its bytes, as hex digits.
        mnemonic: As SMDA's disassembler, mostly Capstone, prints it, as are the operands.
        operands: `""` when there are none.
    """

    address: int
    code: str
    mnemonic: str
    operands: str


class Function(Record, frozen=True):
    """One function of a sample.

    Attributes:
        function_id: From 1, growing, never used again; consecutive within a sample, in offset order.
        sample_id: The sample it was found in.
        offset: Address of its entry, unsigned 64-bit.
        name: SMDA's `function_name`, `""` when there is no symbol.
        num_blocks: Basic blocks.
        num_instructions: Instructions in all blocks.
        binweight: SMDA's weight: the bytes of the code without those that depend on addresses.
        pic_hash: SMDA's position-independent code hash, unsigned 64-bit, or `None`. It belongs to the
            sample's `smda_version`: some versions hash the same code to other values.
        disassembly: SMDA's whole function dict, or `None` where a call leaves it out.
        label: The name that somebody gave it, `""` for none; `label_function` sets it.
        comment: The comment that somebody gave it, `""` for none.
    """

    _columns = (
        *("function_id", "sample_id", "offset", "name", "label", "num_blocks", "num_instructions", "binweight"),
        *("pic_hash",),
    )

    function_id: FunctionId
    sample_id: SampleId
    offset: int
    name: str
    num_blocks: int
    num_instructions: int
    binweight: float
    pic_hash: int | None
    disassembly: dict[str, Any] | None = None
    label: str = ""
    comment: str = ""

    @property
    def instructions(self) -> RecordList[Instruction]:
        """Return the instructions, block after block in the order of SMDA's report.

        Raises:
            InvalidInputError: The function came without its disassembly.
        """
        blocks = self._require_disassembly()["blocks"].values()
        return RecordList([Instruction(*instruction[:4]) for block in blocks for instruction in block])

    @property
    def comments(self) -> dict[int, str]:
        """Return the APIs and the strings, in quotes, that instructions refer to, by address.

        Raises:
            InvalidInputError: The function came without its disassembly.
        """
        from sampledb.format.references import comment_instructions  # noqa: PLC0415 - few ask

        return comment_instructions(self._require_disassembly())

    def _require_disassembly(self) -> dict[str, Any]:
        if self.disassembly is None:
            message = "The function came without its disassembly; get_function() and disassembly=True give it."
            raise InvalidInputError(message, {"field": "disassembly", "rule": "SMDA's function dict", "value": "None"})
        return self.disassembly

    def to_dot(self, *, names: Mapping[int, str] | None = None) -> str:
        """Return the control-flow graph as text for Graphviz: its name or label, and at most its first 200 blocks.

        Args:
            names: Of functions that it calls, by their offsets.

        Raises:
            InvalidInputError: The function came without its disassembly.
        """
        from sampledb.render.graph import name_calls, write_dot  # noqa: PLC0415 - few who read functions draw them

        return write_dot(self.disassembly, name_calls(names or {}), title=self.label or self.name)

    def to_svg(self, *, compared_to: "Function | None" = None, names: Mapping[int, str] | None = None) -> str:
        """Return the control-flow graph as an SVG picture: its name or label, and at most its first 200 blocks.

        Args:
            names: Of functions that it calls, by their offsets.
            compared_to: Another function; the blocks of this one are marked as the same, changed, or only here.

        Raises:
            InvalidInputError: A function came without its disassembly.
            MissingExtraError: The extra `notebook` is not installed.
        """
        from sampledb.render.graph import name_calls, read_graph  # noqa: PLC0415 - as above
        from sampledb.render.svg import draw_graph  # noqa: PLC0415 - as above

        graph = read_graph(self.disassembly, name_calls(names or {}), title=self.label or self.name)
        if compared_to is not None:
            from sampledb.render.comparison import mark_blocks  # noqa: PLC0415 - as above

            graph = mark_blocks(graph, read_graph(compared_to.disassembly))
        return draw_graph(graph)

    def _repr_html_(self) -> str:
        from sampledb.render.html import render_card  # noqa: PLC0415 - as above
        from sampledb.render.notebook import render_disassembly  # noqa: PLC0415 - as above

        fields = [*self._columns, "comment"] if self.comment else self._columns
        head = render_card(self._title, {field: getattr(self, field) for field in fields})
        return head if self.disassembly is None else head + render_disassembly(self.disassembly)
