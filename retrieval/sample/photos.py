"""A sample the package draws itself: photos of invented packagings, to try a gallery on."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from retrieval.errors import LookalikeError
from retrieval.sample.designs import Packaging, packagings
from retrieval.sample.drawing import draw, lay
from retrieval.sample.scenes import FRAME, Scene, scene, sticker

_QUALITY = 88  # of the JPEG files


@dataclass(frozen=True)
class _Shot:
    """A kind of photo.

    The packaging is turned by up to `yaw` degrees, tilted by up to `tilt` degrees and as large as
    a square of `size` by `size` frames; `props` others stand around it. The colour channels drift
    apart by up to `cast`, `light` is the exposure, `blur` a radius in pixels and `noise` a standard
    deviation in grey levels. If `covered`, something is in the way.
    """

    scene: Scene
    yaw: float
    tilt: float
    size: float
    props: int = 0
    cast: float = 0.03
    light: float = 1.0
    blur: float = 0.0
    noise: float = 2.0
    covered: bool = False


_SHOTS = (
    _Shot("studio", 4, 1, 0.72),
    _Shot("table", 35, 4, 0.72, cast=0.06),
    _Shot("shelf", 14, 2, 0.72, props=2, noise=4),
    _Shot("table", 20, 5, 0.56, cast=0.12, light=0.65, blur=0.8, noise=8),
    _Shot("floor", 8, 25, 0.8, cast=0.06, light=1.12, blur=1.0, noise=3),
    _Shot("table", 16, 4, 0.75, cast=0.05, light=0.95, blur=0.3, noise=3, covered=True),
)
VIEWS = len(_SHOTS)
_PROPS = 24  # different packagings to stand around


@dataclass(frozen=True)
class Sample:
    """Where the photos of a sample lie and what they show.

    Attributes:
        gallery: folder of the reference photos, in one folder a label.
        queries: folder of a held-back photo of each of the same labels.
        strangers: folder of photos of labels that aren't in the gallery.
        known: the labels in the gallery.
        unknown: the labels of the strangers.
    """

    gallery: Path
    queries: Path
    strangers: Path
    known: tuple[str, ...]
    unknown: tuple[str, ...]


def photograph(packaging: Packaging, view: int, *, seed: int = 0) -> Image.Image:
    """Take a photo of a packaging.

    The views are: 0 the front before a backdrop, 1 turned on a table, 2 among others on a shelf,
    3 farther away in the evening, 4 slanting, close and blurred, 5 partly covered.

    Args:
        packaging: what to photograph.
        view: which of the `VIEWS` kinds of photo.
        seed: not negative; another one takes another photo of the same kind.

    Returns:
        RGB, 320 x 320; the same arguments give the same pixels.

    Raises:
        ValueError: there is no such view.
    """
    if not 0 <= view < VIEWS:
        raise ValueError(f"view must be within 0..{VIEWS - 1}, not {view}")
    shot = _SHOTS[view]
    rng = np.random.default_rng((seed, view, crc32(packaging.name.encode())))
    photo = scene(shot.scene, rng)
    foot = 0.86 if shot.scene == "shelf" else 0.93
    for x in (0.1, 0.9)[: shot.props]:
        prop = _scaled(_prop(int(rng.integers(_PROPS))), rng.uniform(0.35, 0.6))
        _stand(photo, rng, prop, x + rng.uniform(-0.08, 0.08), foot - 0.05)
    drawn = draw(packaging, float(np.deg2rad(rng.uniform(-shot.yaw, shot.yaw))))
    drawn = _scaled(drawn, shot.size)
    if shot.scene == "floor":  # it lies in the middle
        foot = 0.5 + drawn.height / FRAME / 2
    x = rng.uniform(0.44, 0.56)
    _stand(photo, rng, drawn, x, foot, shot.tilt)
    if shot.covered:
        _cover(photo, rng, x)
    return _expose(photo, rng, shot)


@cache
def _prop(number: int) -> Image.Image:
    """Something to stand around, out of focus: a packaging of a seed of its own."""
    drawn = draw(packagings(_PROPS, seed=2**32)[number], 0.0)
    return drawn.convert("RGBa").filter(ImageFilter.GaussianBlur(3)).convert("RGBA")


def _scaled(drawn: Image.Image, size: float) -> Image.Image:
    """A drawn packaging as large as a square of `size` by `size` frames, but within the frame."""
    width, height = drawn.size
    scale = FRAME * min(size / (width * height) ** 0.5, 0.96 / width, 0.84 / height)
    return drawn.resize((round(width * scale), round(height * scale)), Image.Resampling.LANCZOS)


def _stand(
    photo: Image.Image,
    rng: np.random.Generator,
    drawn: Image.Image,
    x: float,
    y: float,
    tilt: float = 0,
) -> None:
    """Put a drawn packaging into a photo, the middle of its foot at x, y in shares of the frame."""
    width, height = drawn.size
    corners = np.array(((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))) * (width, height)
    # A camera that is held askew sees every corner from another distance.
    corners *= 1 + rng.uniform(-0.004, 0.004, (4, 1)) * tilt
    angle = np.deg2rad(rng.uniform(-tilt, tilt))
    turn = np.array(((np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))))
    corners = corners @ turn + (x * FRAME, y * FRAME - height / 2)
    _shade(photo, drawn, corners)
    lay(photo, drawn, corners.tolist())


def _shade(photo: Image.Image, drawn: Image.Image, corners: NDArray[np.float64]) -> None:
    """Darken the shadow that a packaging with those corners throws to the back right."""
    # A shadow is soft: a sixteenth of the pixels will do.
    shadow = Image.new("RGBA", (FRAME // 4, FRAME // 4))
    height = np.linalg.norm(corners[0] - corners[3])
    lean = np.array(((0.3, 0.75), (0.3, 0.75), (0, 0), (0, 0))) * height
    lay(shadow, drawn.reduce(4), ((corners + lean) / 4).tolist())
    (right, _), (left, foot) = corners[2:] / 4
    ImageDraw.Draw(shadow).ellipse((left, foot - 3, right + 1, foot + 1), "black")
    dark = shadow.getchannel("A").filter(ImageFilter.GaussianBlur(2)).resize(photo.size)
    photo.paste("#15120f", mask=dark.point(lambda value: value // 2))


def _cover(photo: Image.Image, rng: np.random.Generator, x: float) -> None:
    """Put a sticker on the packaging at x, or another packaging before a part of it."""
    side = rng.choice((-1, 1))
    if rng.random() < 0.5:
        prop = _scaled(_prop(int(rng.integers(_PROPS))), 0.45)
        _stand(photo, rng, prop, x + side * rng.uniform(0.36, 0.42), 1.06)
        return
    size = int(rng.uniform(0.14, 0.2) * FRAME)
    label = sticker(rng).rotate(rng.uniform(-30, 30), Image.Resampling.BICUBIC).resize((size, size))
    left, top = (x + side * 0.07) * FRAME - size / 2, rng.uniform(0.3, 0.6) * FRAME
    photo.alpha_composite(label, (int(left), int(top)))


def _expose(scene: Image.Image, rng: np.random.Generator, shot: _Shot) -> Image.Image:
    """What a camera makes of a scene: light that falls off, a colour cast, blur and noise."""
    blurred = scene.convert("RGB").filter(ImageFilter.GaussianBlur(shot.blur))
    y, x = np.ogrid[-1 : 1 : FRAME * 1j, -1 : 1 : FRAME * 1j]
    slope = rng.uniform(-0.12, 0.12, 2)
    light = shot.light * (1 + slope[0] * x + slope[1] * y - 0.08 * (x**2 + y**2))
    cast = 1 + rng.uniform(-shot.cast, shot.cast, 3)
    noise = shot.noise * rng.standard_normal((FRAME, FRAME, 3), np.float32)
    pixels = np.asarray(blurred) * (light[..., None] * cast).astype(np.float32) + noise
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def write_sample(
    folder: Path,
    *,
    count: int = 40,
    strangers: int = 6,
    views: int = VIEWS,
    seed: int = 0,
) -> Sample:
    """Write a sample: a gallery, queries it should identify and strangers it should not.

    `gallery/<label>/view-1.jpg` and so on show a known packaging, the last view of it is held back
    in `queries/<label>`; `strangers/<label>` holds the first and the last view of another one. A
    photo that is there already is left alone where it's the same and replaced where it isn't;
    nothing is deleted.

    Args:
        folder: where to write; made if it isn't there.
        count: number of known packagings.
        strangers: number of packagings that aren't in the gallery.
        views: number of photos of a known packaging, 2 to `VIEWS`.
        seed: not negative; another one gives other packagings and photos.

    Returns:
        Folders and labels of the sample.

    Raises:
        LookalikeError: the folder can't be written.
        ValueError: a number is out of its range.
    """
    if count < 1 or strangers < 0 or not 2 <= views <= VIEWS:
        raise ValueError(
            f"count must be positive, strangers not negative and views within 2..{VIEWS}, "
            f"not {count}, {strangers} and {views}"
        )
    invented = packagings(count + strangers, seed=seed)
    known, unknown = invented[:count], invented[count:]
    last = views - 1
    shots = [("gallery", packaging, view) for packaging in known for view in range(last)]
    shots += [("queries", packaging, last) for packaging in known]
    shots += [("strangers", packaging, view) for packaging in unknown for view in (0, last)]

    def write(shot: tuple[str, Packaging, int]) -> None:
        part, packaging, view = shot
        file = io.BytesIO()
        photograph(packaging, view, seed=seed).save(file, "JPEG", quality=_QUALITY)
        path = folder / part / packaging.name / f"view-{view + 1}.jpg"
        if not path.is_file() or path.read_bytes() != file.getvalue():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.getvalue())

    try:
        # Each folder is made even if nobody is in it; one that can't be is found out at once.
        for part in ("gallery", "queries", "strangers"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor() as pool:
            for _ in pool.map(write, shots):
                pass  # lets an error out
    except OSError as error:
        raise LookalikeError(
            f"The sample can't be written to {folder} ({error.strerror}); name a folder that can."
        ) from error
    return Sample(
        gallery=folder / "gallery",
        queries=folder / "queries",
        strangers=folder / "strangers",
        known=tuple(packaging.name for packaging in known),
        unknown=tuple(packaging.name for packaging in unknown),
    )
