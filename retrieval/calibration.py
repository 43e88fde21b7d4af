"""The first threshold: tuned from the gallery itself, before anyone has judged a query.

Each item in turn plays a photo of a stranger: its whole label is left out, and its nearest item is
one of another label. The same item also plays a mated query, with only itself left out.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from db import Reader, Store
from retrieval.evaluation.distances import distance_rows
from retrieval.evaluation.tuning import NotEnoughSearches, TunedThreshold, tune_fpir

TARGET_FPIR = 0.05
GALLERY = "gallery"
# Items that play queries, at most: what more of them would tell is not worth their time.
_SEARCHES = 2000
_CHUNK = 256
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
        left_out = leave_labels_out(tx)
        details = {"items": items, "labels": len(labels)}
    tuned = tune(left_out)
    if tuned is None:
        return None
    rates: dict[str, Any] = asdict(tuned)
    value, objective = rates.pop("value"), rates.pop("objective")
    with store.write() as tx:
        tx.add_threshold(value, objective=objective, source=GALLERY, details=rates | details)
    return tuned


@dataclass(frozen=True)
class LeftOut:
    """What each of some items found as a query.

    Attributes:
        nearest_mate: float32, shape `(n,)`, with only itself left out; +inf without a mate.
        nearest_non_mate: float32, shape `(n,)`, with its label left out; +inf without another.
    """

    nearest_mate: NDArray[np.float32]
    nearest_non_mate: NDArray[np.float32]


def leave_labels_out(tx: Reader, *, seed: int = 0) -> LeftOut:
    """Let items play queries; holds some of the gallery's vectors at a time, never all.

    Args:
        tx: The snapshot of the store.
        seed: Draws the items in a large gallery.
    """
    codes: dict[str | None, int] = {}
    identities = {
        item_id: -item_id if label is None else codes.setdefault(label, len(codes))
        for item_id, label in tx.item_labels()
    }
    count = tx.count_vectors()
    rows = np.arange(count)
    if count > _SEARCHES:
        rows = np.sort(np.random.default_rng(seed).choice(rows, _SEARCHES, replace=False))
    drawn, start = [], 0
    for part in tx.vectors():
        within = rows[(rows >= start) & (rows < start + len(part.ids))] - start
        drawn.append((part.ids[within], part.item_ids[within], part.data[within]))
        start += len(part.ids)
    query_ids, query_items, queries = (
        np.concatenate(column) for column in zip(*drawn, strict=True)
    )
    shown = np.array([identities[item_id] for item_id in query_items.tolist()], dtype=np.int64)
    nearest_mate = np.full(len(shown), np.inf, dtype=np.float32)
    nearest_non_mate = nearest_mate.copy()
    for part in tx.vectors():
        theirs = np.array([identities[item_id] for item_id in part.item_ids.tolist()])
        for first in range(0, len(shown), _CHUNK):
            some = slice(first, first + _CHUNK)
            distances = distance_rows(queries[some].astype(np.float32), part.data)
            mates = shown[some, np.newaxis] == theirs
            others = np.where(mates, np.inf, distances).min(axis=1)
            np.minimum(nearest_non_mate[some], others, out=nearest_non_mate[some])
            mates &= query_ids[some, np.newaxis] != part.ids
            near = np.min(distances, axis=1, where=mates, initial=np.inf)
            np.minimum(nearest_mate[some], near, out=nearest_mate[some])
    return LeftOut(nearest_mate, nearest_non_mate)


def tune(left_out: LeftOut) -> TunedThreshold | None:
    """Tune a threshold for FPIR 5 %; `None` where there are too few searches."""
    mated = (left_out.nearest_mate, left_out.nearest_non_mate)
    try:
        return tune_fpir(left_out.nearest_non_mate, TARGET_FPIR, mated=mated)
    except NotEnoughSearches:
        return None
