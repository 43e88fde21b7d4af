"""Whatever an image's pixels are made of becomes RGB on white."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from image_files import BLUE, GREEN, RED, WHITE, encode, pixels
from PIL import Image

from retrieval.images import decode


def grey(values: list[float], dtype: str) -> Image.Image:
    return Image.fromarray(np.array([values], dtype=dtype))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(kind: str) -> None:
    data = encode(grey([0, 257, 128 * 257 + 100, 40_000, 65_535], "uint16"), kind)
    assert [r for r, _, _ in pixels(decode(data))] == [0, 1, 128, 156, 255]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (grey([0, 32_768, 65_535], ">u2"), [0, 128, 255]),
        (grey([0, 100, 1_000], "uint16"), [0, 0, 4]),
        (grey([-5, 0, 32_768, 65_535], "int32"), [0, 0, 128, 255]),
        (grey([0, 50_000, 100_000], "int32"), [0, 128, 255]),
        (grey([-1, 0, 0.5, 1], "float32"), [0, 0, 128, 255]),
        (grey([0, 100, 254.6], "float32"), [0, 100, 255]),
        (grey([0, 6_553.5, 65_535], "float32"), [0, 26, 255]),
        (grey([0, 2.5e5, 1e6], "float32"), [0, 64, 255]),
        (grey([np.nan, -np.inf, 0.25, np.inf], "float32"), [0, 0, 64, 255]),
        (grey([0, 0], "float32"), [0, 0]),
        (grey([-3, np.nan], "float32"), [0, 0]),
    ],
)
def test_deep_grey_tiff(image: Image.Image, expected: list[int]) -> None:
    assert pixels(decode(encode(image, "TIFF"))) == [[v, v, v] for v in expected]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_grey_and_one_bit(kind: str) -> None:
    assert pixels(decode(encode(grey([0, 77, 255], "uint8"), kind)))[1] == [77, 77, 77]
    bits = grey([0, 255, 255], "uint8").convert("1")
    assert pixels(decode(encode(bits, kind))) == [[0] * 3, [255] * 3, [255] * 3]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "AVIF"])
def test_alpha_is_composited_on_white(kind: str) -> None:
    image = Image.new("RGBA", (64, 64), (255, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 32, 32))
    image.paste((0, 0, 0, 51), (32, 0, 64, 32))
    photo = decode(encode(image, kind, quality=100))
    got = np.asarray(photo.image)[[16, 16, 48], [16, 48, 16]]
    assert np.allclose(got, [WHITE, (204, 204, 204), RED], atol=3)


def test_associated_alpha_is_composited_on_white() -> None:
    # ExtraSamples 1: colours are stored already multiplied by alpha.
    data = encode(Image.new("RGBA", (1, 1), (100, 0, 0, 100)), "TIFF")
    unassociated, associated = (struct.pack("<HHII", 338, 3, 1, kind) for kind in (2, 1))
    assert data.count(unassociated) == 1
    assert pixels(decode(data.replace(unassociated, associated))) == [[255, 155, 155]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_with_alpha_is_composited_on_white(kind: str) -> None:
    image = Image.new("LA", (3, 1))
    image.putdata([(10, 255), (0, 51), (0, 0)])
    assert pixels(decode(encode(image, kind))) == [[10] * 3, [204] * 3, [255] * 3]


@pytest.mark.parametrize(
    ("image", "key", "expected"),
    [
        (Image.fromarray(np.array([[RED, GREEN]], np.uint8)), RED, [WHITE, GREEN]),
        (grey([0, 77], "uint8"), 0, [WHITE, (77, 77, 77)]),
        (grey([0, 255], "uint8").convert("1"), 0, [WHITE, WHITE]),
        (grey([5, 6, 65_535], "uint16"), 5, [WHITE, (0, 0, 0), WHITE]),
    ],
    ids=lambda value: getattr(value, "mode", None),
)
def test_a_transparent_colour_turns_white(
    image: Image.Image, key: object, expected: list[tuple[int, ...]]
) -> None:
    data = encode(image, "PNG", transparency=key)
    assert pixels(decode(data)) == [list(pixel) for pixel in expected]


@pytest.mark.parametrize(
    ("kind", "transparency", "expected"),
    [
        ("GIF", 1, [RED, WHITE, BLUE]),
        ("PNG", 1, [RED, WHITE, BLUE]),
        ("PNG", b"\xff\x00\x33", [RED, WHITE, (204, 204, 255)]),
    ],
)
def test_transparent_palette_entries_turn_white(
    kind: str, transparency: object, expected: list[tuple[int, ...]]
) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([*RED, *GREEN, *BLUE])
    image.putdata([0, 1, 2])
    data = encode(image, kind, transparency=transparency)
    assert pixels(decode(data)) == [list(pixel) for pixel in expected]


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
@pytest.mark.parametrize(
    ("ink", "colour"), [((255, 0, 0, 0), (0, 255, 255)), ((0, 0, 0, 255), (0, 0, 0))]
)
def test_cmyk(kind: str, ink: tuple[int, ...], colour: tuple[int, ...]) -> None:
    photo = decode(encode(Image.new("CMYK", (16, 16), ink), kind))
    assert np.allclose(pixels(photo), colour, atol=4)


def test_lab_tiff() -> None:
    photo = decode(encode(Image.new("LAB", (2, 2), (255, 128, 128)), "TIFF"))
    assert np.allclose(pixels(photo), 255, atol=3)
