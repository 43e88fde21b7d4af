"""A projection behind a network: what it makes of the features, the batch norm folded into it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from retrieval.encoders.networks import Network
from retrieval.encoders.projected import features_dim, fold_batch_norm
from retrieval.errors import EncoderError

Make = Callable[..., Network]
BASE = {"library": "timm", "model": "test_efficientnet", "arguments": {"num_classes": 0}}


def architecture(**arguments: object) -> dict[str, Any]:
    given = {"base": BASE, "dim": 8, **arguments}
    return {"library": "lookalike", "model": "projected", "arguments": given}


def images() -> Any:
    import torch

    colours = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return torch.nn.functional.interpolate(colours, 160)


def distances(vectors: Any) -> Any:
    """Cosine distance of each vector to each."""
    from torch.nn.functional import normalize

    return 1 - normalize(vectors) @ normalize(vectors).T


def test_the_projection_of_the_features_comes_out_normalised(make: Make) -> None:
    import torch
    from torch.nn.functional import normalize

    module = make(architecture()).module
    with torch.inference_mode():
        made, features = module(images()), module.base(images())
        assert made.allclose(normalize(module.projection(features)))
    assert made.shape == (4, features_dim(module)) == (4, 8)
    assert made.norm(dim=1).allclose(torch.ones(4))


def test_what_is_kept_of_the_features_weighs_its_share_of_the_distance(make: Make) -> None:
    import torch

    module = make(architecture(keep=0.25)).module
    with torch.inference_mode():
        made, features = module(images()), module.base(images())
        learnt = distances(module.projection(features))
    expected = 0.75 * learnt + 0.25 * distances(features)
    assert distances(made).allclose(expected, atol=1e-6)
    assert not learnt.allclose(distances(features), atol=1e-3)
    assert made.shape == (4, features_dim(module)) == (4, 264)


@pytest.mark.parametrize("keep", [-0.1, 1])
def test_a_share_to_keep_that_is_none_is_refused(keep: float, make: Make) -> None:
    with pytest.raises(EncoderError, match=f"can't keep {keep} of the distance: say .*\\.$"):
        make(architecture(keep=keep))


def test_a_base_that_makes_no_known_features_is_refused() -> None:
    from torch import nn

    with pytest.raises(EncoderError, match=r"^Flatten doesn't say how many features"):
        features_dim(nn.Flatten())


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_a_folded_batch_norm_does_the_same(affine: bool, bias: bool) -> None:
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        norm, linear = nn.BatchNorm1d(6, affine=affine), nn.Linear(6, 3, bias=bias)
        if affine:
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
        seen, asked = torch.randn(32, 6) * 3 + 2, torch.randn(5, 6)
    norm(seen)
    norm.eval()
    with torch.inference_mode():
        assert fold_batch_norm(norm, linear)(asked).allclose(linear(norm(asked)), atol=1e-5)
        assert not linear(asked).allclose(linear(norm(asked)), atol=1e-2)


def test_a_batch_norm_without_statistics_is_refused() -> None:
    from torch import nn

    with pytest.raises(EncoderError, match="without running statistics can't be folded"):
        fold_batch_norm(nn.BatchNorm1d(6, track_running_stats=False), nn.Linear(6, 3))
