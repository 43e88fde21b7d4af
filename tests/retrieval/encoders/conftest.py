"""What tests of networks share: networks with weights from a seed, and photos they see."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from retrieval.encoders.networks import Network, rebuild
from retrieval.encoders.preprocessing import Preprocessing
from retrieval.sample import VIEWS, packagings, photograph

# Sides that networks insist on, or that keep a test short, in pixels.
SIZES = {"siamese": 105, "mobilenetv3_small_050": 64, "deit_tiny_patch16_224": 224}


@cache
def photos() -> list[Image.Image]:
    """Draw eight photos of as many packagings, of every kind."""
    return [photograph(design, n % VIEWS) for n, design in enumerate(packagings(8))]


def draw(size: int, n: int = 4) -> NDArray[np.uint8]:
    """Draw up to eight photos: uint8 `(n, size, size, 3)`."""
    half = (0.5, 0.5, 0.5)
    seen = Preprocessing(size, size, "center", "bicubic", half, half)
    return np.stack([seen.apply(photo) for photo in photos()[:n]])


@pytest.fixture
def pictures() -> Callable[..., NDArray[np.uint8]]:
    """The function that draws photos of a size."""
    return draw


@pytest.fixture
def make() -> Callable[..., Network]:
    """A function that makes the network of an architecture, with weights drawn from a seed.

    Its batch norms have the statistics of photos, or all photos would get nearly one vector.
    """

    def make(architecture: dict[str, Any]) -> Network:
        import torch
        from torch import nn

        base = architecture
        while "base" in base["arguments"]:
            base = base["arguments"]["base"]
        size = base["arguments"].get("img_size") or SIZES.get(base["model"], 160)
        images = torch.from_numpy(draw(size, n=8)).permute(0, 3, 1, 2) / 127.5 - 1
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            module = rebuild(architecture)
            for layer in module.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    nn.init.uniform_(layer.weight, 0.5, 1.5)
                    nn.init.normal_(layer.bias, std=0.1)
                    layer.momentum = 1.0  # what is seen once is all
                    layer.train()
        with torch.no_grad():
            module(images)
        half = (0.5, 0.5, 0.5)
        preprocessing = Preprocessing(size, size, "center", "bicubic", half, half)
        return Network(module.eval(), architecture, preprocessing, {"weights": "seed 0"})

    return make
