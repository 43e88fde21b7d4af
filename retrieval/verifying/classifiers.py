"""What a classifier is once it has learnt, and how it is applied: features to scores.

A score is minus the log-odds that a pair shows the same: smaller is surer, as with distances.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import GalleryError

LINEAR, XGBOOST = "linear", "xgboost"
CLASSIFIERS = (LINEAR, XGBOOST)


def require_xgboost() -> None:
    """Make sure that XGBoost can be imported.

    Raises:
        GalleryError: It is not installed.
    """
    if find_spec("xgboost") is None:
        raise GalleryError(
            "The classifier xgboost needs the package of that name: run "
            "`pip install 'lookalike[xgboost]'`, or train with --model linear."
        )


@dataclass(frozen=True, eq=False)
class Linear:
    """A logistic regression on standardised features.

    Attributes:
        mean: float64, shape `(n_features,)`.
        scale: float64, shape `(n_features,)`, above 0.
        weights: float64, shape `(n_features,)`, of the log-odds that a pair shows the same.
        intercept: Of the log-odds.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]
    intercept: float

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score pairs by their features, float32 `(n, n_features)`; float32 `(n,)`."""
        log_odds = (features - self.mean) / self.scale @ self.weights + self.intercept
        return -log_odds.astype(np.float32)


@dataclass(frozen=True, eq=False)
class Trees:
    """Boosted trees.

    Attributes:
        data: What XGBoost calls its JSON, UTF-8.
    """

    data: bytes

    @cached_property
    def _booster(self) -> Any:
        require_xgboost()
        import xgboost

        return xgboost.Booster(model_file=bytearray(self.data))

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score pairs by their features, float32 `(n, n_features)`; float32 `(n,)`."""
        log_odds = self._booster.inplace_predict(features, predict_type="margin")
        return -np.asarray(log_odds, dtype=np.float32)


Classifier = Linear | Trees
