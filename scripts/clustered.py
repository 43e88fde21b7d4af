"""Made-up embeddings that lie as real ones do: labels in groups, noise of a falling spectrum.

Independent random vectors are all equally far from each other, and on them conclusions about
indexes reverse: nothing is near enough to be found quickly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Labels in a group, and how far noise carries a label from its group and an item from its label:
# so that an item's nearest mate lies at 0.16 and its nearest stranger at 0.34, in the mean.
_LABELS, _APART, _NOISE = 40, 0.9, 0.6
_BLOCK = 65_536


@dataclass(frozen=True, eq=False)
class Clustered:
    """A source of vectors around labels that are drawn once.

    Attributes:
        centres: float32, shape `(labels, dim)`.
        basis: float32, shape `(dim, dim)`: the directions of the noise, the strongest first.
    """

    centres: NDArray[np.float32]
    basis: NDArray[np.float32]

    @classmethod
    def draw(cls, labels: int, dim: int, *, seed: int = 0) -> Clustered:
        """Draw so many labels."""
        rng = np.random.default_rng(seed)
        spectrum = 1 / np.sqrt(np.arange(1, dim + 1))
        directions, _ = np.linalg.qr(rng.standard_normal((dim, dim)))
        basis = (directions * spectrum / np.linalg.norm(spectrum)).T.astype(np.float32)
        groups = _unit(rng.standard_normal((max(labels // _LABELS, 1), dim), dtype=np.float32))
        noise = rng.standard_normal((labels, dim), dtype=np.float32) @ basis
        return cls(_unit(groups[rng.integers(len(groups), size=labels)] + _APART * noise), basis)

    def items(self, labels: NDArray[np.int64], *, seed: int) -> NDArray[np.float16]:
        """Draw an item of each of these labels; float16, shape `(n, dim)`, L2-normalised."""
        rng = np.random.default_rng(seed)
        drawn = np.empty((len(labels), self.centres.shape[1]), dtype=np.float16)
        for start in range(0, len(labels), _BLOCK):
            some = self.centres[labels[start : start + _BLOCK]]
            noise = rng.standard_normal(some.shape, dtype=np.float32) @ self.basis
            drawn[start : start + _BLOCK] = _unit(some + _NOISE * noise)
        return drawn


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths: NDArray[np.float32] = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / lengths
