"""Other views of a photo, as another hand, place and light would have made them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from retrieval.encoders import Preprocessing

_BICUBIC, _BILINEAR = Image.Resampling.BICUBIC, Image.Resampling.BILINEAR
_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


@dataclass(frozen=True)
class Augmentation:
    """How far a view may differ from its photo.

    Attributes:
        area: The smallest share of the photo's area that a view shows; of a long photo, less.
        aspect: The largest ratio by which a view is stretched, either way.
        turn: The largest angle it is turned by, in degrees, every other time.
        light: The largest relative change of brightness, contrast and colour.
        mirror: Whether every other view is mirrored; wrong where left and right differ, as in text.
    """

    area: float = 0.35
    aspect: float = 4 / 3
    turn: float = 15.0
    light: float = 0.3
    mirror: bool = True


def view(
    image: Image.Image, preprocessing: Preprocessing, augmentation: Augmentation, *, seed: list[int]
) -> NDArray[np.uint8]:
    """Make a view of a photo: a random crop, turned, mirrored and lit otherwise.

    Args:
        image: Upright, mode RGB.
        preprocessing: The square the network sees.
        augmentation: How far the view may differ.
        seed: Equal seeds make equal views.

    Returns:
        uint8, shape `(size, size, 3)`.
    """
    rng = np.random.default_rng(seed)
    size = (preprocessing.size, preprocessing.size)
    left, top, right, bottom = _crop(image, augmentation, rng)
    if augmentation.turn and rng.random() < 0.5:
        angle = rng.uniform(-augmentation.turn, augmentation.turn)
        center = ((left + right) / 2, (top + bottom) / 2)
        image = image.rotate(angle, _BILINEAR, center=center)
    seen = image.resize(size, _BICUBIC, (left, top, right, bottom))
    if augmentation.mirror and rng.random() < 0.5:
        seen = seen.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if augmentation.light:
        for place in rng.permutation(len(_ENHANCERS)):
            factor = rng.uniform(1 - augmentation.light, 1 + augmentation.light)
            seen = _ENHANCERS[place](seen).enhance(factor)
    return np.asarray(seen)


def _crop(
    image: Image.Image, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Draw what a view shows: area and aspect evenly, the place evenly within the photo."""
    width, height = image.size
    share = rng.uniform(augmentation.area, 1)
    stretch = math.log(augmentation.aspect)
    ratio = math.exp(rng.uniform(-stretch, stretch) / 2)
    side = math.sqrt(share * width * height)
    wide, high = min(side * ratio, width), min(side / ratio, height)
    left, top = rng.uniform(0, width - wide), rng.uniform(0, height - high)
    return left, top, left + wide, top + high
