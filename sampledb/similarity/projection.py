"""The learned projection: from how often a function has each feature to its coordinates.

All numbers that sums are made of are whole and small: at most 1568 features of 44 times 127, below 2**24, which float32
adds without error in any order. What follows is one correctly rounded operation after the other on float64. So
coordinates are the same on every machine.

The file of a model, little endian:

    algorithm uint32 · dimensions uint32 · coordinates uint32 · offsets float64 · scales float64 · projection int8

A model is never changed: another one gets another number, and files keep theirs.
"""

import hashlib
from functools import cache
from importlib.resources import files
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sampledb.similarity.features import DIMENSIONS, Features
from sampledb.similarity.vectors import COORDINATES, Vectors

Weights = NDArray[np.float32]

# The model of this version, and the beginning of its SHA-256.
ALGORITHM: Final = 1
_MODELS: Final = {1: "model1-1433bc86.bin"}

_HEAD_BYTES: Final = 12
# Steps to a standard deviation: so the cosines of 16 steps are nearly those of all numbers.
_STEPS: Final = 2.5
_LEAST_DEVIATION: Final = 1e-9
# 8 * log(1 + count): the second of a kind says more than the fiftieth.
LOGARITHMS: Final = np.rint(8 * np.log1p(np.arange(256))).astype(np.float32)


class Model:
    """A learned projection."""

    def __init__(self, content: bytes) -> None:
        """Take the bytes of a model's file."""
        self.algorithm, dimensions, coordinates = np.frombuffer(content, "<u4", 3).tolist()
        self.sha256 = hashlib.sha256(content).hexdigest()
        floats = np.frombuffer(content, "<f8", 2 * coordinates, _HEAD_BYTES)
        self.offsets, self.scales = floats[:coordinates], floats[coordinates:]
        whole = np.frombuffer(content, np.int8, dimensions * coordinates, _HEAD_BYTES + floats.nbytes)
        self.whole = whole.reshape(dimensions, coordinates)
        self._projection = self.whole.astype(np.float32)

    def project(self, found: Features) -> Vectors:
        """Return the coordinates of each function, a row each."""
        return self.project_weights(weigh_features(found))

    def project_weights(self, weights: Weights) -> Vectors:
        """Return the coordinates of functions, given the weight of each feature."""
        length = np.sqrt(np.einsum("ij,ij->i", weights, weights).astype(np.float64))
        sums = (weights @ self._projection).astype(np.float64)
        place = sums * self.scales / length[:, None] - self.offsets
        # Whole numbers again, which are added without error.
        squares = np.rint(place * (1 << 12)) ** 2
        deviation = np.sqrt(squares.sum(axis=1) / COORDINATES) / (1 << 12)
        steps = np.floor(place * _STEPS / np.maximum(deviation, _LEAST_DEVIATION)[:, None])
        vectors: Vectors = (2 * np.clip(steps, -8, 7) + 1).astype(np.int8)
        return vectors


def weigh_features(found: Features) -> Weights:
    """Return the weight of each feature of each function, a row each."""
    functions = len(found.positions)
    counts = np.bincount(found.owners * DIMENSIONS + found.features, minlength=functions * DIMENSIONS)
    weights: Weights = LOGARITHMS.take(counts, mode="clip").reshape(functions, DIMENSIONS)
    return weights


@cache
def load_model(algorithm: int = ALGORITHM) -> Model:
    """Return the model of an algorithm."""
    return Model(files(__package__).joinpath(_MODELS[algorithm]).read_bytes())
