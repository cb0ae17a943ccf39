"""What instructions do, in words that architectures share."""

from typing import Final

LOAD, STORE, MOVE, ADD, LOGIC, SHIFT, MULTIPLY, COMPARE, SELECT = range(1, 10)
BRANCH, JUMP, CALL, RETURN, FLOAT, VECTOR, STACK, NOTHING, OTHER = range(10, 19)

# As capstone spells them. What is not here, `categorize` tells by how it begins or ends.
_X86_WORDS: Final = {
    MOVE: "mov movabs movzx movsx movsxd cdqe cwde cdq cqo cwd cbw xchg bswap movbe",
    ADD: "add sub inc dec neg adc sbb lea xadd",
    LOGIC: "and or xor not andn bt bts btr btc bsf bsr tzcnt lzcnt popcnt",
    SHIFT: "shl shr sar sal rol ror shld shrd rcl rcr rorx shlx shrx sarx",
    MULTIPLY: "mul imul div idiv mulx",
    COMPARE: "cmp test",
    JUMP: "jmp ljmp",
    CALL: "call lcall",
    RETURN: "ret retf iret iretd iretq",
    STACK: "push pop leave enter pushfq popfq pushal popal",
    NOTHING: "nop endbr64 endbr32 int3 ud2 hlt fnop",
    OTHER: "cpuid rdtsc rdtscp syscall sysenter int in out pause prefetcht0 prefetchnta cmpxchg cld std",
}
_ARM_WORDS: Final = {
    LOAD: "ldr ldrb ldrh ldrsw ldrsb ldrsh ldur ldurb ldurh ldursw ldursb ldursh ldp ldpsw ldar ldarb ldaxr ldxr ldnp",
    STORE: "str strb strh stur sturb sturh stp stlr stlrb stxr stlxr stnp",
    MOVE: "mov movz movn movk sxtw sxth sxtb uxtb uxth uxtw mvn rev rev16 rev32",
    ADD: "add sub adds subs neg negs adc adcs sbc sbcs adr adrp",
    LOGIC: "and orr eor bic ands orn eon bics tst",
    SHIFT: "lsl lsr asr ror ubfx sbfx ubfiz sbfiz bfi bfxil extr ubfm sbfm bfm clz rbit",
    MULTIPLY: "mul madd msub mneg smull umull smulh umulh smaddl umaddl udiv sdiv",
    COMPARE: "cmp cmn ccmp ccmn",
    SELECT: "csel csinc csinv csneg cset csetm cinc cinv cneg",
    BRANCH: "cbz cbnz tbz tbnz",
    JUMP: "b br",
    CALL: "bl blr",
    RETURN: "ret",
    NOTHING: "nop bti hint paciasp autiasp udf brk",
}


def _invert(words: dict[int, str]) -> dict[str, int]:
    return {word: category for category, text in words.items() for word in text.split()}


_X86: Final = _invert(_X86_WORDS)
_ARM: Final = _invert(_ARM_WORDS)


def categorize_x86(mnemonic: str) -> int:
    """Return the category of an instruction of x86 or x86-64."""
    # `lock xadd`, `bnd jmp`, `notrack jmp`
    word = mnemonic.rpartition(" ")[2]
    found = _X86.get(word)
    if found:
        return found
    if word.startswith("j"):
        return BRANCH
    if word.startswith(("set", "cmov")):
        return SELECT
    if word.startswith("f") or word.endswith(("ss", "sd")):
        return FLOAT
    is_many = mnemonic.startswith(("rep", "v", "p")) or word.startswith(("movs", "stos", "lods", "scas", "cmps"))
    return VECTOR if is_many or word.endswith(("ps", "pd", "q", "d", "dqa", "dqu")) else OTHER


def categorize_arm(mnemonic: str) -> int:
    """Return the category of an instruction of AArch64."""
    found = _ARM.get(mnemonic)
    if found:
        return found
    if mnemonic.startswith("b."):
        return BRANCH
    return FLOAT if mnemonic.startswith("f") or mnemonic.endswith("cvtf") else OTHER
