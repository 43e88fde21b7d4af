"""Figures for verification: are the two photos of a pair the same?

A pair is *positive* if its photos show the same identity, *negative* otherwise. It is accepted,
that is said to be the same, iff its distance is below the threshold (strictly). Distances are
float32, smaller is closer. FAR and FRR are the rates of false accepts and false rejects, as in
ISO/IEC 19795-1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retrieval.evaluation.tuning import candidate_thresholds


@dataclass(frozen=True)
class PairRates:
    """How verification fares at one threshold; a rate with nothing to count on is None.

    Attributes:
        threshold: The distance at and above which a pair is rejected.
        n_positive: Positive pairs.
        n_negative: Negative pairs.
        accepted_positives: Positive pairs rightly said to be the same.
        accepted_negatives: Negative pairs wrongly said to be the same.
        accuracy: (accepted positives + rejected negatives) / all pairs.
        precision: Accepted positives / accepted.
        recall: Accepted positives / positives; 1 - FRR.
        f1: Harmonic mean of precision and recall; None if either is, 0 when both are 0.
        far: False accept rate: accepted negatives / negatives.
        frr: False reject rate: rejected positives / positives.
    """

    threshold: float
    n_positive: int
    n_negative: int
    accepted_positives: int
    accepted_negatives: int
    accuracy: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    far: float | None
    frr: float | None


@dataclass(frozen=True)
class EqualError:
    """Where the false accept rate and the false reject rate meet.

    Attributes:
        value: The rate at the crossing, interpolated linearly between neighbouring thresholds.
        threshold: The threshold to use for it: the larger of its two rates is the smallest there
            is; among equals the sum of both decides, then the smaller threshold.
    """

    value: float
    threshold: float


@dataclass(frozen=True, eq=False)
class Sweep:
    """Every way a threshold can split these distances, ascending; whole tie groups move together.

    The first threshold accepts nothing, the last every finite distance.

    Attributes:
        thresholds: float64 (n,), strictly ascending, midway between neighbouring distances.
        accepted_positives: int64 (n,), positives below each threshold.
        accepted_negatives: int64 (n,), negatives below each threshold.
        n_positive: All positives, at least 1.
        n_negative: All negatives, at least 1.
    """

    thresholds: NDArray[np.float64]
    accepted_positives: NDArray[np.int64]
    accepted_negatives: NDArray[np.int64]
    n_positive: int
    n_negative: int

    @property
    def far(self) -> NDArray[np.float64]:
        """False accept rate at each threshold; float64 (n,), ascending."""
        return self.accepted_negatives / self.n_negative

    @property
    def frr(self) -> NDArray[np.float64]:
        """False reject rate at each threshold; float64 (n,), descending."""
        return (self.n_positive - self.accepted_positives) / self.n_positive

    @property
    def roc(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Receiver operating characteristic: FAR, and 1 - FRR; each float64 (n,)."""
        return self.far, self.accepted_positives / self.n_positive

    @property
    def det(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Detection error trade-off: FAR, and FRR; each float64 (n,)."""
        return self.far, self.frr


def checked(distances: ArrayLike, name: str) -> NDArray[np.float32]:
    """Return distances as float32 (n,); +inf marks what no threshold accepts.

    Raises:
        ValueError: They have another shape, or one is NaN; the text says where.
    """
    values = np.asarray(distances, dtype=np.float32)
    if values.ndim != 1:
        raise ValueError(f"{name} distances must have the shape (n,), not {values.shape}")
    nan = np.flatnonzero(np.isnan(values))
    if len(nan):
        raise ValueError(f"{name} distance {nan[0]} is NaN ({len(nan)} in all)")
    return values


def pair_rates(positive: ArrayLike, negative: ArrayLike, threshold: float) -> PairRates:
    """Count the right and wrong decisions at one threshold.

    Args:
        positive: float32 (n_positive,), distances of the positive pairs.
        negative: float32 (n_negative,), distances of the negative pairs.
        threshold: A distance; float32 distances are compared with it in float64, unrounded.

    Raises:
        ValueError: If a distance or the threshold is NaN.

    The positive pair at the threshold itself is rejected:

    >>> rates = pair_rates([0.25, 0.5], [0.25, 0.75, 0.75, 1.0], 0.5)
    >>> rates.precision, rates.recall, rates.f1, rates.far, rates.frr
    (0.5, 0.5, 0.5, 0.25, 0.5)
    >>> rates.accuracy == 4 / 6
    True
    """
    if math.isnan(threshold):
        raise ValueError("threshold must be a number, not NaN")
    # A plain float would be rounded to float32 in the comparison and could swallow a neighbour.
    same = checked(positive, "positive").astype(np.float64) < threshold
    different = checked(negative, "negative").astype(np.float64) < threshold
    n_positive, n_negative = len(same), len(different)
    right, wrong = int(same.sum()), int(different.sum())
    precision = _share(right, right + wrong)
    recall = _share(right, n_positive)
    return PairRates(
        threshold=float(threshold),
        n_positive=n_positive,
        n_negative=n_negative,
        accepted_positives=right,
        accepted_negatives=wrong,
        accuracy=_share(right + n_negative - wrong, n_positive + n_negative),
        precision=precision,
        recall=recall,
        # 2pr / (p + r) in counts, which can't be 0 / 0 once both denominators are non-zero.
        f1=None
        if precision is None or recall is None
        else 2 * right / (right + wrong + n_positive),
        far=_share(wrong, n_negative),
        frr=_share(n_positive - right, n_positive),
    )


def sweep(positive: ArrayLike, negative: ArrayLike, *, others: ArrayLike = ()) -> Sweep | None:
    """Count what every threshold accepts, or return None when a class is absent.

    Args:
        positive: float32 (n_positive,), distances of the positive pairs, +inf for one that no
            threshold accepts.
        negative: float32 (n_negative,), the same of the negative pairs.
        others: float32 (n,), further distances that thresholds shall split, and nobody counts.

    Raises:
        ValueError: If a distance is NaN; the text says where.

    >>> swept = sweep([0.25, 0.5], [0.5, 1.0])
    >>> swept.thresholds[:-1].tolist(), swept.far.tolist(), swept.frr.tolist()
    ([0.0, 0.375, 0.75], [0.0, 0.0, 0.5, 1.0], [1.0, 0.5, 0.0, 0.0])
    """
    same, different = checked(positive, "positive"), checked(negative, "negative")
    if not (len(same) and len(different)):
        return None
    thresholds = candidate_thresholds(np.concatenate([same, different, checked(others, "other")]))
    return Sweep(
        thresholds=thresholds,
        accepted_positives=count_below(same, thresholds),
        accepted_negatives=count_below(different, thresholds),
        n_positive=len(same),
        n_negative=len(different),
    )


def count_below(
    distances: NDArray[np.float32], thresholds: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Count the distances strictly below each threshold; int64, the thresholds' shape."""
    ordered = np.sort(distances.astype(np.float64))
    return np.searchsorted(ordered, thresholds, side="left").astype(np.int64)


def area_under_curve(positive: ArrayLike, negative: ArrayLike) -> float | None:
    """AUC: the chance that a positive pair is closer than a negative one; a tie counts half.

    AUC = (#{positive < negative} + ½ #{positive = negative}) / (n_positive · n_negative), which is
    the area under the ROC and Mann and Whitney's U, normalised (Bamber, 1975).

    Returns:
        The area in [0, 1], or None when a class is absent.

    Raises:
        ValueError: If a distance is NaN; the text says where.

    Of four comparisons two are right, one is a tie, and one is wrong:

    >>> area_under_curve([0.25, 0.75], [0.5, 0.75])
    0.625
    """
    same, different = checked(positive, "positive"), np.sort(checked(negative, "negative"))
    if not (len(same) and len(different)):
        return None
    not_beyond = np.searchsorted(different, same, side="right").sum(dtype=np.int64)
    before = np.searchsorted(different, same, side="left").sum(dtype=np.int64)
    n = len(same) * len(different)
    return float((2 * n - not_beyond - before) / (2 * n))


def equal_error(positive: ArrayLike, negative: ArrayLike) -> EqualError | None:
    """EER: the rate at which FAR, rising with the threshold, meets FRR, falling with it.

    Between the two neighbouring thresholds where they cross, both are taken to be straight lines. A
    pair at +inf is accepted only where everything is.

    Returns:
        The rate with its threshold, or None when a class is absent.

    Raises:
        ValueError: If a distance is NaN; the text says where.

    At the thresholds 0.375, 0.625 and 0.875 the pair (FAR, FRR) is (0, 1/2), (1/3, 1/2), (2/3, 0).
    The lines meet a fifth of the last way: EER = 1/3 + 1/5 · 1/3. Of the thresholds 0.375 errs
    least, as 0.625 wins nothing by accepting a negative:

    >>> crossing = equal_error([0.25, 0.75], [0.5, 0.75, 1.0])
    >>> round(crossing.value, 9), crossing.threshold
    (0.4, 0.375)
    """
    swept = sweep(positive, negative)
    if swept is None:
        return None
    # In whole numbers, so that equal rates are equal: both times n_positive · n_negative.
    far = np.append(swept.accepted_negatives, swept.n_negative) * swept.n_positive
    rejected = swept.n_positive - swept.accepted_positives
    frr = np.append(rejected, 0) * swept.n_negative
    after = int(np.argmax(far >= frr))  # at least 1: to begin with nothing is accepted
    low, high = frr[after - 1] - far[after - 1], far[after] - frr[after]
    crossing = far[after - 1] + (far[after] - far[after - 1]) * (low / (low + high))
    return EqualError(
        value=float(crossing / (swept.n_positive * swept.n_negative)),
        threshold=float(swept.thresholds[least_error(swept)]),
    )


def least_error(swept: Sweep) -> int:
    """Return the place of the threshold whose larger error, FAR or FRR, is smallest.

    Among equals the sum of both decides, then the smaller threshold.
    """
    far = swept.accepted_negatives * swept.n_positive
    frr = (swept.n_positive - swept.accepted_positives) * swept.n_negative
    return int(np.lexsort([far + frr, np.maximum(far, frr)])[0])


def _share(count: int, n: int) -> float | None:
    return count / n if n else None
