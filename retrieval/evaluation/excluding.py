"""What keeps items out of a query's search."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Excluded:
    """Finds the few items that are kept out of each query's search, without asking every item.

    Example:
        >>> theirs, ours = np.array([[5, -1], [-1, -1]]), np.array([[5, 1], [-1, -1], [5, -1]])
        >>> excluded = Excluded(theirs, ours)
        >>> [excluded.of(query).tolist() for query in range(2)]
        [[0, 2], []]
    """

    def __init__(self, theirs: NDArray[np.int64], ours: NDArray[np.int64]) -> None:
        """Sort the items by what may exclude them.

        Args:
            theirs: int64, shape `(n_queries, e)`.
            ours: int64, shape `(n_items, e)`. Equal numbers ≥ 0 in the same column exclude;
                negative ones never do.

        Raises:
            ValueError: They differ in their columns.
        """
        if theirs.shape[1] != ours.shape[1]:
            raise ValueError(
                f"queries have {theirs.shape[1]} columns of numbers that exclude, "
                f"items have {ours.shape[1]}"
            )
        self._columns = []
        for asked, held in zip(theirs.T, ours.T, strict=True):
            order = np.argsort(held, kind="stable")
            begin = np.searchsorted(held, asked, sorter=order)
            end = np.searchsorted(held, asked, side="right", sorter=order)
            self._columns.append((order, begin, np.where(asked < 0, begin, end)))

    def of(self, query: int) -> NDArray[np.int64]:
        """Return the positions of the items kept out of a query's search; int64, some twice."""
        parts = [order[begin[query] : end[query]] for order, begin, end in self._columns]
        return np.concatenate([np.empty(0, dtype=np.int64), *parts])
