"""Make `.mcrit` files, as MCRIT's servers export them."""

import base64
import io
import json
import zipfile
from pathlib import Path
from typing import Any

from tests.intake.packed import zipped
from tests.strategies import function, instruction

CONFIG = {
    "version": "1.0.5",
    "shingler": "7ae53d3b2514730a4d48f993a3e4cd6c6d4a5ca26f93bbed98e0f498295552de",
    "minhash": "d8e7556837291ca72b3e70ebf4c328286a418bc761c63385ee61b0a767fcc99d",
}


def label(name: str, username: str = "alice", day: int = 1) -> dict[str, str]:
    return {"function_label": name, "username": username, "timestamp": f"2023-09-{day:02}T13:10:30"}


def sample_entry(sha256: str, **fields: Any) -> dict[str, Any]:
    """Return a sample's entry with the keys that MCRIT requires."""
    return {
        "architecture": "intel",
        "base_addr": 0x400000,
        "binary_size": 4096,
        "binweight": 6.0,
        "bitness": 32,
        "component": "core",
        "family": "zlib",
        "family_id": 7,
        "filename": "zlib.lib",
        "is_library": True,
        "sample_id": 31,
        "sha256": sha256,
        "smda_version": "1.12.3",
        "statistics": {"num_functions": 3},
        "timestamp": "2023-07-19T14-39-06",
        "version": "1.2.11",
        **fields,
    }


def function_entry(offset: int, seed: int = 0, labels: list[dict[str, str]] | None = None, **fields: Any) -> Any:
    """Return a function's entry whose code, with a jump of its own, depends on `seed`."""
    end = (offset + 2) % 2**64
    blocks = {
        str(offset): [instruction(offset, "eb00", "jmp", hex(end))],
        str(end): [instruction(end, f"b0{seed:02x}", "mov", f"al, {seed}"), instruction(end + 2, "c3", "ret")],
    }
    code = function(offset, blocks, pic_hash=2**63 + seed, strongly_connected_components=[[end], [offset]])
    code |= {"blockrefs": {str(offset): [end]}, "inrefs": [offset + 64], "apirefs": {str(end): "kernel32.dll!Sleep"}}
    return {
        "architecture": "intel",
        "binweight": 2.0,
        "family_id": 7,
        "function_id": 1000 + seed,
        "function_name": "",
        "function_labels": labels or [],
        "matches": {},
        "minhash": f"{seed:02x}" * 64,
        "minhash_shingle_composition": {},
        "num_blocks": 2,
        "num_instructions": 3,
        "offset": offset - 2**64 if offset >= 2**63 else offset,
        "pichash": 2**63 + seed,
        "picblockhashes": [{"offset": offset, "length": 4, "size": 9, "hash": 2**64 - 1 - seed}],
        "sample_id": 31,
        "xcfg": code,
        **fields,
    }


def packed(functions: object) -> str:
    """Return functions as MCRIT packs them."""
    return base64.b85encode(zipped({"content": json.dumps(functions).encode()})).decode()


def unpacked(functions: str) -> Any:
    """Return what was packed."""
    with zipfile.ZipFile(io.BytesIO(base64.b85decode(functions))) as archive:
        return json.loads(archive.read("content"))


def export(
    samples: dict[str, Any], functions: dict[str, Any], *, compress: bool = True, **fields: Any
) -> dict[str, Any]:
    """Return the content of a file, given entries of samples and lists of those of functions, by SHA-256."""
    numbered = {sha256: {str(each["function_id"]): each for each in found} for sha256, found in functions.items()}
    return {
        "function_entries": {sha256: packed(found) if compress else found for sha256, found in numbered.items()},
        "content": {"is_compressed": compress, "num_families": 1, "num_samples": 1, "num_functions": 3},
        "config": CONFIG,
        "family_mapping": {"7": "zlib"},
        "sample_entries": samples,
        **fields,
    }


def written(path: Path, content: object) -> Path:
    """Return the path of a new file, indented as MCRIT's console writes it."""
    path.write_text(json.dumps(content, indent=1), "utf-8")
    return path


def read(path: Path) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Return the entries of a file by SHA-256, those of functions sorted, without the ids that belong to the file."""
    content = json.loads(path.read_text("utf-8"))
    samples, functions = content["sample_entries"], {}
    for sha256, found in content["function_entries"].items():
        entries = (unpacked(found) if isinstance(found, str) else found).values()
        functions[sha256] = sorted(map(_without_ids, entries), key=lambda entry: json.dumps(entry, sort_keys=True))
    assert {each["family"] for each in samples.values()} == set(content["family_mapping"].values())
    return {sha256: _without_ids(each) for sha256, each in samples.items()}, functions


def _without_ids(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: entry[key] for key in sorted(entry) if key not in {"sample_id", "family_id", "function_id"}}
