"""Thumbnails: small, of the photo's pixels only, and a note where there is no photo."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from retrieval.errors import ImageError
from retrieval.pages.thumbnails import picture, thumbnail

Draw = Callable[..., Image.Image]


def decoded(uri: str) -> tuple[Image.Image, bytes]:
    start = "data:image/jpeg;base64,"
    assert uri.startswith(start)
    data = base64.b64decode(uri.removeprefix(start), validate=True)
    return Image.open(BytesIO(data)), data


def as_file(image: Image.Image, kind: str, **options: object) -> bytes:
    data = BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((640, 480), (160, 120)),
        ((300, 900), (53, 160)),
        ((40, 30), (40, 30)),
        ((4000, 2), (160, 1)),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_thumbnail_is_small_and_keeps_its_shape(
    kind: str, size: tuple[int, int], expected: tuple[int, int], draw_photo: Draw
) -> None:
    small, _ = decoded(thumbnail(as_file(draw_photo("red", 1, size=size), kind)))
    assert (small.format, small.mode) == ("JPEG", "RGB")
    assert small.size == expected


def test_what_a_file_says_beside_its_pixels_stays_behind(draw_photo: Draw) -> None:
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    exif[0x0112] = 6  # turn right
    data = as_file(draw_photo("red", 1), "JPEG", exif=exif, comment=b"my secret")
    assert b"where I live" in data
    assert b"my secret" in data
    small, inside = decoded(thumbnail(data))
    assert small.size == (72, 96)
    assert b"where I live" not in inside
    assert b"my secret" not in inside


def test_bytes_that_are_no_image_are_refused() -> None:
    with pytest.raises(ImageError):
        thumbnail(b"<svg onload='alert(1)'>")


def test_a_photo_that_is_gone_changed_or_broken_leaves_a_note(
    tmp_path: Path, draw_photo: Draw
) -> None:
    path = tmp_path / "photo.png"
    draw_photo("red", 1).save(path)
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    shown = picture(str(path), content, 'a "red" <one>')
    assert shown.startswith('<img src="data:image/jpeg;base64,')
    assert 'alt="a &quot;red&quot; &lt;one&gt;"' in shown
    draw_photo("red", 2).save(path)
    assert "changed since it was added" in picture(str(path), content, "")
    path.write_bytes(b"broken")
    broken = picture(str(path), hashlib.sha256(b"broken").hexdigest(), "")
    assert "not an image" in broken
    path.unlink()
    gone = picture(str(path), content, "")
    assert "No such file" in gone
    assert 'class="missing"' in gone
    assert "<img" not in broken + gone
