"""How well a gallery ranks, all derived from a few numbers per query.

`search_outcomes` reduces a chunk of queries to one `SearchOutcomes` row each, so no matrix of all
queries by all items ever exists; every figure is then a sum over those rows. Distances are float32,
smaller is closer. Ties are pessimistic: among equal distances, non-mates come first.

recall@k is the closed-set identification rate at rank k of ISO/IEC 19795-1; what becomes of a query
once there is a threshold is counted in `decisions.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Rate:
    """A share together with what it was counted on.

    Attributes:
        value: `count / n`, in [0, 1].
        count: Hits.
        n: Trials, at least 1.
    """

    value: float
    count: int
    n: int

    @classmethod
    def of(cls, count: int, n: int) -> Rate | None:
        """Make the rate `count / n`, or None when there was nothing to count on.

        >>> Rate.of(3, 4)
        Rate(value=0.75, count=3, n=4)
        >>> Rate.of(0, 0) is None
        True
        """
        return cls(count / n, count, n) if n else None


@dataclass(frozen=True, eq=False)
class SearchOutcomes:
    """What is left of each query once it was compared with the gallery; one row per query.

    Attributes:
        nearest_mate: float32 (n,), distance of the nearest eligible mate, +inf without one.
        nearest_non_mate: float32 (n,), distance of the nearest eligible non-mate, +inf without one.
        mate_rank: int64 (n,), 1 + number of non-mates at the same or a smaller distance than the
            nearest mate; 0 for non-mated queries.
        average_precision: float64 (n,), AP@R where R = `mates`; NaN for non-mated queries.
        mates: int64 (n,), number of eligible mates.
    """

    nearest_mate: NDArray[np.float32]
    nearest_non_mate: NDArray[np.float32]
    mate_rank: NDArray[np.int64]
    average_precision: NDArray[np.float64]
    mates: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.mates)

    @property
    def mated(self) -> NDArray[np.bool_]:
        """Whether each query has an eligible mate; bool (n,)."""
        return self.mates > 0

    @property
    def nearest(self) -> NDArray[np.float32]:
        """Distance of each query's nearest eligible item, +inf without one; float32 (n,)."""
        return np.minimum(self.nearest_mate, self.nearest_non_mate)

    @classmethod
    def concatenate(cls, parts: Iterable[SearchOutcomes]) -> SearchOutcomes:
        """Join the outcomes of several chunks, in order; no chunks make zero rows."""
        nothing = np.empty((0, 0), dtype=np.float32)
        # The empty first part gives the right dtypes when there are no others.
        chunks = [search_outcomes(nothing, nothing.astype(bool)), *parts]
        names = [field.name for field in fields(cls)]
        return cls(**{name: np.concatenate([getattr(c, name) for c in chunks]) for name in names})


