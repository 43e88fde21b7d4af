"""Choosing a threshold for what matters: few false accepts, precision, F1, accuracy, equal errors.

All of it works on two lists of distances, so that it serves pairs and searches alike. *Mated* are
the distances of positive pairs, or of each mated search to its mate, +inf where a non-mate is as
near. *Non-mated* are those of negative pairs, or of each non-mated search to its nearest item.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retrieval.errors import LookalikeError
from retrieval.evaluation.pairs import Sweep, checked, count_below, least_error, sweep
from retrieval.evaluation.tuning import NotEnoughSearches, candidate_thresholds, trials_needed

# What an objective with a target promises, and those without.
_WITH_TARGET = ("fpir", "far", "precision")
_WITHOUT = ("f1", "accuracy", "eer")


class UnattainableObjective(LookalikeError, ValueError):  # noqa: N818 - a state, not a fault
    """No threshold does what was asked for; the text says how near one comes."""


@dataclass(frozen=True)
class Objective:
    """What a threshold is chosen for.

    Attributes:
        name: `fpir`, `far`, `precision`, `f1`, `accuracy` or `eer`.
        target: The FPIR or FAR allowed or the precision wanted, in (0, 1]; None for the others.
    """

    name: str
    target: float | None = None

    def __str__(self) -> str:
        return self.name if self.target is None else f"{self.name}={self.target}"

    @classmethod
    def parse(cls, text: str) -> Objective:
        """Read an objective such as `far=0.01` or `f1`.

        Raises:
            LookalikeError: It is none.

        >>> Objective.parse("precision=0.95"), str(Objective.parse("f1"))
        (Objective(name='precision', target=0.95), 'f1')
        """
        name, given, value = text.partition("=")
        if name in _WITHOUT and not given:
            return cls(name)
        if name in _WITH_TARGET:
            try:
                target = float(value)
            except ValueError:
                target = 0.0
            if 0 < target <= 1:
                return cls(name, target)
        raise LookalikeError(
            f"{text!r} is no objective: say fpir=X, far=X or precision=X with X above 0 and at "
            "most 1, f1, accuracy or eer."
        )


@dataclass(frozen=True)
class PickedThreshold:
    """A threshold, what it was chosen for, and how it does on the distances it was chosen on.

    Attributes:
        value: A pair or an item matches iff its distance is below this. Exact in float32.
        objective: What was asked for, such as `far=0.01`.
        achieved: The figure it was chosen by: FAR, precision, F1 or accuracy; for `eer` the larger
            of FAR and FRR.
        far: Accepted non-mated / non-mated.
        frr: Mated not rightly accepted / mated; None without mated.
        n_mated: Mated distances.
        n_non_mated: Non-mated distances.
    """

    value: float
    objective: str
    achieved: float
    far: float
    frr: float | None
    n_mated: int
    n_non_mated: int


def pick_threshold(
    objective: Objective | str,
    mated: ArrayLike,
    non_mated: ArrayLike,
    *,
    misidentified: ArrayLike = (),
) -> PickedThreshold:
    """Choose the threshold that serves an objective best on these distances.

    All thresholds that split the distances compete, from rejecting all to accepting all that is
    finite; whole tie groups move together.

    - `far=X`, `fpir=X`: the largest threshold whose FAR is within X (of searches, FAR is FPIR);
      `conformal` is what makes a promise of the latter;
    - `precision=X`: of those with at least that precision, the one that accepts most mated;
    - `f1`, `accuracy`: the one where it is largest; among equals the smallest threshold;
    - `eer`: the one whose larger error, FAR or FRR, is smallest; among equals the sum decides.

    Args:
        objective: An `Objective`, or its text.
        mated: float32 (n_mated,), distances that should be accepted; +inf where no threshold
            does it rightly.
        non_mated: float32 (n_non_mated,), distances that should be rejected.
        misidentified: float32, of the mated searches at +inf, the distance from which on they are
            accepted under a wrong label. They count as accepted, so that precision and F1 are those
            of `decisions.DecisionRates`. Pairs have none.

    Raises:
        LookalikeError: The objective is none.
        NotEnoughSearches: A class it needs is absent, or `far=X` can't be told from zero.
        UnattainableObjective: No threshold has the precision, or accepts any mated.
        ValueError: If a distance is NaN; the text says where.

    >>> mated, non_mated = [0.125, 0.25, 0.5], [0.375, 0.75]
    >>> pick_threshold("precision=1", mated, non_mated).value
    0.3125
    >>> pick_threshold("far=0.5", mated, non_mated).value  # all mated, one of the two others
    0.625
    """
    asked = Objective.parse(objective) if isinstance(objective, str) else objective
    same, different = checked(mated, "mated"), checked(non_mated, "non-mated")
    wrong = checked(misidentified, "misidentified")
    if asked.name in ("far", "fpir"):
        return _within_far(asked, same, different, wrong)
    swept = sweep(same, different, others=wrong)
    if swept is None:
        raise NotEnoughSearches(
            f"choosing a threshold for {asked} takes some that are mated (the same) and some that "
            f"are non-mated (different): there are {len(same)} and {len(different)}."
        )
    accepted = swept.accepted_positives + swept.accepted_negatives
    accepted += count_below(wrong, swept.thresholds)
    if asked.name == "precision":
        best, achieved = _most_within_precision(asked, swept, accepted)
    elif asked.name == "eer":
        best = least_error(swept)
        achieved = float(max(swept.far[best], swept.frr[best]))
    else:
        if asked.name == "f1":
            figures = 2 * swept.accepted_positives / (accepted + swept.n_positive)
        else:
            rejected = swept.n_negative - swept.accepted_negatives
            right = swept.accepted_positives + rejected
            figures = right / (swept.n_positive + swept.n_negative)
        best = int(np.argmax(figures))
        achieved = float(figures[best])
        if asked.name == "f1" and achieved == 0:
            raise UnattainableObjective(
                f"no threshold rightly accepts any of the {swept.n_positive} mated ones, so F1 is "
                "0 at all of them: choose an encoder that tells them apart."
            )
    return PickedThreshold(
        value=float(swept.thresholds[best]),
        objective=str(asked),
        achieved=achieved,
        far=float(swept.far[best]),
        frr=float(swept.frr[best]),
        n_mated=swept.n_positive,
        n_non_mated=swept.n_negative,
    )


def _within_far(
    asked: Objective,
    same: NDArray[np.float32],
    different: NDArray[np.float32],
    wrong: NDArray[np.float32],
) -> PickedThreshold:
    """Choose by the non-mated alone; the others only say where between two of them it lies."""
    target = asked.target or 0.0
    n, needed = len(different), trials_needed(target)
    if n < needed:
        raise NotEnoughSearches(
            f"not enough that are non-mated (different) to choose a threshold for {asked}: there "
            f"are {n} and {needed} are needed (even without a false accept, {n} only show that FAR "
            f"is below {min(1.0, 3 / max(n, 1)):.2g}), so add some or allow a larger FAR."
        )
    thresholds = candidate_thresholds(np.concatenate([same, different, wrong]))
    far = count_below(different, thresholds) / n
    best = int(np.flatnonzero(far <= target)[-1])
    accepted = int(count_below(same, thresholds[best : best + 1])[0])
    return PickedThreshold(
        value=float(thresholds[best]),
        objective=str(asked),
        achieved=float(far[best]),
        far=float(far[best]),
        frr=(len(same) - accepted) / len(same) if len(same) else None,
        n_mated=len(same),
        n_non_mated=n,
    )


def _most_within_precision(
    asked: Objective, swept: Sweep, accepted: NDArray[np.int64]
) -> tuple[int, float]:
    precision = np.zeros(len(accepted))  # where nothing is accepted, nothing is right
    np.divide(swept.accepted_positives, accepted, out=precision, where=accepted > 0)
    enough = precision >= (asked.target or 0.0)
    if not enough.any():
        best = int(np.argmax(precision))
        raise UnattainableObjective(
            f"no threshold reaches {asked}: the best, {swept.thresholds[best]:.4g}, has "
            f"{precision[best]:.4g} and accepts {swept.accepted_positives[best]} of "
            f"{swept.n_positive} that are mated, so ask for less or choose an encoder that tells "
            "them apart."
        )
    # Among equals the first, which accepts the fewest others.
    best = int(np.argmax(np.where(enough, swept.accepted_positives, -1)))
    return best, float(precision[best])
