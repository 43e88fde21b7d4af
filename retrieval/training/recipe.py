"""How training goes about it: all that a user or a benchmark may turn, and no code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Precision = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Recipe:
    """How training goes about it.

    Attributes:
        loss: One of `losses.LOSSES`.
        loss_options: Its options, where they are not the defaults.
        epochs: Passes over the photos.
        batch: Photos to a step.
        photos_per_label: How many of them show one label; 0 draws photos whatever they show.
        hard_every: After so many epochs hard batches are mined anew; 0 for never.
        rate: Learning rate of the network, at its highest.
        head_rate: Learning rate of the projection and of the loss's own parameters.
        decay: Weight decay.
        views: Views of each photo that are cached, and drawn from; 0 makes new ones each epoch.
        mix: Share of the steps in which a part of each photo's maps is another photo's (CutMix,
            arXiv 1905.04899); for losses of proxies, which can be asked for two labels at once.
        precision: Arithmetic of the steps: float32, or mixed with 16 bits.
        seed: Draws everything.
    """

    loss: str = "arcface"
    loss_options: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 8
    batch: int = 64
    photos_per_label: int = 0
    hard_every: int = 0
    rate: float = 1e-3
    head_rate: float = 3e-3
    decay: float = 1e-2
    views: int = 8
    mix: float = 0.0
    precision: Precision = "float32"
    seed: int = 0
