"""A gallery's vectors, and distances from queries to all of them, in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from db import Item, Reader

# Items converted to float32 at a time: 20 MB at 1280 dimensions.
_BLOCK = 4096
# Of them, so many at a time: few enough to stay in a core's cache between reading and writing.
_PIECE = 64
# Items compared with as many others at a time: 16 MB of distances.
_SQUARE = 2048


@dataclass(frozen=True, eq=False)
class GalleryVectors:
    """All live vectors of a gallery, and what they show.

    Attributes:
        vectors: float16, shape `(n, dim)`.
        identities: int64, shape `(n,)`: equal numbers show the same identity. Labelled ones are
            ≥ 0, as in `codes`; an item without a label is an identity of its own, below 0.
        items: The items, n.
        codes: The identity number of each label.
    """

    vectors: NDArray[np.float16]
    identities: NDArray[np.int64]
    items: list[Item]
    codes: dict[str, int]

    @property
    def ids(self) -> NDArray[np.int64]:
        """The items' numbers; int64, shape `(n,)`."""
        return np.array([item.id for item in self.items], dtype=np.int64)


def gallery_vectors(tx: Reader) -> GalleryVectors:
    """Read a gallery's vectors."""
    codes = {label: code for code, label in enumerate(tx.label_counts())}
    by_id = {item.id: item for item in tx.items()}
    parts = list(tx.vectors())
    vectors = [np.empty((0, tx.encoder.dim), np.float16), *(part.data for part in parts)]
    items = [by_id[item_id] for part in parts for item_id in part.item_ids.tolist()]
    shown = [-item.id if item.label is None else codes[item.label] for item in items]
    return GalleryVectors(np.concatenate(vectors), np.array(shown, dtype=np.int64), items, codes)


def distance_rows(
    queries: NDArray[np.float32],
    items: NDArray[np.float16] | NDArray[np.float32],
    *,
    order: NDArray[np.int64] | None = None,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Compute the cosine distance of each query to each item.

    Args:
        queries: float32, shape `(n_queries, dim)`, L2-normalised.
        items: float16 or float32, shape `(n_items, dim)`, L2-normalised.
        order: int64, shape `(n_items,)`, which item each column is; their own order by default.
        out: float32, shape `(n_queries, n_items)`, is filled and returned; new by default.

    Returns:
        float32, shape `(n_queries, n_items)`, in [0, 2].
    """
    if out is None:
        out = np.empty((len(queries), len(items)), dtype=np.float32)
    # New memory for each block would cost as much as filling it.
    block = np.empty((min(_BLOCK, len(items)), items.shape[1]), dtype=np.float32)
    for start in range(0, len(items), _BLOCK):
        to = out[:, start : start + _BLOCK]
        part = block[: to.shape[1]]
        for first in range(0, len(part), _PIECE):
            some = slice(start + first, start + min(first + _PIECE, len(part)))
            part[first : first + _PIECE] = items[some if order is None else order[some]]
        np.matmul(queries, part.T, out=to)
        # At once, while it is in the cache.
        np.subtract(1, to, out=to)
        np.clip(to, 0, 2, out=to)
    return out


def distance_blocks(
    vectors: NDArray[np.float16] | NDArray[np.float32], rows: int
) -> Iterator[tuple[slice, slice, NDArray[np.float32]]]:
    """Yield the distances of the first `rows` vectors to all that come after them, each pair once.

    Args:
        vectors: float16 or float32, shape `(n, dim)`, L2-normalised.
        rows: How many of the vectors are compared with those after them.

    Yields:
        Which rows, which others, and float32 distances `(rows, others)`: +inf where the other does
        not come after the row.
    """
    for first in range(0, rows, _SQUARE):
        mine = slice(first, min(first + _SQUARE, rows))
        queries = vectors[mine].astype(np.float32)
        for start in range(first, len(vectors), _SQUARE):
            others = slice(start, min(start + _SQUARE, len(vectors)))
            distances = distance_rows(queries, vectors[others])
            if start == first:
                distances[np.tri(*distances.shape, dtype=np.bool_)] = np.inf
            yield mine, others, distances
