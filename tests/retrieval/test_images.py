"""Files become photos within limits, or a sentence says why not."""

from __future__ import annotations

import random
import struct
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_files import (
    ORIENTATION,
    SAMPLES,
    STORED,
    assert_close,
    assert_shows_scene,
    encode,
    exif,
    png_header,
    sample,
    scene,
)
from PIL import Image, JpegImagePlugin

from retrieval.errors import ImageError
from retrieval.images import IMAGE_SUFFIXES, MAX_PIXELS, decode


@sample
def test_every_format_gives_the_first_frame_in_rgb(data: bytes) -> None:
    assert_shows_scene(decode(data))


@sample
def test_nothing_of_pillows_own_limit_leaks(
    data: bytes, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 96 * 64 - 1)
    assert_shows_scene(decode(data))
    assert not recwarn.list


@sample
def test_the_limit_counts_pixels(data: bytes) -> None:
    assert decode(data, max_pixels=96 * 64)
    with pytest.raises(ImageError, match=r"^96 x 64 pixels, more than the limit of 0.006143 mill"):
        decode(data, max_pixels=96 * 64 - 1)


def test_the_limit_is_checked_before_decoding() -> None:
    reason = "20000 x 20000 pixels, more than the limit of 150 million"
    with pytest.raises(ImageError, match=f"^{reason}$"):
        decode(png_header(20_000, 20_000))
    assert Image.MAX_IMAGE_PIXELS is not None
    assert MAX_PIXELS < 2 * Image.MAX_IMAGE_PIXELS, "Pillow would refuse first"


def test_pillows_own_refusal_becomes_an_image_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    huge_frame = bytearray(SAMPLES["GIF"])
    frame = huge_frame.index(b",\0\0\0\0\x60\0\x40\0")
    huge_frame[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(ImageError, match=r"GIF: .*pixels"):
        decode(bytes(huge_frame))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (MemoryError(), "not enough memory to decode this JPEG"),
        (OSError("two\nlines"), "truncated, damaged or unsupported JPEG: two lines"),
        (AssertionError(), "truncated, damaged or unsupported JPEG: AssertionError"),
    ],
)
def test_whatever_a_plugin_raises_becomes_a_one_line_reason(
    fault: Exception, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(self: object) -> None:
        raise fault

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", load)
    with pytest.raises(ImageError, match=f"^{reason}$"):
        decode(SAMPLES["JPEG"])


def test_suffixes_are_lower_case_and_cover_what_we_read() -> None:
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in IMAGE_SUFFIXES)
    assert {".jpg", ".jpeg", ".png", ".webp", ".avif", ".bmp", ".gif"} <= IMAGE_SUFFIXES
    assert {".tif", ".tiff", ".heic", ".heif"} <= IMAGE_SUFFIXES


# Scaled decoding


@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    min_side=st.integers(1, 320),
    orientation=st.integers(1, 8),
)
def test_min_side_keeps_the_shorter_side(
    width: int, height: int, min_side: int, orientation: int
) -> None:
    stored = Image.new("RGB", (width, height))
    photo = decode(encode(stored, "JPEG", exif=exif({ORIENTATION: orientation})), min_side=min_side)
    upright = (height, width) if orientation >= 5 else (width, height)
    assert (photo.width, photo.height) == upright
    scale = next(s for s in (8, 4, 2, 1) if s == 1 or min(width, height) // s >= min_side)
    assert photo.image.size == tuple(-(-side // scale) for side in upright)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_scaled_decoding_shows_the_same_scene(orientation: int) -> None:
    stored = scene(768, 512)
    if orientation in STORED:
        stored = stored.transpose(STORED[orientation])
    photo = decode(encode(stored, "JPEG", exif=exif({ORIENTATION: orientation})), min_side=64)
    assert (photo.width, photo.height) == (768, 512)
    assert_close(photo.image, scene())


@pytest.mark.parametrize("name", ["PNG", "WebP", "AVIF", "HEIC", "BMP", "GIF", "TIFF", "TIFF JPEG"])
def test_min_side_leaves_other_formats_alone(name: str) -> None:
    assert_shows_scene(decode(SAMPLES[name], min_side=8))


def test_a_plain_jpeg_is_not_copied() -> None:
    image = decode(SAMPLES["JPEG"]).image
    assert isinstance(image, JpegImagePlugin.JpegImageFile)


# What is not an image, or no longer one


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        b"<!DOCTYPE html><html><body>404</body></html>",
        b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n",
        b"P6 1 1 255 \0\0\0",
        b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
        b"RIFF\x24\0\0\0WAVEfmt ",
    ],
)
def test_other_files_are_not_images(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"^not an image in a format we read \(JPEG, PNG, .*\)$"):
        decode(data)


def test_an_empty_file() -> None:
    with pytest.raises(ImageError, match=r"^the file is empty$"):
        decode(b"")


def test_the_reason_names_the_format_and_the_fault() -> None:
    with pytest.raises(ImageError, match=r"^truncated, damaged or unsupported JPEG: .*truncated"):
        decode(SAMPLES["JPEG"][:-100])
    with pytest.raises(ImageError, match=r"^truncated, damaged or unsupported PNG: "):
        decode(png_header(9, 9))


def test_a_header_that_promises_more_than_there_is() -> None:
    data = bytearray(SAMPLES["BMP"])
    data[18:26] = struct.pack("<II", 4_000, 3_000)
    with pytest.raises(ImageError, match="BMP: image file is truncated"):
        decode(bytes(data))


@sample
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damage_gives_a_photo_or_a_one_line_reason(data: bytes) -> None:
    rng = random.Random(0)
    cases = [data[: rng.randrange(len(data))] for _ in range(40)]
    for _ in range(80):
        damaged = bytearray(data)
        for _ in range(rng.choice([1, 2, 8])):
            # Half of the hits go to the head, where the structure is.
            at = rng.randrange(rng.choice([len(data), min(len(data), 128)]))
            damaged[at] ^= 1 << rng.randrange(8)
        cases.append(bytes(damaged))
    reasons = []
    for case in cases:
        try:
            photo = decode(case, max_pixels=1_000_000)
        except ImageError as error:
            reasons.append(str(error))
        else:
            assert photo.image.mode == "RGB"
            assert photo.image.size == (photo.width, photo.height)
    assert reasons
    assert all(len(reason.splitlines()) == 1 for reason in reasons)


# HEIC without its package, and threads


def test_heic_without_pillow_heif_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"^HEIC needs `pip install pillow-heif`$"):
        decode(SAMPLES["HEIC"])
    for other in ("JPEG", "AVIF"):
        assert_shows_scene(decode(SAMPLES[other]))


@pytest.mark.parametrize(
    ("major", "compatible"), [(b"avif", b"mif1"), (b"mif1", b"miafavif"), (b"mif1", b"avis")]
)
def test_avif_is_told_from_heic_by_its_brands(
    major: bytes, compatible: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    box = struct.pack(">I", 16 + len(compatible)) + b"ftyp" + major + b"\0\0\0\0" + compatible
    with pytest.raises(ImageError, match="AVIF"):
        decode(box)


def test_many_threads_at_once() -> None:
    alone = {name: decode(data).image.tobytes() for name, data in SAMPLES.items()}
    names = list(SAMPLES) * 6
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda name: decode(SAMPLES[name]).image.tobytes(), names))
    assert together == [alone[name] for name in names]
