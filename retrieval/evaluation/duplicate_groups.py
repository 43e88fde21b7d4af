"""Groups of near-duplicates, one item of each to keep; nothing is chained through the limit.

Down a list whose best items come first, an item that is no near-duplicate of any kept before it is
kept. Any other belongs to the nearest of the kept items that it is a near-duplicate of; the same
bytes come before every distance. So what might go is always a near-duplicate of the very item that
is kept for it, not of a duplicate's duplicate; and no two kept items are near-duplicates, so that a
second look at what was kept finds nothing. Where B is near A and C, and these are not near each
other, the order decides: A first keeps C too, B first stands for both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.duplicates import SAME_BYTES, DuplicateJudge


@dataclass(frozen=True)
class KeptFor:
    """Which item is kept for each of n items.

    Attributes:
        kept: int64, shape `(n,)`: position of the item kept for it, −1 where it is kept itself.
        distance: float32, shape `(n,)`: how far that is, +inf where it is kept itself.
        same_bytes: bool, shape `(n,)`: whether both have exactly the same content.
    """

    kept: NDArray[np.int64]
    distance: NDArray[np.float32]
    same_bytes: NDArray[np.bool_]


class KeptGatherer:
    """Gathers `KeptFor` from the distances of pairs, block by block; holds a few numbers an item.

    Items 0, 1, 2 are in a row, and 0 is not near 2:

    >>> gatherer = KeptGatherer(np.array([7, 8, 9]), below=0.1)
    >>> square = np.full((3, 3), np.inf, dtype=np.float32)
    >>> square[0, 1], square[0, 2], square[1, 2] = 0.0625, 0.125, 0.0625
    >>> gatherer.take(slice(0, 3), slice(0, 3), square)
    >>> gatherer.kept_for().kept.tolist()
    [-1, 0, -1]
    """

    def __init__(self, contents: NDArray[np.int64], *, below: float) -> None:
        """Start with every item kept.

        Args:
            contents: int64, shape `(n,)`, best items first; equal numbers have exactly the same
                bytes.
            below: Items at a smaller distance are near-duplicates; those with the same bytes are
                at any distance.
        """
        self._contents = contents
        self._judge = DuplicateJudge(contents, below=below)
        self._kept = np.full(len(contents), -1, dtype=np.int64)
        self._rank = np.full(len(contents), np.inf, dtype=np.float32)
        self._distance = np.full(len(contents), np.inf, dtype=np.float32)

    def take(self, rows: slice, others: slice, distances: NDArray[np.float32]) -> None:
        """Take in the distances of some items to some others, in the order of `distance_blocks`.

        Args:
            rows: Positions of some items, all of whose pairs with earlier ones were taken in.
            others: Positions: first the same as `rows`, then those that come after.
            distances: float32, shape `(rows, others)`; +inf where the other does not come after
                the row.
        """
        near = self._judge.among(rows, others, distances)
        if rows.start == others.start:
            keeping = _first_come(near, self._kept[rows] >= 0)
        else:
            keeping = self._kept[rows] < 0
        row = np.flatnonzero(keeping & near.any(axis=1))
        column = np.flatnonzero(near[row].any(axis=0))
        if not len(column):
            return
        corner = np.ix_(row, column)
        same = self._contents[row + rows.start, np.newaxis] == self._contents[column + others.start]
        rank = np.where(near[corner], np.where(same, SAME_BYTES, distances[corner]), np.inf)
        nearest = np.argmin(rank, axis=0)
        rank = rank[nearest, np.arange(len(column))]
        better = rank < self._rank[others][column]
        to, of = column[better] + others.start, row[nearest[better]]
        self._kept[to] = of + rows.start
        self._rank[to] = rank[better]
        self._distance[to] = distances[of, column[better]]

    def kept_for(self) -> KeptFor:
        """Return what was gathered."""
        return KeptFor(self._kept, self._distance, self._rank == SAME_BYTES)


def _first_come(near: NDArray[np.bool_], taken: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which rows of a square are kept, `taken` ones having an earlier near-duplicate."""
    taken = taken.copy()
    for row in np.flatnonzero(near.any(axis=1)).tolist():
        if not taken[row]:
            taken |= near[row]
    return ~taken
