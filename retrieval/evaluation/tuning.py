"""Choosing the distance at which a nearest item becomes a match.

Thresholds are tuned on calibration searches and reported on others. An item matches iff its
distance is *strictly* below the threshold, and distances are float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retrieval.errors import LookalikeError


class NotEnoughSearches(LookalikeError, ValueError):  # noqa: N818 - it names a state, not a fault
    """Too few non-mated searches to observe the rate asked for; the text says how many it takes."""


@dataclass(frozen=True)
class TunedThreshold:
    """A threshold, what it was tuned for, and how it does on the searches it was tuned on.

    Attributes:
        value: An item matches iff its distance is below this. Exact in float32, so that a
            comparison in either precision decides alike.
        objective: What was asked for, such as `fpir=0.05`.
        fpir: FPIR on the tuning searches.
        n_non_mated: Non-mated tuning searches.
    """

    value: float
    objective: str
    fpir: float
    n_non_mated: int


def candidate_thresholds(distances: ArrayLike) -> NDArray[np.float64]:
    """List one threshold for each way a threshold can split these distances.

    Between two neighbouring distances it lies midway, rounded to float32: a distance stays on its
    side whether it is compared in float32 or in float64.

    Args:
        distances: float32, any shape; ties, order and infinite distances don't matter.

    Returns:
        float64 (distinct finite distances + 1,), strictly ascending; the first accepts none of the
        distances, the last all. Without finite distances, the single threshold 0.

    Raises:
        ValueError: If a distance is NaN.

    >>> candidate_thresholds([0.5, 0.25, 0.5])[:2].tolist()
    [0.0, 0.375]
    """
    distances = np.asarray(distances, dtype=np.float32)
    if np.isnan(distances).any():
        raise ValueError(f"{np.isnan(distances).sum()} of {distances.size} distances are NaN")
    values = np.unique(distances[np.isfinite(distances)])
    if len(values) == 0:
        return np.zeros(1)
    lower, upper = values[:-1], values[1:]
    middle = lower + (upper - lower) / 2
    return np.concatenate(
        [
            [min(0.0, values[0])],
            # Adjacent floats have no middle; the upper one splits them, as matching is strict.
            np.where(middle > lower, middle, upper),
            [np.nextafter(values[-1], np.float32(np.inf))],
        ],
        dtype=np.float64,
    )


def tune_fpir(non_mated_nearest: ArrayLike, target: float) -> TunedThreshold:
    """Find the largest threshold that keeps FPIR within the target on these searches.

    FPIR(τ) = #{non-mated searches with an item below τ} / #{non-mated searches} (ISO/IEC 19795-1).

    Args:
        non_mated_nearest: float32 (n,), distance of each non-mated search's nearest item; +inf
            where nothing was eligible.
        target: The largest FPIR allowed, in (0, 1].

    Raises:
        ValueError: If the target is outside (0, 1] or a distance is NaN.
        NotEnoughSearches: If n < 1 / target, when the target can't be told from zero.

    >>> tuned = tune_fpir([0.25, 0.5, 0.5, 1.0], 0.5)
    >>> tuned.value, tuned.objective, tuned.fpir  # accepting 0.5 would accept three of four
    (0.375, 'fpir=0.5', 0.25)
    """
    if not 0 < target <= 1:
        raise ValueError(f"the FPIR to tune for must be above 0 and at most 1, not {target}")
    nearest = np.sort(np.asarray(non_mated_nearest, dtype=np.float32))
    n, needed = len(nearest), trials_needed(target)
    if n < needed:
        raise NotEnoughSearches(
            f"not enough non-mated searches to tune for FPIR {target}: there are {n} and {needed} "
            f"are needed (even without a false positive, {n} only show that FPIR is below "
            f"{min(1.0, 3 / max(n, 1)):.2g}), so add photos whose label the gallery lacks or allow "
            "a larger FPIR"
        )
    candidates = candidate_thresholds(nearest)
    fpir = np.searchsorted(nearest.astype(np.float64), candidates, side="left") / n
    best = np.flatnonzero(fpir <= target)[-1]
    value = float(candidates[best])
    return TunedThreshold(value, f"fpir={target}", float(fpir[best]), n)


def trials_needed(target: float) -> int:
    """Return how many trials it takes to tell a rate, in (0, 1], from zero: ⌈1 / target⌉.

    >>> trials_needed(0.3), trials_needed(1 / 49)
    (4, 49)
    """
    # But for the rounding that makes 1 / (1 / 49) exceed 49.
    needed = round(1 / target)
    return needed + (1 / needed > target)
