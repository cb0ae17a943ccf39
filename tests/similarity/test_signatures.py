"""Signatures say what code does, and the same on every machine."""

import copy
import hashlib
import json
from fractions import Fraction
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampledb import similarity
from sampledb.format import codec
from sampledb.format.frame import FrameError
from sampledb.format.report import parse_report
from sampledb.similarity import (
    ALGORITHM,
    Signatures,
    Signer,
    features,
    find_pairs,
    list_facts,
    score_rows,
    unpack_vectors,
)
from sampledb.similarity.features import DIMENSIONS, LEAST_INSTRUCTIONS
from sampledb.similarity.instructions import cut_numbers, fill_gaps, read_form
from sampledb.similarity.projection import LOGARITHMS, load_model
from tests import strategies
from tests.strategies import function, instruction, report

PACKAGE = Path(similarity.__file__).parent

Parsed = dict[str, dict[str, Any]]

X86 = """push rbp|mov rbp, rsp|mov eax, dword ptr [rdi + 0x18]|xor eax, 0x67452301|rol eax, 7|add eax, 0xefcdab89
lea rcx, [rip + 0x2000]|mov qword ptr [rsp + 8], rcx|imul eax, dword ptr [rcx + rax*4]|call 0x4010|test eax, eax
cmove eax, edx|movss xmm0, dword ptr [rdi + 4]|mulss xmm0, xmm1|rep stosq qword ptr [rdi], rax|pop rbp|ret"""
ARM64 = """stp x29, x30, [sp, #-0x20]!|ldr w0, [x0, #0x18]|mov w1, #0x2301|movk w1, #0x6745, lsl #16|eor w0, w0, w1
adrp x2, #0x12000|ldr w3, [x2, x0, lsl #2]|mul w0, w0, w3|bl #0x4010|cmp w0, #0|csel w0, w4, w0, eq|fmul s0, s0, s1
add v0.4s, v0.4s, v1.4s|ldp x29, x30, [sp], #0x20|ret"""


def made(text: str, *, tail: str = "c3") -> dict[str, Any]:
    """Return a function of two blocks, the second of which is a loop."""
    words = [part.partition(" ") for part in text.replace("\n", "|").split("|")]
    lines = [instruction(4096 + 4 * n, "90909090", word, rest) for n, (word, _, rest) in enumerate(words)]
    lines[-1][1] = tail * 4
    one = function(4096, {"4096": lines[:6], str(lines[6][0]): lines[6:]})
    one["blockrefs"] = {"4096": [lines[6][0]], str(lines[6][0]): [lines[6][0]]}
    return one


def contents(smda_report: dict[str, Any]) -> list[bytes]:
    frames = parse_report(json.dumps(smda_report).encode()).frames
    return [codec.decode(codec.FRAME, blob, codec.checksum(blob)) for _, blob in frames]


def sign(smda_report: dict[str, Any], signer: Signer | None = None) -> Signatures:
    base = smda_report["base_addr"] or 0
    image = range(base, base + (smda_report["binary_size"] or 0))
    return (signer or Signer()).sign(contents(smda_report), smda_report["architecture"], image)


def test_a_large_function_is_like_itself_and_no_small_one_has_a_signature(parsed: Parsed) -> None:
    known = [each for each in parsed.values() if each["architecture"] in ("intel", "aarch64")]
    assert known
    for smda_report in known:
        found = sign(smda_report)
        functions = [smda_report["xcfg"][key] for key in sorted(smda_report["xcfg"], key=int)]
        sizes = [sum(map(len, each["blocks"].values())) for each in functions]
        assert found.positions
        assert {n for n, size in enumerate(sizes) if size < LEAST_INSTRUCTIONS}.isdisjoint(found.positions)
        vectors = unpack_vectors(found.signs, found.details)
        assert (score_rows(vectors, vectors) == 100).all()
        pairs = find_pairs(vectors, vectors, 100)
        assert set(zip(pairs.left, pairs.left, strict=True)) <= set(zip(pairs.left, pairs.right, strict=True))


