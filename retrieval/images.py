"""Bytes to upright RGB pixels: formats, EXIF orientation, a pixel limit, scaled JPEG decoding."""

from __future__ import annotations

import textwrap
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from PIL import ExifTags, Image, ImageOps
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile, DibImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from retrieval.errors import ImageError

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

IMAGE_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".avif"),
        *(".bmp", ".dib", ".gif", ".tif", ".tiff", ".heic", ".heif", ".hif"),
    }
)
"""Lower-case suffixes of the files that are looked at in a folder."""

MAX_PIXELS = 150_000_000
"""Default limit on width × height: 600 MB once decoded, and below what Pillow itself refuses."""

# Plugins are constructed here rather than through `Image.open`, whose size check speaks through
# warnings: their filters, and its limit `Image.MAX_IMAGE_PIXELS`, belong to the whole process.
_SIGNATURES: dict[bytes, type[ImageFile]] = {
    b"\xff\xd8\xff": JpegImageFile,  # MPO too: its first picture is an ordinary JPEG
    b"\x89PNG\r\n\x1a\n": PngImageFile,
    b"GIF87a": GifImageFile,
    b"GIF89a": GifImageFile,
    b"BM": BmpImageFile,
    b"(\0\0\0": DibImageFile,  # a BMP without its file header
    b"II*\0": TiffImageFile,
    b"MM\0*": TiffImageFile,
    b"II+\0": TiffImageFile,  # BigTIFF
    b"MM\0+": TiffImageFile,
}
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {
    *(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"),
    *(b"mif1", b"msf1"),
}


@dataclass(frozen=True)
class Photo:
    """A decoded image.

    Attributes:
        image: The pixels, in mode RGB, upright and fully loaded.
        width: Width of the original in pixels: upright, before any scaled decoding.
        height: Height of the original in pixels, likewise.
    """

    image: Image.Image
    width: int
    height: int


def decode(data: bytes, *, min_side: int = 0, max_pixels: int = MAX_PIXELS) -> Photo:
    """Decode an image file's bytes into upright RGB pixels; safe to call from many threads.

    The format is told by the content. Of several frames the first counts, what is transparent
    turns white, and deeper samples are scaled to 8 bits.

    Args:
        data: The whole file.
        min_side: If positive, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as
            its shorter side keeps at least this many pixels. Other formats are never scaled.
        max_pixels: Limit on width × height, checked against the header before decoding.

    Raises:
        ImageError: The bytes are not an image we read, are damaged, or exceed `max_pixels`; the
            text is a one-line reason.
    """
    plugin = _plugin(data)
    try:
        image = plugin(BytesIO(data))
        width, height = image.size
        if width * height > max_pixels:
            raise ImageError(
                f"{width} x {height} pixels, more than the limit of {max_pixels / 1e6:g} million"
            )
        drafted = (
            min_side > 0
            and isinstance(image, JpegImageFile)
            and image.draft(None, (min_side, min_side))
        )
        if isinstance(image, TiffImageFile):
            # The plugin checks the size again (and warns) unless its memory is already there.
            stored = image.tag_v2[IMAGEWIDTH], image.tag_v2[IMAGELENGTH]
            image.im = Image.new(image.mode, stored).im
        image.load()
        turned = _turn_upright(image)
        if not drafted:
            width, height = image.size
        elif turned:
            width, height = height, width
        return Photo(_rgb(image), width, height)
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError(f"not enough memory to decode this {plugin.format}") from error
    except Exception as error:  # on damaged bytes the plugins raise nearly anything
        detail = textwrap.shorten(str(error), 200) or type(error).__name__
        raise ImageError(f"truncated, damaged or unsupported {plugin.format}: {detail}") from error


def _plugin(data: bytes) -> type[ImageFile]:
    """Return the Pillow plugin for what the bytes, by their signature, claim to be."""
    if not data:
        raise ImageError("the file is empty")
    for signature, plugin in _SIGNATURES.items():
        if data.startswith(signature):
            return plugin
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WebPImageFile
    if data[4:8] == b"ftyp":
        end = min(int.from_bytes(data[:4], "big"), 256)
        brands = {data[8:12], *(data[i : i + 4] for i in range(16, end, 4))}
        if brands & _AVIF_BRANDS:
            return AvifImageFile
        if brands & _HEIF_BRANDS:
            return _heif_plugin()
    raise ImageError(
        "not an image in a format we read (JPEG, PNG, WebP, AVIF, BMP, GIF, TIFF, HEIC)"
    )


def _heif_plugin() -> type[ImageFile]:
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise ImageError("HEIC needs `pip install pillow-heif`") from error
    plugin: type[ImageFile] = HeifImageFile
    return plugin


def _turn_upright(image: ImageFile) -> bool:
    """Apply a loaded image's orientation in place; return whether its sides have swapped.

    TIFF and HEIF plugins have turned the pixels and dropped the tag by now. The AVIF plugin has
    overwritten the EXIF tag by the container's rotation, which alone counts.
    """
    if isinstance(image, AvifImageFile):
        image.info.pop("xmp", None)  # where Pillow would look next for an orientation
    orientation = 1
    with suppress(Exception):  # damaged EXIF doesn't cost a photo whose pixels are sound
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    if orientation not in range(2, 9):
        return False
    for key in ("exif", "Raw profile type exif"):  # Pillow would rewrite it, and fail on odd tags
        image.info.pop(key, None)
    ImageOps.exif_transpose(image, in_place=True)
    return orientation >= 5


def _rgb(image: Image.Image) -> Image.Image:
    """Convert a loaded image of any mode to RGB, on white where it is transparent."""
    if image.mode == "F" or image.mode.startswith("I"):
        return _grey(image).convert("RGB")
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    if image.mode == "La":
        image = image.convert("LA")  # the only way out of this mode
    if image.mode != "RGBA":
        image = image.convert("RGBA")
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(image, mask=image)
    return canvas


def _grey(image: Image.Image) -> Image.Image:
    """Scale a grey image of 16 or 32 bits or of floats to 8 bits (mode L)."""
    import numpy as np

    values = np.array(image, dtype=np.float32)
    brightest = float(values.max(where=np.isfinite(values), initial=0))
    # Files don't say which number is white: it is the least customary one that none exceeds.
    whites = (1, 255, 65_535) if image.mode == "F" else (65_535,)
    white = next((white for white in whites if brightest <= white), brightest)
    if "transparency" in image.info:
        values[values == image.info["transparency"]] = white
    np.nan_to_num(values, copy=False, nan=0, posinf=white, neginf=0)
    values *= 255 / white
    values.clip(0, 255, out=values).round(out=values)
    return Image.fromarray(values.astype(np.uint8))
