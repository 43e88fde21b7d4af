"""The small siamese network: its shape, its fixed start, and the weights it takes and refuses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from retrieval import Gallery
from retrieval.encoders import Artifact
from retrieval.encoders.artifact import WEIGHTS
from retrieval.encoders.factory import make_artifact, save_network
from retrieval.encoders.networks import Network, make_network
from retrieval.encoders.siamese import SIZE
from retrieval.errors import EncoderError


def layers(network: Network, kind: str) -> list[Any]:
    return [layer for layer in network.module.modules() if type(layer).__name__ == kind]


def test_it_has_four_convolutions_of_different_sizes_and_three_dense_layers() -> None:
    import torch

    network = make_network("siamese", None)
    kernels = [layer.kernel_size for layer in layers(network, "Conv2d")]
    assert kernels == [(10, 10), (7, 7), (4, 4), (4, 4)]
    assert len(layers(network, "Linear")) == 3
    assert network.preprocessing.size == SIZE
    assert not network.module.training
    with torch.inference_mode():
        assert network.module(torch.zeros(2, 3, SIZE, SIZE)).shape == (2, 128)


def test_it_starts_from_the_same_weights_whatever_was_drawn_before() -> None:
    import torch

    first = make_network("siamese", None)
    before = torch.get_rng_state()
    again = make_network("siamese", None)
    assert torch.get_rng_state().equal(before)
    torch.rand(3)
    third = make_network("siamese", None)
    for key, values in first.module.state_dict().items():
        assert again.module.state_dict()[key].equal(values)
        assert third.module.state_dict()[key].equal(values)
    assert first.provenance == {"weights": "none: untrained"}


def test_its_features_differ_from_picture_to_picture() -> None:
    import torch

    images = torch.rand(8, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        features = make_network("siamese", None).module(images)
    assert 0.01 < features.std(dim=0).mean() < 10  # the signal neither fades nor explodes


def test_it_takes_the_weights_of_a_trained_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setitem(sys.modules, "openvino", None)  # weights alone are quicker to save
    trained = make_network("siamese", None)
    with torch.no_grad():
        for values in trained.module.parameters():
            values.add_(0.01)
    saved = save_network("mine", trained, tmp_path / "mine")
    again = make_network("siamese", saved.folder / WEIGHTS)
    for key, values in trained.module.state_dict().items():
        assert again.module.state_dict()[key].equal(values)
    assert again.provenance == {"weights": WEIGHTS}
    made = make_artifact("siamese", tmp_path / "made", weights=saved.folder / WEIGHTS)
    assert made.spec.fingerprint == saved.spec.fingerprint
    untrained = make_artifact("siamese", tmp_path / "untrained")
    assert untrained.spec.fingerprint != saved.spec.fingerprint


def test_weights_of_another_network_are_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    no_weights = tmp_path / "none.safetensors"
    no_weights.write_bytes(b"no weights at all")
    for path in (tiny_checkpoint, no_weights):
        with pytest.raises(EncoderError, match=rf"siamese can't be loaded from {path} ") as caught:
            make_network("siamese", path)
        assert str(caught.value).endswith(".")
        assert "\n" not in str(caught.value)
    with pytest.raises(EncoderError, match="There is no file"):
        make_network("siamese", tmp_path / "missing.safetensors")


def test_a_gallery_can_be_built_with_it_and_says_that_it_is_untrained(
    photos: Path, tmp_path: Path
) -> None:
    with Gallery.create(tmp_path / "gallery", encoder="siamese") as gallery:
        gallery.build(photos)
        nearest = gallery.identify(photos / "red" / "3.png", k=1).items
    assert [Path(item.path).name for item in nearest] == ["3.png"]
    spec = Artifact.load(tmp_path / "gallery" / "encoder").spec
    assert (spec.name, spec.dim) == ("siamese", 128)
    assert spec.provenance == {"weights": "none: untrained"}
