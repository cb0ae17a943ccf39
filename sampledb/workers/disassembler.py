"""SMDA: a binary in, the JSON of its report out. Runs in workers, in other processes and on other machines.

How MCRIT does it: a memory dump is disassembled at the address and with the bitness that were given, everything else
by its format; the file's name, family and version are put into the report.
"""

import json
from typing import Any

import msgspec

from sampledb.errors import AnalysisError, MissingExtraError


class Request(msgspec.Struct, frozen=True):
    """What is to be done with a binary.

    Attributes:
        timeout: Seconds after which SMDA gives up, at the next moment it looks at the clock.
    """

    job_id: str
    filename: str | None
    family: str
    version: str
    is_dump: bool
    base_addr: int
    bitness: int
    timeout: float


def require() -> None:
    """MissingExtraError unless SMDA is installed."""
    try:
        import smda  # noqa: F401, PLC0415 - half a second, and an extra
    except ImportError as error:
        raise MissingExtraError.of("analysis", "Disassembling binaries") from error


def disassemble(binary: bytes, request: Request) -> bytes:
    """The JSON of SMDA's report of a binary, in which it has found functions.

    Raises:
        AnalysisError: SMDA cannot make anything of it, or not in time.
        MissingExtraError: SMDA is not installed here.
    """
    require()
    # Imported where they are used: half a second.
    from smda.Disassembler import Disassembler  # noqa: PLC0415
    from smda.SmdaConfig import SmdaConfig  # noqa: PLC0415

    config = SmdaConfig()
    # 0 would be no limit.
    config.TIMEOUT = max(request.timeout, 0.001)
    disassembler = Disassembler(config)
    if request.is_dump:
        report = disassembler.disassembleBuffer(binary, request.base_addr, bitness=request.bitness)
    else:
        report = disassembler.disassembleUnmappedBuffer(binary)
    fault = _fault(report)
    if fault:
        raise AnalysisError.of(request.job_id, fault)
    if request.filename is not None:
        report.filename = request.filename
    report.family, report.version = request.family, request.version
    return json.dumps(report.toDict()).encode()


def _fault(report: Any) -> str:  # noqa: ANN401 - SMDA has no types, and may not be installed
    """Why a report is not one to keep; `""` for a good one."""
    if report.status == "timeout":
        return "SMDA did not finish in time"
    if report.status != "ok":
        # A traceback, of which the last line says what it is about.
        return (report.message or "").strip().rpartition("\n")[2] or f"SMDA's status is {report.status!r}"
    return "" if report.num_functions else "SMDA found no functions in it"
