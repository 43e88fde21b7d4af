"""What the trained part of a network takes: where it comes from, and embedding it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.training.caching import CLEAN

if TYPE_CHECKING:
    from torch import Tensor

# Photos embedded at a time.
_BATCH = 64


class Inputs(Protocol):
    """Gives what the trained part takes: `CachedViews` or `LiveViews`."""

    def take(self, places: Sequence[int], numbers: Sequence[int]) -> Tensor:
        """Return inputs for the given views of the given photos: float32, `(n, …)`."""


def embeddings(
    embed: Callable[[Tensor], Tensor],
    inputs: Inputs,
    places: NDArray[np.int64],
    device: str = "cpu",
) -> NDArray[np.float32]:
    """Embed photos as a gallery does, without changing them.

    Args:
        embed: Maps inputs to `(n, dim)`, not normalised; a module must be in evaluation mode.
        inputs: Gives what it takes.
        places: int64, shape `(n,)`: the photos, by their numbers in `inputs`.
        device: Where `embed` computes.

    Returns:
        float32, shape `(n, dim)`, L2-normalised.
    """
    import torch
    from torch.nn.functional import normalize

    made = []
    with torch.inference_mode():
        for first in range(0, len(places), _BATCH):
            some = places[first : first + _BATCH].tolist()
            taken = as_convolutions_like(inputs.take(some, [CLEAN] * len(some)).to(device))
            made.append(normalize(embed(taken).float()).cpu())
    return torch.cat(made).numpy()


def as_convolutions_like(inputs: Tensor) -> Tensor:
    """Lay images and maps `(n, c, h, w)` out channels last; leave all else as it is."""
    import torch

    return inputs.to(memory_format=torch.channels_last) if inputs.ndim == 4 else inputs
