"""The commands that ask what is in the code."""

import csv
import io
from pathlib import Path

import pytest

import sampledb
from tests.cli.consoles import answered, dicts, run_here
from tests.strategies import function, instruction, report


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with two samples that share a function, whose API and string are hostile."""
    path = tmp_path_factory.mktemp("code") / "code.sampledb"
    with sampledb.open(path) as db:
        for seed in ("a", "b"):
            rows = [[4096 + number, "90", "mov", f"eax, {number:#x}"] for number in range(12)]
            long = function(4096, {"4096": rows}, function_name="rc4\x1b", pic_hash=2**63 + 1)
            long |= {"apirefs": {"4097": "evil\x1b.dll!CreateFileA"}, "outrefs": {"4098": [8192]}}
            long |= {"stringrefs": {"4099": "http://\x1b"}}
            short = function(8192, function_name="stub") | {"inrefs": [4098]}
            db.add_sample(report(long, short, seed=seed), name=f"{seed}.exe")
    return path


def test_each_command_answers_what_its_call_returns(path: Path) -> None:
    with sampledb.open(path, readonly=True) as db:
        expected = {
            ("find", "--api", "createfile*", "--limit", "1"): dicts(db.find_functions(api="CreateFile*", limit=1)),
            ("find", "--constant", "0xB", "--sample", "b*"): dicts(db.find_functions(constant=11, sample_id=2)),
            ("find", "--mnemonics", "mov * mov", "--code", "90 ??", "--string", "HTTP"): dicts(
                db.find_functions(mnemonics=["mov", "*", "mov"], code="90??", string="http")
            ),
            ("find", "--name", "stub", "--no-library"): dicts(db.find_functions(name="stub", is_library=False)),
            ("find", "--pic-hash", f"{2**63 + 1:#x}"): dicts(db.find_functions(pic_hash=2**63 + 1)),
            ("find", "--pic-hash", f"{2**63 + 1}"): dicts(db.find_functions(pic_hash=2**63 + 1)),
            ("apis",): db.list_apis(),
            ("apis", "1", "b.exe", "--pattern", "Create*"): db.list_apis(),
            ("strings", "a.exe"): db.list_strings(1),
            ("callees", "a.exe", "rc4\x1b"): dicts(db.callees(1, 1)),
            ("callers", "a.exe", "0x2000"): dicts(db.callers(1, 2)),
            ("twins", "1", "RC4*"): dicts(db.twins(1, 1)),
            ("twins", "1", "stub"): [],
        }
    for (name, *arguments), data in expected.items():
        assert data or arguments[-1] == "stub"
        assert answered(name, path, *arguments) == data


def test_people_see_samples_by_name_and_nothing_that_a_terminal_obeys(path: Path) -> None:
    shown = run_here("find", path, "--api", "CreateFileA").output.splitlines()
    assert [line.split() for line in shown] == [
        ["sample", "file", "function", "address", "name", "match"],
        ["1", "a.exe", "1", "0x1001", "rc4\\x1b", "evil\\x1b.dll!CreateFileA"],
        ["2", "b.exe", "3", "0x1001", "rc4\\x1b", "evil\\x1b.dll!CreateFileA"],
    ]
    assert run_here("apis", path).output.splitlines()[1].split() == ["2", "evil\\x1b.dll!CreateFileA"]
    assert run_here("strings", path, 2).output.splitlines()[1].split() == ["1", "http://\\x1b"]
    assert run_here("twins", path, 1, 1).output.splitlines()[1].split()[:3] == ["2", "b.exe", "3"]
    assert "--min-instructions 2" in run_here("twins", path, 1, "stub").output


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["find"], 2, "There is no condition"),
        (["find", "--constant", "x"], 2, "such as 4096, -1 or 0x1000"),
        (["find", "--text", "("], 1, "text must be"),
        (["find", "--sample", "nope", "--api", "x"], 1, "Sample nope not found."),
        (["callers", "*.exe", "1"], 1, "is the name of several samples; give an id: 1 a.exe, 2 b.exe."),
        (["callees", "1", "*"], 1, "give an id: 1 rc4\\x1b at 0x1000, 2 stub at 0x2000."),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_explained(path: Path, arguments: list[str], code: int, said: str) -> None:
    shown = run_here(arguments[0], path, *arguments[1:])
    assert (shown.code, shown.output, said in shown.errors) == (code, "", True)


def test_a_table_is_csv_with_the_values_of_its_json(path: Path) -> None:
    for name, *arguments in (["find", "--name", "*"], ["functions", 1], ["list"]):
        header, *rows = csv.reader(io.StringIO(run_here(name, path, *arguments, "--csv").output))
        data = answered(name, path, *arguments)
        assert (header, len(rows)) == (list(data[0]), len(data))
        assert [row[header.index("sample_id")] for row in rows] == [str(each["sample_id"]) for each in data]
    assert run_here("query", path, "SELECT NULL AS a, 'b,\n' AS b, x'00' AS c", "--csv").output == 'a,b,c\n,"b,\n",00\n'
    assert run_here("apis", path, "--csv").output == "api,functions\nevil\x1b.dll!CreateFileA,2\n"
    assert run_here("jobs", path, "--csv").output.startswith("job_id,state,")
    assert run_here("jobs", path, "--csv", "--json").code == 2


def test_a_hash_as_it_is_shown_finds_its_rows(path: Path) -> None:
    shown = run_here("functions", path, 1).output.split()
    (pic_hash,) = (each for each in shown if each.startswith("0x80"))
    sql = "SELECT sample_id FROM functions WHERE pic_hash = ? ORDER BY 1"
    for parameter in (pic_hash, int(pic_hash, 0)):
        assert answered("query", path, sql, parameter) == [{"sample_id": 1}, {"sample_id": 2}]


def test_many_hits_are_a_table_too(tmp_path: Path) -> None:
    path = tmp_path / "many.sampledb"
    with sampledb.open(path) as db:
        db.add_sample(report(*(function(4096 * n, {str(4096 * n): [instruction(4096 * n)]}) for n in range(1, 1202))))
    lines = run_here("find", path, "--min-instructions", 1).output.splitlines()
    assert (len(lines), len({len(line) for line in lines[2:1001]})) == (1202, 1)
    assert lines[-1].split()[:2] == ["1", "1201"]
