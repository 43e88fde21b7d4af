"""From an upright RGB image to the square of pixels a network was trained to see."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}

# Pixels of an intermediate image, at most; past that an image is of extreme shape.
_LARGEST_STEP = 16_000_000


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes a network's input; part of an encoder's fingerprint.

    Attributes:
        size: Side of the square the network sees, in pixels.
        resize: Length of the image's shorter side (of both with `squash`) before the centre is
            cropped, in pixels; at least `size`.
        crop: `center` keeps the aspect ratio; `squash` doesn't.
        interpolation: `bicubic`, `bilinear` or `lanczos`, always antialiased.
        mean: Per channel, of values in [0, 1]; applied inside the runtime, not by `apply`.
        std: Per channel, of values in [0, 1]; applied inside the runtime, not by `apply`.
    """

    size: int
    resize: int
    crop: Literal["center", "squash"]
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if self.interpolation not in _FILTERS:
            raise ValueError(f"interpolation {self.interpolation!r} is not one of {list(_FILTERS)}")
        if self.crop not in ("center", "squash"):
            raise ValueError(f"crop {self.crop!r} is neither 'center' nor 'squash'")
        if self.resize < self.size:
            raise ValueError(f"crop of {self.size} pixels is larger than the image's {self.resize}")

    @classmethod
    def from_timm(cls, config: dict[str, Any]) -> Self:
        """Make it from timm's data configuration of a model.

        Raises:
            ValueError: The configuration asks for something we don't do.
        """
        _, height, width = config["input_size"]
        if height != width:
            raise ValueError(f"input is not square but {width} × {height}")
        return cls(
            size=height,
            resize=math.floor(height / config["crop_pct"]),
            crop=config.get("crop_mode", "center"),
            interpolation=config["interpolation"],
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
        )

    def apply(self, image: Image.Image) -> NDArray[np.uint8]:
        """Resize and crop.

        Args:
            image: Upright, mode RGB, any size.

        Returns:
            uint8, shape `(size, size, 3)`.
        """
        (left, right), (top, bottom) = self._kept(*image.size)
        filter_ = _FILTERS[self.interpolation]
        if self.size * image.height > _LARGEST_STEP:
            # Left to itself Pillow begins with the height where that takes less memory.
            box = (left, top, right, bottom)
            square = image.resize((self.size, self.size), filter_, box)
            return np.asarray(square)
        # Width, then height, as torchvision has Pillow do it; rounding differs with the order.
        # Only what is kept is sampled.
        narrow = image.resize((self.size, image.height), filter_, (left, 0, right, image.height))
        square = narrow.resize((self.size, self.size), filter_, (0, top, self.size, bottom))
        return np.asarray(square)

    def _kept(self, width: int, height: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return what is kept of the image's width and of its height, in its own pixels."""
        if self.crop == "squash":
            return self._span(width, self.resize), self._span(height, self.resize)
        shorter = min(width, height)
        # Whole pixels, rounded as torchvision does: the published weights were judged on those.
        return (
            self._span(width, int(self.resize * width / shorter)),
            self._span(height, int(self.resize * height / shorter)),
        )

    def _span(self, before: int, after: int) -> tuple[float, float]:
        start = round((after - self.size) / 2)
        scale = before / after
        return max(start * scale, 0), min((start + self.size) * scale, before)
