"""SMDA: a binary in, the JSON of its report out. Runs in child processes, foreign executors and other machines.

As in MCRIT, a memory dump is disassembled with the address and bitness of the request, any other file by its format;
the report gets the file's name, family and version.
"""

import gc
import json
from typing import TYPE_CHECKING, Any, Final

import msgspec

from sampledb.errors import AnalysisError, MissingExtraError
from sampledb.intake.binary import Request

if TYPE_CHECKING:
    from sampledb.workers.pool import Ask
    from sampledb.workers.process import Channel

# SMDA looks at the clock now and then; a process that is this much later is stuck.
_GRACE: Final = 0.1
_LEAST_GRACE: Final = 2.0
# SMDA's errors, some of which advise its callers, in the words of this package. Others are shown as they are.
_FAULTS: Final = {
    "Input is not a PE": "it is no PE, ELF, Mach-O or DEX file; submit a memory dump as one, with its base address",
    "names an instruction set": "its header is damaged, or names a processor that SMDA does not know",
    "machine code, which SMDA has no": "it is code for a processor that SMDA does not know",
    "larger than MAX_IMAGE_SIZE": "its header is damaged, or it is larger than SMDA loads into memory, 100 MiB",
}

_encode = msgspec.msgpack.Encoder().encode
_decode_question = msgspec.msgpack.Decoder(tuple[bytes, Request]).decode
# The report, or why there is none.
_decode_answer = msgspec.msgpack.Decoder(tuple[bytes, str]).decode


def require_smda() -> None:
    """Raise MissingExtraError unless SMDA is installed."""
    try:
        import smda  # noqa: F401, PLC0415 - half a second, and an extra
    except ImportError as error:
        raise MissingExtraError.of("analysis", "Disassembling binaries") from error


def disassemble(binary: bytes, request: Request) -> bytes:
    """Return the JSON of SMDA's report of a binary, which has at least one function.

    Raises:
        AnalysisError: SMDA finds no functions, fails, or is out of time.
        MissingExtraError: SMDA is not installed here.
    """
    require_smda()
    # Imported where they are used: half a second.
    from smda.Disassembler import Disassembler  # noqa: PLC0415
    from smda.SmdaConfig import SmdaConfig  # noqa: PLC0415

    config = SmdaConfig()
    config.WITH_STRINGS = request.strings
    # SMDA takes 0 for no limit.
    config.TIMEOUT = max(request.timeout, 0.001)
    disassembler = Disassembler(config)
    if request.is_dump:
        report = disassembler.disassembleBuffer(binary, request.base_addr, bitness=request.bitness)
    else:
        report = disassembler.disassembleUnmappedBuffer(binary)
    fault = _find_fault(report)
    if fault:
        raise AnalysisError.of(request.job_id, fault)
    if request.filename is not None:
        report.filename = request.filename
    report.family, report.version = request.family, request.version
    return json.dumps(report.toDict()).encode()


def _find_fault(report: Any) -> str:  # noqa: ANN401 - SMDA has no types, and may not be installed
    """Return why a report is not worth storing; `""` for a good one."""
    if report.status == "timeout":
        return "SMDA did not finish in time"
    if report.status != "ok":
        # The last line of a traceback names the error.
        error = (report.message or "").strip().rpartition("\n")[2] or f"its status is {report.status}"
        return next((words for text, words in _FAULTS.items() if text in error), f"SMDA failed: {error}")
    return "" if report.num_functions else "SMDA found no functions in it"


def ask_for_report(binary: bytes, request: Request, ask: "Ask") -> bytes:
    """Return what `disassemble` does, made by a child process, which is killed when it is out of time.

    Raises:
        AnalysisError: SMDA finds no functions, fails, or takes too much time or memory.
    """
    timeout = request.timeout
    try:
        answer = ask(_encode((binary, request)), timeout + max(timeout * _GRACE, _LEAST_GRACE))
    except TimeoutError as error:
        raise AnalysisError.of(request.job_id, f"it took longer than {timeout:g} seconds") from error
    report, reason = _decode_answer(answer)
    if reason:
        raise AnalysisError.of(request.job_id, reason)
    return report


# In the child


def serve(channel: "Channel") -> None:
    """Answer each binary with its report, until the parent is gone."""
    # Without SMDA the process ends before it is ready, so that no binary is blamed.
    require_smda()
    for question in channel.questions():
        channel.answer(_encode(_answer(*_decode_question(question), channel.memory_limit)))


def _answer(binary: bytes, request: Request, memory_limit: int) -> tuple[bytes, str]:
    try:
        return disassemble(binary, request), ""
    except AnalysisError as error:
        reason = str(error.details["reason"])
    except MemoryError:
        reason = f"it takes more than {memory_limit / 1e9:.1f} GB of memory"
    except Exception as error:  # noqa: BLE001 - whatever SMDA stumbles over, the binary is why
        reason = f"SMDA failed: {error!r}"[:300]
    # What SMDA had built is full of cycles, and would count against the next binary.
    gc.collect()
    return b"", reason
