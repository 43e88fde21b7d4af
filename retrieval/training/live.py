"""Views made anew for each epoch, for a network of which nothing is frozen."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from retrieval.training.caching import Pixels

if TYPE_CHECKING:
    from torch import Tensor


class LiveViews:
    """Gives normalised pixels."""

    def __init__(self, pixels: Pixels) -> None:
        """Take views from `pixels`, in threads."""
        self._pixels = pixels
        self._pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="view")

    def take(self, places: Sequence[int], numbers: Sequence[int]) -> Tensor:
        """Return views: float32, shape `(n, 3, size, size)`, normalised.

        Args:
            places: The photos.
            numbers: The view of each.
        """
        import torch

        made = np.stack(list(self._pool.map(self._pixels.one, places, numbers)))
        preprocessing = self._pixels.preprocessing
        mean, std = (torch.tensor(v) * 255 for v in (preprocessing.mean, preprocessing.std))
        return ((torch.from_numpy(made) - mean) / std).permute(0, 3, 1, 2)
