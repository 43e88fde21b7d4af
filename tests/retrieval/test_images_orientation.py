"""Photos are turned upright, once, whatever says how."""

from __future__ import annotations

import struct

import pytest
from image_files import ORIENTATION, STORED, XMP_TURN, assert_shows_scene, encode, exif, scene

from retrieval.images import decode


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_orientation_is_applied_once(kind: str, orientation: int) -> None:
    stored = scene()
    if orientation in STORED:
        stored = stored.transpose(STORED[orientation])
    photo = decode(encode(stored, kind, exif=exif({ORIENTATION: orientation}), quality=95))
    assert_shows_scene(photo)
    assert photo.image.getexif().get(ORIENTATION, 1) == 1, "the next reader would turn it again"


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_the_containers_rotation_overrides_the_exif_tag(kind: str) -> None:
    # The encoders turn the tag into a rotation, so smuggle it past them under another number.
    data = encode(scene(), kind, exif=exif({ORIENTATION + 1: 6}), quality=95)
    smuggled, tag = struct.pack(">HH", ORIENTATION + 1, 3), struct.pack(">HH", ORIENTATION, 3)
    assert data.count(smuggled) == 1
    assert_shows_scene(decode(data.replace(smuggled, tag)))


def test_an_xmp_orientation_does_not_turn_avif() -> None:
    assert_shows_scene(decode(encode(scene(), "AVIF", quality=95, xmp=XMP_TURN)))


def test_an_xmp_orientation_turns_tiff_once() -> None:
    data = encode(scene().transpose(STORED[6]), "TIFF", tiffinfo={700: XMP_TURN})
    assert_shows_scene(decode(data))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "body", [b"Exif\0\0neither II nor MM", b"Exif\0\0MM\0*\0\0\0\x08\0\x63junk"]
)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_exif_does_not_cost_the_photo(kind: str, body: bytes) -> None:
    assert_shows_scene(decode(encode(scene(), kind, quality=95, dpi=(72, 72), exif=body)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_that_pillow_cannot_rewrite_still_turns(kind: str) -> None:
    # Compression as a text: read without complaint, but refused when written again.
    block = bytearray(exif({0x0103: 1, ORIENTATION: 6}))
    entry = block.index(struct.pack(">HHI", 0x0103, 3, 1))
    block[entry : entry + 12] = struct.pack(">HHI4s", 0x0103, 2, 4, b"abc\0")
    assert_shows_scene(decode(encode(scene().transpose(STORED[6]), kind, exif=bytes(block))))
