"""Promises about strangers: thresholds whose FPIR is bounded whatever the distribution of scores.

A query is accepted iff its score is *strictly* below τ; smaller is closer, scores are float32. A
stranger is a photo of a label never seen. Photos of one label resemble each other, so labels, not
photos, are the exchangeable units, and FPIR is averaged by label: the probability that a photo
drawn from a new label is accepted.

*Strangers supplied.* With share_k(τ) the share of label k's photos below τ, the largest τ with
(Σ_k share_k(τ) + 1) / (K + 1) ≤ X accepts a photo of label K + 1 with probability ≤ X: hierarchical
conformal prediction (Lee, Barber, Willett, arXiv 2306.06342). Proof: an accepted score s has
Σ_{k ≤ K} share_k(≤ s) + 1 ≤ X (K + 1), so H(s) ≤ X for the mean H of all K + 1 labels' empirical
distributions; s is a draw from H, and a draw satisfies H(s) ≤ X with probability at most X.

*The gallery alone*, each photo scored with its own label left out. A stranger meets all K labels, a
gallery label K - 1, and the stranger's items might have been some gallery photo's only near ones.
The same τ then accepts with probability ≤ X + v / (K + 1) ≤ 2 X, v = `_attracted`(m),
m = X (K + 1) - 1, so about X + √(2 X / K); with one photo per label and integer m the integer part
of m + v + 1 is attained. Proof: among K + 1 labels let a_p be the share of p's photos accepted were
p the stranger, T_p their largest score, and order labels by T. Of what the labels before p had
accepted (c_p = Σ_{q<p} a_q in all) at most m still lies within T_p without p; the rest has p alone
as nearest label. No photo has two sole nearest labels, so with s the last label
Σ_p (c_p - m)₊ ≤ c_s. As a ≤ 1, w = c_s - m fulfils Σ_{i≥1} (w - i)₊ ≤ m, hence w ≤ v, and
P = Σ a_p / (K + 1) ≤ (m + v + 1) / (K + 1). It holds for scores that rise only when their nearest
label is taken away, as those of all `rules.RULES` do.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, isqrt, log, log1p

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retrieval.evaluation.tuning import NotEnoughSearches, candidate_thresholds


class NotEnoughLabels(NotEnoughSearches):
    """Too few labels to promise the FPIR asked for; the text says how many it takes."""


@dataclass(frozen=True)
class PromisedThreshold:
    """A threshold, what it promises, and what that rests on.

    Attributes:
        value: A query is accepted iff its score is below this. Exact in float32, so that a
            comparison in either precision decides alike.
        objective: What was asked for, such as `fpir=0.05` or `fpir=0.05 confidence=0.95`.
        fpir: Mean over calibration labels of the share of a label's photos accepted.
        bound: What `fpir` was raised to before it was held against the target: the conformal bound;
            for a confident threshold, the target itself.
        n_photos: Calibration photos.
        n_labels: Calibration labels.
    """

    value: float
    objective: str
    fpir: float
    bound: float
    n_photos: int
    n_labels: int


@dataclass(frozen=True)
class _Calibration:
    """Scores by label: `scores` float32 (n,), `codes` int64 (n,) into `sizes` int64 (K,)."""

    scores: NDArray[np.float32]
    codes: NDArray[np.int64]
    sizes: NDArray[np.int64]

    @classmethod
    def of(cls, scores: ArrayLike, labels: ArrayLike) -> _Calibration:
        scores, labels = np.asarray(scores, dtype=np.float32), np.asarray(labels)
        if scores.ndim != 1 or scores.shape != labels.shape:
            raise ValueError(
                "scores and labels must share one shape (photos,), "
                f"not {scores.shape} and {labels.shape}"
            )
        unusable = np.isnan(scores) | np.isneginf(scores)
        if unusable.any():
            raise ValueError(f"{unusable.sum()} of {scores.size} scores are NaN or -inf")
        _, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        return cls(scores, codes, sizes)

    def accepted(self, threshold: float) -> NDArray[np.int64]:
        """How many photos of each label lie below the threshold; int64 (K,)."""
        below = self.scores.astype(np.float64) < threshold
        return np.bincount(self.codes[below], minlength=len(self.sizes))

    def mass(self, threshold: float) -> Fraction:
        """Σ_k share_k(threshold), exactly: a promise shouldn't turn on the order of a float sum."""
        by_size = np.bincount(self.sizes, weights=self.accepted(threshold))
        return sum(
            (Fraction(int(by_size[size]), int(size)) for size in np.flatnonzero(by_size)),
            Fraction(0),
        )

    def largest(self, kept: Callable[[float], bool]) -> float:
        """The last candidate up to which `kept`, which never returns to true, holds."""
        candidates = candidate_thresholds(self.scores).tolist()
        # The first candidate accepts nothing: the callers have refused where even that won't do.
        first_broken = bisect_left(candidates, True, lo=1, key=lambda value: not kept(value))
        return float(candidates[first_broken - 1])


