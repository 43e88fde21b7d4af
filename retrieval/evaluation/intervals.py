"""Intervals for rates: of independent trials, and of photos that come in labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Interval:
    """A rate with its two-sided interval; all three in [0, 1]."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LabelledRate:
    """A rate of photos in labels.

    Attributes:
        by_photo: Hits / photos: what a photo drawn from these is worth.
        by_label: Mean over labels of the share of hits: what a photo of a new label is worth.
    """

    by_photo: Interval
    by_label: Interval


def clopper_pearson(count: int, n: int, level: float = 0.95) -> Interval:
    """Bound a rate of independent trials exactly (Clopper and Pearson, 1934).

    With a = (1 - level) / 2: low solves P(Bin(n, low) ≥ count) = a, high P(Bin(n, high) ≤ count) =
    a; low is 0 without hits and high is 1 without misses.

    Raises:
        ValueError: If not 0 ≤ count ≤ n, n < 1, or the level is outside (0, 1).

    >>> round(clopper_pearson(0, 10).high, 4)  # 1 - 0.025^(1/10)
    0.3085
    """
    if not (0 <= count <= n and n >= 1 and 0 < level < 1):
        raise ValueError(f"no interval for {count} of {n} at level {level}")
    tail = (1 - level) / 2
    return Interval(count / n, _lower(count, n, tail), 1 - _lower(n - count, n, tail))


def labelled_rate(
    hits: ArrayLike, labels: ArrayLike, *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> LabelledRate:
    """Bound a rate by drawing labels, with all their photos, anew (percentile cluster bootstrap).

    Where every label has the same share nothing varies from draw to draw; if it is 0 or 1 both
    intervals are then `clopper_pearson`'s over labels. They are approximate, and too narrow with
    few labels or a rate close to 0 or 1.

    Args:
        hits: bool (n,), n ≥ 1.
        labels: (n,), labels of the photos.
        level: In (0, 1).
        resamples: How often labels are drawn, at least 1.
        seed: Equal seeds give equal intervals.

    Raises:
        ValueError: If shapes differ, there are no photos, or a number is out of range.
    """
    hits, labels = np.asarray(hits, dtype=bool), np.asarray(labels)
    if hits.ndim != 1 or hits.shape != labels.shape or not len(hits):
        raise ValueError(f"hits and labels must share (n,), n ≥ 1: {hits.shape}, {labels.shape}")
    if not (0 < level < 1 and resamples >= 1):
        raise ValueError(f"no interval at level {level} from {resamples} resamples")
    _, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    counts = np.bincount(codes[hits], minlength=len(sizes))
    if counts.sum() in (0, counts.dtype.type(len(hits))):
        n_labels = len(sizes)
        interval = clopper_pearson(n_labels if hits[0] else 0, n_labels, level)
        return LabelledRate(interval, interval)
    shares = counts / sizes
    generator = np.random.default_rng(seed)
    by_photo, by_label = np.empty(resamples), np.empty(resamples)
    for i in range(resamples):
        drawn = generator.integers(len(sizes), size=len(sizes))
        by_photo[i] = counts[drawn].sum() / sizes[drawn].sum()
        by_label[i] = shares[drawn].mean()
    ends = [(1 - level) / 2, (1 + level) / 2]
    return LabelledRate(
        Interval(float(hits.mean()), *np.quantile(by_photo, ends).tolist()),
        Interval(float(shares.mean()), *np.quantile(by_label, ends).tolist()),
    )


def _lower(count: int, n: int, tail: float) -> float:
    """The p in [0, 1] with P(Bin(n, p) ≥ count) = tail, never above it; 0 without hits."""
    if count == 0:
        return 0.0
    reaches = _upper_tail(count, n)
    low, high = 0.0, 1.0
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if reaches(middle) <= tail else (low, middle)
    return low


def _upper_tail(count: int, n: int) -> Callable[[float], float]:
    """P(Bin(n, p) ≥ count) as a function of p in (0, 1), for count ≥ 1."""
    hits = np.arange(1, n + 1)
    # log C(n, k) as a sum of log ratios; NumPy has no log-gamma.
    ways = np.concatenate([[0.0], np.cumsum(np.log((n + 1 - hits) / hits))])
    # The shorter tail is summed, from the other one's complement if need be.
    upper = 2 * count > n
    k: NDArray[np.int64] = np.arange(count, n + 1) if upper else np.arange(count)

    def tail(p: float) -> float:
        total = float(np.exp(ways[k] + k * np.log(p) + (n - k) * np.log1p(-p)).sum())
        return total if upper else 1 - total

    return tail
