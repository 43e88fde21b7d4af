"""How well scores tell pairs apart, with intervals that count labels. Pure NumPy.

All figures are those of a list with a given share of pairs of one label: holding out labels leaves
more of these than of pairs of two labels, and the shares a list was drawn with are to be kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.pairs import area_under_curve, equal_error, sweep

RESAMPLES, _LEVEL = 1000, 0.95
_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % interval: labels, with all their pairs, drawn anew."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class MethodFigures:
    """How one way to judge pairs does on pairs of labels that it has not learnt from.

    Attributes:
        method: `distance`, `linear` or `xgboost`.
        accuracy: Share decided rightly, at the threshold that is best on the other folds.
        auc: The chance that a pair of one label scores lower than a pair of two.
        eer: Where the rates of false accepts and false rejects meet.
        brier: Mean squared error of the probabilities, calibrated on the other folds.
        log_loss: Mean of minus the logarithm of the probability given to what is true; the same.
        calibration: `platt` or `isotonic`, whichever has the smaller log-loss.
        gain: Accuracy minus that of the plain distance, pair by pair; `None` for the distance.
    """

    method: str
    accuracy: Figure
    auc: Figure
    eer: Figure
    brier: Figure
    log_loss: Figure
    calibration: str
    gain: Figure | None

    @property
    def beats_distance(self) -> bool:
        """Whether it decides more pairs rightly than the distance does, outside the interval."""
        return self.gain is not None and self.gain.low > 0


@dataclass(frozen=True, eq=False)
class JudgedPairs:
    """Pairs to judge scores by.

    Attributes:
        first: int64, shape `(n,)`, the label of each pair's first photo, as a number.
        second: int64, shape `(n,)`, the label of its second.
        same: bool, shape `(n,)`, whether both show the same.
        share: The share of pairs that show the same, in (0, 1), that figures speak of.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    same: NDArray[np.bool_]
    share: float

    @property
    def weights(self) -> _Floats:
        """What each pair counts, float64 `(n,)`, so that the same ones make up their share."""
        n_same = int(self.same.sum())
        weights = np.where(
            self.same, self.share / n_same, (1 - self.share) / (len(self.same) - n_same)
        )
        return weights * len(weights)

    def mean(self, values: NDArray[np.float64] | NDArray[np.bool_]) -> float:
        """Return the mean of a value per pair."""
        return self._mean(values, np.arange(len(values)))

    def bounded(self, figure: Callable[[NDArray[np.int64]], float | None]) -> Figure:
        """Bound a figure by drawing labels anew: a pair comes as often as both labels, multiplied.

        Args:
            figure: Computes it of the pairs at some places, int64 `(m,)`; a pair may come several
                times. `None` where a class is absent: such a draw is left out.
        """
        value = figure(np.arange(len(self.same)))
        if value is None:
            raise ValueError("a figure of pairs takes some of either class")
        drawn = [one for places in self._drawn() if (one := figure(places)) is not None]
        ends = [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2]
        return Figure(value, *np.quantile(drawn, ends).tolist())

    def mean_bounded(self, values: NDArray[np.float64] | NDArray[np.bool_]) -> Figure:
        """Bound the mean of a value per pair."""
        return self.bounded(
            lambda places: self._mean(values, places) if self._has_both(places) else None
        )

    def ranking(self, scores: NDArray[np.float32]) -> tuple[Figure, Figure]:
        """Return AUC and EER of scores, float32 `(n,)`, smaller is surer."""

        def split(places: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            return scores[places[self.same[places]]], scores[places[~self.same[places]]]

        def crossing(places: NDArray[np.int64]) -> float | None:
            found = equal_error(*split(places))
            return None if found is None else found.value

        return self.bounded(lambda places: area_under_curve(*split(places))), self.bounded(crossing)

    def _mean(
        self, values: NDArray[np.float64] | NDArray[np.bool_], places: NDArray[np.int64]
    ) -> float:
        same, drawn = self.same[places], values[places]
        return float(self.share * drawn[same].mean() + (1 - self.share) * drawn[~same].mean())

    def _has_both(self, places: NDArray[np.int64]) -> bool:
        return bool(self.same[places].any() and not self.same[places].all())

    def _drawn(self) -> Iterator[NDArray[np.int64]]:
        """Yield the places of the pairs of each draw, the same draws each time."""
        labels, codes = np.unique(np.stack([self.first, self.second]), return_inverse=True)
        one, other = codes.reshape(2, -1)
        generator = np.random.default_rng(0)
        for _ in range(RESAMPLES):
            drawn = generator.integers(len(labels), size=len(labels))
            times = np.bincount(drawn, minlength=len(labels))
            # A pair of one label hangs on that label alone.
            yield np.repeat(
                np.arange(len(one)), np.where(one == other, times[one], times[one] * times[other])
            )


def best_threshold(scores: NDArray[np.float32], same: NDArray[np.bool_], share: float) -> float:
    """Choose the threshold that decides most pairs rightly; among equals the smallest.

    Args:
        scores: float32, shape `(n,)`; a pair is said to be the same iff its score is below.
        same: bool, shape `(n,)`, some of either.
        share: The share of pairs that show the same, in (0, 1), to choose for.

    >>> scores = np.array([0.25, 0.5, 0.75], dtype=np.float32)
    >>> best_threshold(scores, np.array([True, False, False]), 0.5)
    0.375
    """
    swept = sweep(scores[same], scores[~same])
    if swept is None:
        raise ValueError("choosing a threshold takes pairs of either class")
    return float(swept.thresholds[np.argmin(share * swept.frr + (1 - share) * swept.far)])


def brier_losses(probabilities: _Floats, same: NDArray[np.bool_]) -> _Floats:
    """Return the squared error of each probability that a pair is the same; float64 `(n,)`."""
    return (probabilities - same) ** 2


def log_losses(probabilities: _Floats, same: NDArray[np.bool_]) -> _Floats:
    """Return minus the logarithm of the probability given to what is true; float64 `(n,)`."""
    return -np.log(np.where(same, probabilities, 1 - probabilities))
