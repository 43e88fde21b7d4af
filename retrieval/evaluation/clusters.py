"""Clusters of vectors: groups are joined, the nearest first, while their mean distance is small.

This is average linkage (UPGMA; Sokal and Michener, "A statistical method for evaluating systematic
relationships", 1958): the distance of two groups is the mean over all pairs of their members. Two
groups that touch by a few look-alikes are not joined by these, as they are where the nearest pair
decides. What is not looked at is most of the pairs: two groups may be joined only where a member of
one is among the k nearest of a member of the other. As vectors are L2-normalised, the mean over all
pairs is 1 − a·b for the groups' mean vectors a and b, so no matrix of all pairs is needed: memory
grows with n · (k + dim).

In each round every two groups that are each other's nearest are joined. For average linkage that
gives the groups that joining one pair after the other gives (Murtagh, "A survey of recent advances
in hierarchical clustering algorithms", 1983).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.distances import distance_blocks
from retrieval.evaluation.neighbourhoods import NeighbourGatherer

NEIGHBOURS = 10
"""How many of its nearest a vector may be joined with; justified in docs/dedupe.md."""

# Pairs of groups compared at a time: 34 MB at 256 dimensions, 168 MB at 1280.
_PAIRS = 16_384


class MeanLinkage:
    """Joins groups up to one limit after the other, each larger than the last.

    Two pairs of near vectors, at right angles:

    >>> vectors = np.array([[1, 0], [0.8, 0.6], [0, 1], [0, 1]], dtype=np.float16)
    >>> linkage = MeanLinkage(vectors, neighbours=3)
    >>> linkage.join(0.1).tolist(), linkage.join(0.3).tolist(), linkage.join(1).tolist()
    ([0, 1, 2, 2], [0, 0, 2, 2], [0, 0, 0, 0])
    """

    def __init__(
        self,
        vectors: NDArray[np.float16] | NDArray[np.float32],
        *,
        neighbours: int = NEIGHBOURS,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Find the nearest of each vector; every vector is a group of its own.

        Args:
            vectors: float16 or float32, shape `(n, dim)`, L2-normalised. One with NaN stays alone.
            neighbours: How many of the nearest of each may be joined with it, at least 1.
            progress: Told how many vectors of how many are compared.
        """
        n = len(vectors)
        self._groups = np.arange(n)
        self._sums = vectors.astype(np.float32)
        self._sizes = np.ones(n, dtype=np.float32)
        self._first, self._second, self._distances = _linked(vectors, neighbours, progress)

    def join(self, below: float) -> NDArray[np.int64]:
        """Join what is nearer than `below` on average, beside what was joined before.

        Returns:
            int64, shape `(n,)`: the group of each vector, named by the position of its first.
        """
        while self._join_nearest(below):
            pass
        return self._groups.copy()

    def _join_nearest(self, below: float) -> bool:
        """Join every two groups that are each other's nearest; return whether there were any."""
        first, second = self._each_others_nearest(below)
        if not len(first):
            return False
        self._sums[first] += self._sums[second]
        self._sizes[first] += self._sizes[second]
        to = np.arange(len(self._groups))
        to[second] = first
        self._groups = to[self._groups]
        self._relink(to, first)
        return True

    def _each_others_nearest(self, below: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        one = np.concatenate([self._first, self._second])
        other = np.concatenate([self._second, self._first])
        distances = np.concatenate([self._distances, self._distances])
        # Equal distances by position: then there are always two that are each other's nearest.
        order = np.lexsort((other, distances, one))
        order = order[np.diff(one[order], prepend=-1) != 0]
        # In float64: a float32 comparison would round the limit.
        order = order[distances[order].astype(np.float64) < below]
        nearest = np.full(len(self._groups), -1, dtype=np.int64)
        nearest[one[order]] = other[order]
        found = np.flatnonzero(nearest >= 0)
        found = found[(nearest[nearest[found]] == found) & (found < nearest[found])]
        return found, nearest[found]

    def _relink(self, to: NDArray[np.int64], joined: NDArray[np.int64]) -> None:
        """Link groups instead of what was joined into them, and measure those links anew."""
        n = len(to)
        first, second = to[self._first], to[self._second]
        apart = first != second
        first, second, distances = first[apart], second[apart], self._distances[apart]
        low, high = np.minimum(first, second), np.maximum(first, second)
        _, once = np.unique(low * n + high, return_index=True)
        self._first, self._second, self._distances = low[once], high[once], distances[once]
        changed = np.zeros(n, dtype=np.bool_)
        changed[joined] = True
        again = np.flatnonzero(changed[self._first] | changed[self._second])
        for start in range(0, len(again), _PAIRS):
            some = again[start : start + _PAIRS]
            one, other = self._first[some], self._second[some]
            products = np.einsum("ij,ij->i", self._sums[one], self._sums[other])
            self._distances[some] = 1 - products / (self._sizes[one] * self._sizes[other])


def cluster(
    vectors: NDArray[np.float16] | NDArray[np.float32],
    *,
    below: float,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.int64]:
    """Group vectors while the mean distance of groups is below a limit; see `MeanLinkage`.

    Returns:
        int64, shape `(n,)`: the group of each vector, named by the position of its first.
    """
    return MeanLinkage(vectors, progress=progress).join(below)


def spread(vectors: NDArray[np.float16] | NDArray[np.float32]) -> tuple[float, int]:
    """Return the mean distance of a cluster's pairs, and the position of its most central vector.

    Args:
        vectors: float16 or float32, shape `(n, dim)`, L2-normalised, at least two.

    >>> spread(np.array([[1, 0], [0, 1]], dtype=np.float16))
    (1.0, 0)
    """
    wide = vectors.astype(np.float32)
    n, total = len(wide), wide.sum(axis=0)
    pairs = (float(total @ total) - float(np.einsum("ij,ij->", wide, wide))) / (n * (n - 1))
    return max(0.0, 1 - pairs), int(np.argmax(wide @ total))


def _linked(
    vectors: NDArray[np.float16] | NDArray[np.float32],
    neighbours: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return the pairs of which one is among the nearest of the other, each once, and how far."""
    n = len(vectors)
    gatherer = NeighbourGatherer(np.arange(n), neighbours)
    for rows, others, distances in distance_blocks(vectors, n):
        gatherer.take(rows, others, distances)
        if progress is not None and others.stop == n:
            progress(rows.stop, n)
    near = gatherer.neighbourhoods()
    one, place = np.nonzero(near.nearest >= 0)
    other = near.nearest[one, place]
    low, high = np.minimum(one, other), np.maximum(one, other)
    _, once = np.unique(low * n + high, return_index=True)
    return low[once], high[once], near.distances[one, place][once]
