"""Two photos in one: a square of another photo's maps in each photo's.

After Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable
Features" (ICCV 2019, arXiv 1905.04899), on a network's maps instead of on pixels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def cut_and_mixed(maps: Tensor) -> tuple[Tensor, Tensor, float]:
    """Put a random square of other photos' maps into each photo's; draws from torch's own seed.

    Args:
        maps: float, shape `(n, c, h, w)`.

    Returns:
        The mixed maps; int64 `(n,)`, whose square each one has; and the share of the area that is
        the photo's own. The square's share is drawn evenly from [0, 1].
    """
    import torch

    high, wide = maps.shape[2:]
    side = round(min(high, wide) * math.sqrt(float(torch.rand(()))))
    top = int(torch.randint(0, high - side + 1, ()))
    left = int(torch.randint(0, wide - side + 1, ()))
    partners = torch.randperm(len(maps))
    square = (..., slice(top, top + side), slice(left, left + side))
    mixed = maps.clone()
    mixed[square] = maps[partners][square]
    return mixed, partners, 1 - side * side / (high * wide)
