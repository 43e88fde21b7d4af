"""Fitting classifiers and calibrations: here scikit-learn and XGBoost are at work."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from retrieval.verifying.calibration import ISOTONIC, PLATT, ScoreCalibration
from retrieval.verifying.classifiers import LINEAR, XGBOOST, Linear, Trees, require_xgboost

# Strength of the weights, so to speak: with so many features a small one errs less on other labels.
_C = 0.01
_TREES = 200
_XGBOOST = {
    "objective": "binary:logistic",
    "tree_method": "hist",
    "max_depth": 4,
    "eta": 0.05,
    "subsample": 0.8,
    "colsample_bytree": 0.5,
    # Sums in another order would make other trees.
    "nthread": 1,
}


def fit_linear(features: NDArray[np.float32], same: NDArray[np.bool_], _seed: int) -> Linear:
    """Fit a logistic regression on standardised features.

    Args:
        features: float32, shape `(n, n_features)`.
        same: bool, shape `(n,)`, some of either.
    """
    from sklearn.linear_model import LogisticRegression

    mean = features.mean(axis=0, dtype=np.float64)
    scale = features.std(axis=0, dtype=np.float64)
    scale[scale == 0] = 1  # a feature that never varies says nothing
    fitted = LogisticRegression(C=_C, max_iter=1000).fit((features - mean) / scale, same)
    return Linear(mean, scale, fitted.coef_[0], float(fitted.intercept_[0]))


def fit_xgboost(features: NDArray[np.float32], same: NDArray[np.bool_], seed: int) -> Trees:
    """Fit boosted trees; args are those of `fit_linear`.

    Raises:
        GalleryError: XGBoost is not installed.
    """
    require_xgboost()
    import xgboost

    data = xgboost.DMatrix(features, same.astype(np.float32), nthread=1)
    booster = xgboost.train(_XGBOOST | {"seed": seed}, data, _TREES)
    return Trees(bytes(booster.save_raw("json")))


FIT: dict[str, Callable[[NDArray[np.float32], NDArray[np.bool_], int], Linear | Trees]] = {
    LINEAR: fit_linear,
    XGBOOST: fit_xgboost,
}


def fit_calibration(
    kind: str,
    scores: NDArray[np.float32],
    same: NDArray[np.bool_],
    weights: NDArray[np.float64],
) -> ScoreCalibration:
    """Fit the probability that a pair shows the same to its score.

    Args:
        kind: `platt` or `isotonic`.
        scores: float32, shape `(n,)`, smaller is surer.
        same: bool, shape `(n,)`, some of either.
        weights: float64, shape `(n,)`, what each pair counts, 1 on average.
    """
    given = scores.astype(np.float64)
    # No number of pairs shows that something is certain.
    least = 1 / (len(scores) + 2)
    if kind == ISOTONIC:
        from sklearn.isotonic import IsotonicRegression

        fitted = IsotonicRegression(
            y_min=least, y_max=1 - least, increasing=False, out_of_bounds="clip"
        ).fit(given, same.astype(np.float64), sample_weight=weights)
        return ScoreCalibration(
            ISOTONIC, tuple(fitted.X_thresholds_.tolist()), tuple(fitted.y_thresholds_.tolist())
        )
    from sklearn.linear_model import LogisticRegression

    centre, spread = given.mean(), max(given.std(), np.finfo(np.float32).tiny)
    # Hardly held back: with one feature there is nothing to learn by heart.
    fitted = LogisticRegression(C=1e4, max_iter=1000).fit(
        (given - centre)[:, np.newaxis] / spread, same, sample_weight=weights
    )
    # A score that misleads is worth nothing, not the opposite.
    slope = max(-float(fitted.coef_[0, 0]) / spread, 0.0)
    offset = -float(fitted.intercept_[0]) - slope * centre
    return ScoreCalibration(PLATT, (slope, offset))
