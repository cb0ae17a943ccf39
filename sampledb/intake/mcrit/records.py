"""Convert MCRIT's records, the entries of samples and functions, to SMDA reports, and back.

A report has a key `mcrit` for what SMDA does not know: the configuration, MinHashes and block hashes, and every value
that does not follow from the rest; and the labels. The law: entries that became a report and are written from it are
the same, but for their ids, and for values that people have changed meanwhile.

A sample of MCRIT's may be all object files of a library, with many functions at one offset, where a report has room for
one. The others are moved as a whole, by a multiple of 2**40, and moved back when they are written.

What MCRIT knows stands beside the functions of a report, not in them. Measured with seven exports of libraries, a
function takes 685 bytes in all, of which hashes and labels are 99. Within the functions they would take five more, and
make all functions ones that frames keep as JSON (`format.frame`), which searches cannot read by columns.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import Raw

MASK: Final = (1 << 64) - 1

# What SMDA's reports call the same.
_OF_REPORT: Final = ("sha256", "architecture", "binary_size", "smda_version", "statistics", "timestamp")
_OF_METADATA: Final = ("family", "version", "component", "filename", "is_library", "binweight")
# What SMDA requires, and MCRIT has dropped.
_DROPPED: Final = (
    *("code_areas", "confidence_threshold", "disassembly_errors", "execution_time", "identified_alignment", "message"),
    "status",
)
_SAMPLE_KEYS: Final = {*_OF_REPORT, *_OF_METADATA, "base_addr", "bitness", "sample_id", "family_id"}
# Of functions: ids belong to the file that they are in, and the rest has its own place in a report.
_PLACED: Final = {"function_id", "sample_id", "family_id", "offset", "xcfg", "function_labels"}
_BLOCK_HASH: Final = ("offset", "length", "size", "hash")
# Addresses of a function; an instruction begins with one, and the rest of it is text.
_ADDRESSES: Final = ("offset", "blocks", "apirefs", "stringrefs", "blockrefs", "inrefs", "outrefs")
_COMPONENTS: Final = "strongly_connected_components"
_STRIDE: Final = 1 << 40
_ADDRESS: Final = re.compile(r"0|[1-9][0-9]{0,19}")
_TIMESTAMP: Final = "%Y-%m-%dT%H-%M-%S"
# Of a report without one: the date of adding would make other bytes of the same content.
_NO_TIMESTAMP: Final = "1970-01-01T00-00-00"


class _Metadata(msgspec.Struct):
    function_name: Any = None
    binweight: Any = None
    pic_hash: Any = None


class _Code(msgspec.Struct):
    """What the values of a function's entry follow from."""

    blocks: dict[str, list[Raw]] = {}
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)


class _Label(msgspec.Struct):
    function_label: str
    username: str
    timestamp: str


_unparse = msgspec.json.Encoder().encode
_parse_any = msgspec.json.Decoder().decode
_parse_sample = msgspec.json.Decoder(dict[str, Any]).decode
_parse_functions = msgspec.json.Decoder(dict[str, dict[str, Raw]]).decode
_parse_int = msgspec.json.Decoder(int).decode
_parse_code = msgspec.json.Decoder(_Code).decode
_parse_labels = msgspec.json.Decoder(list[_Label]).decode


def make_report(sha256: str, config: object, sample: bytes, functions: bytes) -> bytes:
    """Return the JSON of the SMDA report of a sample, given the JSON of its entry and those of its functions.

    Values are checked when the report is parsed.

    Raises:
        ValueError: They are no such records.
    """
    entry = _parse_sample(sample)
    if str(entry.get("sha256")).lower() != sha256:
        raise ValueError("the entry has another sha256 than its key")
    xcfg: dict[str, Raw] = {}
    known: dict[str, dict[str, Any]] = {}
    labels: list[tuple[int, str, str, str]] = []
    layers: Counter[int] = Counter()
    for function in _parse_functions(functions).values():
        given = offset = _unsign(_parse_int(function["offset"]))
        while str(offset) in xcfg:
            layers[given % _STRIDE] += 1
            offset = (given % _STRIDE + layers[given % _STRIDE] * _STRIDE) & MASK
        key = str(offset)
        code, kept = _split_function(given, function, entry.get("architecture"))
        xcfg[key] = code
        if offset != given:
            kept["moved"] = (offset - given) & MASK
            xcfg[key] = Raw(_unparse(_move(_parse_sample(code), offset - given)))
        if kept:
            known[key] = kept
        labels += (
            (offset, each.function_label, each.username, each.timestamp)
            for each in _parse_labels(function.get("function_labels", b"[]"))
        )
    mcrit = {
        "config": config,
        "sample": {key: value for key, value in entry.items() if key not in _SAMPLE_KEYS},
        "functions": known,
        "labels": labels,
    }
    base_addr = entry.get("base_addr")
    report = {
        **dict.fromkeys(_DROPPED),
        **{key: entry.get(key) for key in _OF_REPORT},
        "base_addr": _unsign(base_addr) if isinstance(base_addr, int) else base_addr,
        "bitness": entry.get("bitness") or None,
        "metadata": {key: entry.get(key) for key in _OF_METADATA},
        "xcfg": xcfg,
        "mcrit": {key: value for key, value in mcrit.items() if value},
    }
    return _unparse(report)


