"""Packagings as they look from a given side: a form with the print around it, shaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageOps

from retrieval.sample.designs import Packaging
from retrieval.sample.printing import print_around

Point = tuple[float, float]

# The sine of the angle by which the camera looks down on a packaging.
_DOWN = 0.16
# Transparent pixels around a drawn packaging: its edges stay smooth when it's warped.
_MARGIN = 6


@dataclass(frozen=True)
class _Form:
    """A packaging whose half width follows its height: round like a bottle or flat like a pouch.

    Attributes:
        size: width and height in pixels.
        outline: (height, half width) from the top, 0, to the bottom, 1; the widest half width is 1.
        label: the heights between which the artwork is printed.
        cap: the height above which it has the accent colour.
        body: the colour elsewhere; None is the second colour.
        round: whether it's a solid of revolution.
    """

    size: tuple[int, int]
    outline: tuple[tuple[float, float], ...]
    label: tuple[float, float] = (0, 1)
    cap: float = 0
    body: str | None = None
    round: bool = True


_METAL = "#c3c8ce"
_FORMS = {
    "bottle": _Form(
        (132, 352),
        ((0, 0.3), (0.09, 0.3), (0.1, 0.24), (0.24, 0.32), (0.4, 1), (0.97, 1), (1, 0.93)),
        label=(0.46, 0.92),
        cap=0.09,
    ),
    "can": _Form((160, 288), ((0, 0.84), (0.07, 1), (0.93, 1), (1, 0.86)), (0.05, 0.95), 0, _METAL),
    "tin": _Form((232, 192), ((0, 0.98), (0.04, 1), (0.96, 1), (1, 0.98)), (0.08, 0.93), 0, _METAL),
    "jar": _Form(
        (192, 232),
        ((0, 0.84), (0.18, 0.84), (0.19, 0.78), (0.28, 1), (0.93, 1), (1, 0.9)),
        label=(0.34, 0.88),
        cap=0.18,
    ),
    "tub": _Form((216, 192), ((0, 1), (0.1, 1), (0.11, 0.95), (1, 0.74)), (0.11, 1), 0.1),
    "flask": _Form(
        (160, 312),
        ((0, 0.34), (0.15, 0.38), (0.16, 0.24), (0.2, 0.4), (0.3, 0.92), (0.5, 1), (1, 0.9)),
        label=(0.34, 0.93),
        cap=0.15,
    ),
    "spray": _Form(
        (120, 344),
        ((0, 0.62), (0.17, 0.8), (0.18, 0.72), (0.24, 1), (0.98, 1), (1, 0.96)),
        label=(0.23, 0.96),
        cap=0.17,
        body=_METAL,
    ),
    "canister": _Form((152, 336), ((0, 1), (0.08, 1), (0.09, 0.95), (1, 0.95)), (0.09, 0.98), 0.08),
    "pouch": _Form((232, 312), ((0, 0.93), (0.1, 0.93), (0.5, 1), (0.9, 1), (1, 0.9)), round=False),
    "bag": _Form((200, 304), ((0, 0.8), (0.08, 0.8), (0.2, 1), (1, 1)), round=False),
    "bar": _Form((320, 160), ((0, 1), (1, 1)), round=False),
    "sachet": _Form((232, 256), ((0, 1), (0.5, 0.96), (1, 1)), round=False),
    "tube": _Form(
        (144, 344),
        ((0, 1), (0.06, 1), (0.84, 0.72), (0.85, 0.5), (1, 0.5)),
        label=(0, 0.85),
        body="#f2f2f0",
        round=False,
    ),
}
# Width, height and depth in pixels of what has corners; the narrowest is as wide as deep.
_BOXES = {"box": (216, 312, 72), "teabox": (296, 192, 88), "carton": (160, 256, 120)}


def lay(canvas: Image.Image, image: Image.Image, corners: Sequence[Point]) -> None:
    """Warp an image so that its corners fall on four points of a canvas, and draw it there.

    Args:
        canvas: RGBA; changed in place.
        image: RGBA.
        corners: x and y of where top left, top right, bottom right and bottom left go, in pixels;
            they may lie outside the canvas.
    """
    points = np.array(corners, np.float64)
    left, top = np.maximum(np.floor(points.min(axis=0)), 0).astype(int).tolist()
    right, bottom = np.minimum(np.ceil(points.max(axis=0)), canvas.size).astype(int).tolist()
    if left >= right or top >= bottom:
        return
    width, height = image.size
    source = np.array(((0, 0), (width, 0), (width, height), (0, height)))
    # Eight equations for the eight coefficients of the map from the canvas back to the image.
    rows = np.zeros((4, 2, 8))
    rows[:, 0, :2] = rows[:, 1, 3:5] = points - (left, top)
    rows[:, 0, 2] = rows[:, 1, 5] = 1
    rows[:, :, 6:] = -source[:, :, None] * rows[:, 0, None, :2]
    coefficients = np.linalg.solve(rows.reshape(8, 8), source.reshape(8)).tolist()
    warped = image.transform(
        (right - left, bottom - top),
        Image.Transform.PERSPECTIVE,
        coefficients,
        Image.Resampling.BICUBIC,
    )
    canvas.alpha_composite(warped, (left, top))


def _formed(packaging: Packaging, yaw: float) -> Image.Image:
    """A round form or a flat pack, shaded: RGBA."""
    form = _FORMS[packaging.form]
    width, height = round(form.size[0] * packaging.stretch), form.size[1]
    top, bottom = (int(share * height) for share in form.label)
    skin = np.empty((height, 2 * width, 3), np.float32)
    skin[:] = ImageColor.getrgb(form.body or packaging.palette[1])
    skin[: int(form.cap * height)] = ImageColor.getrgb(packaging.palette[2])
    skin[top:bottom] = np.asarray(print_around(packaging, (width, bottom - top)))

    bulge = _DOWN * width / 2 if form.round else 0.0
    y = np.arange(-bulge, height + bulge, dtype=np.float32)[:, None]
    x = (np.arange(width, dtype=np.float32) + 0.5) / width * 2 - 1
    outline = np.interp(np.linspace(0, 1, height), *np.transpose(form.outline)).astype(np.float32)
    # The nearer a point of the skin, the lower it's seen: find the height that ends up in each row.
    row = np.broadcast_to(y, (len(y), width))
    for _ in range(3):
        half = outline[np.clip(row, 0, height - 1).astype(int)]
        near = np.sqrt(np.clip(1 - (x / half) ** 2, 0, 1))
        row = y - bulge * half * near
    inside = (np.abs(x) <= half) & (row >= 0) & (row < height)
    across, row = np.clip(x / half, -1, 1), np.clip(row, 0, height - 1)
    if form.round:
        # The front takes up four fifths of what is seen; labels are turned half as far as boxes.
        column = (np.arcsin(across) / np.pi / 0.8 + yaw / np.pi / 2 + 0.5) * width
        light = 0.42 + 0.66 * np.clip(0.85 * near - 0.5 * across, 0, 1)
        gloss = 90 * np.exp(-(((across + 0.5) / 0.09) ** 2))
    else:
        column = (across + 1) / 2 * width
        crease = np.sin(across * 2.2 + row / height * 9) * np.sin(row / height * 5 - across * 3)
        seam = (np.minimum(row, height - row) < 0.05 * height) & (row // 3 % 2 == 0)
        light = 0.72 + 0.3 * near**0.6 - 0.07 * across + 0.06 * crease - 0.1 * seam
        gloss = 45 * np.clip(crease - 0.35, 0, 1)
    pixels = skin[row.astype(int), column.astype(int) % (2 * width)]
    pixels = pixels * light[..., None] + gloss[..., None]
    # A round form shows its lid as an ellipse behind the skin.
    lid = np.abs(y) < bulge * np.sqrt(np.clip(outline[0] ** 2 - x**2, 0, 1))
    pixels[lid & ~inside] = skin[0, 0] * 0.95 + 14
    rgba = np.dstack([pixels.clip(0, 255), (inside | lid) * 255]).astype(np.uint8)
    return Image.fromarray(rgba)


def _cornered(packaging: Packaging, yaw: float) -> Image.Image:
    """A box, or a carton with a gable, seen through a pinhole: RGBA."""
    width, height, depth = _BOXES[packaging.form]
    width = round(width * packaging.stretch)
    around = print_around(packaging, (width, height))
    canvas = Image.new("RGBA", (width + depth + 80, height + depth + 40))
    right, back = width / 2, depth / 2

    def seen(x: float, y: float, z: float) -> Point:
        """Where a point shows: x to the right, y up from the floor, z away from the middle."""
        away = x * np.sin(yaw) + z * np.cos(yaw) + back
        scale = 1 / (1 + away / 4000)
        across, up = x * np.cos(yaw) - z * np.sin(yaw), y + _DOWN * away
        return canvas.width / 2 + across * scale, canvas.height - 20 - up * scale

    def put(
        cut: tuple[int, int, int, int], light: float, *corners: tuple[float, float, float]
    ) -> None:
        face = around.crop(cut).point(lambda value: int(value * light))
        points = [seen(*corner) for corner in corners]
        lay(canvas, face.convert("RGBA"), points)

    gable = packaging.form == "carton"
    wall, ridge = (int(0.76 * height), int(0.92 * height)) if gable else (height, height)
    side, light = (-right, 0.82) if yaw > 0 else (right, 0.62)
    walls = ((wall, -back), (wall, back), (0, back), (0, -back))
    put((width, height - wall, width + depth, height), light, *((side, y, z) for y, z in walls))

    def put_across(top: int, bottom: int, light: float, high: Point, low: Point) -> None:
        """Show these rows of the front between two edges at y, z that go from left to right."""
        corners = (-right, *high), (right, *high), (right, *low), (-right, *low)
        put((0, top, width, bottom), light, *corners)

    if gable:
        end = [seen(side, y, z) for y, z in ((ridge, 0), (wall, back), (wall, -back))]
        ImageDraw.Draw(canvas).polygon(end, packaging.palette[1])
        put_across(0, height - ridge, 0.9, (height, 0), (ridge, 0))
        put_across(height - ridge, height - wall, 1.15, (ridge, 0), (wall, -back))
    else:
        put_across(0, 8, 1.1, (wall, back), (wall, -back))
    put_across(height - wall, height, 1.0, (wall, -back), (0, -back))
    return canvas


def draw(packaging: Packaging, yaw: float) -> Image.Image:
    """Draw a packaging turned about its upright axis, lit from the left, without surroundings.

    Args:
        packaging: the design.
        yaw: how far it's turned, in radians; 0 shows the front.

    Returns:
        RGBA, cropped to the packaging but for a narrow transparent margin.
    """
    image = (_cornered if packaging.form in _BOXES else _formed)(packaging, yaw)
    return ImageOps.expand(image.crop(image.getbbox()), _MARGIN, (0, 0, 0, 0))
