"""What an encoder is to the rest of the application."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.encoders.artifact import EncoderSpec


class Encoder(Protocol):
    """Weights at work: turns pixels into embeddings. Safe to use from several threads."""

    @property
    def spec(self) -> EncoderSpec:
        """Architecture, preprocessing and fingerprint."""

    @property
    def precision(self) -> str:
        """The arithmetic in use: `float32`, `bfloat16` or `float16`."""

    @property
    def batch_size(self) -> int:
        """How many images per `submit` suit the runtime best."""

    def encode(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the embeddings of a few images as soon as possible.

        Args:
            pixels: uint8 RGB, shape `(n, size, size, 3)`, as `Preprocessing.apply` makes them.

        Returns:
            float32, shape `(n, dim)`, L2-normalised.
        """

    def submit(self, pixels: NDArray[np.uint8]) -> Future[NDArray[np.float32]]:
        """Queue a batch for throughput; blocks while the runtime's own queue is full.

        Args and result are those of `encode`.
        """

    def close(self) -> None:
        """Finish what was submitted and give back what the runtime holds."""


def normalise(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale each row to unit length, in place; a row of zeros stays one.

    Args:
        features: float32, shape `(n, dim)`.
    """
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    features /= np.maximum(norms, np.finfo(np.float32).tiny)
    return features
