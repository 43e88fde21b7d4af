"""What tests of training share: tiny networks that see differences, and photos to train on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.encoders.networks import Network, make_network, rebuild
from retrieval.encoders.preprocessing import Preprocessing
from retrieval.training.photos import TrainingPhotos

SIZE = 64
_HALF = (0.5, 0.5, 0.5)


@pytest.fixture
def tiny_network() -> Callable[..., Network]:
    """A function that makes a small network, with weights drawn from a seed.

    Its batch norms have the statistics of what it is shown, as those of a pretrained one have.
    """

    def make(model: str = "test_efficientnet") -> Network:
        import torch
        from torch import nn

        if model == "siamese":
            return make_network("siamese", None)
        sized = {"img_size": SIZE} if "vit" in model else {}
        arguments = {"num_classes": 0, **sized}
        architecture = {"library": "timm", "model": model, "arguments": arguments}
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            module = rebuild(architecture)
            for layer in module.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    layer.momentum = 1.0  # what is seen once is all
                    layer.train()
            module(torch.rand(8, 3, SIZE, SIZE) * 2 - 1)
        preprocessing = Preprocessing(SIZE, SIZE, "center", "bicubic", _HALF, _HALF)
        return Network(module.eval(), architecture, preprocessing, {"weights": "seed 0"})

    return make


@pytest.fixture
def listed() -> Callable[..., TrainingPhotos]:
    """A function that makes photos that are not looked at, of their labels' codes."""

    def make(
        codes: list[int],
        *,
        groups: list[str | None] | None = None,
        validation: list[bool] | None = None,
    ) -> TrainingPhotos:
        shown, renumbered = np.unique(np.array(codes, dtype=np.int64), return_inverse=True)
        return TrainingPhotos(
            tuple(Path(f"/photos/{code}/{place:03}.png") for place, code in enumerate(codes)),
            tuple(f"label {code}" for code in shown),
            renumbered.astype(np.int64),
            tuple(groups or [None] * len(codes)),
            np.array(validation or [False] * len(codes), dtype=bool),
        )

    return make


@pytest.fixture
def embedded() -> Callable[..., NDArray[np.float32]]:
    """A function that embeds photos of given codes: those of a code near one another."""

    def make(codes: list[int], *, spread: float = 0.3, seed: int = 0) -> NDArray[np.float32]:
        rng = np.random.default_rng(seed)
        centres = rng.normal(size=(max(codes) + 1, 16))
        vectors = centres[codes] + spread * rng.normal(size=(len(codes), 16))
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    return make
