"""What is printed on a packaging: pattern, picture and lettering, laid out flat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont, ImageStat

from retrieval.sample.designs import LAYOUTS, MOTIFS, Box, Packaging

Floats = NDArray[np.float64]
Size = tuple[int, int]


def _half(x: Floats, share: float = 0.5) -> NDArray[np.bool_]:
    return np.mod(x, 1) < share


# From x, y (short side = 1) and a number of repeats to indices into the palette.
_PATTERNS: dict[str, Callable[[Floats, Floats, int], NDArray[np.bool_] | NDArray[np.int_]]] = {
    "plain": lambda _x, y, _n: y > 0.8,
    "stripes": lambda x, _y, n: _half(x * n),
    "pinstripes": lambda x, _y, n: _half(x * n * 2, 0.2) * 2,
    "checks": lambda x, y, n: _half(x * n) * 1 + _half(y * n),
    "dots": lambda x, y, n: (
        (np.hypot(x * n % 1 - 0.5, (y * n + x * n // 1 / 2) % 1 - 0.5) < 0.27) * 2
    ),
    "waves": lambda x, y, n: _half(y * n + 0.25 * np.sin(x * 12)),
    "chevrons": lambda x, y, n: _half(y * n + np.abs(x * 3 % 1 - 0.5)),
    "rays": lambda x, y, n: _half(np.arctan2(y - 0.9, x - 0.5) * n / np.pi),
    "rings": lambda x, y, n: _half(np.hypot(x - 0.5, y - 0.7) * n),
    "diamonds": lambda x, y, n: _half((x + y) * n) ^ _half((x - y) * n),
    "hills": lambda x, y, n: (
        (y > 0.75 + 0.09 * np.sin(x * 5 + n)) * 1 + (y > 1 + 0.12 * np.sin(x * 4 - n))
    ),
    "blocks": lambda x, y, n: np.where(y > 0.7, 1 + (x > n / 9), 2 * (x > 1 - n / 14)),
    "tiles": lambda x, y, n: ((x * n // 1 * 7 % 5 + y * n // 1 * 3) % 4).astype(int),
}


@cache
def font() -> ImageFont.FreeTypeFont:
    """Load the font of all lettering, 64 pixels high."""
    default = cast(ImageFont.FreeTypeFont, ImageFont.load_default(size=64))
    # The basic layout engine is there on every machine, so letters fall the same everywhere.
    return default.font_variant(layout_engine=ImageFont.Layout.BASIC)


@cache
def _motif(name: str, outline: str) -> Image.Image:
    """A motif as a sticker with an outline: RGBA, 300 x 300."""
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    blobs = []
    for blob in MOTIFS[name].split(";"):
        colour, *numbers = blob.split()
        x, y, rx, ry, lobes, depth, turn = (*map(float, numbers), 0.0, 0.0, 0.0)[:7]
        radius = 1 + depth * np.cos(lobes * angles)
        across, down = rx * radius * np.cos(angles), ry * radius * np.sin(angles)
        cos, sin = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
        blob_x, blob_y = x + across * cos - down * sin, y + across * sin + down * cos
        points = (15 + 2.7 * np.stack((blob_x, blob_y), axis=1)).tolist()
        blobs.append((f"#{colour}", [(x, y) for x, y in points]))
    sticker = Image.new("RGBA", (300, 300))
    pen = ImageDraw.Draw(sticker)
    for _, points in blobs:
        pen.line([*points, *points[:2]], outline, 14)
    for colour, points in blobs:
        pen.polygon(points, colour)
    return sticker


def _pattern(packaging: Packaging, size: Size) -> Image.Image:
    """The ground: RGB of that width and height."""
    y, x = np.mgrid[: size[1], : size[0]] / min(size)
    turn = np.deg2rad(packaging.angle)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    index = _PATTERNS[packaging.pattern](along, across, packaging.repeats).astype(int)
    colours = np.array([ImageColor.getrgb(colour) for colour in packaging.palette], np.uint8)
    return Image.fromarray(colours[index])


def _pixels(box: Box, size: Size) -> tuple[int, int, int, int]:
    left, top, right, bottom = box
    width, height = size
    return int(left * width), int(top * height), int(right * width), int(bottom * height)


def _luminance(colour: Sequence[float]) -> float:
    return float(np.dot(colour, (0.299, 0.587, 0.114)))


def _letter(page: Image.Image, packaging: Packaging, text: str, box: Box, weight: int) -> None:
    """Set a text as large as it fits into a box, upwards if that is a narrow column."""
    left, top, right, bottom = _pixels(box, page.size)
    width, height = right - left, bottom - top
    upwards = height > 2 * width
    if upwards:
        width, height = height, width
    if width < 3.5 * height:
        text = text.replace(" ", "\n")
    pen = ImageDraw.Draw(Image.new("L", (1, 1)))
    x0, y0, x1, y1 = pen.multiline_textbbox((0, 0), text, font(), stroke_width=weight)
    slant = packaging.slant
    mask = Image.new("L", (int(x1 - x0 + slant * (y1 - y0)) + 1, int(y1 - y0) + 1))
    ImageDraw.Draw(mask).multiline_text(
        (-x0, -y0), text, 255, font(), align="center", stroke_width=weight
    )
    shear = (1, slant, -slant * mask.height, 0, 1, 0)
    mask = mask.transform(mask.size, Image.Transform.AFFINE, shear, Image.Resampling.BICUBIC)
    # Letters may be drawn out by half to fill their box: one font then serves as several.
    scale = 1.5 * min(width / mask.width, height / mask.height)
    fitted = int(min(width, mask.width * scale)), int(min(height, mask.height * scale))
    mask = mask.resize(fitted, Image.Resampling.LANCZOS)
    if upwards:
        mask = mask.transpose(Image.Transpose.ROTATE_90)
    # The ink that stands out most from the mean colour of what is under the text.
    under = _luminance(ImageStat.Stat(page.crop((left, top, right, bottom))).mean)
    inks = [ImageColor.getrgb(ink) for ink in (*packaging.palette, "#1c1c1c")]
    ink = max(inks, key=lambda ink: abs(_luminance(ink) - under))
    place = (left + right - mask.width) // 2, (top + bottom - mask.height) // 2
    page.paste(Image.new("RGB", mask.size, ink), place, mask)


@lru_cache(maxsize=16)
def print_around(packaging: Packaging, size: Size) -> Image.Image:
    """Print what goes around a packaging.

    Args:
        packaging: the design.
        size: width and height of its front in pixels.

    Returns:
        RGB, the front and to its right the back, each of that size; shared, so not to be changed.
    """
    width, height = size
    layout, paper = LAYOUTS[packaging.layout], packaging.palette[3]
    around = Image.new("RGB", (2 * width, height))
    ground = _pattern(packaging, size)
    around.paste(_back(ground, paper), (width, 0))
    pen = ImageDraw.Draw(ground)
    for shape, box, colour in layout.panels:
        draw = pen.ellipse if shape == "ellipse" else pen.rectangle
        draw(_pixels(box, size), packaging.palette[colour])
    left, top, right, bottom = _pixels(layout.motif, size)
    side = min(right - left, bottom - top)
    motif = _motif(packaging.motif, paper).resize((side, side), Image.Resampling.LANCZOS)
    ground.paste(motif, ((left + right - side) // 2, (top + bottom - side) // 2), motif)
    brand, _, product = packaging.name.partition("-")
    _letter(ground, packaging, brand.upper(), layout.brand, 1)
    product = product.upper() if packaging.capitals else product
    _letter(ground, packaging, product.replace("-", " "), layout.product, packaging.weight)
    around.paste(ground, (0, 0))
    return around


def _back(ground: Image.Image, paper: str) -> Image.Image:
    """Small print and a bar code on the ground."""
    back = ground.copy()
    pen = ImageDraw.Draw(back)
    pen.rectangle(_pixels((0.15, 0.12, 0.85, 0.9), back.size), paper)
    for line in range(9):
        y = 0.2 + 0.045 * line
        pen.rectangle(_pixels((0.22, y, 0.78 - 0.07 * (line % 3), y + 0.018), back.size), "#666666")
    for bar in range(16):
        x = 0.25 + 0.03 * bar
        pen.rectangle(
            _pixels((x, 0.68, x + 0.01 + 0.01 * (bar % 3 % 2), 0.84), back.size), "#1c1c1c"
        )
    return back
