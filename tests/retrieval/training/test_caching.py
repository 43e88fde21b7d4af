"""Cached views: what they hold, and that a run that was killed ends with the same files."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from retrieval.encoders.features import Features, compile_features
from retrieval.encoders.networks import Network
from retrieval.encoders.preprocessing import Preprocessing
from retrieval.training.augmenting import Augmentation
from retrieval.training.caching import CLEAN, CachedViews, Pixels
from retrieval.training.live import LiveViews

HALF = (0.5, 0.5, 0.5)
SEEN = Preprocessing(32, 40, "center", "bicubic", HALF, HALF)


@pytest.fixture
def pixels(photos: Path) -> Pixels:
    return Pixels(sorted(photos.rglob("*.png")), SEEN, Augmentation(), seed=1)


def raw(pixels: NDArray[np.uint8]) -> Future[NDArray[np.float32]]:
    future: Future[NDArray[np.float32]] = Future()
    future.set_result(pixels.astype(np.float32).transpose(0, 3, 1, 2))
    return future


AS_THEY_ARE = Features("float32", 2, raw)


def quiet(_done: int, _total: int) -> None:
    pass


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_clean_view_is_what_a_gallery_embeds(pixels: Pixels) -> None:
    for place, path in enumerate(pixels.paths):
        with Image.open(path) as image:
            assert np.array_equal(pixels.one(place, CLEAN), SEEN.apply(image.convert("RGB")))


def test_views_differ_by_photo_number_and_seed_alone(pixels: Pixels) -> None:
    other = Pixels(pixels.paths, SEEN, Augmentation(), seed=2)
    made = [
        *(pixels.one(place, number) for place in range(2) for number in range(3)),
        other.one(0, 0),
    ]
    assert len({one.tobytes() for one in made}) == len(made)
    assert np.array_equal(pixels.one(1, 2), made[5])


def test_batches_are_the_views_wanted_in_order(pixels: Pixels) -> None:
    wanted = [(place, number) for number in (CLEAN, 0) for place in range(7)]
    made = list(pixels.batches(wanted, 4))
    assert [len(batch) for batch in made] == [4, 4, 4, 2]
    expected = [pixels.one(place, number) for place, number in wanted]
    assert np.array_equal(np.concatenate(made), np.stack(expected))


def test_what_is_taken_is_what_the_frozen_part_makes(
    pixels: Pixels, tiny_network: Callable[..., Network], tmp_path: Path
) -> None:
    import torch

    network = tiny_network()
    seen = Preprocessing(64, 64, "center", "bicubic", HALF, HALF)
    pixels = Pixels(pixels.paths, seen, Augmentation(), seed=1)
    features = compile_features(network.module, seen, "float32")
    views = CachedViews(tmp_path / "cache")
    views.fill(pixels, features, [CLEAN, 0, 1], quiet)
    taken = views.take([14, 3, 3], [1, CLEAN, 0])
    images = np.stack([pixels.one(14, 1), pixels.one(3, CLEAN), pixels.one(3, 0)])
    with torch.inference_mode():
        expected = network.module(torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1)
    assert taken.dtype == torch.float32
    assert taken.shape == expected.shape
    assert (taken - expected).abs().max() < 2e-3 * expected.abs().max()


def test_a_fill_that_was_stopped_goes_on_and_ends_the_same(pixels: Pixels, tmp_path: Path) -> None:
    numbers = [CLEAN, 0, 1]
    whole = CachedViews(tmp_path / "whole")
    whole.fill(pixels, AS_THEY_ARE, numbers, quiet)

    class StoppedError(Exception):
        pass

    made: list[int] = []

    def counted(some: NDArray[np.uint8]) -> Future[NDArray[np.float32]]:
        made.append(len(some))
        return raw(some)

    def stop(done: int, _total: int) -> None:
        if done > 15:  # within the second view
            raise StoppedError

    parted = CachedViews(tmp_path / "parted")
    with pytest.raises(StoppedError):
        parted.fill(pixels, AS_THEY_ARE, numbers, stop)
    assert (tmp_path / "parted" / "clean.npy").exists()
    assert not (tmp_path / "parted" / "view-000.npy").exists()
    parted.fill(pixels, Features("float32", 2, counted), numbers, quiet)
    assert sum(made) == 30  # what was whole is not made again
    assert files(tmp_path / "parted") == files(tmp_path / "whole")


def test_the_progress_rises_to_all_outputs(pixels: Pixels, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    views = CachedViews(tmp_path / "cache")
    views.fill(pixels, AS_THEY_ARE, [CLEAN, 0], lambda *one: told.append(one))
    assert told == sorted(told)
    assert told[-1] == (30, 30)
    assert {total for _, total in told} == {30}


def test_outputs_too_large_for_sixteen_bits_are_cut_off(pixels: Pixels, tmp_path: Path) -> None:
    def huge(some: NDArray[np.uint8]) -> Future[NDArray[np.float32]]:
        future: Future[NDArray[np.float32]] = Future()
        future.set_result(np.full((len(some), 2), (1e9, -1e9), dtype=np.float32))
        return future

    views = CachedViews(tmp_path / "cache")
    views.fill(pixels, Features("float32", 0, huge), [CLEAN], quiet)
    assert views.take([0], [CLEAN]).tolist() == [[65504.0, -65504.0]]


def test_live_views_are_the_same_pixels_normalised(pixels: Pixels) -> None:
    import torch

    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    seen = Preprocessing(32, 40, "center", "bicubic", mean, std)
    pixels = Pixels(pixels.paths, seen, Augmentation(), seed=1)
    taken = LiveViews(pixels).take([4, 9], [3, CLEAN])
    expected = np.stack([pixels.one(4, 3), pixels.one(9, CLEAN)]) / 255
    expected = ((expected - mean) / std).transpose(0, 3, 1, 2)
    assert taken.shape == (2, 3, 32, 32)
    assert taken.dtype == torch.float32
    assert np.allclose(taken.numpy(), expected, atol=1e-5)
