"""The open-set protocol: some labels are hidden from the gallery, and their queries are strangers.

Which labels are strangers is chance, and one hard label can decide a figure, so the choice is
repeated. Labels are hidden, never photos: photos of one label resemble each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.decisions import (
    DecisionCurve,
    Searches,
    decision_curve,
    dir_at_fpir,
)
from retrieval.rules import UNRELATED, Rule

FPIRS = (0.001, 0.01, 0.05, 0.1)


@dataclass(frozen=True)
class Spread:
    """A figure over repeats: mean, and the 2.5 % and 97.5 % quantiles of single repeats."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread | None:
        """Summarise the repeats that have a value; None without any.

        >>> Spread.of([0.25, 0.75]).mean
        0.5
        """
        if not values:
            return None
        low, high = np.quantile(values, [0.025, 0.975]).tolist()
        return cls(float(np.mean(values)), low, high)


@dataclass(frozen=True)
class OpenSetPoint:
    """What identification is worth where this share of strangers passes.

    Attributes:
        fpir: The share, by photo, on the same searches.
        dir: Detection and identification rate; None where no repeat has strangers enough.
        misidentification: Share of known queries accepted under a wrong label; None likewise.
        threshold: The threshold that takes; None likewise.
        repeats: In how many repeats there were strangers enough to see such a share.
        note: What was missing in the others.
    """

    fpir: float
    dir: Spread | None
    misidentification: Spread | None
    threshold: Spread | None
    repeats: int
    note: str | None


@dataclass(frozen=True)
class OpenSet:
    """What the open-set protocol measured.

    Attributes:
        rule: The rule that was judged.
        strangers: The share of labels hidden.
        repeats: How often.
        seed: Equal seeds hide the same labels.
        hidden_labels: Labels hidden each time.
        n_mated: Mated searches, on average over repeats.
        n_non_mated: Non-mated searches, likewise.
        points: DIR and what goes with it, by FPIR.
    """

    rule: str
    strangers: float
    repeats: int
    seed: int
    hidden_labels: int
    n_mated: float
    n_non_mated: float
    points: tuple[OpenSetPoint, ...]


class TooFewRivals(Exception):  # noqa: N818 - the caller mends it and asks again
    """Hiding labels left some queries with fewer rivals than the rule looks at."""


def hide(
    own: NDArray[np.int64],
    nearest_mate: NDArray[np.float32],
    rival_identities: NDArray[np.int64],
    rival_distances: NDArray[np.float32],
    hidden: NDArray[np.int64],
    rule: Rule,
) -> Searches:
    """Judge queries as if the gallery had no items of the hidden labels.

    Args:
        own: int64 (n,), the queries' identities.
        nearest_mate: float32 (n,), +inf where a query has no mate anyway.
        rival_identities: int64 (n, c), the nearest other identities, nearest first.
        rival_distances: float32 (n, c), their distances, +inf where there are no more.
        hidden: int64 (h,), sorted.
        rule: How scores are made.

    Raises:
        TooFewRivals: So many of a query's rivals are hidden that others, not among the c, come in.
    """
    gone = np.isin(rival_identities, hidden)
    rivals = np.sort(np.where(gone, np.float32(np.inf), rival_distances), axis=1)
    wanted = rivals[:, : rule.identities]
    # A full list may not be all there is, unless what it ends with is no rival any more.
    cut = np.isfinite(rival_distances[:, -1]) & (rival_distances[:, -1] < UNRELATED)
    if (cut & ~np.isfinite(wanted[:, -1])).any():
        raise TooFewRivals
    mate = np.where(np.isin(own, hidden), np.float32(np.inf), nearest_mate)
    return Searches.of(mate, wanted, rule)


def summarise(
    searches: list[Searches], rule: Rule, *, strangers: float, hidden_labels: int, seed: int
) -> OpenSet:
    """Bring the repeats together.

    Args:
        searches: The queries as judged in each repeat.
        rule: The rule they were judged by.
        strangers: The share of labels asked to be hidden.
        hidden_labels: How many that was.
        seed: What drew them.
    """
    curves = [decision_curve(one) for one in searches]
    return OpenSet(
        rule=rule.name,
        strangers=strangers,
        repeats=len(curves),
        seed=seed,
        hidden_labels=hidden_labels,
        n_mated=float(np.mean([curve.n_mated for curve in curves])),
        n_non_mated=float(np.mean([curve.n_non_mated for curve in curves])),
        points=tuple(_point(curves, fpir) for fpir in FPIRS),
    )


def _point(curves: list[DecisionCurve], fpir: float) -> OpenSetPoint:
    found = [dir_at_fpir(curve, fpir) for curve in curves]
    wrong = [
        float(curve.at(one.threshold)[2])
        for curve, one in zip(curves, found, strict=True)
        if one.threshold is not None and curve.n_mated
    ]
    return OpenSetPoint(
        fpir=fpir,
        dir=Spread.of([one.dir for one in found if one.dir is not None]),
        misidentification=Spread.of(wrong),
        threshold=Spread.of([one.threshold for one in found if one.threshold is not None]),
        repeats=sum(one.threshold is not None for one in found),
        note=next((one.note for one in found if one.note), None),
    )