def _split_function(offset: int, entry: dict[str, Raw], architecture: object) -> tuple[Raw, dict[str, Any]]:
    """Return SMDA's dict of a function, and what else its entry says."""
    values = {key: _parse_any(value) for key, value in entry.items() if key not in _PLACED}
    xcfg = entry.get("xcfg", Raw(b"null"))
    has_code = xcfg != Raw(b"null")
    if not has_code:
        xcfg = _make_xcfg(offset, values)
    code = _parse_code(xcfg)
    implied = _imply(code.blocks, msgspec.structs.asdict(code.metadata), architecture)
    minhash = values.pop("minhash", "")
    hashes = [[each[key] for key in _BLOCK_HASH] for each in values.pop("picblockhashes", ())]
    more = {key: value for key, value in values.items() if key not in implied or implied[key] != value}
    if not has_code:
        more["xcfg"] = None
    kept = {"minhash": minhash, "picblockhashes": hashes, "more": more}
    return xcfg, {key: value for key, value in kept.items() if value}


def _make_xcfg(offset: int, values: Mapping[str, Any]) -> Raw:
    """Return SMDA's dict of a function whose code MCRIT has not kept."""
    metadata = {
        "function_name": values.get("function_name"),
        "binweight": values.get("binweight"),
        "pic_hash": values.get("pichash"),
    }
    missing = dict.fromkeys(("characteristics", "confidence", "tfidf"))
    maps: dict[str, object] = {key: {} for key in ("blocks", "apirefs", "blockrefs", "outrefs")}
    code = {**maps, "offset": offset, "inrefs": []}
    return Raw(_unparse({**code, "metadata": {**metadata, **missing, "strongly_connected_components": []}}))


def _move(code: Mapping[str, Any], by: int) -> dict[str, Any]:
    """Return SMDA's dict of a function with all addresses moved; text, in which some stand too, stays the same."""
    moved = {key: _shift(value, by) if key in _ADDRESSES else value for key, value in code.items()}
    metadata = moved.get("metadata")
    if isinstance(metadata, dict) and _COMPONENTS in metadata:
        moved["metadata"] = {**metadata, _COMPONENTS: _shift(metadata[_COMPONENTS], by)}
    return moved


def _shift(value: Any, by: int) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, list):
        return [_shift(each, by) for each in value]
    if isinstance(value, dict):
        return {_shift_key(key, by): _shift(each, by) for key, each in value.items()}
    return (value + by) & MASK if isinstance(value, int) and not isinstance(value, bool) else value


def _shift_key(key: str, by: int) -> str:
    return str(_shift(int(key), by)) if _ADDRESS.fullmatch(key) else key


def _imply(blocks: Mapping[str, Any], metadata: Mapping[str, Any], architecture: object) -> dict[str, Any]:
    """Return the values of an entry that follow from SMDA's dict, and those that say nothing."""
    return {
        "architecture": architecture,
        "binweight": metadata.get("binweight"),
        "function_name": metadata.get("function_name"),
        "matches": {},
        "minhash_shingle_composition": {},
        "num_blocks": len(blocks),
        "num_instructions": sum(map(len, blocks.values())),
        # As MCRIT writes a function without a hash.
        "pichash": metadata.get("pic_hash") or 0,
    }


# Writing


def make_sample_entry(
    values: Mapping[str, Any], timestamp: object, known: Mapping[str, Any], **ids: int
) -> dict[str, Any]:
    """Return MCRIT's entry of a sample, given the fields of a Sample and what its report has under `mcrit.sample`."""
    entry = {key: values[key] for key in (*_OF_REPORT, *_OF_METADATA) if key in values}
    return {
        **known,
        **entry,
        **ids,
        "base_addr": _sign(values["base_addr"]),
        "bitness": values["bitness"] or 0,
        "filename": values["name"],
        "statistics": values["statistics"] or {"num_functions": values["num_functions"]},
        "timestamp": timestamp if _is_timestamp(timestamp) else _NO_TIMESTAMP,
    }


def _is_timestamp(value: object) -> bool:
    """Return whether MCRIT can import a timestamp; it fails as a whole where one is of another form."""
    try:
        return isinstance(value, str) and bool(datetime.strptime(value, _TIMESTAMP).replace(tzinfo=UTC))
    except ValueError:
        return False


def make_function_entry(
    offset: int,
    xcfg: Mapping[str, Any],
    *,
    minhash: str,
    picblockhashes: Iterable[Sequence[int]],
    moved: int,
    more: Mapping[str, Any],
    architecture: str,
    **placed: object,
) -> dict[str, Any]:
    """Return MCRIT's entry of a function, given SMDA's dict and what else the report says of it.

    `placed` are its ids and labels, which belong to the file.
    """
    code = _move(xcfg, -moved) if moved else xcfg
    known = {
        "minhash": minhash,
        "offset": _sign((offset - moved) & MASK),
        "picblockhashes": [dict(zip(_BLOCK_HASH, each, strict=True)) for each in picblockhashes],
        "xcfg": code,
    }
    return {**_imply(code["blocks"], code["metadata"], architecture), **known, **more, **placed}


def _sign(address: int) -> int:
    """Return an unsigned address as MCRIT writes it, two's complement."""
    return address - (1 << 64) if address >> 63 else address


def _unsign(address: int) -> int:
    """Return the unsigned address of one as MCRIT writes it; ValueError if it has more than 64 bits."""
    if not -(1 << 63) <= address <= MASK:
        raise ValueError(f"{address} is no address of 64 bits")
    return address & MASK
