"""Photos in an object store, on a real server that speaks S3, and an empty gallery."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from object_store import Bucket
from PIL import Image

from retrieval import Gallery

Png = Callable[[str, int], bytes]


@pytest.fixture(scope="session")
def png(draw_photo: Callable[..., Image.Image]) -> Png:
    """Return the bytes of a picture of a colour, by number."""

    def make(colour: str, number: int) -> bytes:
        data = BytesIO()
        draw_photo(colour, number).save(data, "PNG")
        return data.getvalue()

    return make


@pytest.fixture
def filled(bucket: Bucket, png: Png) -> Bucket:
    """A bucket `train/COLOUR/N.png` with three pictures of two colours."""
    for colour in ("red", "green"):
        for number in range(3):
            bucket.put(f"train/{colour}/{number}.png", png(colour, number))
    return bucket


@pytest.fixture
def gallery(tmp_path: Path, tiny_encoder: Path) -> Iterator[Gallery]:
    """An empty gallery."""
    with Gallery.create(tmp_path / "gallery", encoder=str(tiny_encoder)) as made:
        yield made
