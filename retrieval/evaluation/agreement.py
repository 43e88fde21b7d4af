"""How well a grouping agrees with labels, counted over pairs of items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PairAgreement:
    """How pairs of items that are grouped together agree with those that share a label.

    Attributes:
        precision: Of the pairs grouped together, the share that has one label; 1 without any.
        recall: Of the pairs with one label, the share grouped together; 1 without any.
    """

    precision: float
    recall: float

    def f(self, beta: float) -> float:
        """Return the weighted harmonic mean (van Rijsbergen, "Information Retrieval", 1979).

        Args:
            beta: How many times as much recall counts as precision; 1 for F1.
        """
        weighted = beta**2 * self.precision + self.recall
        return (1 + beta**2) * self.precision * self.recall / weighted if weighted else 0.0


def pair_agreement(groups: NDArray[np.int64], labels: NDArray[np.int64]) -> PairAgreement:
    """Compare a grouping with labels.

    Args:
        groups: int64, shape `(n,)`; equal numbers are grouped together.
        labels: int64, shape `(n,)`; equal numbers show the same.

    >>> agreement = pair_agreement(np.array([0, 0, 0, 1]), np.array([5, 5, 6, 6]))
    >>> round(agreement.precision, 4), agreement.recall, round(agreement.f(1), 4)
    (0.3333, 0.5, 0.4)
    """
    both = _pairs(np.column_stack([groups, labels]))
    together, same = _pairs(groups[:, np.newaxis]), _pairs(labels[:, np.newaxis])
    return PairAgreement(
        precision=both / together if together else 1.0,
        recall=both / same if same else 1.0,
    )


def _pairs(rows: NDArray[np.int64]) -> int:
    sizes = np.unique(rows, axis=0, return_counts=True)[1].astype(np.int64)
    return int((sizes * (sizes - 1) // 2).sum())
