"""A network with a trained projection of its features behind it."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

from retrieval.errors import EncoderError

if TYPE_CHECKING:
    from torch import Tensor, nn


def projected(base: nn.Module, dim: int, keep: float = 0) -> nn.Module:
    """Put a projection behind a network.

    The module has the children `base` and `projection`, an `nn.Linear`. Of the base's features f it
    makes normalise(projection(f)). With `keep`, f itself stays beside that:
    concat(√(1 − keep) · normalise(projection(f)), √keep · normalise(f)), whose cosine distance is
    the mean of both distances weighted by 1 − keep and keep.

    Args:
        base: Maps float32 `(n, 3, size, size)` to features `(n, base_dim)`; see `features_dim`.
        dim: Length of the projection.
        keep: Share of the distance that the features themselves decide, in [0, 1).

    Returns:
        Maps float32 `(n, 3, size, size)` to `(n, dim)`, with `keep` to `(n, dim + base_dim)`;
        L2-normalised.

    Raises:
        EncoderError: `keep` is out of range, or the base isn't known to make features.
    """
    from torch import cat, nn
    from torch.nn.functional import normalize

    if not 0 <= keep < 1:
        raise EncoderError(f"A projection can't keep {keep} of the distance: say 0 to below 1.")
    base_dim = features_dim(base)

    class Projected(nn.Module):
        head_hidden_size = dim + base_dim if keep else dim

        def __init__(self) -> None:
            super().__init__()
            self.base = base
            self.projection = nn.Linear(base_dim, dim)

        def forward(self, images: Tensor) -> Tensor:
            features = self.base(images)
            made = normalize(self.projection(features))
            if not keep:
                return made
            return cat((sqrt(1 - keep) * made, sqrt(keep) * normalize(features)), dim=1)

    return Projected()


def features_dim(module: nn.Module) -> int:
    """Return how many features a network makes of an image.

    Args:
        module: Of timm, without a classifier, or made by `rebuild`; ours say it as timm's do.

    Raises:
        EncoderError: The network doesn't say.
    """
    dim = getattr(module, "head_hidden_size", None)
    if not isinstance(dim, int):
        raise EncoderError(
            f"{type(module).__name__} doesn't say how many features it makes: choose another "
            "network."
        )
    return dim


def fold_batch_norm(norm: nn.BatchNorm1d, linear: nn.Linear) -> nn.Linear:
    """Return the linear layer that does what `linear(norm(x))` does in evaluation mode.

    With the norm's mean μ, variance σ², weight γ and bias β: W' = W · diag(γ / √(σ² + ε)) and
    b' = b + W · (β − γ · μ / √(σ² + ε)).

    Args:
        norm: Keeps running statistics.
        linear: Takes what the norm gives.

    Raises:
        EncoderError: The norm keeps no running statistics, so no linear layer does the same.
    """
    import torch
    from torch import nn

    if norm.running_mean is None or norm.running_var is None:
        raise EncoderError(
            "A batch norm without running statistics can't be folded: make it with "
            "track_running_stats=True."
        )
    folded = nn.Linear(linear.in_features, linear.out_features)
    with torch.no_grad():
        mean, variance = norm.running_mean.double(), norm.running_var.double()
        scale = (variance + norm.eps).rsqrt()
        shift = -mean * scale
        if norm.affine:
            scale, shift = scale * norm.weight, shift * norm.weight + norm.bias
        folded.weight.copy_(linear.weight * scale)
        bias = linear.weight.double() @ shift
        folded.bias.copy_(bias if linear.bias is None else bias + linear.bias)
    return folded.to(linear.weight.device)
