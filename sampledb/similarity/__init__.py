"""Similar code: signatures of functions that builds of one source share, and scores between them.

A signature is made of one function alone, from what its instructions do, its constants and its control-flow graph: no
name, no address and nothing of other functions. It says the same on every machine. Functions of at most 10
instructions have none, nor have functions of architectures that the model was not learned from.

    signer = Signer()
    found = signer.sign(contents_of_frames, "intel", range(base_addr, base_addr + binary_size))
    found.positions, found.signs, found.details  # 32 and 96 bytes for each position

Store `signs` and `details` beside `ALGORITHM`; signatures of two algorithms are never compared. To compare:

    vectors = unpack_vectors(found.signs, found.details)  # int8, 256 to a row
    find_pairs(vectors, other_vectors, threshold=60)      # all pairs of rows, and their scores
    score_rows(vectors[:1], other_vectors[:1])            # whole numbers from 0 to 100

Of many, the signs alone tell which are worth a score:

    columns = arrange_signs(all_signs)                    # kept while asked, 32 bytes a function
    find_nearest(found.signs[:32], columns, limit=256)    # positions in `columns`

`list_facts` has what makes functions alike in numbers that people know, such as the constants in them.
"""

from sampledb.similarity.facts import Facts, list_facts
from sampledb.similarity.projection import ALGORITHM
from sampledb.similarity.signatures import Signatures, Signer
from sampledb.similarity.vectors import (
    DETAIL_BYTES,
    SIGN_BYTES,
    Pairs,
    arrange_signs,
    find_nearest,
    find_pairs,
    pack_vectors,
    score_rows,
    unpack_vectors,
)

__all__ = [
    "ALGORITHM",
    "DETAIL_BYTES",
    "SIGN_BYTES",
    "Facts",
    "Pairs",
    "Signatures",
    "Signer",
    "arrange_signs",
    "find_nearest",
    "find_pairs",
    "list_facts",
    "pack_vectors",
    "score_rows",
    "unpack_vectors",
]
