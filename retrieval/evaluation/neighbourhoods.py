"""The nearest items and the nearest mate of every item, gathered block by block.

All that is held of an item is what was nearest so far. Each is one number, a key: the bits of its
distance, then its position. Keys sort as distances do, and equal distances by position, so what is
gathered does not depend on the order of the blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Infinitely far, at no position.
_NOBODY = np.uint64(0x7F80_0000_FFFF_FFFF)
_FARTHEST = np.float32(2)


@dataclass(frozen=True)
class Neighbourhoods:
    """What is near each of n labelled items, itself left out.

    Attributes:
        nearest: int64, shape `(n, k)`: positions of the nearest items, nearest first and equal
            distances by position, −1 padded.
        distances: float32, shape `(n, k)`: how far they are, +inf padded.
        mate: int64, shape `(n,)`: position of the nearest item of the same label, −1 without one.
        mate_distance: float32, shape `(n,)`: how far it is, +inf without one.
    """

    nearest: NDArray[np.int64]
    distances: NDArray[np.float32]
    mate: NDArray[np.int64]
    mate_distance: NDArray[np.float32]


class NeighbourGatherer:
    """Gathers `Neighbourhoods` from the distances of pairs, each pair told once.

    >>> gatherer = NeighbourGatherer(np.array([0, 1, 0]), k=1)
    >>> square = np.full((3, 3), np.inf, dtype=np.float32)
    >>> square[0, 1], square[0, 2], square[1, 2] = 0.25, 0.5, 0.125
    >>> gatherer.take(slice(0, 3), slice(0, 3), square)
    >>> found = gatherer.neighbourhoods()
    >>> found.nearest[:, 0].tolist(), found.mate.tolist()
    ([1, 2, 1], [2, -1, 0])
    """

    def __init__(self, labels: NDArray[np.int64], k: int) -> None:
        """Start with nothing.

        Args:
            labels: int64, shape `(n,)`; equal numbers show the same label.
            k: How many of the nearest items to gather, at least 1.
        """
        self._labels = labels
        self._nearest = np.full((len(labels), k), _NOBODY)
        self._mates = np.full(len(labels), _NOBODY)

    def take(self, rows: slice, others: slice, distances: NDArray[np.float32]) -> None:
        """Take in the distances of some items to some others.

        Args:
            rows: Their positions, as the next.
            others: Positions, too.
            distances: float32, shape `(rows, others)`, in [0, 2]; +inf or NaN where there is no
                such pair. A pair counts for both its items, so it is told once.
        """
        self._take_nearest(rows, others, distances)
        self._take_nearest(others, rows, distances.T)
        mine, theirs = self._labels[rows], self._labels[others]
        if np.isin(mine, theirs).any():
            mates = np.where(mine[:, np.newaxis] == theirs, distances, np.inf)
            self._take_mates(rows, others, mates)
            self._take_mates(others, rows, mates.T)

    def neighbourhoods(self) -> Neighbourhoods:
        """Return what was gathered."""
        return Neighbourhoods(*_apart(self._nearest), *_apart(self._mates))

    def _take_nearest(self, rows: slice, others: slice, distances: NDArray[np.float32]) -> None:
        held = self._nearest[rows]
        k = held.shape[1]
        # What is farther than the k-th so far needs no sorting, and that is nearly everything.
        bound = np.minimum(_apart(held[:, -1])[1], _FARTHEST)
        if (held[:, -1] == _NOBODY).any() and k <= distances.shape[1]:
            bound = np.fmin(bound, np.partition(distances, k - 1, axis=1)[:, k - 1])
        row, column = np.nonzero(distances <= bound[:, np.newaxis])
        keys = np.concatenate([held.ravel(), _keys(distances[row, column], column + others.start)])
        belongs = np.concatenate([np.repeat(np.arange(len(held)), k), row])
        order = np.lexsort((keys, belongs))
        starts = np.searchsorted(belongs[order], np.arange(len(held)))
        self._nearest[rows] = keys[order[starts[:, np.newaxis] + np.arange(k)]]

    def _take_mates(self, rows: slice, others: slice, distances: NDArray[np.float32]) -> None:
        column = np.argmin(np.nan_to_num(distances, nan=np.inf), axis=1)
        nearest = distances[np.arange(len(column)), column]
        keys = np.where(nearest <= _FARTHEST, _keys(nearest, column + others.start), _NOBODY)
        self._mates[rows] = np.minimum(self._mates[rows], keys)


def _keys(distances: NDArray[np.float32], positions: NDArray[np.int64]) -> NDArray[np.uint64]:
    # The bits of floats that are not negative sort as they do; -0.0 + 0.0 is 0.0.
    bits = (distances + np.float32(0)).view(np.uint32).astype(np.uint64)
    keys: NDArray[np.uint64] = (bits << np.uint64(32)) | positions.astype(np.uint64)
    return keys


def _apart(keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the positions and the distances of keys."""
    distances = (keys >> np.uint64(32)).astype(np.uint32).view(np.float32)
    positions = (keys & np.uint64(0xFFFF_FFFF)).astype(np.int64)
    return np.where(keys == _NOBODY, -1, positions), distances
