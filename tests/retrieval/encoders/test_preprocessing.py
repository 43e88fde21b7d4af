"""`Preprocessing.apply` gives the pixels the published weights were trained and judged with."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from retrieval.encoders import Preprocessing

Size = tuple[int, int]

# Side of the crop and of the shorter side before: lite0, lite1, lite2, and nothing cut off.
CROPS = [(224, 256), (240, 274), (260, 297), (96, 96)]

PHOTO_SIZES = [
    *((348, 348), (348, 464), (464, 348), (198, 198), (500, 375), (375, 500), (640, 480)),
    *((751, 1003), (1003, 751), (720, 1280), (1280, 720), (297, 400), (257, 256), (2000, 1500)),
]
EXTREME_SIZES = [
    *((1, 1), (2, 2), (5, 3), (3, 5), (33, 47), (47, 33), (224, 224), (256, 256), (260, 300)),
    *((3000, 300), (300, 3000), (333, 1001), (1001, 333), (1000, 11), (11, 1000), (40, 2), (2, 40)),
]

SQUASHED_SIZES = [(400, 300), (400, 500), (37, 53), (224, 224), (3000, 20)]


def named(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def preprocessing(
    size: int,
    resize: int,
    crop: Literal["center", "squash"] = "center",
    interpolation: str = "bicubic",
) -> Preprocessing:
    return Preprocessing(size, resize, crop, interpolation, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def noise(size: Size) -> Image.Image:
    """Draw the hardest picture: no two neighbours alike, and many pixels near black or white."""
    width, height = size
    rng = np.random.default_rng([width, height])
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def agree(ours: NDArray[np.uint8], theirs: Image.Image) -> bool:
    """Whether two pictures differ by at most one grey level, on 99.99 % of the values."""
    assert ours.shape == np.shape(theirs)
    difference = np.abs(ours.astype(int) - np.asarray(theirs).astype(int))
    return bool(np.mean(difference > 1) <= 1e-4)


@pytest.mark.parametrize(("size", "resize"), CROPS)
@pytest.mark.parametrize("image_size", PHOTO_SIZES, ids=named)
def test_photos_become_what_torchvision_makes_of_them(
    image_size: Size, size: int, resize: int
) -> None:
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    image = noise(image_size)
    transform = Compose([Resize(resize, InterpolationMode.BICUBIC), CenterCrop(size)])
    assert agree(preprocessing(size, resize).apply(image), transform(image))


@pytest.mark.parametrize(("size", "resize"), CROPS)
@pytest.mark.parametrize("image_size", EXTREME_SIZES, ids=named)
def test_tiny_and_extreme_images_become_what_torchvision_makes_of_them(
    image_size: Size, size: int, resize: int
) -> None:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.functional import center_crop
    from torchvision.transforms.functional import resize as scale

    image = noise(image_size)
    width, height = image_size
    # The width first, then the height. In one step Pillow 13 begins with the height where more of
    # it goes, and rounds differently between the two.
    wider = int(resize * width / min(image_size)), int(resize * height / min(image_size))
    step = scale(image, [height, wider[0]], InterpolationMode.BICUBIC)
    scaled = scale(step, [wider[1], wider[0]], InterpolationMode.BICUBIC)
    assert agree(preprocessing(size, resize).apply(image), center_crop(scaled, [size, size]))


@pytest.mark.parametrize("interpolation", ["bilinear", "lanczos"])
def test_other_interpolations_are_torchvisions(interpolation: str) -> None:
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    image = noise((464, 348))
    transform = Compose([Resize(256, InterpolationMode(interpolation)), CenterCrop(224)])
    assert agree(
        preprocessing(224, 256, interpolation=interpolation).apply(image), transform(image)
    )


@pytest.mark.parametrize("resize", [224, 235])
@pytest.mark.parametrize("image_size", SQUASHED_SIZES, ids=named)
def test_squashing_scales_both_sides_to_the_same_length(image_size: Size, resize: int) -> None:
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    image = noise(image_size)
    transform = Compose([Resize((resize, resize), InterpolationMode.BICUBIC), CenterCrop(224)])
    assert agree(preprocessing(224, resize, "squash").apply(image), transform(image))


def test_squashing_keeps_what_cropping_cuts_off() -> None:
    image = Image.new("RGB", (400, 100), "black")
    image.paste("white", (0, 0, 50, 100))
    assert preprocessing(50, 50).apply(image).max() == 0
    assert preprocessing(50, 50, "squash").apply(image).max() == 255


def test_far_from_the_centre_nothing_counts() -> None:
    image = noise((4, 4000))
    changed = image.copy()
    changed.paste("white", (0, 0, 4, 1900))
    changed.paste("white", (0, 2100, 4, 4000))
    apply = preprocessing(224, 256).apply
    assert np.array_equal(apply(image), apply(changed))


@pytest.mark.parametrize("image_size", [(1, 400_000), (400_000, 1)], ids=named)
@pytest.mark.parametrize("crop", ["center", "squash"])
def test_an_image_of_extreme_shape_costs_no_extreme_memory(
    crop: Literal["center", "squash"], image_size: Size
) -> None:
    image = Image.new("RGB", image_size)
    Image.core.reset_stats()
    preprocessing(224, 256, crop).apply(image)
    stats = Image.core.get_stats()  # of blocks of 16 MB
    assert stats["allocated_blocks"] + stats["reused_blocks"] < 8


def test_an_image_that_fits_is_left_as_it_is() -> None:
    image = noise((96, 96))
    before = image.tobytes()
    pixels = preprocessing(96, 96).apply(image)
    assert pixels.dtype == np.uint8
    assert pixels.tobytes() == before
    assert image.tobytes() == before


# A crop of the centre, another interpolation, a squash, and a squash with a crop after it.
@pytest.mark.parametrize(
    "model",
    [
        "test_efficientnet.r160_in1k",
        "resnet18.tv_in1k",
        "vit_base_patch16_siglip_224.webli",
        "vit_medium_patch16_gap_384.sw_in12k_ft_in1k",
    ],
)
def test_a_model_of_timm_sees_what_timm_would_show_it(model: str) -> None:
    config = timm_config(model)
    from timm.data import create_transform

    ours = Preprocessing.from_timm(config)
    image = noise((800, 600))
    mean, std = np.array(ours.mean), np.array(ours.std)
    theirs = create_transform(**config)(image).permute(1, 2, 0).numpy() * std + mean
    assert agree(ours.apply(image), (theirs * 255).round().astype(np.uint8))
    assert (ours.mean, ours.std) == (config["mean"], config["std"])


# Of timm's models a few want borders around the image, which the first two ask for.
@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"crop_pct": 1.15}, "crop"),
        ({"crop_mode": "border"}, "crop 'border'"),
        ({"input_size": (3, 256, 192)}, "not square but 192 × 256"),
        ({"interpolation": "nearest"}, "interpolation 'nearest'"),
    ],
)
def test_what_we_do_not_do_is_refused(changes: dict[str, Any], complaint: str) -> None:
    config = timm_config("test_efficientnet.r160_in1k") | changes
    with pytest.raises(ValueError, match=complaint):
        Preprocessing.from_timm(config)


@pytest.mark.parametrize(
    ("crop", "interpolation", "complaint"),
    [("centre", "bicubic", "crop 'centre'"), ("center", "cubic", "interpolation 'cubic'")],
)
def test_a_misspelt_preprocessing_is_refused(crop: Any, interpolation: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        preprocessing(224, 256, crop, interpolation)


def timm_config(model: str) -> dict[str, Any]:
    """Return timm's data configuration of a model, without building it."""
    from timm.data import resolve_data_config
    from timm.models import get_pretrained_cfg

    return resolve_data_config(pretrained_cfg=get_pretrained_cfg(model).to_dict())
