"""Comparing queries with every item of a gallery, some queries at a time.

What is kept of a query is a row: no matrix of all queries by all items ever exists.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.distances import distance_rows
from retrieval.evaluation.identities import NearestIdentities
from retrieval.evaluation.metrics import SearchOutcomes, search_outcomes

# Queries whose distances to all items are held at a time.
_CHUNK = 64


@dataclass(frozen=True, eq=False)
class Compared:
    """What queries found; one row per query.

    Attributes:
        outcomes: Ranks and distances, item by item.
        mate: int64 (n,), position of the nearest eligible mate in the gallery, -1 without one.
        rival: int64 (n,), position of the nearest eligible item of another identity, or -1.
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
    """
    nearest = NearestIdentities(len(queries), rivals)
    mate, rival = np.full(len(queries), -1), np.full(len(queries), -1)
    parts = []
    for first in range(0, len(queries), _CHUNK):
        some = slice(first, first + _CHUNK)
        distances = distance_rows(queries[some].astype(np.float32), items)
        mates = own[some, np.newaxis] == identities
        eligible = eligible_items(exclude, some, distances.shape)
        outcomes = search_outcomes(distances, mates, eligible=eligible)
        parts.append(outcomes)
        if len(items):
            of_mates = np.where(mates & eligible, distances, np.inf)
            of_rivals = np.where(~mates & eligible, distances, np.inf)
            mate[some] = _position(of_mates, outcomes.nearest_mate)
            rival[some] = _position(of_rivals, outcomes.nearest_non_mate)
            nearest.update(of_rivals, identities, some)
        if progress is not None:
            progress(min(first + _CHUNK, len(queries)), len(queries))
    return Compared(
        SearchOutcomes.concatenate(parts), mate, rival, nearest.identities, nearest.distances
    )


def eligible_items(
    exclude: tuple[NDArray[np.int64], NDArray[np.int64]] | None,
    rows: slice | NDArray[np.intp],
    shape: tuple[int, ...],
) -> NDArray[np.bool_]:
    """Say which items take part in the searches of some queries.

    Args:
        exclude: As in `compare`.
        rows: The queries, of all that `exclude` speaks of.
        shape: (how many queries these are, n_items).
    """
    eligible = np.ones(shape, dtype=bool)
    if exclude is not None:
        for theirs, ours in zip(exclude[0][rows].T, exclude[1].T, strict=True):
            eligible &= (theirs[:, np.newaxis] != ours) | (theirs[:, np.newaxis] < 0)
    return eligible


def _position(distances: NDArray[np.float32], nearest: NDArray[np.float32]) -> NDArray[np.intp]:
    return np.where(np.isfinite(nearest), distances.argmin(axis=1), -1)
