"""Near-duplicates: when two items are, and the pairs that are so under two labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DUPLICATES_BELOW = 0.05
"""Default distance below which two items are near-duplicates; justified in docs/audit.md."""

SAME_BYTES = np.float32(-1)
"""What a pair with the same bytes ranks as: before every distance."""


class DuplicateJudge:
    """Says which pairs are near-duplicates: nearer than a limit, or with exactly the same bytes.

    >>> judge = DuplicateJudge(np.array([7, 8, 8]), below=0.1)
    >>> distances = np.array([[0.05, 0.1]], dtype=np.float32)
    >>> judge.among(slice(0, 1), slice(1, 3), distances).tolist()
    [[True, False]]
    """

    def __init__(self, contents: NDArray[np.int64], *, below: float) -> None:
        """Know the items by their bytes.

        Args:
            contents: int64, shape `(n,)`; equal numbers have exactly the same bytes.
            below: Pairs at a smaller distance are near-duplicates; those with the same bytes are
                at any distance.
        """
        self._contents = contents
        # The smallest float32 that is not below: rounding down could leave a pair out.
        self._below = np.float32(below)
        if float(self._below) < below:
            self._below = np.nextafter(self._below, np.float32(np.inf))

    def among(
        self, rows: slice, others: slice, distances: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Return which of some pairs are near-duplicates.

        Args:
            rows: Positions of some items, as the next.
            others: Positions, too.
            distances: float32, shape `(rows, others)`; +inf where there is no such pair.

        Returns:
            bool, shape `(rows, others)`.
        """
        near: NDArray[np.bool_] = distances < self._below
        if np.isin(self._contents[rows], self._contents[others]).any():
            same = self._contents[rows, np.newaxis] == self._contents[others]
            near |= same & np.isfinite(distances)
        return near


@dataclass(frozen=True)
class DuplicatePairs:
    """Pairs of near-duplicates, worst first: same bytes, then by distance, ties by position.

    Attributes:
        count: How many pairs there are in all.
        first: int64, shape `(m,)`: position of one item of each pair kept, m at most as asked for.
        second: int64, shape `(m,)`: position of the other, which comes later.
        distance: float32, shape `(m,)`.
        same_bytes: bool, shape `(m,)`: whether both have exactly the same content.
    """

    count: int
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distance: NDArray[np.float32]
    same_bytes: NDArray[np.bool_]


class DuplicateGatherer:
    """Gathers `DuplicatePairs` from the distances of pairs, each pair told once.

    >>> gatherer = DuplicateGatherer(np.array([0, 0, 1]), np.array([7, 8, 9]), below=0.1, most=5)
    >>> square = np.full((3, 3), np.inf, dtype=np.float32)
    >>> square[0, 1], square[0, 2], square[1, 2] = 0.01, 0.02, 0.5  # 0 and 1 share their label
    >>> gatherer.take(slice(0, 3), slice(0, 3), square)
    >>> found = gatherer.pairs()
    >>> found.count, found.first.tolist(), found.second.tolist()
    (1, [0], [2])
    """

    def __init__(
        self, labels: NDArray[np.int64], contents: NDArray[np.int64], *, below: float, most: int
    ) -> None:
        """Start with nothing.

        Args:
            labels: int64, shape `(n,)`; equal numbers show the same identity.
            contents: int64, shape `(n,)`; equal numbers have exactly the same bytes.
            below: Pairs at a smaller distance are near-duplicates; those with the same bytes are
                at any distance.
            most: How many pairs to keep, the worst; all are counted.
        """
        self._labels, self._contents = labels, contents
        self._judge = DuplicateJudge(contents, below=below)
        self._most = most
        self._count = 0
        self._rank = np.empty(0, dtype=np.float32)
        self._distance = np.empty(0, dtype=np.float32)
        self._pairs = np.empty((0, 2), dtype=np.int64)

    def take(self, rows: slice, others: slice, distances: NDArray[np.float32]) -> None:
        """Take in the distances of some items to some others.

        Args:
            rows: Their positions, as the next.
            others: Positions, too.
            distances: float32, shape `(rows, others)`; +inf where there is no such pair.
        """
        row, column = np.nonzero(self._judge.among(rows, others, distances))
        distance = distances[row, column]
        pairs = np.column_stack([row + rows.start, column + others.start])
        across = self._labels[pairs[:, 0]] != self._labels[pairs[:, 1]]
        self._keep(distance[across], pairs[across])

    def pairs(self) -> DuplicatePairs:
        """Return what was gathered."""
        first, second = self._pairs.T
        return DuplicatePairs(self._count, first, second, self._distance, self._rank == SAME_BYTES)

    def _keep(self, distance: NDArray[np.float32], pairs: NDArray[np.int64]) -> None:
        """Count pairs, and keep the worst of them and of those before."""
        self._count += len(pairs)
        same = self._contents[pairs[:, 0]] == self._contents[pairs[:, 1]]
        rank = np.where(same, SAME_BYTES, distance)
        if len(self._rank) == self._most:
            # What ranks behind all that is kept needs no sorting.
            last, far, first = self._rank[-1], self._distance[-1], self._pairs[-1, 0]
            earlier = (distance < far) | ((distance == far) & (pairs[:, 0] <= first))
            worth = (rank < last) | ((rank == last) & earlier)
            rank, distance, pairs = rank[worth], distance[worth], pairs[worth]
        rank = np.concatenate([self._rank, rank])
        distance = np.concatenate([self._distance, distance])
        pairs = np.concatenate([self._pairs, pairs])
        order = np.lexsort((pairs[:, 1], pairs[:, 0], distance, rank))[: self._most]
        self._rank, self._distance, self._pairs = rank[order], distance[order], pairs[order]
