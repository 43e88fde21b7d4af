"""From a score to the probability that a pair shows the same. Pure NumPy.

Probabilities speak of pairs drawn as those that were learnt from: half of them the same, as a rule.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

PLATT, ISOTONIC = "platt", "isotonic"


@dataclass(frozen=True)
class ScoreCalibration:
    """A falling curve from scores to probabilities.

    Attributes:
        kind: `platt`, p = 1 / (1 + exp(slope · score + offset)) (Platt, 1999), or `isotonic`,
            straight lines between points (Zadrozny and Elkan, 2002).
        scores: Of `isotonic`: the points' scores, ascending; of `platt`: slope and offset.
        probabilities: Of `isotonic`: the points' probabilities, descending; of `platt`: none.

    >>> ScoreCalibration("platt", (2.0, -1.0))([0.5]).tolist()
    [0.5]
    >>> ScoreCalibration("isotonic", (0.0, 1.0), (0.75, 0.25))([-1.0, 0.5]).tolist()
    [0.75, 0.5]
    """

    kind: str
    scores: tuple[float, ...]
    probabilities: tuple[float, ...] = ()

    def __call__(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Return the probability of each score; float `(n,)` to float64 `(n,)`."""
        given = np.asarray(scores, dtype=np.float64)
        if self.kind == ISOTONIC:
            return np.interp(given, self.scores, self.probabilities)
        slope, offset = self.scores
        # Beyond 500 nothing changes but for an overflow.
        return 1 / (1 + np.exp(np.clip(slope * given + offset, -500, 500)))
