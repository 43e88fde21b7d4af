"""The first threshold: tuned from the gallery itself, before anyone has judged a query.

Each item in turn plays a photo of a stranger: its whole label is left out, and its nearest item is
one of another label. The same item also plays a mated query, with only itself left out.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from db import Store
from retrieval.evaluation.distances import distance_rows, gallery_vectors
from retrieval.evaluation.metrics import SearchOutcomes, search_outcomes
from retrieval.evaluation.tuning import NotEnoughSearches, TunedThreshold, tune_fpir

TARGET_FPIR = 0.05
GALLERY = "gallery"
# Items that play queries, at most: what more of them would tell is not worth their time.
_SEARCHES = 5000
_CHUNK = 64
# A gallery this much larger or smaller than at its tuning deserves another one.
_STALE_SHARE = 0.1


def tune_first_threshold(store: Store, *, only_if_stale: bool = False) -> TunedThreshold | None:
    """Tune and store a threshold for FPIR 5 %, unless one not made here is in force.

    Args:
        store: The gallery's store.
        only_if_stale: Leave a threshold alone until the gallery is a tenth larger or smaller.

    Returns:
        The new threshold; `None` where fewer than two labels have several items, where there are
        too few searches to see one in twenty go wrong, or where the one in force stays.
    """
    with store.read() as tx:
        current = tx.threshold()
        if current is not None and current.source != GALLERY:
            return None
        items, labels = tx.count_items(), tx.label_counts()
        if only_if_stale and current is not None:
            tuned_at = current.details["items"]
            if abs(items - tuned_at) <= _STALE_SHARE * tuned_at:
                return None
        if sum(count > 1 for count in labels.values()) < 2:
            return None
        gallery = gallery_vectors(tx)
        details = {"items": items, "labels": len(labels)}
    tuned = tune(gallery.vectors, gallery.identities)
    if tuned is None:
        return None
    rates: dict[str, Any] = asdict(tuned)
    value, objective = rates.pop("value"), rates.pop("objective")
    with store.write() as tx:
        tx.add_threshold(value, objective=objective, source=GALLERY, details=rates | details)
    return tuned


def tune(
    vectors: NDArray[np.float16], identities: NDArray[np.int64], *, seed: int = 0
) -> TunedThreshold | None:
    """Tune a threshold for FPIR 5 % by leaving labels out in turn.

    Args:
        vectors: float16, shape `(n, dim)`.
        identities: int64, shape `(n,)`; equal numbers show the same identity.
        seed: Draws the items that play queries in a large gallery.

    Returns:
        The threshold; `None` where there are too few searches.
    """
    rows = np.arange(len(identities))
    if len(rows) > _SEARCHES:
        rows = np.sort(np.random.default_rng(seed).choice(rows, _SEARCHES, replace=False))
    parts = []
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        distances = distance_rows(vectors[chunk].astype(np.float32), vectors)
        mates = identities[chunk, np.newaxis] == identities
        eligible = np.ones_like(mates)
        eligible[np.arange(len(chunk)), chunk] = False
        parts.append(search_outcomes(distances, mates, eligible=eligible))
    outcomes = SearchOutcomes.concatenate(parts)
    try:
        return tune_fpir(outcomes.nearest_non_mate, outcomes, TARGET_FPIR)
    except NotEnoughSearches:
        return None
