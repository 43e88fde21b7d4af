"""Which items are likely mislabelled, told from what is near them.

An item's score is the sum of two things, and high scores are suspicious:

- the relative distance `(m − o) / (m + o)`, in [−1, 1], with m the distance of its nearest mate and
  o that of the nearest item of the label its neighbours suggest (Sato and Yamada, "Generalized
  Learning Vector Quantization", NIPS 1995). Above 0 that label is nearer than the item's own. It
  has no unit, so an encoder whose distances are larger makes no larger scores.
- a quarter of the vote's margin, in [−1, 1]: the share of the k nearest items that carry the label
  suggested, minus the share of those that could carry the item's own label and do. Labels that
  disagree with most of their nearest neighbours are how mislabelled items have been edited out
  since Wilson ("Asymptotic properties of nearest neighbor rules using edited data", 1972), in
  embeddings too (Bahri et al., "Deep k-NN for Noisy Labels", ICML 2020).

A single mate tells a distance well, but no vote; a vote stands up to a single mislabelled
neighbour, but no distance. So an item whose own label has more votes than any other is none:
beside the mislabelled copy of a picture lies the right one. docs/audit.md measures them apart and
together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.neighbourhoods import Neighbourhoods

NEIGHBOURS = 5
"""How many of the nearest items vote."""

SUSPICIOUS = 0.25
"""The score above which an item is told as likely mislabelled; justified in docs/audit.md."""

_VOTE_WEIGHT = 0.25


@dataclass(frozen=True)
class Suspicion:
    """How suspicious the label of each of n items is.

    Attributes:
        score: float64, shape `(n,)`, in [−1.25, 1.25]: above `SUSPICIOUS` the item is likely
            mislabelled. −inf where no other label has as many votes as its own; NaN where the
            item has no mate, and there is nothing to judge by.
        rival: int64, shape `(n,)`: position of the nearest item of the label suggested, −1 where
            none is.
        rival_distance: float32, shape `(n,)`: how far it is, +inf where none is.
        votes: int64, shape `(n,)`: how many of the k nearest carry the label suggested.
    """

    score: NDArray[np.float64]
    rival: NDArray[np.int64]
    rival_distance: NDArray[np.float32]
    votes: NDArray[np.int64]

    def suspects(self, *, above: float = SUSPICIOUS) -> NDArray[np.int64]:
        """Return the positions of the suspicious items, worst first, equal scores by position."""
        found = np.flatnonzero(self.score > above)
        return found[np.argsort(-self.score[found], kind="stable")]


def suspicion(near: Neighbourhoods, labels: NDArray[np.int64]) -> Suspicion:
    """Judge each item's label by what is near.

    The label suggested is the one, beside the item's own, that most of its k nearest items carry;
    of several the one that comes nearest.

    Args:
        near: What is near each item.
        labels: int64, shape `(n,)`; equal numbers show the same label.

    Item 0 says label 0, but its mate is three times as far as two items of label 1:

    >>> near = Neighbourhoods(
    ...     nearest=np.array([[1, 2]]), distances=np.array([[0.1, 0.2]], dtype=np.float32),
    ...     mate=np.array([3]), mate_distance=np.array([0.3], dtype=np.float32))
    >>> found = suspicion(near, np.array([0, 1, 1, 0]))
    >>> found.rival.tolist(), found.votes.tolist(), found.score.round(6).tolist()
    ([1], [2], [0.75])
    """
    found = near.nearest >= 0
    theirs = np.where(found, labels[near.nearest], -1)
    own = theirs == labels[: len(theirs), np.newaxis]
    votes = np.sum(theirs[:, :, np.newaxis] == theirs[:, np.newaxis, :], axis=2)
    votes[own | ~found] = 0
    # argmax takes the first of several, which is the nearest.
    chosen = np.argmax(votes, axis=1)[:, np.newaxis]
    most = np.take_along_axis(votes, chosen, axis=1)[:, 0]
    distance = np.take_along_axis(near.distances, chosen, axis=1)[:, 0]
    rival = np.take_along_axis(near.nearest, chosen, axis=1)[:, 0]

    voters = np.maximum(found.sum(axis=1), 1)
    mates = np.bincount(labels)[labels[: len(theirs)]] - 1
    could = np.maximum(np.minimum(voters, mates), 1)
    mine = own.sum(axis=1)
    margin = most / voters - mine / could
    score = _relative(near.mate_distance, distance) + _VOTE_WEIGHT * margin
    score[(most == 0) | (most < mine)] = -np.inf
    score[near.mate < 0] = np.nan
    return Suspicion(
        score=score,
        rival=np.where(most > 0, rival, -1),
        rival_distance=np.where(most > 0, distance, np.float32(np.inf)),
        votes=most,
    )


def _relative(mate: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (mate − other) / (mate + other): 0 where both are 0, or one is infinite."""
    known = np.isfinite(mate) & np.isfinite(other) & (mate + other > 0)
    near, far = mate[known].astype(np.float64), other[known].astype(np.float64)
    result = np.zeros(len(mate))
    result[known] = (near - far) / (near + far)
    return result
