"""Hypothesis strategies for reports and for values of samples, and builders of small reports."""

import hashlib
from typing import Any

from hypothesis import strategies as st

from sampledb.limits import fold

U64 = 2**64 - 1
KERNEL = 0xFFFF_F800_0000_1000
# What malware may call itself.
HOSTILE = '<script>alert("x")</script>\u202e\'"><img src=x onerror=alert(1)>'

addresses = st.one_of(
    st.integers(0, U64 - 2**20),
    st.sampled_from([0, 0x401000, 2**31, 2**32, 2**63 - 1, 2**63, KERNEL]),
)
u64s = st.one_of(st.integers(0, U64), st.sampled_from([0, 2**63 - 1, 2**63, U64]))
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
notes = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=1000)
labels = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=64).filter(str.isprintable)
families = st.from_regex(r"[A-Za-z0-9]{1,9}([._-][A-Za-z0-9]{1,9}){0,4}", fullmatch=True) | st.just("")
tags = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=50)
tag_lists = st.lists(tags, max_size=8, unique_by=fold)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=10,
)
json_objects = st.dictionaries(texts, json_values, max_size=5)
digests = st.binary(min_size=1, max_size=8).map(lambda seed: hashlib.sha256(seed).hexdigest())

# Values that JSON cannot carry unchanged.
MISFITS: list[Any] = [float("nan"), b"", "\udfff", {1: 2}, {"b": {3}}]

# Fields of update_sample with a value for each rule that it can break.
BROKEN_VALUES: list[tuple[str, Any]] = [
    *[("family_name", value) for value in ("a b", "a..b", ".a", "a-", "ä", "a\n", "a" * 65, None, 5)],
    *[("version", value) for value in ("1\n", "x" * 65, "\x1b[31m", None, 1.0)],
    *[("component", value) for value in ("\t", "x" * 65, None)],
    *[("is_library", value) for value in (1, 0, None, "yes")],
    *[("name", value) for value in ("x" * 256, "a\0b", "\ud800", None, b"a")],
    *[("extension", value) for value in (".exe", "x" * 11, "t z", "é", None)],
    *[("tags", value) for value in ("tag", ["a", "a"], [""], ["x" * 51], [1], ["a"] * 51, ["\0"], None, {"a": 1})],
    *[("media_info", {"a": value}) for value in MISFITS],
    ("media_info", []),
    ("media_info", "{}"),
    ("media_info", None),
    *[("notes", value) for value in ("x" * 1001, "\0", 5)],
]


def instruction(address: int, code: str = "90", mnemonic: str = "nop", operands: str = "") -> list[Any]:
    """Return an instruction as SMDA writes it."""
    return [address, code, mnemonic, operands]


def function(offset: int, blocks: dict[str, list[list[Any]]] | None = None, **metadata: Any) -> dict[str, Any]:
    """Return a function with the keys that SMDA requires; `metadata` is merged into its own."""
    if blocks is None:
        blocks = {str(offset): [instruction(offset), instruction(offset + 1, "c3", "ret")]}
    return {
        "offset": offset,
        "blocks": blocks,
        "apirefs": {},
        "blockrefs": {key: [] for key in blocks},
        "inrefs": [],
        "outrefs": {},
        "metadata": {
            "binweight": 2.0,
            "characteristics": "i----------",
            "confidence": 0.5,
            "function_name": "",
            "strongly_connected_components": [],
            "tfidf": -1.25,
            "pic_hash": offset,
            **metadata,
        },
    }


def report(*functions: dict[str, Any], seed: str = "a", **fields: Any) -> dict[str, Any]:
    """Return a report with the keys that SMDA requires, of a file with the content `seed`."""
    return {
        "architecture": "intel",
        "base_addr": 0x400000,
        "binary_size": 4096,
        "bitness": 64,
        "code_areas": [],
        "confidence_threshold": 0.0,
        "disassembly_errors": {},
        "execution_time": 0.1,
        "identified_alignment": 16,
        "message": "Analysis finished regularly.",
        "sha256": hashlib.sha256(seed.encode()).hexdigest(),
        "smda_version": "5.0.1",
        "status": "ok",
        "xcfg": {str(each["offset"]): each for each in functions},
        **fields,
    }


hex_codes = st.binary(min_size=1, max_size=6).map(bytes.hex) | st.sampled_from(["", "9", "zz", "AB"])


@st.composite
def blocks(draw: st.DrawFn, start: int) -> dict[str, list[list[Any]]]:
    """Draw blocks from `start` on. Most instructions follow each other; some have further fields."""
    found: dict[str, list[list[Any]]] = {}
    address = start
    for _ in range(draw(st.integers(0, 3))):
        key = str(address)
        block: list[list[Any]] = []
        for _ in range(draw(st.integers(0, 4))):
            code = draw(hex_codes)
            extra = draw(st.just([]) | st.lists(json_values, max_size=2))
            block.append([*instruction(address, code, draw(texts), draw(texts)), *extra])
            address += len(code) // 2 + draw(st.sampled_from([0, 0, 0, 7]))
        found[key] = block
        address += 1
    return found


@st.composite
def functions(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a valid function: any address, any hash, unknown keys beside the known."""
    offset = draw(addresses)
    names = draw(texts)
    made = function(offset, draw(blocks(offset)), function_name=names, pic_hash=draw(st.none() | u64s))
    made["metadata"]["tfidf"] = draw(st.none() | st.floats(allow_nan=False, allow_infinity=False))
    made.update({f"x-{key}": value for key, value in draw(json_objects).items()})
    made["outrefs"] = draw(st.dictionaries(addresses.map(str), st.lists(addresses, max_size=3), max_size=3))
    return made


@st.composite
def reports(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a valid report: optional and unknown keys, and up to 40 functions, which is more than a frame holds."""
    made = report(*draw(st.lists(functions(), max_size=40)), sha256=draw(digests))
    metadata = {
        "family": draw(families),
        "version": draw(labels),
        "component": draw(st.none() | labels),
        "filename": draw(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=255)),
        "is_library": draw(st.booleans()),
        "binweight": draw(st.floats(0, 1e9)),
    }
    optional: dict[str, Any] = {
        "metadata": metadata,
        "statistics": draw(st.just({}) | st.dictionaries(st.just("num_functions"), st.integers(0, U64))),
        "timestamp": draw(st.sampled_from(["", "2026-01-31T23-59-58"])),
        "md5": "0" * 32,
        "sha1": "",
        "xmetadata": draw(json_values),
    }
    kept = draw(st.sets(st.sampled_from(sorted(optional))))
    made.update({key: optional[key] for key in kept})
    made.update({f"x-{key}": value for key, value in draw(json_objects).items()})
    made["base_addr"] = draw(st.none() | u64s)
    made["bitness"] = draw(st.sampled_from([32, 64, None]))
    return made
