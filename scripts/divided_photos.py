"""Labelled photos, divided by their labels into a gallery and strangers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.decisions import Searches
from retrieval.rules import Rule

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Division:
    """One gallery with its queries: scores float32, label codes int64."""

    own: NDArray[np.float32]  # of gallery items, their label left out
    own_codes: Ints
    strangers: NDArray[np.float32]
    stranger_codes: Ints
    known: Searches

    def dir(self, threshold: float) -> float:
        """Share of mated queries accepted with the right label."""
        found = self.known.right & (self.known.score.astype(np.float64) < threshold)
        return float(found.mean())


def to_labels(
    distances: NDArray[np.float32], codes: Ints, items: NDArray[np.bool_], n_labels: int
) -> NDArray[np.float32]:
    """Distance of every photo to the nearest chosen item of each label; float32 (n, n_labels)."""
    result = np.full((len(distances), n_labels), np.inf, dtype=np.float32)
    for label in np.unique(codes[items]):
        result[:, label] = distances[:, items & (codes == label)].min(axis=1)
    return result


def divide(
    distances: NDArray[np.float32],
    codes: Ints,
    generator: np.random.Generator,
    held_out: float,
    rule: Rule,
) -> Division:
    """Half of the labels become a gallery, of it a share mated queries; the rest are strangers."""
    n_labels = int(codes.max()) + 1
    known = np.isin(codes, generator.permutation(n_labels)[: n_labels // 2])
    mated = np.zeros(len(codes), dtype=bool)
    for label in np.unique(codes[known]):
        photos = generator.permutation(np.flatnonzero(codes == label))
        mated[photos[: round(held_out * len(photos))]] = True
    items = known & ~mated
    near = to_labels(distances, codes, items, n_labels)
    row = np.arange(len(codes))
    mates = near[row, codes].copy()
    near[row, codes] = np.inf
    rivals = np.sort(near, axis=1)
    return Division(
        rule(rivals[items]).astype(np.float32),
        codes[items],
        rule(rivals[~known]).astype(np.float32),
        codes[~known],
        Searches.of(mates[mated], rivals[mated], rule),
    )
