"""Files of images in every format we read, and how their scene is recognised."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from retrieval.images import Photo

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
ORIENTATION = 0x0112
XMP_TURN = b'<x xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'

# How a camera that writes this EXIF orientation stores an upright scene.
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def encode(
    image: Image.Image, kind: str, *, black_second: bool = False, **options: object
) -> bytes:
    buffer = BytesIO()
    if black_second:
        options |= {"save_all": True, "append_images": [Image.new("RGB", image.size)]}
    if kind == "HEIF":
        pillow_heif.from_pillow(image).save(buffer, chroma=444, **options)
    else:
        image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(tags: dict[int, object]) -> bytes:
    block = Image.Exif()
    block.update(tags)
    return block.tobytes()


def scene(width: int = 96, height: int = 64) -> Image.Image:
    """Four quarters (red, green / blue, white), so that every orientation looks different."""
    image = Image.new("RGB", (width, height), WHITE)
    image.paste(RED, (0, 0, width // 2, height // 2))
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    return image


def pixels(photo: Photo) -> list[list[int]]:
    assert photo.image.mode == "RGB"
    return np.asarray(photo.image).reshape(-1, 3).tolist()


def assert_shows_scene(photo: Photo, size: tuple[int, int] = (96, 64)) -> None:
    assert photo.image.mode == "RGB"
    assert (photo.width, photo.height) == photo.image.size == size
    assert_close(photo.image, scene(*size))


def assert_close(image: Image.Image, expected: Image.Image) -> None:
    """Compare the middles of the quarters, where lossy codecs are near exact."""
    assert image.size == expected.size
    width, height = image.size
    columns, rows = [width // 4, 3 * width // 4], [height // 4, 3 * height // 4]
    got, wanted = (np.asarray(side)[np.ix_(rows, columns)] for side in (image, expected))
    assert np.allclose(got, wanted, atol=8), got.tolist()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


SAMPLES = {
    "JPEG": encode(scene(), "JPEG", quality=95),
    "JPEG progressive": encode(scene(), "JPEG", quality=95, progressive=True),
    "JPEG CMYK": encode(scene().convert("CMYK"), "JPEG", quality=95),
    "MPO": encode(scene(), "MPO", quality=95, black_second=True),
    "PNG": encode(scene(), "PNG", exif=exif({ORIENTATION: 1})),
    "PNG palette": encode(scene().quantize(8), "PNG"),
    "PNG RGBA": encode(scene().convert("RGBA"), "PNG"),
    "APNG": encode(scene(), "PNG", black_second=True),
    "WebP": encode(scene(), "WEBP", quality=95),
    "WebP lossless RGBA": encode(scene().convert("RGBA"), "WEBP", lossless=True),
    "WebP animated": encode(scene(), "WEBP", quality=95, black_second=True),
    "AVIF": encode(scene(), "AVIF", quality=95),
    "AVIF animated": encode(scene(), "AVIF", quality=95, black_second=True),
    "HEIC": encode(scene(), "HEIF"),
    "BMP": encode(scene(), "BMP"),
    "BMP palette": encode(scene().quantize(8), "BMP"),
    "DIB": encode(scene(), "DIB"),
    "GIF": encode(scene(), "GIF"),
    "GIF animated": encode(scene(), "GIF", black_second=True),
    "TIFF": encode(scene(), "TIFF"),
    "TIFF pages": encode(scene(), "TIFF", black_second=True),
    "TIFF big": encode(scene(), "TIFF", big_tiff=True),
    "TIFF palette": encode(scene().quantize(8), "TIFF"),
    "TIFF CMYK": encode(scene().convert("CMYK"), "TIFF"),
    "TIFF YCbCr": encode(scene().convert("YCbCr"), "TIFF"),
    "TIFF RGBX": encode(scene().convert("RGBX"), "TIFF"),
    "TIFF LZW": encode(scene(), "TIFF", compression="tiff_lzw"),
    "TIFF JPEG": encode(scene(), "TIFF", compression="jpeg", quality=95),
}
sample = pytest.mark.parametrize("data", SAMPLES.values(), ids=SAMPLES.keys())
