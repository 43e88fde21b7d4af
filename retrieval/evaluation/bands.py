"""DIR over FPIR, with a band that says how far chance can move it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retrieval.evaluation.decisions import Searches

RESAMPLES = 1000
_POINTS = 120
_ENDS = (0.025, 0.975)


@dataclass(frozen=True, eq=False)
class Band:
    """DIR where at most a share of strangers passes, over all shares that can be seen.

    Attributes:
        fpir: float64 (g,), ascending, from the smallest share that can be seen to 1.
        dir: float64 (g,).
        low: float64 (g,), the 2.5 % quantile.
        high: float64 (g,), the 97.5 % quantile.
        repeats: Of how many repeats of the open-set protocol `dir` is the mean and the band the
            spread; None where the searches were made once, and the band is a bootstrap over labels.
        n_mated: Mated searches, on average over repeats.
        n_non_mated: Non-mated searches, likewise.
    """

    fpir: NDArray[np.float64]
    dir: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    repeats: int | None
    n_mated: float
    n_non_mated: float


class DirByFpir:
    """Reads DIR at any FPIR off searches that may count more than once.

    DIR(x) is taken at the largest τ whose FPIR on these searches is ≤ x, without interpolation, as
    `decisions.dir_at_fpir` takes it.
    """

    def __init__(self, searches: Searches) -> None:
        """Sort the searches once, however often they are to be weighed."""
        self._order = np.argsort(searches.score, kind="stable")
        scores = searches.score[self._order]
        finite = int(np.count_nonzero(np.isfinite(scores)))
        # How many are accepted at each threshold that makes a difference; ties go together.
        ends = np.flatnonzero(np.diff(scores[:finite])) + 1
        self._accepted = np.unique(np.concatenate([[0], ends, [finite]]))
        self._mated = searches.mated[self._order]
        self._right = self._mated & searches.right[self._order]

    def at(self, fpir: ArrayLike, counts: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Return DIR at each FPIR; NaN where it can't be seen, or there are no mated searches.

        Args:
            fpir: float64 (g,), in (0, 1].
            counts: int64 (n,), how often each search counts; once by default.
        """
        wanted = np.asarray(fpir, dtype=np.float64)
        weight = np.ones(len(self._order), np.int64) if counts is None else counts[self._order]
        strangers, right = (
            np.concatenate([[0], np.cumsum(weight * which)])[self._accepted]
            for which in (~self._mated, self._right)
        )
        n_mated = int(weight[self._mated].sum())
        n_non_mated = int(weight.sum()) - n_mated
        if not (n_mated and n_non_mated):
            return np.full(wanted.shape, np.nan)
        # A share such as 0.29 of 100 must not fall short of 29 by rounding.
        allowed = np.floor(wanted * n_non_mated + 1e-9)
        place = np.searchsorted(strangers, allowed, side="right") - 1
        return np.where(allowed >= 1, right[place] / n_mated, np.nan)


def band_of_repeats(repeats: Sequence[Searches]) -> Band | None:
    """Bring repeats of the open-set protocol together: their mean, and what 95 % of them span.

    The curve starts at the smallest FPIR that half of the repeats have strangers enough to see, and
    at each FPIR speaks of those that see it.

    Returns:
        The curve, or None when no repeat has both mated and non-mated searches.
    """
    usable = [one for one in repeats if one.mated.any() and not one.mated.all()]
    if not usable:
        return None
    strangers = [int(np.count_nonzero(~one.mated)) for one in usable]
    grid = _grid(int(np.median(strangers)))
    rows = np.stack([DirByFpir(one).at(grid) for one in usable])
    mean = np.array([np.mean(column[np.isfinite(column)]) for column in rows.T])
    n_mated = float(np.mean([np.count_nonzero(one.mated) for one in usable]))
    return Band(grid, mean, *_quantiles(rows), len(usable), n_mated, float(np.mean(strangers)))


def band_of_labels(
    searches: Searches, labels: Sequence[str | None], *, resamples: int = RESAMPLES, seed: int = 0
) -> Band | None:
    """Draw the queries' labels anew, with all their photos (percentile cluster bootstrap).

    Args:
        searches: The queries.
        labels: What they show; one without a label is drawn by itself.
        resamples: How often.
        seed: Equal seeds give equal bands.

    Returns:
        The curve, or None when there are no mated or no non-mated searches.
    """
    n_mated = int(np.count_nonzero(searches.mated))
    n_non_mated = len(searches) - n_mated
    if not (n_mated and n_non_mated):
        return None
    codes = label_codes(labels)
    count = int(codes.max()) + 1
    grid = _grid(n_non_mated)
    curve = DirByFpir(searches)
    generator = np.random.default_rng(seed)
    rows = np.empty((resamples, len(grid)))
    for row in rows:
        drawn = np.bincount(generator.integers(count, size=count), minlength=count)
        row[:] = curve.at(grid, drawn[codes])
    return Band(grid, curve.at(grid), *_quantiles(rows), None, float(n_mated), float(n_non_mated))


def label_codes(labels: Sequence[str | None]) -> NDArray[np.int64]:
    """Number labels; photos without one get numbers of their own.

    >>> label_codes(["a", None, "a", None]).tolist()
    [0, 1, 0, 2]
    """
    numbers: dict[object, int] = {}
    keys = (place if label is None else label for place, label in enumerate(labels))
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _grid(n_non_mated: int) -> NDArray[np.float64]:
    if n_non_mated == 1:
        return np.ones(1)
    grid = np.geomspace(1 / n_non_mated, 1, _POINTS)
    grid[-1] = 1
    return grid


def _quantiles(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Take the ends of the middle 95 % of each column, those without a value left out."""
    ends = np.full((2, rows.shape[1]), np.nan)
    for place, column in enumerate(rows.T):
        seen = column[np.isfinite(column)]
        if len(seen):
            ends[:, place] = np.quantile(seen, _ENDS)
    return ends[0], ends[1]
