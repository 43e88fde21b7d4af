"""What the frozen part of a network makes of each photo's views: computed once, kept on disk.

A view's file is complete or absent: it gets its name when it is whole. So a run that was killed
goes on with the first view that is missing, and ends with the same files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval.embedding import read_file
from retrieval.encoders import Preprocessing
from retrieval.encoders.features import Features
from retrieval.images import decode
from retrieval.paths import AnyPath
from retrieval.training.augmenting import Augmentation, view

if TYPE_CHECKING:
    from torch import Tensor

CLEAN = -1
"""The number of the view that is no other view: the photo as a gallery embeds it."""
_BATCH = 16
_LARGEST = float(np.finfo(np.float16).max)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Pixels:
    """Views made as they are needed.

    Attributes:
        paths: The photos.
        preprocessing: What the network expects.
        augmentation: How far views differ from their photo.
        seed: Equal seeds make equal views.
    """

    paths: Sequence[AnyPath]
    preprocessing: Preprocessing
    augmentation: Augmentation
    seed: int

    def one(self, place: int, number: int) -> NDArray[np.uint8]:
        """Return a view of a photo, uint8 `(size, size, 3)`; `CLEAN` for the photo itself.

        Raises:
            ImageError: The photo can't be read.
        """
        preprocessing = self.preprocessing
        # A crop is enlarged at most to the scale that the whole photo would have.
        wide = 1.0 if number == CLEAN else self.augmentation.area**-0.5
        data, _ = read_file(self.paths[place])
        image = decode(data, min_side=round(preprocessing.resize * wide)).image
        if number == CLEAN:
            return preprocessing.apply(image)
        seed = [self.seed, place, number]
        return view(image, preprocessing, self.augmentation, seed=seed)

    def batches(self, wanted: Sequence[tuple[int, int]], size: int) -> Iterator[NDArray[np.uint8]]:
        """Yield views in batches, some of them made ahead in threads.

        Args:
            wanted: Photos and numbers of views, in order.
            size: Views to a batch.
        """
        with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="view") as pool:
            parts = [wanted[first : first + size] for first in range(0, len(wanted), size)]
            ahead = [self._begin(pool, part) for part in parts[:2]]
            for place in range(len(parts)):
                made = ahead.pop(0)
                if place + 2 < len(parts):
                    ahead.append(self._begin(pool, parts[place + 2]))
                yield np.stack([one.result() for one in made])

    def _begin(self, pool: ThreadPoolExecutor, part: Sequence[tuple[int, int]]) -> list[Any]:
        return [pool.submit(self.one, *one) for one in part]


class CachedViews:
    """The frozen part's outputs for each photo's views, memory-mapped."""

    def __init__(self, folder: Path) -> None:
        """Look at a folder that `fill` has filled, or will."""
        self.folder = folder
        self._open: dict[int, NDArray[np.float16]] = {}

    def take(self, places: Sequence[int], numbers: Sequence[int]) -> Tensor:
        """Return the outputs for some views: float32, shape `(n, …)`.

        Args:
            places: The photos.
            numbers: The view of each.
        """
        import torch

        rows = [self._view(number)[place] for place, number in zip(places, numbers, strict=True)]
        return torch.from_numpy(np.stack(rows).astype(np.float32))

    def fill(
        self, pixels: Pixels, features: Features, numbers: Sequence[int], progress: Progress
    ) -> None:
        """Compute the views that are not there yet.

        Args:
            pixels: Makes the views.
            features: The frozen part of the network.
            numbers: The views wanted.
            progress: Told how many of how many outputs are there.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        photos = len(pixels.paths)
        for done, number in enumerate(numbers):
            if not self._path(number).exists():
                told = partial(_told, progress, done * photos, len(numbers) * photos)
                self._fill_one(pixels, features, number, told)
            progress((done + 1) * photos, len(numbers) * photos)

    def _fill_one(
        self, pixels: Pixels, features: Features, number: int, progress: Callable[[int], None]
    ) -> None:
        count, done = len(pixels.paths), 0
        path = self._path(number)
        unfinished = path.with_suffix(".part")
        mapped: Any = None
        wanted = [(place, number) for place in range(count)]
        for outputs in features.over(pixels.batches(wanted, _BATCH)):
            if mapped is None:
                shape = (count, *outputs.shape[1:])
                mapped = np.lib.format.open_memmap(
                    unfinished, mode="w+", dtype=np.float16, shape=shape
                )
            mapped[done : done + len(outputs)] = np.clip(outputs, -_LARGEST, _LARGEST)
            done += len(outputs)
            progress(done)
        mapped.flush()
        del mapped
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)

    def _view(self, number: int) -> NDArray[np.float16]:
        if number not in self._open:
            self._open[number] = np.load(self._path(number), mmap_mode="r")
        return self._open[number]

    def _path(self, number: int) -> Path:
        return self.folder / ("clean.npy" if number == CLEAN else f"view-{number:03d}.npy")


def _told(progress: Progress, before: int, total: int, done: int) -> None:
    progress(before + done, total)
