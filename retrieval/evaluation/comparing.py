"""Comparing queries with every item of a gallery, some queries at a time.

What is kept of a query is a row: no matrix of all queries by all items ever exists. Items are
compared in the order of their identities. A query's mates then stand side by side; once they are
set aside, and with them what is excluded, whatever is left of its row are non-mates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.distances import distance_rows
from retrieval.evaluation.excluding import Excluded
from retrieval.evaluation.identities import NOBODY, Grouped, nearest_few
from retrieval.evaluation.metrics import SearchOutcomes

# Bytes of distances held at a time. All items are converted to float32 once for so many.
_HELD = 400_000_000


@dataclass(frozen=True, eq=False)
class Compared:
    """What queries found; one row per query.

    Attributes:
        outcomes: Ranks and distances, item by item.
        mate: int64 (n,), position of the nearest eligible mate in the gallery, -1 without one.
        rival: int64 (n,), position of the nearest eligible item of the first rival, or -1.
        rival_identities: int64 (n, c), the nearest other identities, nearest first, padded with
            `identities.NOBODY`.
        rival_distances: float32 (n, c), the distance of each one's nearest item, +inf padded.
    """

    outcomes: SearchOutcomes
    mate: NDArray[np.int64]
    rival: NDArray[np.int64]
    rival_identities: NDArray[np.int64]
    rival_distances: NDArray[np.float32]


def compare(
    queries: NDArray[np.float32] | NDArray[np.float16],
    own: NDArray[np.int64],
    items: NDArray[np.float16],
    identities: NDArray[np.int64],
    *,
    rivals: int,
    exclude: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Compared:
    """Compare queries with all items.

    The outcomes are those that `search_outcomes` defines. Of equally near identities the smallest
    counts as nearest, and of its items the first.

    Args:
        queries: float32 or float16, shape `(n_queries, dim)`, L2-normalised.
        own: int64, shape `(n_queries,)`, each query's identity; `identities.NOBODY` where it has
            none here.
        items: float16, shape `(n_items, dim)`.
        identities: int64, shape `(n_items,)`, what the items show.
        rivals: How many other identities to keep of each query, at least 1.
        exclude: What keeps an item out of a query's search: int64 `(n_queries, e)` and
            `(n_items, e)`. Equal numbers ≥ 0 in the same column exclude (equal content, equal
            group); negative ones never do.
        progress: Told how many queries of how many are done.

    Raises:
        ValueError: A distance is NaN.
    """
    grouped = Grouped.of(identities)
    begin, end = grouped.ranges(own)
    excluded = None if exclude is None else Excluded(exclude[0], exclude[1][grouped.order])
    compared = _nothing(len(queries), rivals)
    chunk = min(max(_HELD // (4 * max(len(items), 1)), 1), len(queries))
    held = np.empty((chunk, len(items)), dtype=np.float32)
    for first in range(0, len(queries), max(chunk, 1)):
        some = queries[first : first + chunk].astype(np.float32)
        distances = distance_rows(some, items, order=grouped.order, out=held[: len(some)])
        _refuse_nan(distances, first, grouped)
        for query, row in enumerate(distances, start=first):
            if excluded is not None:
                row[excluded.of(query)] = np.inf
            _reduce(query, row, slice(begin[query], end[query]), grouped, compared)
        if progress is not None:
            progress(first + len(some), len(queries))
    return compared


def _nothing(queries: int, rivals: int) -> Compared:
    """What queries find in an empty gallery; is filled in where they find more."""
    return Compared(
        SearchOutcomes(
            nearest_mate=np.full(queries, np.inf, dtype=np.float32),
            nearest_non_mate=np.full(queries, np.inf, dtype=np.float32),
            mate_rank=np.zeros(queries, dtype=np.int64),
            average_precision=np.full(queries, np.nan),
            mates=np.zeros(queries, dtype=np.int64),
        ),
        mate=np.full(queries, -1, dtype=np.int64),
        rival=np.full(queries, -1, dtype=np.int64),
        rival_identities=np.full((queries, rivals), NOBODY, dtype=np.int64),
        rival_distances=np.full((queries, rivals), np.inf, dtype=np.float32),
    )


def _refuse_nan(distances: NDArray[np.float32], first: int, grouped: Grouped) -> None:
    if not distances.size:
        return
    # A NaN in a query's vector is one in its whole row, in an item's in its whole column.
    rows = np.flatnonzero(np.isnan(distances[:, 0]))
    rows = rows if len(rows) else np.flatnonzero(np.isnan(distances[0]).any(keepdims=True))
    if len(rows):
        item = grouped.order[np.isnan(distances[rows[0]])].min()
        raise ValueError(f"the distance of query {first + rows[0]} to item {item} is NaN")


def _reduce(
    query: int,
    distances: NDArray[np.float32],
    own: slice,
    grouped: Grouped,
    compared: Compared,
) -> None:
    """Fill in what a query found; `distances` (n,) are in the group's order, and are used up."""
    outcomes = compared.outcomes
    mates = distances[own].copy()
    distances[own] = np.inf  # non-mates from here on

    nearest = grouped.nearest(distances)
    few = nearest_few(nearest, compared.rival_distances.shape[1])
    few = few[nearest[few] < np.inf]
    compared.rival_identities[query, : len(few)] = grouped.names[few]
    compared.rival_distances[query, : len(few)] = nearest[few]
    if len(few):
        outcomes.nearest_non_mate[query] = nearest[few[0]]
        theirs = slice(*grouped.bounds[few[0] : few[0] + 2])
        compared.rival[query] = grouped.order[theirs][distances[theirs].argmin()]

    found = np.count_nonzero(mates < np.inf)
    if found:
        place = mates.argmin()
        rank = 1 + np.count_nonzero(distances <= mates[place])
        outcomes.nearest_mate[query] = mates[place]
        outcomes.mate_rank[query] = rank
        outcomes.mates[query] = found
        compared.mate[query] = grouped.order[own][place]
        outcomes.average_precision[query] = (
            _average_precision(np.sort(mates)[:found], distances) if rank <= found else 0.0
        )


def _average_precision(mates: NDArray[np.float32], others: NDArray[np.float32]) -> float:
    """AP@R of one query: its mates' distances (R,), ascending, and the non-mates'."""
    depth = len(mates)
    # More than R non-mates can't stand before a mate that is among the first R results.
    before = np.searchsorted(np.sort(np.partition(others, depth - 1)[:depth]), mates, side="right")
    place = np.arange(1, depth + 1)
    rank = place + before
    return float(np.sum(place / rank, where=rank <= depth)) / depth
