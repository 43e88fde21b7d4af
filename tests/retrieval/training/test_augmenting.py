"""Views: the same for a seed, different for another, and no further from the photo than asked."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from retrieval.encoders.preprocessing import Preprocessing
from retrieval.training.augmenting import Augmentation, view

HALF = (0.5, 0.5, 0.5)
SEEN = Preprocessing(48, 48, "center", "bicubic", HALF, HALF)
STILL = Augmentation(area=1, aspect=1, turn=0, light=0, mirror=False)


def place_image(width: int = 120, height: int = 120) -> Image.Image:
    """Each pixel's red says how far right it is, its green how far down; blue is 128."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack(
        [255 * x / (width - 1), 255 * y / (height - 1), np.full((height, width), 128)], axis=2
    )
    return Image.fromarray(pixels.round().astype(np.uint8))


def test_a_seed_makes_one_view_and_another_seed_another() -> None:
    image = place_image()
    made = [view(image, SEEN, Augmentation(), seed=[1, number]) for number in range(6)]
    again = [view(image, SEEN, Augmentation(), seed=[1, number]) for number in range(6)]
    assert all(np.array_equal(one, other) for one, other in zip(made, again, strict=True))
    assert len({one.tobytes() for one in made}) == 6
    assert {one.shape for one in made} == {(48, 48, 3)}
    assert {one.dtype for one in made} == {np.dtype(np.uint8)}


def test_a_view_that_may_not_differ_is_the_photo() -> None:
    image = place_image()
    made = view(image, SEEN, STILL, seed=[0])
    straight = np.asarray(image.resize((48, 48), Image.Resampling.BICUBIC))
    assert np.array_equal(made, straight)


@pytest.mark.parametrize(("width", "height"), [(120, 120), (150, 110), (110, 150)])
def test_a_view_shows_as_much_of_the_photo_as_asked(width: int, height: int) -> None:
    image = place_image(width, height)
    shares, ratios = [], []
    for number in range(200):
        augmentation = Augmentation(area=0.35, aspect=4 / 3, turn=0, light=0, mirror=False)
        made = view(image, SEEN, augmentation, seed=[number]).astype(float)
        # Between the middles of the first and the last pixel lie 47 of 48 parts.
        wide = (made[:, -1, 0] - made[:, 0, 0]).mean() / 255 * 48 / 47
        high = (made[-1, :, 1] - made[0, :, 1]).mean() / 255 * 48 / 47
        shares.append(wide * high)
        ratios.append(wide * width / (high * height))
    assert min(shares) > 0.3  # a crop that is cut off at the photo's edge is smaller
    assert max(shares) < 1.03
    assert max(shares) - min(shares) > 0.35
    if width == height:
        assert 0.7 < min(ratios) < 0.85
        assert 1.18 < max(ratios) < 1.4


def test_every_other_view_is_mirrored_unless_that_is_forbidden() -> None:
    def mirrored(*, mirror: bool) -> float:
        augmentation = Augmentation(area=0.5, turn=0, light=0, mirror=mirror)
        made = [view(place_image(), SEEN, augmentation, seed=[number]) for number in range(100)]
        return float(np.mean([int(one[24, -1, 0]) < int(one[24, 0, 0]) for one in made]))

    assert mirrored(mirror=False) == 0
    assert 0.35 < mirrored(mirror=True) < 0.65


def test_every_other_view_is_turned() -> None:
    augmentation = Augmentation(area=0.4, aspect=1, turn=15, light=0, mirror=False)
    slants = []
    for number in range(100):
        made = view(place_image(), SEEN, augmentation, seed=[number]).astype(float)
        inner = made[12:36, 12:36]
        down = (inner[-1, :, 0] - inner[0, :, 0]).mean()  # red changes downwards where it is turned
        right = (inner[:, -1, 0] - inner[:, 0, 0]).mean()
        slants.append(np.degrees(np.arctan2(down, right)))
    turned = np.abs(slants) > 0.5
    assert 0.3 < turned.mean() < 0.7
    assert 8 < np.abs(slants).max() < 16


def test_light_changes_by_no_more_than_asked() -> None:
    grey = Image.new("RGB", (60, 60), (100, 100, 100))
    augmentation = Augmentation(turn=0, light=0.3, mirror=False)
    levels = [float(view(grey, SEEN, augmentation, seed=[n]).mean()) for n in range(200)]
    assert 68 < min(levels) < 78
    assert 122 < max(levels) < 132
