"""Items' photos as small pictures: made anew from their pixels, and kept in memory for a while."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from enum import IntEnum
from pathlib import Path
from threading import Lock

from db import Item
from retrieval.embedding import read_file
from retrieval.errors import ImageError
from retrieval.pages.thumbnails import small_jpeg


class Side(IntEnum):
    """Pixels of a small picture's longer side, at most."""

    SMALL = 160
    MEDIUM = 320
    LARGE = 640
    LARGEST = 1280


class Thumbnails:
    """Makes small pictures, and keeps those asked for of late."""

    def __init__(self, most_bytes: int, max_pixels: int) -> None:
        """Keep at most so many bytes; make none of a photo with more than `max_pixels`."""
        self._most_bytes = most_bytes
        self._max_pixels = max_pixels
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def of(self, item: Item, side: Side) -> bytes:
        """Return an item's photo as a JPEG of this size; nothing but its pixels goes in.

        Raises:
            ImageError: The photo is not where it was, or not what it was.
        """
        key = name(item, side)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = self._make(item, side)
        with self._lock:
            if key not in self._kept:
                self._bytes += len(made)
            self._kept[key] = made
            while self._bytes > self._most_bytes:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= len(oldest)
        return made

    def _make(self, item: Item, side: int) -> bytes:
        data = read_file(Path(item.path))[0]
        if hashlib.sha256(data).hexdigest() != item.content_hash:
            raise ImageError("changed since it was added")
        return small_jpeg(data, side, max_pixels=self._max_pixels)


def name(item: Item, side: Side) -> str:
    """Name a small picture by what it shows: equal names, equal bytes."""
    return f"{item.content_hash}-{side.value}"
