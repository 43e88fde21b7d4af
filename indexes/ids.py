"""Finding ids among many, at a cost that hardly depends on how many they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def find(wanted: NDArray[np.int64], ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each wanted id stands among ids, -1 where it is not.

    Args:
        wanted: int64, shape `(m,)`.
        ids: int64, shape `(n,)`, distinct; looked up quickly where they ascend.

    Returns:
        int64, shape `(m,)`.
    """
    if not len(ids) or not len(wanted):
        return np.full(len(wanted), -1, dtype=np.int64)
    places = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    return np.where(ids[places] == wanted, places, -1)


def is_after(ids: NDArray[np.int64], last: int) -> bool:
    """Whether ids ascend from beyond `last`, as a store gives them out."""
    return bool(ids[0] > last and (np.diff(ids) > 0).all())
