"""Items' photos as small pictures: made anew from their pixels, and kept in memory for a while."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from enum import IntEnum
from threading import Lock, Semaphore

from db import Item
from retrieval.embedding import read_file
from retrieval.errors import ImageError
from retrieval.pages.thumbnails import small_jpeg
from retrieval.paths import any_path
from retrieval.service.settings import Limits


class Side(IntEnum):
    """Pixels of a small picture's longer side, at most."""

    SMALL = 160
    MEDIUM = 320
    LARGE = 640
    LARGEST = 1280


class Thumbnails:
    """Makes small pictures, and keeps those asked for of late."""

    def __init__(self, limits: Limits) -> None:
        """Keep and make none yet."""
        self._limits = limits
        # Photos decoded at a time: each takes memory for all its pixels.
        self._making = Semaphore(limits.decoders)
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
            while self._bytes > self._limits.thumbnail_bytes:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= len(oldest)
        return made

    def _make(self, item: Item, side: int) -> bytes:
        with self._making:
            data = read_file(any_path(item.path))[0]
            if hashlib.sha256(data).hexdigest() != item.content_hash:
                raise ImageError("changed since it was added")
            return small_jpeg(data, side, max_pixels=self._limits.pixels)


def name(item: Item, side: Side) -> str:
    """Name a small picture by what it shows: equal names, equal bytes."""
    return f"{item.content_hash}-{side.value}"
