"""What is in the code: each condition, and all together, find what a plain loop over the reports finds."""

import fnmatch
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sampledb
from sampledb import CorruptFileError, InvalidInputError, NotFoundError, SampleDB
from sampledb.database.engine import scanner
from sampledb.format.columns import Place
from sampledb.format.scan.scanner import Scan, Scanner
from sampledb.store.tables import frames
from sampledb.store.tables.lookup.addresses import find_all_containing
from sampledb.store.tables.lookup.twins import _SHARED
from tests.markers import every_platform
from tests.raw import raw
from tests.strategies import KERNEL, U64, function, instruction, report

Instructions = list[list[Any]]

# Sample, offset, and address of the match
Hit = tuple[int, int, int | None]

# A plain loop


def immediates(operands: str) -> Iterator[int]:
    """The immediate operands: numbers that stand alone, outside of brackets and quotes."""
    for token in re.split(r"[\s,:#]+", re.sub(r'\[[^\]]*\]|"[^"]*"', " ", operands.lower())):
        if re.fullmatch(r"-?(0x[0-9a-f]+|[0-9]+)", token):
            yield int(token, 16 if "x" in token else 10)


def runs(block: Instructions, mnemonics: list[str]) -> Iterator[int]:
    for place in range(len(block) - len(mnemonics) + 1):
        if all(want in ("*", block[place + number][2]) for number, want in enumerate(mnemonics)):
            yield block[place][0]


