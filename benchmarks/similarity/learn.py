"""Learn the projection: `python -m benchmarks.similarity.learn FILE` writes the model that `sampledb.similarity` loads.

Linear discriminant analysis: directions in which builds of one function differ are made short, then the 256 directions
in which functions differ most are kept. Another LAPACK gives other last bits; so the file is kept, not only the recipe.
"""

import argparse
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.similarity import programs
from benchmarks.similarity.truth import Functions, list_reports, read_functions
from sampledb.similarity.features import DIMENSIONS
from sampledb.similarity.projection import ALGORITHM, LOGARITHMS
from sampledb.similarity.vectors import COORDINATES

Floats = NDArray[np.float64]

# Added to the variance within functions, in parts of its mean, for builds vary in more ways than were seen. Chosen of
# 0.06 to 1 by programs of the learning that were left out.
SHRINKAGE: Final = 0.25
_ROWS: Final = 4096


class Projection(NamedTuple):
    """What is learned, before it is whole numbers."""

    matrix: Floats
    offsets: Floats


def main() -> None:
    """Learn from all programs of the table, and write the model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.similarity.learn", description=__doc__)
    parser.add_argument("file", type=Path, help="the file to write the model to")
    functions = read_functions(list_reports(programs.LEARN | programs.LEARN_SOURCES))
    parser.parse_args().file.write_bytes(make_model(learn(functions)))


def learn(functions: Functions, shrinkage: float = SHRINKAGE) -> Projection:
    """Return the projection learned from functions of which several builds are there."""
    _, numbers, times = np.unique(functions.names, return_inverse=True, return_counts=True)
    rows = np.flatnonzero((functions.names != "") & (times[numbers] > 1))
    _, classes = np.unique(numbers[rows], return_inverse=True)
    print(f"{len(rows)} builds of {classes.max() + 1} functions")
    rarity = find_rarity(functions)
    samples = np.concatenate([weigh(functions, part) * rarity for part in split(rows)])
    mean = samples.mean(axis=0, dtype=np.float64)
    centers = average(samples, classes)
    within = scatter(samples, centers, classes)
    within += shrinkage * np.trace(within) / DIMENSIONS * np.eye(DIMENSIONS)
    values, vectors = np.linalg.eigh(within)
    whitening = vectors / np.sqrt(values)
    white = centers @ whitening
    white -= white.mean(axis=0)
    _, directions = np.linalg.eigh(white.T @ white / len(white))
    projection = whitening @ directions[:, ::-1][:, :COORDINATES]
    return Projection(rarity[:, None] * projection, mean @ projection)


def find_rarity(functions: Functions) -> NDArray[np.float32]:
    """Return a weight for each feature: few have what says much."""
    owners = np.bincount(functions.keys % DIMENSIONS, minlength=DIMENSIONS)
    return np.log(1 + len(functions.names) / (1 + owners)).astype(np.float32)


def weigh(functions: Functions, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the weights of all features of functions, each of length 1, as the model makes them."""
    weights: NDArray[np.float32] = LOGARITHMS[functions.count_features(rows)]
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    return weights


def split(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return parts of rows that memory has room for."""
    return np.array_split(rows, len(rows) // _ROWS + 1)


def average(samples: NDArray[np.float32], classes: NDArray[np.int64]) -> Floats:
    """Return the mean of each class."""
    sizes = np.bincount(classes)
    order = np.argsort(classes, kind="stable")
    sums = np.add.reduceat(samples[order], np.cumsum([0, *sizes[:-1]]), axis=0)
    return (sums / sizes[:, None]).astype(np.float64)


def scatter(samples: NDArray[np.float32], centers: Floats, classes: NDArray[np.int64]) -> Floats:
    """Return the covariance within classes."""
    total = np.zeros((DIMENSIONS, DIMENSIONS))
    for part in split(np.arange(len(samples))):
        difference = samples[part] - centers[classes[part]].astype(np.float32)
        total += difference.T @ difference
    return total / len(samples)


def make_model(projection: Projection) -> bytes:
    """Return the bytes of a model, as `sampledb.similarity.projection` describes them."""
    scales = np.abs(projection.matrix).max(axis=0) / 127
    whole = np.rint(projection.matrix / scales).astype(np.int8)
    head = np.array([ALGORITHM, DIMENSIONS, COORDINATES], "<u4")
    return b"".join(part.tobytes() for part in (head, projection.offsets.astype("<f8"), scales.astype("<f8"), whole))


if __name__ == "__main__":
    main()
