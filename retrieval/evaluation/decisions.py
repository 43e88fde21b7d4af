"""What decisions are worth: open-set identification at one threshold, and along all of them.

A query is *accepted* iff its score lies strictly below τ. FPIR and FNIR are the false-positive and
false-negative identification rates of ISO/IEC 19795-1, over non-mated and mated searches, with FNIR
at rank 1; DIR = 1 - FNIR is that standard's true-positive identification rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retrieval.evaluation.tuning import candidate_thresholds
from retrieval.rules import Rule, merge


@dataclass(frozen=True, eq=False)
class Searches:
    """What a rule made of each query; one row per query.

    Attributes:
        score: float32 (n,), +inf where nothing was eligible.
        right: bool (n,), whether the identity proposed is the query's own. Of two at the same
            distance the wrong one is taken to be proposed.
        mated: bool (n,), whether the query has an eligible mate.
    """

    score: NDArray[np.float32]
    right: NDArray[np.bool_]
    mated: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.score)

    @classmethod
    def of(cls, nearest_mate: ArrayLike, rivals: ArrayLike, rule: Rule) -> Searches:
        """Judge queries by a rule.

        Args:
            nearest_mate: float32 (n,), distance of the nearest mate, +inf where there is none.
            rivals: float32 (n, m), distances of the nearest other identities, ascending, +inf where
                there are no more. m ≥ `rule.identities`, or all there are.
            rule: How scores are made.

        Raises:
            ValueError: If a distance is NaN.
        """
        mate = np.asarray(nearest_mate, dtype=np.float32)
        others = np.asarray(rivals, dtype=np.float32)
        if np.isnan(mate).any() or np.isnan(others).any():
            raise ValueError("a distance is NaN")
        first = others[:, 0] if others.shape[1] else np.full(len(mate), np.inf, np.float32)
        scores = rule(merge(mate, others)).astype(np.float32)
        return cls(scores, mate < first, np.isfinite(mate))


@dataclass(frozen=True)
class DecisionRates:
    """How identification fares at one threshold; a rate with nothing to count on is None.

    A query is *correctly accepted* iff it is accepted under its own identity.

    Attributes:
        threshold: The score at and above which nothing matches.
        n_mated: Mated queries.
        n_non_mated: Non-mated queries.
        accuracy: (correctly accepted + non-mated not accepted) / all queries.
        precision: Correctly accepted / accepted.
        recall: Correctly accepted / mated; the same figure as `dir`.
        f1: Harmonic mean of precision and recall; None if either is, 0 when both are 0.
        fpir: Accepted non-mated / non-mated (ISO/IEC 19795-1).
        fnir: Mated not correctly accepted / mated (ISO/IEC 19795-1, at rank 1).
        dir: Detection and identification rate, 1 - FNIR (in ISO/IEC 19795-1 the true-positive
            identification rate).
        misidentification: Mated accepted, but not correctly / mated.
    """

    threshold: float
    n_mated: int
    n_non_mated: int
    accuracy: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    fpir: float | None
    fnir: float | None
    dir: float | None
    misidentification: float | None


def decision_rates(searches: Searches, threshold: float) -> DecisionRates:
    """Count the right and wrong decisions at one threshold.

    Args:
        searches: The queries, mated and non-mated together.
        threshold: A score; float32 scores are compared with it in float64, unrounded.

    Raises:
        ValueError: If the threshold is NaN.

    Two mated queries, one found and one mistaken for another label, and a non-mated one that is
    rejected because its score equals the threshold:

    >>> from retrieval.rules import NEAREST
    >>> searches = Searches.of([0.25, 0.5, np.inf], [[0.75], [0.25], [0.5]], NEAREST)
    >>> rates = decision_rates(searches, 0.5)
    >>> rates.precision, rates.recall, rates.f1, rates.misidentification, rates.fpir
    (0.5, 0.5, 0.5, 0.5, 0.0)
    """
    if math.isnan(threshold):
        raise ValueError("threshold must be a number, not NaN")
    mated = searches.mated
    # A plain float would be rounded to float32 in the comparison and could swallow a neighbour.
    accepted = searches.score.astype(np.float64) < threshold
    correct = accepted & searches.right

    n_mated = int(mated.sum())
    n_non_mated = len(searches) - n_mated
    n_accepted = int(accepted.sum())
    n_accepted_mated = int((accepted & mated).sum())
    n_accepted_non_mated = n_accepted - n_accepted_mated
    n_correct = int(correct.sum())
    precision = _share(n_correct, n_accepted)
    recall = _share(n_correct, n_mated)
    return DecisionRates(
        threshold=float(threshold),
        n_mated=n_mated,
        n_non_mated=n_non_mated,
        accuracy=_share(n_correct + n_non_mated - n_accepted_non_mated, len(searches)),
        precision=precision,
        recall=recall,
        # 2pr / (p + r) in counts, which can't be 0 / 0 once both denominators are non-zero.
        f1=None if precision is None or recall is None else 2 * n_correct / (n_accepted + n_mated),
        fpir=_share(n_accepted_non_mated, n_non_mated),
        fnir=_share(n_mated - n_correct, n_mated),
        dir=recall,
        misidentification=_share(n_accepted_mated - n_correct, n_mated),
    )


@dataclass(frozen=True, eq=False)
class DecisionCurve:
    """How identification fares along all thresholds that make a difference.

    Attributes:
        thresholds: float64 (t,), ascending, one between any two scores; the first accepts nothing,
            the last everything.
        scores: float64 (t - 1,), the distinct finite scores, ascending.
        fpir: float64 (t,), NaN without non-mated searches.
        dir: float64 (t,), NaN without mated searches.
        misidentification: float64 (t,), NaN without mated searches.
        n_mated: Mated searches.
        n_non_mated: Non-mated searches.
    """

    thresholds: NDArray[np.float64]
    scores: NDArray[np.float64]
    fpir: NDArray[np.float64]
    dir: NDArray[np.float64]
    misidentification: NDArray[np.float64]
    n_mated: int
    n_non_mated: int

    def at(self, thresholds: ArrayLike) -> tuple[NDArray[np.float64], ...]:
        """Return FPIR, DIR and misidentification at any thresholds, each of their shape."""
        place = np.searchsorted(self.scores, thresholds, side="left")
        return self.fpir[place], self.dir[place], self.misidentification[place]


def decision_curve(searches: Searches) -> DecisionCurve:
    """Count the decisions at every threshold that splits the scores differently.

    >>> from retrieval.rules import NEAREST
    >>> searches = Searches.of([0.25, np.inf], [[0.75], [0.5]], NEAREST)
    >>> curve = decision_curve(searches)
    >>> curve.thresholds[:2].tolist(), curve.dir.tolist(), curve.fpir.tolist()
    ([0.0, 0.375], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0])
    """
    thresholds = candidate_thresholds(searches.score)
    scores = searches.score.astype(np.float64)

    def share(which: NDArray[np.bool_], n: int) -> NDArray[np.float64]:
        below = np.searchsorted(np.sort(scores[which]), thresholds, side="left")
        return below / n if n else np.full(len(thresholds), np.nan)

    n_mated = int(searches.mated.sum())
    n_non_mated = len(searches) - n_mated
    return DecisionCurve(
        thresholds,
        np.unique(scores[np.isfinite(scores)]),
        fpir=share(~searches.mated, n_non_mated),
        dir=share(searches.mated & searches.right, n_mated),
        misidentification=share(searches.mated & ~searches.right, n_mated),
        n_mated=n_mated,
        n_non_mated=n_non_mated,
    )


@dataclass(frozen=True)
class DirAtFpir:
    """DIR at the largest threshold whose FPIR, on the same searches, keeps within a share.

    Attributes:
        fpir: The share.
        dir: None without mated searches, or where there are too few non-mated ones to see it.
        threshold: None where `dir` is for want of non-mated searches.
        n_mated: Mated searches.
        n_non_mated: Non-mated searches.
        note: What is missing, for the reader.
    """

    fpir: float
    dir: float | None
    threshold: float | None
    n_mated: int
    n_non_mated: int
    note: str | None = None


def dir_at_fpir(curve: DecisionCurve, fpir: float) -> DirAtFpir:
    """Read DIR off a curve; no interpolation.

    Args:
        curve: From `decision_curve`.
        fpir: In (0, 1].

    >>> from retrieval.rules import NEAREST
    >>> searches = Searches.of([0.25, np.inf, np.inf], [[0.75], [0.5], [0.125]], NEAREST)
    >>> dir_at_fpir(decision_curve(searches), 0.5).dir
    1.0
    >>> dir_at_fpir(decision_curve(searches), 0.25).note
    'not enough non-mated searches: 2 only show FPIR below 1'
    """
    n = curve.n_non_mated
    # A share such as 0.29 of 100 must not fall short of 29 by rounding.
    if not n or fpir * n < 1 - 1e-9:
        bound = min(1.0, 3 / n) if n else 1.0
        note = f"not enough non-mated searches: {n} only show FPIR below {bound:.2g}"
        return DirAtFpir(fpir, None, None, curve.n_mated, n, note)
    place = int(np.flatnonzero(curve.fpir <= fpir + 1e-12)[-1])
    value = None if not curve.n_mated else float(curve.dir[place])
    return DirAtFpir(fpir, value, float(curve.thresholds[place]), curve.n_mated, n)


def _share(count: int, n: int) -> float | None:
    return count / n if n else None
