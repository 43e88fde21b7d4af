"""How fast this machine makes views and trains on them: measured in some seconds, to plan by."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from retrieval.encoders.features import compile_features
from retrieval.encoders.networks import Network
from retrieval.training.augmenting import Augmentation
from retrieval.training.caching import Pixels
from retrieval.training.inputs import as_convolutions_like
from retrieval.training.learner import Learner, Mode, Shape
from retrieval.training.live import LiveViews
from retrieval.training.photos import TrainingPhotos
from retrieval.training.recipe import Precision

if TYPE_CHECKING:
    from torch import Tensor

_PHOTOS = 32
# Sixteen bits are worth it on a CPU only where they are clearly faster.
_CLEARLY = 1.25


@dataclass(frozen=True)
class Speed:
    """What a probe measured.

    Attributes:
        made: Views made and put through the frozen part, per second.
        trained: Photos per second in training steps.
        precision: The arithmetic of the steps: the one asked for, or the fastest here.
        outputs: Bytes of the frozen part's outputs for a view.
    """

    made: float
    trained: float
    precision: Precision
    outputs: int


def probe(
    network: Network,
    shape: Shape,
    photos: TrainingPhotos,
    device: str,
    precision: Precision | Literal["auto"] = "auto",
) -> Speed:
    """Measure how fast views are made, frozen and trained on here.

    Args:
        network: The network to begin with.
        shape: What is learnt of it.
        photos: Some of them are tried.
        device: `cpu`, `cuda` or `mps`.
        precision: The arithmetic of the steps; `auto` for the fastest.
    """
    import torch

    learner = Learner(network, shape, seed=0)
    learner.trained.to(device)
    places = np.linspace(0, len(photos) - 1, _PHOTOS).round().astype(int).tolist()
    pixels = Pixels(photos.paths, network.preprocessing, Augmentation(), seed=0)
    made = float("inf")
    if learner.frozen is None:
        outputs = LiveViews(pixels).take(places, [0] * _PHOTOS)
    else:
        features = compile_features(learner.frozen, network.preprocessing, "float32")
        for number in range(2):  # the first time is slower
            since = time.monotonic()
            wanted = [(place, number) for place in places]
            parts = list(features.over(pixels.batches(wanted, _PHOTOS // 2)))
            made = _PHOTOS / (time.monotonic() - since)
        outputs = torch.from_numpy(np.concatenate(parts))
    inputs = as_convolutions_like(outputs.to(device))
    tried = _tried(shape.mode, device) if precision == "auto" else (precision,)
    rates = {one: _PHOTOS / _step_seconds(learner, inputs, one) for one in tried}
    best = max(rates, key=lambda one: rates[one] / (_CLEARLY if one == "bfloat16" else 1))
    return Speed(made, rates[best], best, outputs[0].numel() * 2)


def _tried(mode: Mode, device: str) -> tuple[Precision, ...]:
    if mode == "head" or device == "mps":  # a projection takes no time in any
        return ("float32",)
    return ("float16",) if device == "cuda" else ("float32", "bfloat16")


def _step_seconds(learner: Learner, inputs: Tensor, precision: Precision) -> float:
    import torch

    learner.train()
    shortest = float("inf")
    for _ in range(3):
        since = time.monotonic()
        with torch.autocast(
            inputs.device.type, getattr(torch, precision), enabled=precision != "float32"
        ):
            embeddings = learner.trained(inputs)
        embeddings.float().square().mean().backward()
        if inputs.device.type == "cuda":
            torch.cuda.synchronize()
        shortest = min(shortest, time.monotonic() - since)
    return shortest