def test_names_places_and_neighbours_change_nothing(parsed: Parsed) -> None:
    smda_report = copy.deepcopy(next(each for each in parsed.values() if each["architecture"] == "intel"))
    before = sign(smda_report)
    signer = Signer()
    sign(report(made(X86)), signer)
    for number, each in enumerate(smda_report["xcfg"].values()):
        each["metadata"]["function_name"] = f"renamed{number}"
        # Such a function is kept as JSON.
        each["unknown"] = number
    assert sign(smda_report, signer) == before
    del smda_report["xcfg"][min(smda_report["xcfg"], key=int)]
    after = sign(smda_report)
    assert after.signs in before.signs
    assert after.details in before.details


def test_numbers_that_are_addresses_are_no_constants() -> None:
    one = report(made(X86), architecture="intel", base_addr=0x67450000, binary_size=0x10000)
    other = report(made(X86.replace("0x67452301", "0x67458888")), architecture="intel", base_addr=0x67450000)
    other["binary_size"] = one["binary_size"]
    assert sign(one) == sign(other)
    assert sign(one | {"base_addr": 0}) != sign(other | {"base_addr": 0})


@pytest.mark.parametrize(
    ("architecture", "text", "digest"),
    [("intel", X86, "eb0362b687e9c083"), ("aarch64", ARM64, "f46b3a5351fc2fa4")],
)
def test_signatures_are_the_same_on_every_machine(architecture: str, text: str, digest: str) -> None:
    found = sign(report(made(text), architecture=architecture))
    assert found.positions == [0]
    assert hashlib.sha256(found.signs + found.details).hexdigest()[:16] == digest


