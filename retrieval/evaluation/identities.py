"""Items by identity, and the identities nearest to each query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

NOBODY = int(np.iinfo(np.int64).min)  # pads where there are no more identities


@dataclass(frozen=True, eq=False)
class Grouped:
    """Items in the order of what they show: those of one identity stand side by side.

    Attributes:
        order: int64 (n,), positions of the items; ascending within an identity.
        names: int64 (g,), the identities, ascending.
        bounds: int64 (g + 1,), where in the order each identity begins; last, where it ends.
    """

    order: NDArray[np.int64]
    names: NDArray[np.int64]
    bounds: NDArray[np.int64]

    @classmethod
    def of(cls, identities: NDArray[np.int64]) -> Self:
        """Group items; `identities` is int64, shape `(n,)`, what they show.

        >>> grouped = Grouped.of(np.array([7, 8, 7]))
        >>> grouped.order.tolist(), grouped.names.tolist(), grouped.bounds.tolist()
        ([0, 2, 1], [7, 8], [0, 2, 3])
        """
        order = np.argsort(identities, kind="stable")
        names, starts = np.unique(identities[order], return_index=True)
        return cls(order, names, np.append(starts, len(identities)))

    def ranges(self, identities: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return where in the order the items of each identity begin and end; both int64 (m,).

        >>> begin, end = Grouped.of(np.array([7, 8, 7])).ranges(np.array([8, 7, 9]))
        >>> list(zip(begin.tolist(), end.tolist()))
        [(2, 3), (0, 2), (3, 3)]
        """
        begin = np.searchsorted(self.names, identities)
        end = np.searchsorted(self.names, identities, side="right")
        return self.bounds[begin], self.bounds[end]

    def nearest(self, distances: NDArray[np.float32]) -> NDArray[np.float32]:
        """Reduce distances to items, in this order, to distances to identities.

        Args:
            distances: float32, shape `(..., n)`.

        Returns:
            float32, shape `(..., g)`, in the order of the names; perhaps `distances` itself.
        """
        if len(self.names) == len(self.order):
            return distances
        nearest: NDArray[np.float32] = np.minimum.reduceat(distances, self.bounds[:-1], axis=-1)
        return nearest


def nearest_few(distances: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Find the smallest of some distances, shape `(n,)`, equal ones by their position.

    Returns:
        int64, shape `(min(n, count),)`, positions, the smallest distance first.

    >>> nearest_few(np.array([0.5, 0.25, 0.5, 0.75], np.float32), 2).tolist()
    [1, 0]
    """
    if len(distances) > count:
        # Two passes over values, which are faster than one that carries positions along.
        limit = np.partition(distances, count - 1)[count - 1]
        near = np.flatnonzero(distances <= limit)
    else:
        near = np.arange(len(distances))
    return near[np.argsort(distances[near], kind="stable")[:count]]


class NearestIdentities:
    """Keeps, of each query, the few identities whose nearest items are nearest.

    Among equal distances the smaller identity comes first, however items are divided into blocks.

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
        if not distances.size:
            return
        count = self.distances.shape[1]
        grouped = Grouped.of(identities)
        nearest = grouped.nearest(distances[:, grouped.order])
        # The nearest of all items are among the nearest of their block.
        first = np.stack([nearest_few(row, count) for row in nearest])
        names = np.concatenate([self.identities[rows], grouped.names[first]], axis=1)
        nearest = np.concatenate(
            [self.distances[rows], np.take_along_axis(nearest, first, axis=1)], axis=1
        )
        # Sorted by name and, within a name, by distance: an identity met twice counts once.
        names, nearest = _sorted(names, nearest, np.lexsort((nearest, names), axis=1))
        nearest[:, 1:][names[:, 1:] == names[:, :-1]] = np.inf
        order = np.argsort(nearest, axis=1, kind="stable")[:, :count]
        names, nearest = _sorted(names, nearest, order)
        self.distances[rows] = nearest
        self.identities[rows] = np.where(np.isfinite(nearest), names, NOBODY)


def _sorted(
    names: NDArray[np.int64], nearest: NDArray[np.float32], order: NDArray[np.intp]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    return np.take_along_axis(names, order, axis=1), np.take_along_axis(nearest, order, axis=1)
