"""Splitting a timm network into a trunk and the rest, so that a trunk is run once and kept.

Each family's forward pass is a chain of its own attributes around `blocks`; a new family is one
more row in `_families`.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, NamedTuple

from retrieval.errors import EncoderError

if TYPE_CHECKING:
    from torch import Tensor, nn


class _Family(NamedTuple):
    """What a network of this class calls, one after another, before and after `blocks`."""

    network: type[nn.Module]
    before: tuple[str, ...]
    after: tuple[str, ...]
    trunk: frozenset[str]
    """Children that what comes before the blocks uses; all others belong to the rest."""


def split(module: nn.Module, stage: int) -> tuple[nn.Module, nn.Module]:
    """Split a network behind its first `stage` blocks.

    Args:
        module: A timm network that maps float32 `(n, 3, size, size)` to `(n, dim)`; left as it is.
        stage: How many blocks go into the trunk, 0 (the stem alone) to `stages(module)`.

    Returns:
        `trunk` and `rest`, which share the module's parameters: `rest(trunk(x))` is `module(x)`.

    Raises:
        EncoderError: The network can't be split, or not at this stage.
    """
    family = _family(module)
    last = stages(module)
    if not 0 <= stage <= last:
        raise EncoderError(
            f"{type(module).__name__} can't be split at stage {stage}: say 0 to {last}."
        )
    blocks = module.get_submodule("blocks")
    trunk, rest = _twin(module), _twin(module)
    for name in module._modules:
        if name != "blocks":
            del (rest if name in family.trunk else trunk)._modules[name]
    # What the network holds directly (class token, positions) is added before the blocks.
    rest._parameters.clear()
    trunk.blocks, rest.blocks = blocks[:stage], blocks[stage:]  # type: ignore[index]
    return _chain(trunk, (*family.before, "blocks")), _chain(rest, ("blocks", *family.after))


def stages(module: nn.Module) -> int:
    """Return the last stage at which `split` splits a network: the number of its blocks.

    Raises:
        EncoderError: The network can't be split.
    """
    _family(module)
    return len(module.get_submodule("blocks"))  # type: ignore[arg-type]


def _family(module: nn.Module) -> _Family:
    for family in _families():
        if isinstance(module, family.network):
            return family
    raise EncoderError(
        f"{type(module).__name__} can't be split into a trunk and the rest: train the whole "
        "network, or choose an EfficientNet, a MobileNetV3, a ViT or a DeiT."
    )


def _families() -> tuple[_Family, ...]:
    """Each family's chain as timm's `forward_features` and `forward_head` have it."""
    from timm.models.efficientnet import EfficientNet
    from timm.models.mobilenetv3 import MobileNetV3
    from timm.models.vision_transformer import VisionTransformer

    stem = ("conv_stem", "bn1")
    patches = ("patch_embed", "_pos_embed", "patch_drop", "norm_pre")
    return (
        _Family(EfficientNet, stem, ("conv_head", "bn2", "forward_head"), frozenset(stem)),
        _Family(MobileNetV3, stem, ("forward_head",), frozenset(stem)),
        _Family(
            VisionTransformer, patches, ("norm", "forward_head"), frozenset((*patches, "pos_drop"))
        ),
    )


def _twin(module: nn.Module) -> nn.Module:
    """Return a network with the same parameters, whose lists of parts are its own."""
    twin = copy.copy(module)
    twin._modules, twin._parameters = dict(module._modules), dict(module._parameters)
    return twin


def _chain(network: nn.Module, steps: tuple[str, ...]) -> nn.Module:
    """Return a module that calls these attributes of a network one after another."""
    from torch import nn

    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = network

        def forward(self, values: Tensor) -> Tensor:
            for step in steps:
                values = getattr(self.part, step)(values)
            return values

    return Part()
