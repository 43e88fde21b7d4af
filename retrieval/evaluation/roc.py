"""Verification by every comparison of a query with an item: how apart mates and others lie.

Distances are counted in bins as they come, as a list of all of them could be longer than memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.distances import distance_rows
from retrieval.evaluation.drawing import draw_items
from retrieval.evaluation.excluding import Excluded

# Queries compared with all items, at most: more would hardly move the curve.
_QUERIES = 2000
_CHUNK = 64
# A float32 ≥ 0 grows with its bits: without the last 16 they number bins, 128 to each doubling.
_DROPPED_BITS = 16
_BINS = (int(np.float32(2).view(np.int32)) >> _DROPPED_BITS) + 1


@dataclass(frozen=True, eq=False)
class Roc:
    """How a threshold on the distance of two photos would tell same from different labels.

    Attributes:
        thresholds: float64 (t,), distances, ascending; the first accepts no pair, the last all.
        tar: float64 (t,), pairs of one label with a smaller distance / all of them: 1 - FRR.
        far: float64 (t,), pairs of two labels with a smaller distance / all of them.
        auc: The area under TAR over FAR; within a bin, pairs count as tied.
        queries: How many queries were compared with all items.
        n_positive: Pairs of one label.
        n_negative: Pairs of two labels.
    """

    thresholds: NDArray[np.float64]
    tar: NDArray[np.float64]
    far: NDArray[np.float64]
    auc: float
    queries: int
    n_positive: int
    n_negative: int


def verification_roc(
    queries: NDArray[np.float32] | NDArray[np.float16],
    own: NDArray[np.int64],
    items: NDArray[np.float16],
    identities: NDArray[np.int64],
    *,
    exclude: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
) -> Roc | None:
    """Compare queries with all items, pair by pair; args are those of `compare`.

    Of more than 2,000 queries so many are drawn, by a fixed seed, one of each identity before a
    second of any. Rates are exact at each threshold listed; these lie 0.8 % apart.

    Returns:
        The curve, or None when there are no pairs of one label, or none of two.
    """
    chosen = draw_items(own, _QUERIES)
    excluded = None if exclude is None else Excluded(*exclude)
    # Row 0: pairs of two labels, row 1: of one.
    counts = np.zeros((2, _BINS), dtype=np.int64)
    for first in range(0, len(chosen), _CHUNK):
        rows = chosen[first : first + _CHUNK]
        distances = distance_rows(queries[rows].astype(np.float32), items)
        kept = np.ones(distances.shape, dtype=bool)
        for row, query in zip(kept, rows.tolist(), strict=True):
            if excluded is not None:
                row[excluded.of(query)] = False
        mates = own[rows, np.newaxis] == identities
        bins = distances.view(np.int32) >> _DROPPED_BITS
        for labels, which in enumerate((kept & ~mates, kept & mates)):
            counts[labels] += np.bincount(bins[which], minlength=_BINS)
    return _roc(counts, len(chosen))


def _roc(counts: NDArray[np.int64], queries: int) -> Roc | None:
    n_negative, n_positive = counts.sum(axis=1).tolist()
    if not (n_negative and n_positive):
        return None
    some = np.flatnonzero(counts.any(axis=0))
    # A bin's pairs lie below the start of the next one.
    starts = np.concatenate([some[:1], some + 1]).astype(np.int32) << _DROPPED_BITS
    far, tar = (
        np.concatenate([[0.0], np.cumsum(count[some]) / n])
        for count, n in zip(counts, (n_negative, n_positive), strict=True)
    )
    return Roc(
        thresholds=starts.view(np.float32).astype(np.float64),
        tar=tar,
        far=far,
        auc=float(np.trapezoid(tar, far)),
        queries=queries,
        n_positive=n_positive,
        n_negative=n_negative,
    )
