"""Decision rules: what a query's score is, given how near the nearest identities lie. Pure NumPy.

An identity lies as far away as its nearest item. The nearest identity is the name proposed; its
score, compared with τ, says whether to believe it. Scores are distances in [0, 2] or shares of one:
smaller is surer. A look-alike that lies nearly as near as the name proposed speaks against it, and
that is what the rules beyond `nearest` take in; docs/rules.md compares them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

# The distance of two photos that have nothing in common: where a missing rival is taken to stand.
UNRELATED = 1.0
# With fewer labels the next one says too little: docs/rules.md has the measurement.
_LABELS_FOR_RIVALS = 10
# How much of the mean distance of the next two labels counts.
_WEIGHT = 0.9
# Neighborhood Aware Cosine's own choice of neighbours and temperature.
_NEIGHBOURS, _TEMPERATURE = 16, 0.07

Distances = NDArray[np.float64]
RuleName = Literal["nearest", "margin", "rivals", "ratio", "nac"]
"""What rules are called; where names are checked by their type."""


@dataclass(frozen=True)
class Rule:
    """A way to score a query.

    Attributes:
        name: What it is called everywhere.
        identities: How many of the nearest identities it looks at.
        score: From their distances, float64 `(n, identities)`, ascending, to scores `(n,)`.
    """

    name: str
    identities: int
    score: Callable[[Distances], Distances]

    def __call__(self, distances: ArrayLike) -> Distances:
        """Score queries by the distances of their nearest identities.

        Args:
            distances: float, shape `(n, m)`, ascending, m ≥ 1, +inf where there are no more; the
                columns beyond `identities` are not looked at.

        Returns:
            float64, shape `(n,)`; +inf where there is no identity at all.
        """
        given = np.asarray(distances, dtype=np.float64)[:, : self.identities]
        ranked = np.full((len(given), self.identities), np.inf)
        ranked[:, : given.shape[1]] = given
        scores = np.full(len(ranked), np.inf)
        some = np.isfinite(ranked[:, 0])
        # A rival farther off than anything unrelated is none.
        ranked[:, 1:] = np.minimum(ranked[:, 1:], UNRELATED)
        scores[some] = self.score(ranked[some])
        return scores


def _nearest(distances: Distances) -> Distances:
    return distances[:, 0]


def _margin(distances: Distances) -> Distances:
    return distances[:, 0] + (UNRELATED - distances[:, 1]) / 2


def _rivals(distances: Distances) -> Distances:
    others: Distances = distances[:, 1:].mean(axis=1)
    return distances[:, 0] + _WEIGHT * (UNRELATED - others)


def _ratio(distances: Distances) -> Distances:
    # Two identities at distance 0 can't be told apart at all.
    return distances[:, 0] / np.maximum(distances[:, 1], np.finfo(np.float32).tiny)


def _nac(distances: Distances) -> Distances:
    # 1 - softmax of the nearest, summed over the others so that nothing cancels.
    others: Distances = np.exp((distances[:, :1] - distances[:, 1:]) / _TEMPERATURE).sum(axis=1)
    return others / (1 + others)


RULES = {
    rule.name: rule
    for rule in (
        # The nearest item's distance d1.
        Rule("nearest", 1, _nearest),
        # d1 + (1 - d2) / 2: the order of 2 d1 - d2, so each step the next label comes nearer costs
        # half a step of the nearest; equal to d1 where the next label is unrelated.
        Rule("margin", 2, _margin),
        # d1 + 0.9 (1 - (d2 + d3) / 2): what is strange to an encoder that was trained on the labels
        # lies between several of them.
        Rule("rivals", 3, _rivals),
        # d1 / d2: Lowe, "Distinctive Image Features from Scale-Invariant Keypoints", section 7.1.
        Rule("ratio", 2, _ratio),
        # One minus Neighborhood Aware Cosine over each label's nearest item: arXiv 2301.01922.
        Rule("nac", _NEIGHBOURS, _nac),
    )
}
NEAREST = RULES["nearest"]


def default_rule(labels: int, *, learnt: bool = False) -> Rule:
    """Return the rule that does best on data: docs/rules.md.

    Args:
        labels: How many the gallery has.
        learnt: Whether the encoder was trained on them.
    """
    if labels < _LABELS_FOR_RIVALS:
        return NEAREST
    return RULES["rivals" if learnt else "margin"]


def merge(nearest_mate: ArrayLike, rivals: ArrayLike) -> Distances:
    """Order a query's own identity among its rivals, as a rule wants them.

    Args:
        nearest_mate: float, shape `(n,)`, +inf where a query has no mate.
        rivals: float, shape `(n, m)`, distances of the nearest other identities, ascending.

    Returns:
        float64, shape `(n, m + 1)`, ascending.
    """
    own = np.asarray(nearest_mate, dtype=np.float64)[:, np.newaxis]
    both = np.concatenate([own, np.asarray(rivals, dtype=np.float64)], axis=1)
    return np.sort(both, axis=1)
