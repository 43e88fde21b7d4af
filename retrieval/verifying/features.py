"""What a classifier sees of a pair. Pure NumPy; either photo may come first.

Of two embeddings a and b, each projected onto a few directions: |a - b| and a · b, direction by
direction, and the cosine distance of the whole embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.verification import pair_distances

# Pairs whose vectors are held at a time: 42 MB at 1280 dimensions.
_CHUNK = 2048


@dataclass(frozen=True, eq=False)
class Projection:
    """A principal component analysis: the directions in which embeddings differ most.

    Attributes:
        mean: float32, shape `(dim,)`, of the embeddings it was fitted to.
        directions: float32, shape `(dim, components)`, orthonormal columns, the widest first.
    """

    mean: NDArray[np.float32]
    directions: NDArray[np.float32]

    @classmethod
    def fit(cls, vectors: NDArray[np.float32], components: int) -> Projection | None:
        """Fit the widest directions of some embeddings.

        Args:
            vectors: float32, shape `(n, dim)`.
            components: How many directions; 0 for all of them as they are.

        Returns:
            The projection; `None` where the embeddings have no more dimensions than that.
        """
        if components == 0 or components >= vectors.shape[1]:
            return None
        mean = vectors.mean(axis=0, dtype=np.float64)
        centred = vectors - mean
        # In ascending order of width; signs are arbitrary, and no feature depends on them.
        directions = np.linalg.eigh(centred.T @ centred)[1][:, : -components - 1 : -1]
        return cls(mean.astype(np.float32), np.ascontiguousarray(directions, dtype=np.float32))

    def __call__(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """Project embeddings, float32 `(n, dim)`, to float64 `(n, components)`."""
        # In float64, so that the size of a batch can't move a feature.
        centred = vectors.astype(np.float64) - self.mean
        projected: NDArray[np.float64] = centred @ self.directions.astype(np.float64)
        return projected


def pair_features(
    vectors: NDArray[np.float32],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    projection: Projection | None,
) -> NDArray[np.float32]:
    """Compute the features of pairs.

    Args:
        vectors: float32, shape `(n_vectors, dim)`, L2-normalised.
        first: int64, shape `(n,)`, places in `vectors`.
        second: The same of the other photos; swapped with `first`, the features are the same.
        projection: Onto which directions; `None` takes all dimensions.

    Returns:
        float32, shape `(n, 2 · components + 1)`: differences, products, the distance last.
    """
    n_features = vectors.shape[1] if projection is None else projection.directions.shape[1]
    features = np.empty((len(first), 2 * n_features + 1), dtype=np.float32)
    projected = None if projection is None else projection(vectors)
    for start in range(0, len(first), _CHUNK):
        some = slice(start, start + _CHUNK)
        one, other = (
            vectors[places[some]].astype(np.float64)
            if projected is None
            else projected[places[some]]
            for places in (first, second)
        )
        features[some, :n_features] = np.abs(one - other)
        features[some, n_features:-1] = one * other
    features[:, -1] = pair_distances(vectors, first, second)
    return features