def search_outcomes(
    distances: ArrayLike, mate: ArrayLike, *, eligible: ArrayLike | None = None
) -> SearchOutcomes:
    """Reduce the distances of one chunk of queries to their outcomes.

    AP@R = (1/R) Σ_{i ≤ R} precision(i) · [result i is a mate], with R the number of eligible mates
    (Musgrave et al., "A Metric Learning Reality Check", 2020).

    Args:
        distances: float32 (nq, n), query to item; an item at +inf counts as not eligible.
        mate: bool (nq, n), whether the item shows the query's label.
        eligible: bool (nq, n), False where the item is kept out of the query's search (the query
            itself, its excluded group). All items by default.

    Returns:
        nq rows. n = 0 makes every query non-mated.

    Raises:
        ValueError: If shapes differ or are not two-dimensional, or if a distance is NaN.

    The mate is second, behind a non-mate at its very distance:

    >>> outcomes = search_outcomes([[0.5, 0.5, 0.75]], [[True, False, False]])
    >>> outcomes.mate_rank.tolist(), outcomes.average_precision.tolist()
    ([2], [0.0])

    Two mates, one within the first two results (at rank 1), so AP@R = (1/1 + 0) / 2:

    >>> search_outcomes([[0.25, 0.5, 0.75]], [[True, False, True]]).average_precision.tolist()
    [0.5]
    """
    distances = np.asarray(distances, dtype=np.float32)
    mate = np.asarray(mate, dtype=bool)
    kept = np.ones(distances.shape, bool) if eligible is None else np.asarray(eligible, dtype=bool)
    if distances.ndim != 2 or not distances.shape == mate.shape == kept.shape:
        raise ValueError(
            "distances, mate and eligible must share one shape (queries, items), "
            f"not {distances.shape}, {mate.shape} and {kept.shape}"
        )
    nan = np.argwhere(np.isnan(distances))
    if len(nan):
        raise ValueError(f"distances[{nan[0, 0]}, {nan[0, 1]}] is NaN ({len(nan)} in all)")

    kept = kept & (distances < np.inf)
    mate = mate & kept
    non_mate = kept & ~mate
    nearest_mate = distances.min(axis=1, where=mate, initial=np.inf)
    before = np.count_nonzero(non_mate & (distances <= nearest_mate[:, None]), axis=1)
    mates = np.count_nonzero(mate, axis=1).astype(np.int64)
    return SearchOutcomes(
        nearest_mate=nearest_mate,
        nearest_non_mate=distances.min(axis=1, where=non_mate, initial=np.inf),
        mate_rank=np.where(mates > 0, 1 + before, 0).astype(np.int64),
        average_precision=_average_precision(distances, mate, non_mate, mates),
        mates=mates,
    )


def _average_precision(
    distances: NDArray[np.float32],
    mate: NDArray[np.bool_],
    non_mate: NDArray[np.bool_],
    mates: NDArray[np.int64],
) -> NDArray[np.float64]:
    """AP@R per query, NaN where it has no mate."""
    result = np.full(len(mates), np.nan)
    depth = int(mates.max(initial=0))
    if depth == 0:
        return result
    # One float64 step puts a mate behind the non-mates of its own float32 distance, and no further.
    key = np.full(distances.shape, np.inf)
    np.copyto(key, distances, where=non_mate)
    np.nextafter(distances, np.inf, out=key, where=mate, dtype=np.float64)
    # Only the first max(R) results count, so nothing beyond them is sorted.
    first = np.argpartition(key, depth - 1, axis=1)[:, :depth]
    order = np.argsort(np.take_along_axis(key, first, axis=1), axis=1)
    rank = np.arange(1, depth + 1)
    hit = np.take_along_axis(mate, np.take_along_axis(first, order, axis=1), axis=1)
    hit &= rank <= mates[:, None]
    total = np.sum(np.cumsum(hit, axis=1) / rank, axis=1, where=hit)
    np.divide(total, mates, out=result, where=mates > 0)
    return result


def recall_at_k(outcomes: SearchOutcomes, k: int) -> Rate | None:
    """Share of mated queries with a mate among the k nearest items, ties pessimistic.

    recall@k = #{mated, mate_rank ≤ k} / #mated: the closed-set identification rate at rank k of
    ISO/IEC 19795-1, as drawn in a cumulative match characteristic.

    Returns:
        The rate, or None when no query is mated.

    Raises:
        ValueError: If k < 1.

    >>> outcomes = search_outcomes([[0.5, 0.25], [0.5, 0.75]], [[True, False], [True, False]])
    >>> recall_at_k(outcomes, 1)
    Rate(value=0.5, count=1, n=2)
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    hits = outcomes.mated & (outcomes.mate_rank <= k)
    return Rate.of(int(hits.sum()), int(outcomes.mated.sum()))


def mean_average_precision_at_r(outcomes: SearchOutcomes) -> float | None:
    """MAP@R: mean of AP@R over mated queries, or None when no query is mated.

    >>> outcomes = search_outcomes([[0.25, 0.5], [0.5, 0.25]], [[True, False], [True, False]])
    >>> mean_average_precision_at_r(outcomes)
    0.5
    """
    mated = outcomes.mated
    return float(outcomes.average_precision[mated].mean()) if mated.any() else None
