"""What tests of networks share: tiny networks of each family, and pictures as they see them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from retrieval.encoders.networks import Network, rebuild
from retrieval.encoders.preprocessing import Preprocessing

TIMM = {"library": "timm", "arguments": {"num_classes": 0}}
BASES: dict[str, dict[str, Any]] = {
    "efficientnet": TIMM | {"model": "test_efficientnet"},
    "mobilenet": TIMM | {"model": "mobilenetv3_small_050"},
    "vit": TIMM | {"model": "test_vit"},
}


def ours(model: str, **arguments: object) -> dict[str, Any]:
    """The architecture of a network of our own."""
    return {"library": "lookalike", "model": model, "arguments": arguments}


@pytest.fixture
def make() -> Callable[..., Network]:
    """A function that makes the network of an architecture, with weights drawn from a seed."""

    def make(architecture: dict[str, Any], size: int = 64) -> Network:
        import torch
        from torch import nn

        base = architecture
        while "base" in base["arguments"]:
            base = base["arguments"]["base"]
        if base["model"] != "mobilenetv3_small_050":  # the others take one size only
            size = {"siamese": 105, "deit_tiny_patch16_224": 224}.get(base["model"], 160)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = rebuild(architecture)
            for layer in module.modules():
                if isinstance(layer, nn.BatchNorm2d):  # as training leaves them: no two alike
                    layer.running_mean.normal_(0, 0.1)  # type: ignore[union-attr, operator]
                    layer.running_var.uniform_(0.5, 2)  # type: ignore[union-attr, operator]
                    nn.init.uniform_(layer.weight, 0.5, 1.5)
                    nn.init.normal_(layer.bias, std=0.1)
        half = (0.5, 0.5, 0.5)
        preprocessing = Preprocessing(size, size, "center", "bicubic", half, half)
        return Network(module, architecture, preprocessing, {"weights": "seed 0"})

    return make


@pytest.fixture
def pictures() -> Callable[..., NDArray[np.uint8]]:
    """A function that draws pictures of coloured clouds: uint8 `(n, size, size, 3)`."""

    def draw(size: int, n: int = 4) -> NDArray[np.uint8]:
        clouds = np.random.default_rng(0).integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
        bicubic = Image.Resampling.BICUBIC
        return np.stack([Image.fromarray(cloud).resize((size, size), bicubic) for cloud in clouds])

    return draw
