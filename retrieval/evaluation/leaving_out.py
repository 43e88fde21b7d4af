"""A gallery's items as queries: themselves left out, and their whole label left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from db import Reader
from retrieval.evaluation.decisions import Searches
from retrieval.evaluation.distances import distance_rows
from retrieval.evaluation.drawing import draw_items
from retrieval.evaluation.identities import NearestIdentities
from retrieval.rules import RULES, Rule

# Items that play queries, at most: what more of them would tell is not worth their time.
_SEARCHES = 2000
_CHUNK = 256
_RIVALS = max(rule.identities for rule in RULES.values())


@dataclass(frozen=True, eq=False)
class LeftOut:
    """What each of some items found as a query.

    Attributes:
        identities: int64, shape `(n,)`; equal numbers show the same identity.
        nearest_mate: float32, shape `(n,)`, with only itself left out; +inf without a mate.
        rivals: float32, shape `(n, c)`, with its label left out: distances of the nearest
            identities, ascending, +inf where there are no more.
    """

    identities: NDArray[np.int64]
    nearest_mate: NDArray[np.float32]
    rivals: NDArray[np.float32]

    def as_strangers(self, rule: Rule) -> NDArray[np.float32]:
        """Score the items as strangers, their label left out; float32, shape `(n,)`."""
        return rule(self.rivals).astype(np.float32)

    def as_known(self, rule: Rule) -> Searches:
        """Judge the items as queries, themselves left out."""
        return Searches.of(self.nearest_mate, self.rivals, rule)


def leave_labels_out(tx: Reader, *, seed: int = 0) -> LeftOut:
    """Let items play queries; holds some of the gallery's vectors at a time, never all.

    Args:
        tx: The snapshot of the store.
        seed: Draws the items in a large gallery, from as many labels as can be.
    """
    codes: dict[str | None, int] = {}
    identities = {
        item_id: -item_id if label is None else codes.setdefault(label, len(codes))
        for item_id, label in tx.item_labels()
    }
    item_ids = np.fromiter(identities, dtype=np.int64, count=len(identities))
    everybody = np.fromiter(identities.values(), dtype=np.int64, count=len(identities))
    chosen = item_ids[draw_items(everybody, _SEARCHES, seed)]
    drawn = []
    for part in tx.vectors():
        within = np.flatnonzero(np.isin(part.item_ids, chosen))
        drawn.append((part.ids[within], part.item_ids[within], part.data[within]))
    if not drawn:
        nothing = np.empty(0, dtype=np.float32)
        return LeftOut(np.empty(0, dtype=np.int64), nothing, nothing.reshape(0, _RIVALS))
    query_ids, query_items, queries = (
        np.concatenate(column) for column in zip(*drawn, strict=True)
    )
    shown = np.array([identities[item_id] for item_id in query_items.tolist()], dtype=np.int64)
    nearest_mate = np.full(len(shown), np.inf, dtype=np.float32)
    rivals = NearestIdentities(len(shown), _RIVALS)
    for part in tx.vectors():
        theirs = np.array([identities[item_id] for item_id in part.item_ids.tolist()])
        for first in range(0, len(shown), _CHUNK):
            some = slice(first, first + _CHUNK)
            distances = distance_rows(queries[some].astype(np.float32), part.data)
            mates = shown[some, np.newaxis] == theirs
            rivals.update(np.where(mates, np.float32(np.inf), distances), theirs, some)
            mates &= query_ids[some, np.newaxis] != part.ids
            near = np.min(distances, axis=1, where=mates, initial=np.inf)
            np.minimum(nearest_mate[some], near, out=nearest_mate[some])
    return LeftOut(shown, nearest_mate, rivals.distances)
