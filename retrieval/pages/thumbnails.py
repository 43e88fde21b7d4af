"""Photos as small pictures inside a page."""

from __future__ import annotations

import base64
import hashlib
from io import BytesIO

from PIL import Image

from retrieval.embedding import read_file
from retrieval.errors import ImageError
from retrieval.images import MAX_PIXELS, decode
from retrieval.pages.page import Html, tag
from retrieval.paths import any_path

LONGER_SIDE = 160
"""Pixels of a thumbnail's longer side, at most."""


def small_jpeg(data: bytes, side: int, *, max_pixels: int = MAX_PIXELS) -> bytes:
    """Make a small JPEG of a photo; nothing but its pixels goes in.

    Args:
        data: The whole file, in any format that `decode` reads.
        side: Pixels of its longer side, at most.
        max_pixels: Limit on the photo's width × height.

    Raises:
        ImageError: It is no image we can read.
    """
    image = decode(data, min_side=side, max_pixels=max_pixels).image
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    small = BytesIO()
    # Of a new image: the old one carries the file's comments and colour profile along.
    Image.frombytes("RGB", image.size, image.tobytes()).save(small, "JPEG", quality=80)
    return small.getvalue()


def thumbnail(data: bytes) -> str:
    """Return a photo as a `data:` URI of a small JPEG; see `small_jpeg`."""
    small = small_jpeg(data, LONGER_SIDE)
    return f"data:image/jpeg;base64,{base64.b64encode(small).decode()}"


def picture(path: str, content_hash: str | None, alt: str) -> Html:
    """Show an item's photo, or in its place why it can't be shown.

    Args:
        path: Where it was read.
        content_hash: SHA-256 of its bytes then, in hex: another photo that took its place would
            only confuse. `None` shows what is there.
        alt: What it shows, for those who don't see it.
    """
    try:
        data = read_file(any_path(path))[0]
        if content_hash is not None and hashlib.sha256(data).hexdigest() != content_hash:
            raise ImageError("changed since it was added")
        return tag("img", src=thumbnail(data), alt=alt, loading="lazy")
    except ImageError as error:
        return tag("div", f"No photo to show: {error}.", class_="missing", role="note")
