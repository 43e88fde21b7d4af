"""The identities nearest to each query, gathered from items a block at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NOBODY = int(np.iinfo(np.int64).min)  # pads where there are no more identities


class NearestIdentities:
    """Keeps, of each query, the few identities whose nearest items are nearest.

    Example:
        >>> nearest = NearestIdentities(queries=1, count=2)
        >>> nearest.update(np.array([[0.5, 0.25, 0.75]], np.float32), np.array([7, 8, 7]))
        >>> nearest.update(np.array([[0.125]], np.float32), np.array([7]))
        >>> nearest.identities.tolist(), nearest.distances.tolist()
        ([[7, 8]], [[0.125, 0.25]])
    """

    def __init__(self, queries: int, count: int) -> None:
        """Start with nobody.

        Args:
            queries: How many queries there are.
            count: How many identities to keep of each, at least 1.
        """
        self.identities = np.full((queries, count), NOBODY, dtype=np.int64)
        self.distances = np.full((queries, count), np.inf, dtype=np.float32)

    def update(
        self,
        distances: NDArray[np.float32],
        identities: NDArray[np.int64],
        rows: slice = slice(None),
    ) -> None:
        """Take some items into account.

        Args:
            distances: float32, shape `(n, m)`, of `rows` to the items; +inf is out of the question.
            identities: int64, shape `(m,)`, what the items show.
            rows: The queries these are.
        """
        count = self.distances.shape[1]
        order = np.argsort(identities, kind="stable")
        groups, starts = np.unique(identities[order], return_index=True)
        if not len(groups):
            return
        nearest = np.minimum.reduceat(distances[:, order], starts, axis=1)
        names = np.broadcast_to(groups, nearest.shape)
        if len(groups) > count:
            # The nearest of all items are among the nearest of their block.
            first = np.argpartition(nearest, count - 1, axis=1)[:, :count]
            names, nearest = groups[first], np.take_along_axis(nearest, first, axis=1)
        names = np.concatenate([self.identities[rows], names], axis=1)
        nearest = np.concatenate([self.distances[rows], nearest], axis=1)
        # Sorted by name and, within a name, by distance: an identity met twice counts once.
        names, nearest = _sorted(names, nearest, np.lexsort((nearest, names), axis=1))
        nearest[:, 1:][names[:, 1:] == names[:, :-1]] = np.inf
        names, nearest = _sorted(names, nearest, np.argsort(nearest, axis=1)[:, :count])
        self.distances[rows] = nearest
        self.identities[rows] = np.where(np.isfinite(nearest), names, NOBODY)


def _sorted(
    names: NDArray[np.int64], nearest: NDArray[np.float32], order: NDArray[np.intp]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    return np.take_along_axis(names, order, axis=1), np.take_along_axis(nearest, order, axis=1)