def code_runs(block: Instructions, code: str) -> Iterator[int]:
    wanted = re.findall(r"\?\?|..", code)
    found: list[tuple[int, str]] = []
    for address, digits, *_ in block:
        if not re.fullmatch(r"([0-9a-fA-F]{2})*", digits):
            return
        found += [(address + place, digits[2 * place : 2 * place + 2].lower()) for place in range(len(digits) // 2)]
    for place in range(len(found) - len(wanted) + 1):
        if all(want in ("??", found[place + number][1]) for number, want in enumerate(wanted)):
            yield found[place][0]


def api_matches(api: str, pattern: str) -> bool:
    names = [api.lower(), *([api.lower().split("!", 1)[1]] if "!" in api else [])]
    return any(fnmatch.fnmatchcase(name, pattern.lower()) for name in names)


def strings_of(found: dict[str, Any]) -> Iterator[tuple[int | None, str]]:
    references = found.get("stringrefs") or {}
    if isinstance(references, dict):
        for address, value in references.items():
            yield int(address), value["string"] if isinstance(value, dict) else value
    else:
        for item in references:
            yield item["ins_addr"], item["string"]


def places(found: dict[str, Any], condition: str, value: Any) -> Iterator[int | None]:
    """The addresses at which SMDA's function dict meets a condition, in the order of the report."""
    blocks: Iterable[Instructions] = found["blocks"].values()
    if condition == "api":
        yield from (int(address) for address, api in found["apirefs"].items() if api and api_matches(api, value))
    elif condition == "string":
        yield from (address for address, string in strings_of(found) if value.lower() in string.lower())
    elif condition == "mnemonics":
        yield from (address for block in blocks for address in runs(block, value))
    elif condition == "code":
        yield from (address for block in blocks for address in code_runs(block, value.replace(" ", "").lower()))
    else:
        for block in blocks:
            for address, _, mnemonic, operands, *_ in block:
                if condition == "constant" and any((each - value) % 2**64 == 0 for each in immediates(operands)):
                    yield address
                if condition == "text" and re.search(value, f"{mnemonic} {operands}" if operands else mnemonic):
                    yield address


IN_CODE = ("api", "string", "constant", "mnemonics", "code", "text")


def loop(db: SampleDB, conditions: dict[str, Any]) -> list[Hit]:
    """Sample, offset and address of each function that meets all conditions, by a loop over get_report."""
    hits: list[Hit] = []
    for sample in db.iter_samples():
        is_meant = (
            conditions.get("sample_id") in (None, sample.sample_id)
            and conditions.get("family") in (None, sample.family)
            and conditions.get("tag") in (None, *sample.tags)
            and conditions.get("is_library") in (None, sample.is_library)
        )
        functions = db.get_report(sample.sample_id)["xcfg"].values() if is_meant and sample.num_functions else ()
        for found in sorted(functions, key=lambda each: each["offset"]):
            address = meet(found, conditions)
            if address is not False:
                hits.append((sample.sample_id, found["offset"], address))
    return hits


def meet(found: dict[str, Any], conditions: dict[str, Any]) -> int | bool | None:
    """The address of the match that is reported, or False."""
    metadata = found["metadata"]
    name = (metadata["function_name"] or "").lower()
    if "name" in conditions and not fnmatch.fnmatchcase(name, conditions["name"].lower()):
        return False
    if "pic_hash" in conditions and metadata.get("pic_hash") != conditions["pic_hash"]:
        return False
    if sum(map(len, found["blocks"].values())) < conditions.get("min_instructions", 0):
        return False
    address: int | None = None
    for condition in IN_CODE:
        if condition in conditions:
            matches = list(places(found, condition, conditions[condition]))
            if not matches:
                return False
            address = matches[0]
    return address


def ask(db: SampleDB, **conditions: Any) -> list[Hit]:
    return [(hit.sample_id, hit.offset, hit.address) for hit in db.find_functions(**conditions)]


# Reports with things to be found in them

NAMES = ["", "main", "Main_loop", "aes_encrypt", "AES_decrypt", "x" * 1000 + "needle", "İstanbul", "Kelvin \u212a"]
APIS = [
    "kernel32.dll!CreateFileA",
    "KERNEL32.dll!createfilew",
    "GLIBC_2.2.5!malloc",
    "malloc",
    "a!b!c",
    "!x",
    "",
    "ws2_32.dll!#115",
]
STRINGS = ["Usage: %s", "usage", "http://example.com/", "héllo", "xxİ", "a\nb", "", "a" * 70]
MNEMONICS = ["mov", "xor", "rol", "ret"]
OPERANDS = [
    "", "eax, eax", "eax, 8", "eax, 0x8", "w0, #8", "w0, #0x10", "rax, -8", "rax, #-0x8", "r8, r8",
    "eax, dword ptr [rsp + 8]", "eax, 0xfffffffffffffff8", "18446744073709551608", "0x33:0x8", "d0, #8.5", '"8"',
    "x0, x1, lsl #8", "eax, 0x88", "eax, 08", "#0X8, 9",
]  # fmt: skip
CODES = ["90", "6a40", "c3", "0f1f4000", "AB", "9", "zz"]


@st.composite
def listings(draw: st.DrawFn, offset: int) -> dict[str, Any]:
    blocks: dict[str, Instructions] = {}
    address = offset
    for _ in range(draw(st.integers(1, 3))):
        block = blocks.setdefault(str(address), [])
        for _ in range(draw(st.integers(1, 5))):
            code = draw(st.sampled_from(CODES[:5]) | st.sampled_from(CODES))
            block.append(instruction(address, code, draw(st.sampled_from(MNEMONICS)), draw(st.sampled_from(OPERANDS))))
            address += len(code) // 2
        address += draw(st.sampled_from([0, 0, 3]))
    if draw(st.booleans()):
        # A jump to a block, whose address the frame leaves out.
        target = draw(st.sampled_from(sorted(blocks)))
        last = blocks[list(blocks)[-1]]
        last[-1][2:4] = ["jmp", hex(int(target))]
    made = function(
        offset, blocks, function_name=draw(st.sampled_from(NAMES)), pic_hash=draw(st.sampled_from([5, U64, None]))
    )
    starts = [int(key) for key in blocks]
    made["blockrefs"] = {key: [draw(st.sampled_from(starts))] for key in blocks}
    made["blockrefs"][list(blocks)[-1]] = [int(target)] if last_is_jump(made) else []
    addresses = st.sampled_from([each[0] for block in blocks.values() for each in block])
    made["apirefs"] = draw(st.dictionaries(addresses.map(str), st.sampled_from(APIS), max_size=3))
    strings = draw(st.lists(st.tuples(addresses, st.sampled_from(STRINGS)), max_size=3))
    shape = draw(st.sampled_from(["absent", "texts", "objects", "list"]))
    if shape == "list":
        made["stringrefs"] = [
            {"string": text, "ins_addr": place, "data_addr": None, "type": "ascii"} for place, text in strings
        ]
    elif shape != "absent":
        made["stringrefs"] = {str(place): text if shape == "texts" else {"string": text} for place, text in strings}
    if draw(st.integers(0, 3)) == 0:
        made["x-unknown"] = True
    return made


def last_is_jump(made: dict[str, Any]) -> bool:
    return bool(list(made["blocks"].values())[-1][-1][2] == "jmp")


@st.composite
def stores(draw: st.DrawFn) -> list[dict[str, Any]]:
    return [
        report(
            *(draw(listings(start + 4096 * place)) for place in range(draw(st.integers(0, 20)))),
            seed=f"sample {number}",
            metadata={"family": draw(st.sampled_from(["", "emotet"])), "is_library": draw(st.booleans())},
        )
        for number, start in enumerate(draw(st.lists(st.sampled_from([0, 0x401000, KERNEL]), min_size=1, max_size=3)))
    ]


TEXTS = [
    "^ret$", "eax", "^mov .*8$", "jmp 0x", r"\bxor\b", "nothing", "[0-9]{3}", " $", "(rol|jmp)", "jmp|#0x10", "(?i)RET",
    "MOV", "p 0x40[12]", "0x401$", "^jmp.*0x401", "x40", "00$", "0x80?", r"ptr \[rsp", "-0x8", "eax,? [^ ]+8",
]  # fmt: skip
patterns = st.sampled_from(
    ["*", "main", "MAIN*", "*crypt", "*needle", "?ain", "[a-m]*", "[!m]*", "*İ*", "[]x]*", "zzz"]
)
CONDITIONS: dict[str, st.SearchStrategy[Any]] = {
    "name": patterns,
    "api": st.sampled_from(
        ["CreateFile*", "kernel32.dll!*", "*malloc", "malloc", "*!*", "b!c", "c", "#115", "*", "nothing"]
    ),
    "string": st.sampled_from(["usage", "U", "%S", "example.com", "HÉL", "xi", "a\nb", "aaaa", "nothing"]),
    "constant": st.sampled_from([8, -8, 2**64 - 8, 0x10, 0x88, 0, 9, 0x401000, 0x402000, KERNEL, -(2**63)]),
    "mnemonics": st.lists(st.sampled_from([*MNEMONICS, "*", "jmp"]), min_size=1, max_size=4),
    "code": st.sampled_from(["90", "6a 40", "40??", "C3 90", "??", "ab", "0f1f??00", "????????", "6a40 6a40", "ff"]),
    "pic_hash": st.sampled_from([5, U64, 6]),
    "sample_id": st.just(1),
    "family": st.sampled_from(["", "emotet"]),
    "tag": st.just("seen"),
    "is_library": st.booleans(),
    "min_instructions": st.integers(0, 9),
}


def conditions(names: Iterable[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({name: CONDITIONS[name] for name in names})


@given(stores(), st.sets(st.sampled_from(sorted(CONDITIONS)), min_size=1, max_size=4), st.data())
def test_conditions_find_what_a_loop_finds(reports: list[dict[str, Any]], names: set[str], data: st.DataObject) -> None:
    wanted = data.draw(conditions(names))
    with sampledb.open(":memory:") as db:
        for each in reports:
            db.add_sample(each)
        db.update_sample(1, tags=["seen"])
        assert ask(db, **wanted) == loop(db, wanted)
        assert db.check(deep=True) == []


@given(stores())
def test_patterns_find_what_a_loop_finds(reports: list[dict[str, Any]]) -> None:
    # Without the start of a process for each, which the other tests of patterns have.
    finders = {value: Scanner(Scan(text=value)) for value in TEXTS}
    with sampledb.open(":memory:") as db:
        for each in reports:
            db.add_sample(each)
        with db._connections.snapshot() as connection:
            offsets = dict(connection.execute('SELECT function_id, "offset" FROM functions'))
            held = frames.select_of(connection, sorted(offsets))
        for value, finder in finders.items():
            found = []
            for frame, ids in held:
                places_of_frame = [Place(each - frame.first, offsets[each] & U64) for each in ids]
                for number, address, _ in finder.scan(frame.blob, frame.checksum, places_of_frame):
                    found.append((places_of_frame[number].offset, address))
            assert sorted(found) == sorted(each[1:] for each in loop(db, {"text": value}))


@every_platform
def test_every_condition_finds_what_a_loop_finds_in_real_reports(filled: SampleDB) -> None:
    for wanted in REAL:
        assert ask(filled, **wanted) == loop(filled, wanted), wanted


REAL: list[dict[str, Any]] = [
    {"api": "*a*"},
    {"api": "*!*", "min_instructions": 5},
    {"constant": 8},
    {"constant": -1},
    {"mnemonics": ["mov", "*", "mov"]},
    {"code": "48 8b ??"},
    {"text": r"\[r?sp", "constant": 1},
    {"name": "*e*", "sample_id": 1},
]


# What is found


def test_a_hit_says_where_the_last_condition_is_met_and_by_what(db: SampleDB) -> None:
    block = [
        instruction(4096, "b878563412", "mov", "eax, 0x12345678"),
        instruction(4101, "ff1500000000", "call", "qword ptr [rip]"),
        instruction(4107, "c3", "ret"),
    ]
    made = function(4096, {"4096": block}, function_name="start", pic_hash=U64)
    made["apirefs"] = {"4101": "kernel32.dll!CreateFileA"}
    made["stringrefs"] = [{"string": "Usage: x", "ins_addr": 4096, "data_addr": 1, "type": "ascii"}]
    db.add_sample(report(made))

    def only(**wanted: Any) -> tuple[int | None, str]:
        (hit,) = db.find_functions(**wanted)
        assert (hit.sample_id, hit.function_id, hit.offset) == (1, 1, 4096)
        assert (hit.name, hit.num_instructions) == ("start", 3)
        return hit.address, hit.match

    assert only(api="createfile*") == (4101, "kernel32.dll!CreateFileA")
    assert only(string="usage") == (4096, "Usage: x")
    assert only(constant=0x12345678) == (4096, "mov eax, 0x12345678")
    assert only(mnemonics=["call", "ret"]) == (4101, "call qword ptr [rip]; ret")
    assert only(code="34 12 ff 15") == (4099, "3412ff15")
    assert only(text="^ret$") == (4107, "ret")
    assert only(name="St*") == (None, "start")
    assert only(pic_hash="0xffffffffffffffff") == (None, "0xffffffffffffffff")
    assert only(api="*!*", text="mov") == (4096, "mov eax, 0x12345678")
    assert only(family="") == (None, "")


def test_hits_come_in_the_order_of_samples_and_offsets_also_after_a_replacement(db: SampleDB) -> None:
    for seed in ("a", "b"):
        db.add_sample(report(function(U64 - 64), function(4096), seed=seed))
    db.add_sample(report(function(U64 - 64), function(4096), seed="a"), replace=True)
    found = [(hit.sample_id, hit.offset) for hit in db.find_functions(mnemonics=["nop", "ret"])]
    assert found == [(1, 4096), (1, U64 - 64), (2, 4096), (2, U64 - 64)]
    assert len(list(db.find_functions(mnemonics=["ret"], limit=3))) == 3


def test_a_search_goes_on_while_the_store_changes(db: SampleDB, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanner, "_AT_ONCE", 2)
    for seed in "abcd":
        db.add_sample(report(*(function(4096 * place) for place in range(1, 6)), seed=seed))
    hits = db.find_functions(code="90c3")
    assert next(hits).sample_id == 1
    db.delete_sample(2)
    db.add_sample(report(function(4096), seed="c"), replace=True)
    assert {hit.sample_id for hit in hits} >= {1, 4}


def test_progress_counts_functions_up_to_all(db: SampleDB, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanner, "_AT_ONCE", 2)
    db.add_sample(report(*(function(4096 * place) for place in range(1, 6))))
    seen: list[tuple[int, int]] = []
    assert len(list(db.find_functions(code="90", progress=lambda *counts: seen.append(counts)))) == 5
    assert seen[0] == (2, 5)
    assert seen[-1] == (5, 5)


def test_processes_find_what_one_process_finds(filled: SampleDB, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = list(filled.find_functions(mnemonics=["mov", "mov"]))
    monkeypatch.setattr(scanner, "_PATIENCE", -1.0)
    monkeypatch.setattr(scanner, "_AT_ONCE", 64)
    monkeypatch.setattr(scanner, "_CORES", 2)
    assert list(filled.find_functions(mnemonics=["mov", "mov"])) == alone


@pytest.mark.parametrize("pattern", [r"(a*)*b", r"(.|.)*\d\d\dx", "(?:x+x+)+y"])
def test_a_pattern_that_never_ends_ends_with_an_error(
    db: SampleDB, pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanner, "_LEAST_LIMIT", 0.5)
    block = [instruction(4096, "90", "a" * 40 + "x" * 40, "a" * 60)]
    db.add_sample(report(function(4096, {"4096": block})))
    with pytest.raises(InvalidInputError, match="takes less than") as raised:
        list(db.find_functions(text=pattern))
    assert raised.value.details["field"] == "text"


def test_a_damaged_frame_ends_a_search_with_an_error(path: Path) -> None:
    with raw(path) as connection:
        connection.execute("UPDATE disassembly SET frame = x'02'")
    with sampledb.open(path) as db, pytest.raises(CorruptFileError, match="checksum"):
        list(db.find_functions(code="90"))


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"limit": 5},
        {"constant": 2**64},
        {"constant": -(2**63) - 1},
        {"constant": "8"},
        {"constant": True},
        {"mnemonics": []},
        {"mnemonics": "mov"},
        {"mnemonics": [5]},
        {"mnemonics": [""]},
        {"code": ""},
        {"code": "9"},
        {"code": "9?"},
        {"code": "zz"},
        {"code": b"90"},
        {"text": "("},
        {"text": "a{99999999999999999999}"},
        {"text": ""},
        {"api": ""},
        {"api": 5},
        {"string": "\ud800"},
        {"name": "x" * 1001},
        {"label": 5},
        {"pic_hash": -1},
        {"pic_hash": "88400bfc6390d494"},
        {"sample_id": 0},
        {"family": "a b"},
        {"is_library": 1, "api": "*"},
        {"min_instructions": -1},
        {"api": "*", "limit": -1},
    ],
)
def test_conditions_that_break_a_rule_are_refused_at_once(db: SampleDB, broken: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        db.find_functions(**broken)


def test_an_unknown_sample_is_not_found(db: SampleDB) -> None:
    for ask_for in (
        lambda: db.find_functions(api="*", sample_id=1),
        lambda: db.list_apis(1),
        lambda: db.list_strings(1),
        lambda: db.callers(1, 1),
        lambda: db.callees(1, 1),
        lambda: db.twins(1, 1),
        lambda: db.known(1),
    ):
        with pytest.raises(NotFoundError):
            ask_for()


def test_no_function_has_a_label_yet(filled: SampleDB) -> None:
    assert list(filled.find_functions(label="*")) == []


# Lists


def test_apis_and_strings_are_counted_by_the_functions_that_refer_to_them(db: SampleDB) -> None:
    for seed, offsets in (("a", (4096, 8192)), ("b", (4096,))):
        made = [function(offset) for offset in offsets]
        for each in made:
            each["apirefs"] = {"1": "a.dll!Open", "2": "a.dll!Open", "3": "b.dll!Close"}
            each["stringrefs"] = {"1": "path", "2": {"string": "Path"}}
        made[0]["apirefs"]["4"] = "c.dll!Zero"
        db.add_sample(report(*made, seed=seed))
    assert list(db.list_apis().items()) == [("a.dll!Open", 3), ("b.dll!Close", 3), ("c.dll!Zero", 2)]
    assert db.list_apis(2) == {"a.dll!Open": 1, "b.dll!Close": 1, "c.dll!Zero": 1}
    assert db.list_apis(pattern="open") == {"a.dll!Open": 3}
    assert db.list_apis(1, pattern="B.DLL!*") == {"b.dll!Close": 2}
    assert db.list_strings() == {"Path": 3, "path": 3}
    assert db.list_strings(1, pattern="p*") == {"Path": 2, "path": 2}


def test_names_go_with_the_last_function_that_refers_to_them(db: SampleDB) -> None:
    for seed in ("a", "b"):
        made = function(4096)
        made["apirefs"] = {"1": "shared!api", "2": f"only!{seed}"}
        made["stringrefs"] = {"1": "shared text", "2": f"only text {seed}"}
        db.add_sample(report(made, seed=seed))
    db.delete_sample(1)
    assert db.list_apis() == {"only!b": 1, "shared!api": 1}
    assert db.list_strings() == {"only text b": 1, "shared text": 1}
    assert [hit.text for hit in db.search("only text")] == ["only text b"]
    db.add_sample(report(function(4096), seed="b"), replace=True)
    assert db.list_apis() == db.list_strings() == {}
    assert db.query("SELECT * FROM apis") == db.query("SELECT * FROM strings") == []
    assert db.search("text") == []
    assert db.check(deep=True) == []


# The graph


@every_platform
def test_callers_and_callees_are_what_the_references_say(filled: SampleDB) -> None:
    for sample_id in filled.list_samples():
        whole = filled.list_functions(sample_id, disassembly=True)
        for function_id, found in list(whole.items())[:40]:
            code = found.disassembly or {}
            called = {to for targets in code["outrefs"].values() for to in targets}
            assert [each.function_id for each in filled.callees(sample_id, function_id)] == owners(
                filled, whole, called
            )
            assert [each.function_id for each in filled.callers(sample_id, function_id)] == owners(
                filled, whole, code["inrefs"]
            )


def owners(db: SampleDB, whole: dict[Any, Any], addresses: Iterable[int]) -> list[int]:
    sample_id = next(iter(whole.values())).sample_id
    found = set()
    for address in addresses:
        try:
            found.add(db.find_function(sample_id, address).function_id)
        except NotFoundError:
            continue
    return sorted(found)


@given(st.lists(st.sampled_from([4096, 4098, 4100, 8192, KERNEL, U64 - 8]), unique=True, min_size=1), st.data())
def test_addresses_are_found_together_as_they_are_found_alone(offsets: list[int], data: st.DataObject) -> None:
    functions = []
    for offset in offsets:
        starts = data.draw(st.lists(st.sampled_from([4090, 4096, 4099, 8190, 8200, KERNEL, U64 - 8]), unique=True))
        functions.append(
            function(offset, {str(start): [instruction(start, "90" * 6), instruction(start + 6)] for start in starts})
        )
    with sampledb.open(":memory:") as db:
        db.add_sample(report(*functions))
        whole = db.list_functions(1)
        for address in (4090, 4095, 4096, 4097, 4102, 4105, 8190, 8196, 8200, KERNEL, KERNEL + 9, U64 - 3):
            with db._connections.snapshot() as connection:
                found = find_all_containing(connection, 1, len(functions), [address])
            assert found == owners(db, whole, [address])


# Twins


def test_twins_are_all_other_functions_of_the_same_hash_and_some_length(db: SampleDB) -> None:
    long = [instruction(4096 + place) for place in range(12)]
    for seed in ("a", "b"):
        db.add_sample(
            report(
                function(4096, {"4096": long}, pic_hash=U64), function(8192, pic_hash=7), function(12288, pic_hash=7),
                function(16384, pic_hash=None), seed=seed,
            )
        )  # fmt: skip
    assert [(each.sample_id, each.offset) for each in db.twins(1, 1)] == [(2, 4096)]
    assert db.twins(1, 2) == db.twins(1, 4, min_instructions=0) == []
    assert [each.function_id for each in db.twins(1, 2, min_instructions=2)] == [3, 6, 7]


@given(stores())
def test_what_is_known_is_what_a_loop_knows(reports: list[dict[str, Any]]) -> None:
    with sampledb.open(":memory:") as db:
        samples = [db.add_sample(each) for each in reports]
        everything = list(db.iter_functions())
        for least in (1, 10):
            for sample in samples:
                long = [each for each in everything if each.pic_hash is not None and each.num_instructions >= least]
                own = [each for each in long if each.sample_id == sample.sample_id]
                others = [each for each in long if each.sample_id != sample.sample_id]
                elsewhere = {each.pic_hash for each in others}
                in_libraries = {each.pic_hash for each in others if samples[each.sample_id - 1].is_library}
                assert db.known(sample.sample_id, min_instructions=least) == sampledb.Known(
                    sample.sample_id,
                    len(own),
                    sum(each.pic_hash in elsewhere for each in own),
                    sum(each.pic_hash in in_libraries for each in own),
                )
        assert db.stats().num_shared == sum(db.known(each.sample_id).num_elsewhere for each in samples)


def test_what_is_known_is_told_by_the_index_alone(db: SampleDB) -> None:
    plan = db.query(f"EXPLAIN QUERY PLAN {_SHARED.replace('?', '10')}")
    assert any("USING COVERING INDEX functions_by_pic_hash" in row["detail"] for row in plan)


def test_instructions_are_typed_rows(db: SampleDB) -> None:
    db.add_sample(report(function(4096)))
    first, last = db.get_function(1, 1).instructions
    assert (first.address, first.code, first.mnemonic, first.operands) == (4096, "90", "nop", "")
    assert last.to_dict() == {"address": 4097, "code": "c3", "mnemonic": "ret", "operands": ""}
    with pytest.raises(InvalidInputError, match="disassembly"):
        assert db.list_functions(1)[1].instructions


def test_hashes_of_old_versions_are_marked_and_not_compared_with_those_of_today(db: SampleDB) -> None:
    versions = ["1.12.3", "1.5.0", "5.0.1", "4.3.5", "4.3.4", "1.2.15", "odd", "MCRIT4IDA 0.1 5.0.1"]
    for number, version in enumerate(versions):
        db.add_sample(report(function(1, pic_hash=5), seed=str(number), smda_version=version))
    assert [each.smda_version for each in db.iter_samples() if not each.has_old_hashes] == [
        *("5.0.1", "4.3.5", "MCRIT4IDA 0.1 5.0.1"),
    ]
    twins = {each.sample_id: [twin.sample_id for twin in db.twins(each.sample_id, each.sample_id, min_instructions=0)]
             for each in db.iter_samples()}  # fmt: skip
    assert twins == {1: [2, 5], 2: [1, 5], 3: [4, 8], 4: [3, 8], 5: [1, 2], 6: [], 7: [], 8: [3, 4]}
    assert not db.add_media(sha256="0" * 64).has_old_hashes