def test_a_projection_is_what_exact_arithmetic_gives() -> None:
    model = load_model()
    counts = np.random.default_rng(3).poisson(0.4, (4, DIMENSIONS))
    found = model.project_weights(LOGARITHMS[counts])
    for row, vector in zip(LOGARITHMS[counts].astype(int).tolist(), found.tolist(), strict=True):
        sums = [sum(map(int.__mul__, row, column)) for column in model.whole.T.tolist()]
        assert max(map(abs, sums)) < 1 << 24
        length = Fraction(isqrt(sum(each * each for each in row) << 80), 1 << 40)
        scales, offsets = model.scales.tolist(), model.offsets.tolist()
        place = [
            Fraction(total) * Fraction(scale) / length - Fraction(offset)
            for total, scale, offset in zip(sums, scales, offsets, strict=True)
        ]
        deviation = Fraction(isqrt(int(sum(each * each for each in place) * (1 << 80) / 256)), 1 << 40)
        exact = [2 * min(max(int(each * 5 / 2 / deviation // 1), -8), 7) + 1 for each in place]
        # Only a number that lies on the border of two steps could differ.
        assert sum(a != b for a, b in zip(exact, vector, strict=True)) <= 1


def test_a_vocabulary_that_is_full_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = report(made(X86)), report(made(X86.replace("0x18", "0x20")))
    before = sign(one), sign(other)
    monkeypatch.setattr(features, "_MOST_CHARACTERS", 300)
    signer = Signer()
    assert [(sign(one, signer), sign(other, signer)) for _ in range(3)] == [before] * 3


@given(strategies.reports(), st.sampled_from(["intel", "aarch64"]))
def test_whatever_a_store_takes_has_signatures(smda_report: dict[str, Any], architecture: str) -> None:
    smda_report["architecture"] = architecture
    found = sign(smda_report)
    assert found.positions == sorted(set(found.positions))
    assert set(found.positions) <= set(range(len(smda_report["xcfg"])))
    list_facts(contents(smda_report), architecture, range(0))


def test_a_model_is_named_by_its_number_and_hash() -> None:
    model = load_model()
    assert (PACKAGE / f"model{model.algorithm}-{model.sha256[:8]}.bin").stat().st_size <= 500_000
    assert model.algorithm == ALGORITHM


def test_numbers_are_those_in_the_text_however_they_are_spelled() -> None:
    texts = {
        ("intel", "mov", "eax, -0x10"): ((0xFFFFFFF0, 0, 0), 0),
        ("intel", "mov", "dword ptr [rax + rbx*8 + 0x2c], 0x12345678"): ((0x12345678, 0x80005678, 0x80001234), 0x2C),
        ("intel", "lea", "rax, [rbx - 0x20]"): ((0xFFFFFFE0, 0, 0), 0x20),
        ("intel", "lea", "rax, [rbx - 8]"): ((0xFFFFFFF8, 0, 0), 8),
        ("intel", "mov", "rax, qword ptr [rbx + 0x8000]"): ((0, 0, 0), 0),
        ("intel", "sub", "rsp, 0x28"): ((0, 0, 0), 0),
        ("intel", "mov", "eax, 0x123456789abcdef01"): ((0xABCDEF01, 0x8000EF01, 0x8000ABCD), 0),
        ("aarch64", "movk", "w1, #0x6745, lsl #16"): ((0, 0x80006745, 0), 0),
        ("aarch64", "ldr", "w0, [x0, #0x18]!"): ((0, 0, 0), 0x18),
    }
    for (architecture, mnemonic, operands), (constants, field) in texts.items():
        rest, numbers = cut_numbers(operands)
        form = np.array([read_form(architecture, mnemonic, rest)], np.uint64)
        values = fill_gaps(form, np.zeros(1, np.int64), np.array(numbers, np.uint64))
        found = tuple(int(column[0]) for column in values.constants), int(values.field[0])
        assert found == (constants, field), operands


@pytest.mark.parametrize("architecture", ["cil", "dalvik", "arm", "", "INTEL"])
def test_architectures_that_were_not_learned_have_no_signatures(architecture: str) -> None:
    assert sign(report(made(X86), architecture=architecture)) == Signatures([], b"", b"")


def test_what_malware_writes_costs_no_more_than_its_size() -> None:
    long = "|".join(f"{'[' * 100_000} - {'9' * 5000}{n}" for n in range(12))
    hostile = report(made(long), made(X86), architecture="intel", base_addr=(1 << 64) - 1, binary_size=1 << 62)
    hostile["xcfg"] = {"4096": made(long)}
    for architecture in ("intel", "aarch64"):
        assert sign(hostile | {"architecture": architecture}).positions == [0]
    # Numbers in a code, and what stands for those that were cut out, change nothing of what texts say.
    expected = sign(report(made(X86)))
    for text, tail in ((X86, "0x2"), (X86.replace("rdi", "r\0di"), "c3")):
        assert sign(report(made(text, tail=tail))).signs == expected.signs
    with pytest.raises(FrameError):
        Signer().sign([b"no frame"], "intel", range(0))


@pytest.mark.parametrize(("architecture", "text"), [("intel", X86), ("aarch64", ARM64)])
def test_facts_are_what_people_see_in_the_code(architecture: str, text: str) -> None:
    smda_report = report(made(text), architecture=architecture)
    (facts,) = list_facts(contents(smda_report), architecture, range(0)).values()
    expected = {"intel": {0x67452301, 0xEFCDAB89}, "aarch64": {0x2301}}
    assert facts.constants == expected[architecture]
    assert facts.fields == {0x18} | ({4} if architecture == "intel" else set())
    assert (facts.blocks, facts.loops, facts.calls) == (2, 1, 1)
    assert facts.instructions == len(text.replace("\n", "|").split("|"))
    in_image = list_facts(contents(smda_report), architecture, range(0x10000, 1 << 32))[0]
    assert in_image.constants == {each for each in expected[architecture] if each < 0x10000}
