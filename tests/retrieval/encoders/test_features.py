"""What a module makes of many images: torch's own outputs, in order, in either runtime."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.encoders.features import Features, compile_features
from retrieval.encoders.networks import Network
from retrieval.encoders.splitting import split
from retrieval.errors import EncoderError

Make = Callable[..., Network]
Pictures = Callable[..., NDArray[np.uint8]]
ARCHITECTURE = {"library": "timm", "model": "test_efficientnet", "arguments": {"num_classes": 0}}


@pytest.fixture
def network(make: Make) -> Network:
    """A tiny network."""
    return make(ARCHITECTURE)


@pytest.fixture(params=["openvino", "torch"])
def runtime(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """OpenVINO, and torch as where OpenVINO is not installed."""
    if request.param == "torch":
        monkeypatch.setitem(sys.modules, "openvino", None)
    return str(request.param)


def in_torch(module: object, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    import torch

    images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        outputs = module((images - 0.5) / 0.5)  # type: ignore[operator]
    array: NDArray[np.float32] = outputs.numpy()
    return array


def agree(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> bool:
    assert ours.dtype == np.float32
    assert ours.shape == theirs.shape
    return bool(np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max())


@pytest.mark.usefixtures("runtime")
def test_a_network_gives_its_raw_features(network: Network, pictures: Pictures) -> None:
    pixels = np.tile(pictures(160, n=5), (4, 1, 1, 1))  # more than a batch, no multiple of it
    features = compile_features(network.module, network.preprocessing, "float32")(pixels)
    assert agree(features, in_torch(network.module, pixels))
    assert not np.allclose(np.linalg.norm(features, axis=1), 1)


@pytest.mark.usefixtures("runtime")
@pytest.mark.parametrize("model", ["test_efficientnet", "mobilenetv3_small_050", "test_vit"])
def test_the_rest_makes_the_features_of_a_trunks_maps(
    model: str, make: Make, pictures: Pictures
) -> None:
    import torch

    network = make(ARCHITECTURE | {"model": model})
    pixels = pictures(network.preprocessing.size)
    trunk, rest = split(network.module, 1)
    maps = compile_features(trunk, network.preprocessing, "float32")(pixels)
    assert maps.ndim == (3 if model == "test_vit" else 4)
    with torch.inference_mode():
        features = rest(torch.from_numpy(maps)).numpy()
    assert agree(features, in_torch(network.module, pixels))


@pytest.mark.usefixtures("runtime")
def test_batches_come_back_in_turn(network: Network, pictures: Pictures) -> None:
    pixels = np.concatenate([np.roll(pictures(160, n=8), step, axis=2) for step in (0, 9, 31)])
    expected = in_torch(network.module, pixels)
    features = compile_features(network.module, network.preprocessing, "float32")
    starts = [0, 1, 4, 5, 11, 12, 17, 24]
    batches = [pixels[start:end] for start, end in pairwise(starts)]
    made = list(features.over(iter(batches)))
    assert [len(batch) for batch in made] == [len(batch) for batch in batches]
    assert agree(np.concatenate(made), expected)
    assert list(features.over([])) == []


def test_no_more_batches_are_fetched_than_are_under_way(network: Network) -> None:
    fetched = 0

    def batches() -> Iterator[NDArray[np.uint8]]:
        nonlocal fetched
        for _ in range(40):
            fetched += 1
            yield np.zeros((1, 160, 160, 3), np.uint8)

    features: Features = compile_features(network.module, network.preprocessing, "float32")
    made = features.over(batches())
    for taken in range(1, 5):
        next(made)
        assert fetched <= taken + features.waiting
    assert len(list(made)) == 36


def test_no_batch_is_under_way_when_no_more_are_wanted(network: Network) -> None:
    features = compile_features(network.module, network.preprocessing, "float32")
    submitted = []

    def submit(pixels: NDArray[np.uint8]) -> Future[NDArray[np.float32]]:
        submitted.append(features.submit(pixels))
        return submitted[-1]

    batches = (np.zeros((32, 160, 160, 3), np.uint8) for _ in range(40))
    made = replace(features, submit=submit).over(batches)
    next(made)
    made.close()
    assert 1 < len(submitted) < 40
    assert all(future.done() for future in submitted)


@pytest.mark.usefixtures("runtime")
def test_the_module_may_be_trained_meanwhile(network: Network, pictures: Pictures) -> None:
    import torch

    pixels = pictures(160)
    before = in_torch(network.module, pixels)
    network.module.train()
    features = compile_features(network.module, network.preprocessing, "float32")
    assert network.module.training
    with torch.no_grad():
        for values in network.module.parameters():
            values.mul_(2)
    assert agree(features(pixels), before)


def test_bfloat16_is_near_float32(network: Network, pictures: Pictures) -> None:
    pixels = pictures(160)
    exact = compile_features(network.module, network.preprocessing, "float32")
    rough = compile_features(network.module, network.preprocessing, "bfloat16")
    assert (exact.precision, rough.precision) == ("float32", "bfloat16")
    a, b = exact(pixels), rough(pixels)
    cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosine.min() > 0.998
    assert not agree(a, b)


def test_an_unknown_precision_is_refused(network: Network, runtime: str) -> None:
    with pytest.raises(EncoderError, match="no precision 'int8' for features: say auto"):
        compile_features(network.module, network.preprocessing, "int8")
    if runtime == "torch":
        with pytest.raises(EncoderError, match=r"bfloat16 need OpenVINO: .*say float32"):
            compile_features(network.module, network.preprocessing, "bfloat16")
