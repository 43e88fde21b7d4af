"""A trained branch beside the pretrained one, over one trunk: what is learnt forgets nothing."""

from __future__ import annotations

import copy
from math import sqrt
from typing import TYPE_CHECKING, Self

from retrieval.encoders.projected import features_dim
from retrieval.encoders.splitting import split
from retrieval.errors import EncoderError

if TYPE_CHECKING:
    from torch import Tensor, nn


def beside(base: nn.Module, stage: int, dim: int, share: float) -> nn.Module:
    """Put a trained branch beside a pretrained network.

    The module has the children `trunk` and `pretrained` (the network, split at `stage`), `trained`
    (a copy of `pretrained`) and `projection`, an `nn.Linear`. Of a trunk's map m it makes
    concat(√(1 − share) · normalise(pretrained(m)), √share · normalise(projection(trained(m)))),
    whose cosine distance is the mean of both branches' distances weighted by 1 − share and share.
    Trunk and pretrained branch are frozen: they take no gradients and stay in evaluation mode.

    Args:
        base: A timm network that `split` splits, with its pretrained weights.
        stage: How many of its blocks the branches share; see `split`.
        dim: Length of the trained branch's projection.
        share: Share of the distance that the trained branch decides, in (0, 1).

    Returns:
        Maps float32 `(n, 3, size, size)` to `(n, base_dim + dim)`, L2-normalised.

    Raises:
        EncoderError: `share` is out of range, or the network can't be split there.
    """
    from torch import cat, nn
    from torch.nn.functional import normalize

    if not 0 < share < 1:
        raise EncoderError(
            f"A trained branch can't decide {share} of the distance: say more than 0, less than 1."
        )
    trunk, pretrained = split(base, stage)
    base_dim = features_dim(base)

    class Beside(nn.Module):
        head_hidden_size = base_dim + dim

        def __init__(self) -> None:
            super().__init__()
            self.trained = copy.deepcopy(pretrained)
            self.projection = nn.Linear(base_dim, dim)
            self.trunk = trunk.requires_grad_(False)
            self.pretrained = pretrained.requires_grad_(False)

        def train(self, mode: bool = True) -> Self:
            super().train(mode)
            self.trunk.eval()
            self.pretrained.eval()
            return self

        def forward(self, images: Tensor) -> Tensor:
            shared = self.trunk(images)
            before = normalize(self.pretrained(shared))
            learnt = normalize(self.projection(self.trained(shared)))
            return cat((sqrt(1 - share) * before, sqrt(share) * learnt), dim=1)

    return Beside()
