"""Make signatures in child processes: on all cores, and a forged frame takes no memory of this one."""

import msgspec

from sampledb.format import codec
from sampledb.format.frame import FrameError
from sampledb.similarity import Signer
from sampledb.similarity.index import pack_positions
from sampledb.workers.pool import Ask
from sampledb.workers.process import Channel


class Code(msgspec.Struct, array_like=True):
    """All frames of a sample as they are stored, each with its checksum, and what else its signatures are made from."""

    architecture: str
    base_addr: int
    binary_size: int
    frames: list[tuple[int, bytes]]


class Answer(msgspec.Struct, array_like=True):
    """Which functions of a sample have signatures, a bit each, and their signs and details; or what is wrong."""

    functions: bytes = b""
    signs: bytes = b""
    details: bytes = b""
    fault: str = ""


_encode = msgspec.msgpack.Encoder().encode
_decode_question = msgspec.msgpack.Decoder(Code).decode
_decode_answer = msgspec.msgpack.Decoder(Answer).decode


def sign_code(signer: Signer, code: Code) -> Answer:
    """Return the signatures of a sample."""
    image = range(code.base_addr, code.base_addr + code.binary_size)
    try:
        contents = (codec.decode(codec.FRAME, blob, checksum) for checksum, blob in code.frames)
        found = signer.sign(contents, code.architecture, image)
    except (codec.DecodeError, FrameError, MemoryError) as error:
        return Answer(fault=str(error) or "a frame takes all memory")
    return Answer(pack_positions(found.positions), found.signs, found.details)


def ask_to_sign(code: Code, ask: Ask) -> Answer:
    """Return the signatures of a sample, made by a child process."""
    return _decode_answer(ask(_encode(code), None))


# In the child


def serve(channel: Channel) -> None:
    """Answer each sample, until the parent is gone."""
    signer = Signer()
    for content in channel.questions():
        channel.answer(_encode(sign_code(signer, _decode_question(content))))
