"""Which photos go into which batch.

Seed and epoch fix what is drawn, so that a resumed run draws what an uninterrupted one would have.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from indexes import Changes, ExactIndex
from retrieval.errors import LookalikeError

# Photos that stand for a label when its rivals are looked for.
_STAND_IN = 64
# Photos of other labels that each of them is sure to find.
_OTHERS = 32
# Photos that ask the index at once.
_CHUNK = 1024


def shuffled_batches(n: int, size: int, *, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Divide photos at random, each once, into batches of nearly equal sizes.

    Args:
        n: How many photos there are.
        size: The most that a batch holds, at least 1. They differ by one at most: a small last one
            would have as much say as the others.
        seed: At least 0.
        epoch: At least 0.

    Returns:
        int64 arrays of numbers below n.

    >>> [len(batch) for batch in shuffled_batches(10, 4, seed=0, epoch=0)]
    [4, 3, 3]
    """
    order = np.random.default_rng([seed, epoch]).permutation(n).astype(np.int64)
    return np.array_split(order, -(-n // size)) if n else []


def balanced_batches(
    codes: NDArray[np.int64],
    *,
    labels_per_batch: int,
    photos_per_label: int,
    seed: int,
    epoch: int,
) -> list[NDArray[np.int64]]:
    """Draw batches of a few photos each of a few different labels.

    An epoch draws as many photos as there are, but for rounding to whole batches. Each label comes
    once before any comes twice, and so does each photo of a label; a label with too few photos
    gives them several times, as evenly as they go.

    Args:
        codes: int64, shape `(n,)`; equal numbers show the same label.
        labels_per_batch: How many labels a batch shows, at least 1.
        photos_per_label: How many photos it holds of each, at least 1.
        seed: At least 0.
        epoch: At least 0.

    Returns:
        int64 arrays of `labels_per_batch * photos_per_label` places in `codes`, label by label.

    Raises:
        LookalikeError: There are fewer labels than a batch shows.
    """
    rng = np.random.default_rng([seed, epoch])
    members = _members(codes, labels_per_batch)
    labels = _Turns(np.arange(len(members)), rng)
    return _filled(members, labels_per_batch, photos_per_label, labels.take, rng)


def hard_batches(
    embeddings: NDArray[np.float32],
    codes: NDArray[np.int64],
    *,
    labels_per_batch: int,
    photos_per_label: int,
    seed: int,
    epoch: int,
) -> list[NDArray[np.int64]]:
    """Draw batches as `balanced_batches` does, of labels that are hard to tell apart.

    Each batch is drawn around an anchor, a random label of those still due: it is joined by the
    labels still due whose nearest photo is nearest to one of the anchor's. Once no label is due,
    all are again; a batch begun by the last ones takes the anchor's nearest of all the others.

    Args:
        embeddings: float32, shape `(n, dim)`, L2-normalised, of the photos as encoded now.
        codes: int64, shape `(n,)`; equal numbers show the same label.
        labels_per_batch: How many labels a batch shows, at least 1.
        photos_per_label: How many photos it holds of each, at least 1.
        seed: At least 0.
        epoch: At least 0.

    Returns:
        int64 arrays of `labels_per_batch * photos_per_label` places in `codes`, label by label,
        the anchor's first.

    Raises:
        LookalikeError: There are fewer labels than a batch shows.
    """
    rng = np.random.default_rng([seed, epoch])
    members = _members(codes, labels_per_batch)
    rivals = _rivals(embeddings, members, rng)
    due = np.zeros(len(members), dtype=bool)

    def take(count: int) -> NDArray[np.int64]:
        if not due.any():
            due[:] = True
        anchor = rng.choice(np.flatnonzero(due))
        rank = np.full(len(due), len(due))
        rank[rivals[anchor]] = np.arange(len(rivals[anchor]))
        rank[anchor] = -1
        # Of those that are not near enough to be known, any.
        taken = np.lexsort((rng.random(len(due)), rank, ~due))[:count]
        due[taken] = False
        return taken

    return _filled(members, labels_per_batch, photos_per_label, take, rng)


class _Turns:
    """Hands out members at random: each once before any twice, none twice in a handful."""

    def __init__(self, members: NDArray[np.int64], rng: np.random.Generator) -> None:
        self._members, self._rng, self._due = members, rng, members[:0]

    def take(self, count: int) -> NDArray[np.int64]:
        """Hand out some; where that is more than there are, each as often as the others."""
        if count > len(self._members):
            return np.resize(self._rng.permutation(self._members), count)
        if count > len(self._due):
            # Those still due now come last in the next round, and so not twice in this handful.
            others = np.setdiff1d(self._members, self._due)
            parts = [self._due, self._rng.permutation(others), self._rng.permutation(self._due)]
            self._due = np.concatenate(parts)
        taken, self._due = self._due[:count], self._due[count:]
        return taken


def _members(codes: NDArray[np.int64], labels_per_batch: int) -> list[NDArray[np.int64]]:
    """Return the places of each label's photos; there must be labels enough for a batch."""
    sizes = np.unique(codes, return_counts=True)[1]
    if len(sizes) < labels_per_batch:
        raise LookalikeError(
            f"The photos show {len(sizes)} labels and a batch {labels_per_batch}: take "
            f"{len(sizes)} labels per batch or fewer, or add photos of others."
        )
    return np.split(np.argsort(codes, kind="stable"), np.cumsum(sizes)[:-1])


def _filled(
    members: list[NDArray[np.int64]],
    labels_per_batch: int,
    photos_per_label: int,
    take: Callable[[int], NDArray[np.int64]],
    rng: np.random.Generator,
) -> list[NDArray[np.int64]]:
    """Fill an epoch's batches with photos of the labels that `take` hands out."""
    turns = [_Turns(photos, rng) for photos in members]
    size = labels_per_batch * photos_per_label
    return [
        np.concatenate([turns[label].take(photos_per_label) for label in take(labels_per_batch)])
        for _ in range(max(1, round(sum(map(len, members)) / size)))
    ]


def _rivals(
    embeddings: NDArray[np.float32], members: list[NDArray[np.int64]], rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Return, for each label, other labels by the distance of the nearest two photos."""
    stand_ins = [rng.permutation(photos)[:_STAND_IN] for photos in members]
    photos = np.concatenate(stand_ins)
    label = np.repeat(np.arange(len(members)), [len(some) for some in stand_ins])
    index = ExactIndex(embeddings.shape[1])
    index.apply(Changes(np.arange(len(photos)), embeddings[photos]))
    k = min(len(photos), max(map(len, stand_ins)) + _OTHERS)
    found = []
    for start in range(0, len(photos), _CHUNK):
        rows = slice(start, start + _CHUNK)
        hits = index.search(embeddings[photos[rows]], k)
        one = np.broadcast_to(label[rows, np.newaxis], hits.ids.shape).ravel()
        other, distances = label[hits.ids.ravel()], hits.distances.ravel()
        found.append(_nearest_pairs(one, other, distances))
    index.close()
    one, other, distances = (np.concatenate(parts) for parts in zip(*found, strict=True))
    # Who is near need not be told of by both.
    both = np.concatenate([one, other]), np.concatenate([other, one]), np.tile(distances, 2)
    one, other, distances = _nearest_pairs(*both)
    return np.split(other, np.searchsorted(one, np.arange(1, len(members))))


def _nearest_pairs(
    one: NDArray[np.int64], other: NDArray[np.int64], distances: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Keep each pair of different labels once, at its smallest distance, by label and distance."""
    order = np.lexsort((other, distances, one))
    order = order[one[order] != other[order]]
    keys = one[order] * (1 + other.max(initial=0)) + other[order]
    order = order[np.sort(np.unique(keys, return_index=True)[1])]
    return one[order], other[order], distances[order]
