"""Where the packagings of the sample are photographed: surfaces, shelves and what is in the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFilter

from retrieval.sample.drawing import lay
from retrieval.sample.printing import font

Scene = Literal["studio", "table", "shelf", "floor"]

# The side in pixels of the square in which a scene is composed.
FRAME = 320

_COLOURS = {
    "paint": ("#d9d2c5", "#c7d3d4", "#e6d5c3", "#b9c4b1", "#d3c6d6", "#8f9aa3"),
    "wood": ("#b98b5a", "#8a5f3c", "#d8b98c", "#5d4433", "#a89682"),
    "stone": ("#d5d3cf", "#9b9a98", "#5a5b60", "#c9b8a4"),
    "tiles": ("#eef1f0", "#a9c5c9", "#e8dcc4", "#6f8f88"),
    "cloth": ("#a23a48", "#3d5a80", "#6a994e", "#8d7b68", "#c9a051"),
}


def _noise(rng: np.random.Generator, rows: int, columns: int) -> NDArray[np.float32]:
    """Smooth noise within about ±0.5 with so many bumps: shape (FRAME, FRAME)."""
    bumps = Image.fromarray(rng.random((rows, columns), np.float32) - 0.5)
    return np.asarray(bumps.resize((FRAME, FRAME), Image.Resampling.BICUBIC))


def _surface(rng: np.random.Generator, *materials: str) -> Image.Image:
    """A surface of one of the materials, seen head-on: RGBA, FRAME square."""
    material = _pick(rng, materials)
    colour = ImageColor.getrgb(_pick(rng, _COLOURS[material]))
    y, x = np.ogrid[:FRAME, :FRAME]
    size = int(rng.integers(36, 80))
    light = 1 + 0.15 * _noise(rng, 3, 3)
    if material == "wood":
        light += rng.uniform(-0.12, 0.1, FRAME)[y // size] - 0.35 * (y % size < 2)
        light += 0.3 * _noise(rng, 160, 5) + 0.15 * _noise(rng, 240, 20)
    elif material == "stone":
        veins = np.abs(_noise(rng, 5, 7) + 0.5 * _noise(rng, 16, 16)) < 0.015
        light += 0.2 * _noise(rng, 120, 120) - 0.12 * veins
    elif material == "tiles":
        light -= 0.2 * ((y % size < 2) | ((x + y // size % 2 * (size // 2)) % size < 2))
    elif material == "cloth":
        light += 0.15 * (x % size < size // 2) + 0.15 * (y % size < size // 2)
        light += 0.2 * _noise(rng, 240, 240)
    pixels = (light[..., None] * colour).clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels).convert("RGBA")


def scene(kind: Scene, rng: np.random.Generator) -> Image.Image:
    """Set an empty scene.

    Args:
        kind: a paper backdrop, a table before a wall, a shelf, or a floor seen from above.
        rng: decides on materials and colours.

    Returns:
        RGBA, `FRAME` square, opaque.
    """
    if kind == "floor":
        return _surface(rng, "wood", "stone", "cloth", "tiles")
    if kind == "shelf":
        return _shelf(rng)
    if kind == "studio":
        wall = floor = _surface(rng, "paint")
    else:
        wall = _surface(rng, "paint", "tiles", "wood").filter(ImageFilter.GaussianBlur(3))
        floor = _surface(rng, "wood", "stone", "cloth")
    horizon = rng.uniform(0.55, 0.7) * FRAME
    # The floor comes towards the camera, so it widens.
    edges = ((-0.1, horizon), (1.1, horizon), (1.9, FRAME * 1.15), (-0.9, FRAME * 1.15))
    lay(wall, floor, [(x * FRAME, y) for x, y in edges])
    # The wall lies in the shade; a backdrop bends smoothly into the floor.
    shade = Image.new("L", wall.size)
    ImageDraw.Draw(shade).rectangle((0, 0, FRAME, horizon), 40)
    shade = shade.filter(ImageFilter.GaussianBlur(25 if kind == "studio" else 2))
    wall.paste("#202020", mask=shade)
    return wall


def _shelf(rng: np.random.Generator) -> Image.Image:
    """A shelf under another one, with price tags on its edge."""
    wall = _surface(rng, "paint", "wood").filter(ImageFilter.GaussianBlur(2))
    dark = Image.linear_gradient("L").rotate(180).point(lambda value: 60 + value // 2)
    wall.paste("#181818", mask=dark.resize(wall.size))
    board = _surface(rng, "paint", "wood")
    top, edge, bottom = (int(share * FRAME) for share in (0.77, 0.87, 0.95))
    wall.paste(board.crop((0, 0, FRAME, edge - top)), (0, top))
    pen = ImageDraw.Draw(wall)
    rail = _pick(rng, ("#e9e9e6", "#3c4043", "#b71c1c", "#cfd8dc"))
    pen.rectangle((0, edge, FRAME, bottom), rail)
    pen.rectangle((0, bottom, FRAME, FRAME), "#26241f")
    for x in range(int(rng.integers(6, 70)), FRAME, int(rng.integers(80, 120))):
        pen.rectangle((x, edge + 3, x + 46, bottom - 3), _pick(rng, ("#fffde7", "#ffeb3b")))
        pen.rectangle((x + 24, edge + 7, x + 42, bottom - 8), "#37322b")
        for y in (edge + 7, edge + 12, edge + 17):
            pen.line((x + 4, y, x + 18, y), "#7d776b", 2)
    return wall


def sticker(rng: np.random.Generator) -> Image.Image:
    """Draw a jagged paper sticker that cries out a discount.

    Args:
        rng: decides on colours and discount.

    Returns:
        RGBA, 200 x 200, transparent around the sticker.
    """
    paper, ink = _pick(rng, ("#ffd60a #d00000", "#d00000 #ffffff", "#ff7b00 #1c1c1c")).split()
    image = Image.new("RGBA", (200, 200))
    pen = ImageDraw.Draw(image)
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    radii = np.where(np.arange(40) % 2, 84, 96)
    points = np.stack((100 + radii * np.cos(angles), 100 + radii * np.sin(angles)), axis=1)
    pen.polygon([(x, y) for x, y in points.tolist()], paper)
    pen.text((100, 100), f"-{rng.integers(1, 6)}0%", ink, font(), anchor="mm", stroke_width=2)
    return image


def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]