def promised_threshold(
    scores: ArrayLike, labels: ArrayLike, target: float, *, leave_one_out: bool = False
) -> PromisedThreshold:
    """Find the largest threshold that promises the target, on average over calibrations.

    The largest τ with (Σ_k share_k(τ) + 1) / (K + 1) ≤ target; what is promised of it, and why, is
    in the module's docstring. τ lies midway to the next observed score (`candidate_thresholds`),
    and whole tie groups move together.

    Args:
        scores: float32 (n,), calibration photos' scores, +inf where nothing was eligible.
        labels: (n,), their labels; a photo without one needs a label of its own.
        target: The largest FPIR allowed, in (0, 1].
        leave_one_out: The scores are the gallery's own photos', each against the other labels, and
            the target shall hold all the same, whatever the distribution: the + 1 becomes
            + 1 + `_attracted`(Σ). Without it such scores are promised up to twice the target.

    Raises:
        ValueError: If shapes differ, a score is NaN or -inf, or the target is outside (0, 1].
        NotEnoughLabels: If K < 1 / target - 1 (leave_one_out: 2 / target - 1), when not even a
            threshold that accepts no calibration photo keeps the promise.

    Label a has half its photos below 0.5, and (0.5 + 1) / (2 + 1) = 0.5:

    >>> promised_threshold([0.25, 0.75, 1.0], ["a", "a", "b"], 0.5).value
    0.5
    """
    if not 0 < target <= 1:
        raise ValueError(f"the FPIR to promise must be above 0 and at most 1, not {target}")
    data = _Calibration.of(scores, labels)
    n_labels = len(data.sizes)
    unseen = 2 if leave_one_out else 1
    # ceil(unseen / target) - 1, but for the rounding that makes 1 / (1 / 49) exceed 49.
    needed = round(unseen / target)
    needed += unseen / max(needed, 1) > target
    _require(n_labels, max(needed - 1, 1), f"FPIR {target}")

    def bound(threshold: float) -> float:
        mass = data.mass(threshold)
        # Rounded once, so that 29 of 100 meets a target written 0.29.
        extra = 1 + (_attracted(mass) if leave_one_out else 0)
        return min(1.0, float((mass + extra) / (n_labels + 1)))

    value = data.largest(lambda threshold: bound(threshold) <= target)
    return PromisedThreshold(
        value=value,
        objective=f"fpir={target}",
        fpir=float(data.mass(value) / n_labels),
        bound=bound(value),
        n_photos=len(data.scores),
        n_labels=n_labels,
    )


def confident_threshold(
    scores: ArrayLike, labels: ArrayLike, target: float, confidence: float
) -> PromisedThreshold:
    """Find the largest threshold whose FPIR is within the target for all but unlucky calibrations.

    Over the draw of K independent calibration labels, FPIR(τ) ≤ target with probability ≥
    confidence. τ is kept while Π_k (1 + λ (target - share_k(τ))) ≥ 1 / (1 - confidence), and τ
    only grows until that first fails. Where FPIR(τ) ≥ target the product's mean is at most 1, so
    it gets there with probability ≤ 1 - confidence (Markov); it falls as τ grows, so to return a
    broken τ it must get there at the one τ where FPIR passes the target. That is the betting bound
    of Waudby-Smith and Ramdas (arXiv 2010.09686) in the frame of Bates et al. (arXiv 2101.02703),
    with one bet λ fixed beforehand: the best one were all shares 0 or 1. So labels' order doesn't
    matter, it is nowhere weaker than Hoeffding's (Chernoff's) bound, and no acceptance is certified
    as soon as (1 - target)^K ≤ 1 - confidence.

    Args:
        scores: float32 (n,), strangers' scores, +inf where nothing was eligible. *Not* a gallery's
            own leave-one-label-out scores: these aren't independent from label to label.
        labels: (n,), their labels.
        target: The largest FPIR allowed, in (0, 1).
        confidence: In (0, 1), such as 0.95.

    Raises:
        ValueError: If shapes differ, a score is NaN or -inf, or a rate is outside (0, 1).
        NotEnoughLabels: If (1 - target)^K > 1 - confidence.

    >>> confident_threshold([0.5] * 59, range(59), 0.05, 0.95).value
    0.0
    """
    if not (0 < target < 1 and 0 < confidence < 1):
        raise ValueError(
            f"FPIR and confidence must be above 0 and below 1, not {target} and {confidence}"
        )
    data = _Calibration.of(scores, labels)
    n_labels = len(data.sizes)
    wealth = -log1p(-confidence)
    # The rounding of two logarithms mustn't ask for one label more.
    needed = ceil(wealth / -log1p(-target) * (1 - 1e-12))
    _require(n_labels, needed, f"FPIR {target} with confidence {confidence}")
    bet = _bet(n_labels, target, wealth)

    def kept(threshold: float) -> bool:
        shares = data.accepted(threshold) / data.sizes
        with np.errstate(divide="ignore"):  # all was bet, and lost
            return bool(np.log1p(np.maximum(bet * (target - shares), -1)).sum() >= wealth)

    value = data.largest(kept)
    return PromisedThreshold(
        value=value,
        objective=f"fpir={target} confidence={confidence}",
        fpir=float(data.mass(value) / n_labels),
        bound=target,
        n_photos=len(data.scores),
        n_labels=n_labels,
    )


