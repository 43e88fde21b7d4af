"""A gallery's vectors, and distances from queries to all of them, in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from db import Reader

# Items converted to float32 at a time: 20 MB at 1280 dimensions.
_BLOCK = 4096
# Items compared with as many others at a time: 16 MB of distances.
_SQUARE = 2048


@dataclass(frozen=True)
class GalleryVectors:
    """All live vectors of a gallery, and what they show.

    Attributes:
        ids: int64, shape `(n,)`: the item each vector belongs to.
        vectors: float16, shape `(n, dim)`.
        identities: int64, shape `(n,)`: equal numbers show the same identity. Labelled ones are
            ≥ 0, as in `codes`; an item without a label is an identity of its own, below 0.
        hashes: Content hash of each item, shape `(n,)`.
        codes: The identity number of each label.
    """

    ids: NDArray[np.int64]
    vectors: NDArray[np.float16]
    identities: NDArray[np.int64]
    hashes: NDArray[np.str_]
    codes: dict[str, int]


def gallery_vectors(tx: Reader) -> GalleryVectors:
    """Read a gallery's vectors."""
    codes = {label: code for code, label in enumerate(tx.label_counts())}
    items = {
        item.id: (-item.id if item.label is None else codes[item.label], item.content_hash)
        for item in tx.items()
    }
    parts = list(tx.vectors())
    vectors = [np.empty((0, tx.encoder.dim), np.float16), *(part.data for part in parts)]
    ids = np.concatenate([np.empty(0, np.int64), *(part.item_ids for part in parts)])
    shown = [items[item_id] for item_id in ids.tolist()]
    return GalleryVectors(
        ids,
        np.concatenate(vectors),
        np.array([identity for identity, _ in shown], dtype=np.int64),
        np.array([content_hash for _, content_hash in shown], dtype=np.str_),
        codes,
    )


def distance_rows(
    queries: NDArray[np.float32], items: NDArray[np.float16] | NDArray[np.float32]
) -> NDArray[np.float32]:
    """Compute the cosine distance of each query to each item.

    Args:
        queries: float32, shape `(n_queries, dim)`, L2-normalised.
        items: float16 or float32, shape `(n_items, dim)`, L2-normalised.

    Returns:
        float32, shape `(n_queries, n_items)`, in [0, 2].
    """
    distances = np.empty((len(queries), len(items)), dtype=np.float32)
    for start in range(0, len(items), _BLOCK):
        block = items[start : start + _BLOCK].astype(np.float32)
        np.matmul(queries, block.T, out=distances[:, start : start + len(block)])
    np.subtract(1, distances, out=distances)
    return np.clip(distances, 0, 2, out=distances)


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
