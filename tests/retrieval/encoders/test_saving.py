"""Saving: each kind of network, reloaded, gives the vectors it gave, in torch and in OpenVINO."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.encoders import Artifact, open_encoder
from retrieval.encoders.artifact import OPENVINO_MODELS
from retrieval.encoders.factory import save_network
from retrieval.encoders.networks import Network, rebuild
from retrieval.encoders.protocol import normalise
from retrieval.encoders.torch_runtime import TorchEncoder
from retrieval.errors import EncoderError

Make = Callable[..., Network]
Pictures = Callable[..., NDArray[np.uint8]]


def timm(model: str) -> dict[str, Any]:
    return {"library": "timm", "model": model, "arguments": {"num_classes": 0}}


def ours(model: str, **arguments: object) -> dict[str, Any]:
    return {"library": "lookalike", "model": model, "arguments": arguments}


SIAMESE = ours("siamese", dim=128)
ARCHITECTURES = {
    "efficientnet": timm("test_efficientnet"),
    "vit": timm("test_vit"),
    "mobilenet": timm("mobilenetv3_small_050"),
    "deit": timm("deit_tiny_patch16_224"),
    "siamese": SIAMESE,
    "projected": ours("projected", base=timm("test_efficientnet"), dim=16),
    "projected, keeping": ours("projected", base=SIAMESE, dim=16, keep=0.3),
    "projected twice": ours("projected", base=ours("projected", base=SIAMESE, dim=16), dim=8),
    "beside": ours("beside", base=timm("test_efficientnet"), stage=2, dim=16, share=0.4),
    "beside mobilenet": ours(
        "beside", base=timm("mobilenetv3_small_050"), stage=3, dim=16, share=0.4
    ),
    "beside vit": ours("beside", base=timm("test_vit"), stage=2, dim=16, share=0.4),
}


@pytest.fixture(params=ARCHITECTURES.values(), ids=ARCHITECTURES)
def network(request: pytest.FixtureRequest, make: Make) -> Network:
    """One of each kind."""
    return make(request.param)


def in_torch(network: Network, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The vectors of the network itself, in evaluation mode, by torch alone."""
    import torch

    images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        features: NDArray[np.float32] = network.module.eval()((images - 0.5) / 0.5).numpy()
    return normalise(features)


def cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    assert a.shape == b.shape
    cosine: NDArray[np.float32] = (a * b).sum(axis=1)
    return cosine


def test_a_network_saved_and_reloaded_gives_the_same_vectors(
    network: Network, pictures: Pictures, tmp_path: Path
) -> None:
    pixels = pictures(network.preprocessing.size, n=3)
    expected = in_torch(network, pixels)
    assert cosines(expected, np.roll(expected, 1, axis=0)).max() < 0.99  # each has its own
    save_network("mine", network, tmp_path / "mine")
    artifact = Artifact.load(tmp_path / "mine")
    assert not artifact.damage()
    assert artifact.spec.dim == expected.shape[1]
    assert artifact.spec.architecture == network.architecture
    with closing(open_encoder(artifact, precision="float32")) as openvino:
        assert type(openvino).__name__ == "OpenVinoEncoder"
        assert cosines(openvino.encode(pixels), expected).min() >= 0.9999
        assert cosines(openvino.submit(pixels).result(), expected).min() >= 0.9999
        assert np.abs(openvino.encode(pixels) - expected).max() < 1e-4
    with closing(TorchEncoder(artifact, "float32", "cpu")) as torch:
        assert cosines(torch.encode(pixels), expected).min() >= 0.9999
        assert np.abs(torch.encode(pixels) - expected).max() < 1e-4
    with closing(open_encoder(artifact, precision="bfloat16")) as rough:
        assert cosines(rough.encode(pixels), expected).min() >= 0.98


@pytest.mark.parametrize("kind", ["efficientnet", "projected", "beside"])
def test_a_network_in_training_is_saved_as_it_encodes(
    kind: str, make: Make, pictures: Pictures, tmp_path: Path
) -> None:
    network = make(ARCHITECTURES[kind])
    pixels = pictures(network.preprocessing.size)
    expected = in_torch(network, pixels)
    before = {key: value.clone() for key, value in network.module.state_dict().items()}
    network.module.train()
    modes = [layer.training for layer in network.module.modules()]
    artifact = save_network("mine", network, tmp_path / "mine")
    assert [layer.training for layer in network.module.modules()] == modes
    assert all(v.equal(before[key]) for key, v in network.module.state_dict().items())
    with closing(open_encoder(artifact, precision="float32")) as encoder:
        assert np.abs(encoder.encode(pixels) - expected).max() < 1e-4


def test_the_provenance_of_training_is_kept_word_for_word(make: Make, tmp_path: Path) -> None:
    provenance = {
        "weights": "trained",
        "data": {"photos": 12, "labels": ["a", "b"]},
        "epochs": [{"loss": 0.5, "map": None}],
    }
    network = replace(make(SIAMESE), provenance=provenance)
    save_network("mine", network, tmp_path / "mine")
    assert Artifact.load(tmp_path / "mine").spec.provenance == provenance


def test_bfloat16_is_corrected_in_a_network_of_two_branches(
    make: Make, pictures: Pictures, tmp_path: Path
) -> None:
    network = make(ARCHITECTURES["beside"])
    made = save_network("mine", network, tmp_path / "mine")
    weights = [
        (made.folder / OPENVINO_MODELS[precision]).with_suffix(".bin").read_bytes()
        for precision in ("float32", "bfloat16")
    ]
    assert weights[0] != weights[1]


@pytest.mark.parametrize(
    "architecture",
    [
        ours("invented_later"),
        ours("projected", base=timm("invented_later"), dim=8),
        ours("projected", base={}, dim=8),
        ours("projected", base=SIAMESE),
        ours("siamese", dim=8, depth=9),
    ],
    ids=str,
)
def test_an_unknown_architecture_of_ours_is_refused(architecture: dict[str, Any]) -> None:
    with pytest.raises(EncoderError, match="is unknown here: upgrade"):
        rebuild(architecture)
