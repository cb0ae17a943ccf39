"""Coverage-guided fuzzing of adding reports; pytest does not collect it.

`pip install atheris`, then
`python -m tests.format.fuzz_reports FOLDER -max_total_time=1800 -rss_limit_mb=2048 -timeout=10`:
whatever ends it, other than the time, is a defect. FOLDER keeps the inputs that reached something new.
"""

import json
import random
import sys
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["sampledb"]):
    import sampledb

from tests.format.test_frame import ODD, smda_function
from tests.strategies import function, report

_db = sampledb.open(":memory:")


def add(data: bytes) -> None:
    """Add what may be a report: it is stored and read back equal, or refused and leaves nothing."""
    try:
        sample = _db.add_sample(data)
    except sampledb.InvalidInputError:
        assert not _db.list_samples()
        return
    assert _db.get_report(sample.sample_id) == json.loads(data)
    assert _db.check(deep=True) == []
    for each in _db.list_functions(sample.sample_id).values():
        if each.name.strip():
            _db.search(each.name[:100])
    _db.delete_sample(sample.sample_id)
    assert _db.check(deep=True) == []


def mutated(data: bytes, max_size: int, seed: int) -> bytes:
    """Return the report with one value changed, or sometimes its bytes."""
    chance = random.Random(seed)  # noqa: S311 - it must be repeatable
    if chance.random() < 0.2:
        return bytes(atheris.Mutate(data, max_size))
    try:
        tree = json.loads(data)
        _change(tree, chance)
        content = json.dumps(tree, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
        return content if len(content) <= max_size else data
    except (ValueError, TypeError, LookupError, RecursionError):
        return bytes(atheris.Mutate(data, max_size))


def _change(tree: Any, chance: random.Random) -> None:
    """Change one value or one key somewhere inside."""
    inside = tree
    while True:
        key = chance.choice(list(inside) if isinstance(inside, dict) else range(len(inside)))
        if not isinstance(inside[key], dict | list) or not inside[key] or chance.random() < 0.15:
            break
        inside = inside[key]
    if isinstance(inside, dict) and chance.random() < 0.3:
        inside[chance.choice([*_KEYS, str(chance.choice(_NUMBERS))])] = inside.pop(key)
    else:
        inside[key] = _changed(inside[key], chance)


_NUMBERS = (0, 1, -1, 4096, 2**31, 2**32, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 2**100, -(2**63) - 1)
_KEYS = ("", "sha256", "offset", "metadata", "pic_hash", "blocks", "\x01", "a" * 300, "\ud800", "0", "01", "1e3")


def _changed(value: Any, chance: random.Random) -> Any:
    if isinstance(value, str) and chance.random() < 0.7:
        return bytes(atheris.Mutate(value.encode("utf-8", "replace"), len(value) + 8)).decode("utf-8", "replace")
    if isinstance(value, list) and value and chance.random() < 0.7:
        return chance.choice([value[:-1], value * 2, [*value, value[0]], value[::-1], [value]])
    return chance.choice([None, True, "", "x", [], {}, 0.5, -0.0, 1e308, *_NUMBERS, [value], {"a": value}])


def main() -> None:
    """Begin with reports that are right."""
    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    seeds = {
        "empty": report(),
        "two": report(function(4096, function_name="main"), function(2**63), md5="0" * 32, statistics={"a": 1}),
        "named": report(metadata={"family": "a.b", "filename": "c.exe", "binweight": 1.5}),
        **{f"odd {name}": report(smda_function(1), odd, smda_function(9)) for name, odd in ODD.items()},
    }
    for name, seed in seeds.items():
        (folder / name).write_text(json.dumps(seed), "utf-8")
    atheris.Setup(sys.argv, add, custom_mutator=mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
