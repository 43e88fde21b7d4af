"""Searching among the items that meet conditions: which vectors those are, and a scan of few."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from db import Candidate, Reader
from retrieval.conditions import Conditions, require_fields
from retrieval.identification import NearestItem
from retrieval.ranking import nearest_items, nearest_of_each, rank

# Vectors up to which comparing all takes hardly longer than an index takes to leave the others out:
# docs/filters.md has the measurement.
SCANNED = 1000
# Answers of the store kept: one of a million vectors takes 8 MB.
_KEPT = 8


@dataclass(frozen=True, eq=False)
class Allowed:
    """What may be found.

    Attributes:
        ids: int64, shape `(n,)`, vector ids; besides those of the items that meet the conditions
            there may be some that no index holds any more.
        items: How many items meet the conditions.
    """

    ids: NDArray[np.int64]
    items: int


class Filters:
    """Answers of the store to conditions, the latest ones kept. Safe to use from several threads.

    The store's sequence number is part of what they are kept by: a write makes them unfit.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, Conditions], Allowed] = OrderedDict()
        self._lock = Lock()

    def kept(self, seq: int, where: Conditions) -> Allowed | None:
        """Return what is known already of the store as it was at this sequence number."""
        with self._lock:
            allowed = self._kept.get((seq, where))
            if allowed is not None:
                self._kept.move_to_end((seq, where))
            return allowed

    def read(self, tx: Reader, where: Conditions) -> Allowed:
        """Ask a snapshot which vectors may be found.

        Raises:
            GalleryError: No item has one of the fields.
        """
        allowed = self.kept(tx.seq, where)
        if allowed is None:
            ids, item_ids = tx.vectors_meeting(where)
            if not len(ids):
                require_fields(tx, where)
            allowed = Allowed(ids, len(np.unique(item_ids)))
            with self._lock:
                self._kept[tx.seq, where] = allowed
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
        return allowed


def scan(
    queries: NDArray[np.float32], candidates: list[Candidate], k: int, identities: int
) -> tuple[list[list[NearestItem]], list[list[NearestItem]]]:
    """Compare queries with every candidate there is.

    Args:
        queries: float32, shape `(n, dim)`, L2-normalised.
        candidates: All that may be found.
        k: At least 1.
        identities: At least 1.

    Returns:
        For each query the k nearest items, and the nearest item of each of the nearest identities,
        nearest first.
    """
    ranked = [rank(query, candidates) for query in queries]
    return (
        [nearest_items(one[:k]) for one in ranked],
        [nearest_items(nearest_of_each(one, identities)) for one in ranked],
    )