def p_value(
    score: ArrayLike, calibration_scores: ArrayLike, labels: ArrayLike
) -> NDArray[np.float64]:
    """Bound the share of strangers that would come this close.

    The conformal p-value p = (Σ_k share of label k's photos with score ≤ s, + 1) / (K + 1): for a
    stranger's s, P(p ≤ x) ≤ x. Whatever `promised_threshold` accepts has p ≤ target.

    Args:
        score: float32, any shape.
        calibration_scores: float32 (n,), as for `promised_threshold`.
        labels: (n,), their labels.

    Returns:
        float64, the shape of `score`, in (0, 1]; 1 without calibration scores.

    Raises:
        ValueError: If shapes differ, a score is NaN or a calibration score -inf.

    >>> p_value([0.1, 0.25], [0.25, 0.75, 1.0], ["a", "a", "b"]).tolist()
    [0.3333333333333333, 0.5]
    """
    score, data = np.asarray(score, dtype=np.float32), _Calibration.of(calibration_scores, labels)
    if np.isnan(score).any():
        raise ValueError(f"{np.isnan(score).sum()} of {score.size} scores are NaN")
    order = np.argsort(data.scores)
    mass = np.concatenate([[0.0], np.cumsum(1 / data.sizes[data.codes[order]])])
    within = np.searchsorted(data.scores[order], score, side="right")
    return np.asarray(np.minimum(1.0, (mass[within] + 1) / (len(data.sizes) + 1)))


def forecast(fpir: float, growth: float) -> float:
    """Forecast FPIR, at the same threshold, of a gallery with `growth` times as many labels.

    1 - (1 - fpir)^growth: exact where a photo's comparisons are independent, otherwise too high.
    Given the photo, N independent labels miss it with probability (1 - q)^N; q differs from photo
    to photo, and E[z^growth] ≥ E[z]^growth for z = (1 - q)^N (Jensen). Whatever the population of
    labels, growth · fpir is an upper bound.

    Raises:
        ValueError: If the FPIR is outside [0, 1] or the growth below 1.

    >>> forecast(0.5, 2)
    0.75
    """
    if not (0 <= fpir <= 1 and growth >= 1):
        raise ValueError(f"cannot forecast from FPIR {fpir} and growth {growth}")
    return 1.0 if fpir == 1 else float(-np.expm1(growth * log1p(-fpir)))


def _require(n_labels: int, needed: int, promise: str) -> None:
    if n_labels < needed:
        raise NotEnoughLabels(
            f"not enough labels to promise {promise}: there are {n_labels} and {needed} are needed,"
            " so add photos of more labels or allow a larger FPIR"
        )


def _attracted(mass: Fraction) -> Fraction:
    """The v with Σ_{i≥1} (v - i)₊ = mass ≥ 0, and 1 at mass 0; see the module's docstring."""
    # Between f(f - 1)/2 and f(f + 1)/2 the sum has f terms, so it is f·v - f(f + 1)/2.
    terms = (1 + isqrt(1 + 8 * int(mass))) // 2
    return mass / terms + Fraction(terms + 1, 2)


def _bet(n_labels: int, target: float, wealth: float) -> float:
    """The λ for which m·K labels accepted whole, and the others not at all, just reach the wealth.

    K · kl(m, target) = wealth fixes m in [0, target), and λ = (target - m) / (target (1 - target)).
    Any λ in [0, 1 / (1 - target)] is valid, so the bisection's rounding breaks no promise.
    """
    low, high = 0.0, target
    for _ in range(60):
        mean = (low + high) / 2
        hit = mean * log(mean / target) if mean > 0 else 0.0
        divergence = hit + (1 - mean) * log((1 - mean) / (1 - target))
        low, high = (mean, high) if n_labels * divergence >= wealth else (low, mean)
    return (target - low) / (target * (1 - target))
