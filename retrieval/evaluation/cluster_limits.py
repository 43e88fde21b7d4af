"""Up to which mean distance clusters are joined: as it suits labelled items best.

Precision counts twice as much as recall. Whoever names clusters makes one of two by giving both the
same name, but has to take one with two identities apart photo by photo.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.agreement import pair_agreement
from retrieval.evaluation.clusters import MeanLinkage

CLUSTERS_BELOW = 0.26
"""Default mean distance below which clusters are joined; justified in docs/dedupe.md."""

LABELS_TO_TUNE = 10
"""So many labels with several items it takes to tune the limit by them."""

BETA = 0.5
"""How many times as much recall counts as precision."""

# Every second hundredth up to right angles; farther apart nothing is one identity.
_STEPS = range(1, 51)
_PER_STEP = 50


def tune_limit(
    vectors: NDArray[np.float16] | NDArray[np.float32], labels: NDArray[np.int64]
) -> float | None:
    """Return the limit at which clusters of labelled items agree best with their labels.

    Agreement is F0.5 over pairs. Of several limits that do equally well it is the middle one.

    Args:
        vectors: float16 or float32, shape `(n, dim)`, L2-normalised.
        labels: int64, shape `(n,)`; equal numbers show the same.

    Returns:
        The limit, a multiple of 0.02; `None` where fewer than ten labels have several items.

    >>> tune_limit(np.eye(4, dtype=np.float16), np.array([0, 0, 1, 1])) is None
    True
    """
    sizes = np.unique(labels, return_counts=True)[1]
    if np.count_nonzero(sizes > 1) < LABELS_TO_TUNE:
        return None
    linkage = MeanLinkage(vectors)
    found = [pair_agreement(linkage.join(step / _PER_STEP), labels).f(BETA) for step in _STEPS]
    best = np.flatnonzero(np.array(found) == max(found))
    return _STEPS[int(best[(len(best) - 1) // 2])] / _PER_STEP
