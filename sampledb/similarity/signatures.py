"""Make the signatures of a sample's functions from its frames."""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from sampledb.format.frame import pause_garbage_collection
from sampledb.similarity.code import read_code
from sampledb.similarity.features import Vocabulary, extract_features
from sampledb.similarity.instructions import ARM64, X86
from sampledb.similarity.projection import load_model
from sampledb.similarity.vectors import pack_vectors

# Frames at a time, 512 functions: enough for numpy; what is counted of them takes 10 MB.
_FRAMES: Final = 32
# Four times what these usually have; a few large functions would take much memory together.
_MOST_BYTES: Final = 1 << 22


class Signatures(NamedTuple):
    """The signatures of some functions of a sample.

    Attributes:
        positions: Which functions have one, by their positions in the sample, ascending.
        signs: Their signs, `vectors.SIGN_BYTES` each, in the order of the positions.
        details: All else of their coordinates, `vectors.DETAIL_BYTES` each.
    """

    positions: list[int]
    signs: bytes
    details: bytes


class Signer:
    """Makes signatures, and remembers the forms of instructions while it is there, in at most 80 MB.

    Not for several threads at a time.
    """

    def __init__(self) -> None:
        self._model = load_model()
        self._vocabularies = {architecture: Vocabulary(architecture) for architecture in (X86, ARM64)}

    def sign(self, contents: Iterable[bytes], architecture: str, image: range) -> Signatures:
        """Return the signatures of the functions in the contents of a sample's frames.

        Functions of at most 10 instructions have none, nor has any function of an architecture that the model does not
        know. `image` has the addresses of the loaded program, from `base_addr` on.

        Raises:
            FrameError: A content is no frame.
        """
        vocabulary = self._vocabularies.get(architecture)
        if vocabulary is None:
            return Signatures([], b"", b"")
        positions: list[int] = []
        parts: list[tuple[bytes, bytes]] = [(b"", b"")]
        first = 0
        with pause_garbage_collection():
            for batch in _batches(contents):
                if vocabulary.is_full():
                    vocabulary.clear()
                code = read_code(batch, vocabulary.forms, first)
                found = extract_features(code, vocabulary, image)
                positions += found.positions.tolist()
                parts.append(pack_vectors(self._model.project(found)))
                first += len(code.blocks)
        signs, details = map(b"".join, zip(*parts, strict=True))
        return Signatures(positions, signs, details)


def _batches(contents: Iterable[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for content in contents:
        if batch and (len(batch) == _FRAMES or size + len(content) > _MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(content)
        size += len(content)
    if batch:
        yield batch
