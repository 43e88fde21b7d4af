"""A trained branch beside the pretrained one: what each decides, and what training leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from retrieval.encoders.beside import beside
from retrieval.encoders.networks import Network, rebuild
from retrieval.encoders.projected import features_dim
from retrieval.errors import EncoderError

Make = Callable[..., Network]
MODELS = ("test_efficientnet", "mobilenetv3_small_050", "test_vit")


def base(model: str) -> dict[str, Any]:
    return {"library": "timm", "model": model, "arguments": {"num_classes": 0}}


@pytest.fixture(params=MODELS)
def pretrained(request: pytest.FixtureRequest, make: Make) -> Network:
    """A network that stands for a pretrained one."""
    return make(base(request.param))


def images(network: Network) -> Any:
    import torch

    colours = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return torch.nn.functional.interpolate(colours, network.preprocessing.size)


def distances(vectors: Any) -> Any:
    """Cosine distance of each vector to each."""
    from torch.nn.functional import normalize

    return 1 - normalize(vectors) @ normalize(vectors).T


def test_the_distance_is_the_mean_of_both_branches(pretrained: Network) -> None:
    import torch

    given = images(pretrained)
    both = beside(pretrained.module, stage=1, dim=8, share=0.3).eval()
    with torch.inference_mode():
        for values in both.trained.parameters():
            values.mul_(1.3)  # as training would leave them: another branch
        before = distances(pretrained.module(given))
        learnt = distances(both.projection(both.trained(both.trunk(given))))
        made = both(given)
    assert distances(made).allclose(0.7 * before + 0.3 * learnt, atol=1e-6)
    assert not before.allclose(learnt, atol=1e-3)
    assert made.norm(dim=1).allclose(torch.ones(4))
    assert made.shape == (4, features_dim(both)) == (4, features_dim(pretrained.module) + 8)


def test_a_branch_starts_as_a_copy_of_the_pretrained_one(pretrained: Network) -> None:
    import torch

    given = images(pretrained)
    both = beside(pretrained.module, stage=1, dim=8, share=0.3).eval()
    with torch.inference_mode():
        assert both.trained(both.trunk(given)).equal(pretrained.module(given))
    shared = set(map(id, both.trained.parameters())) & set(map(id, both.pretrained.parameters()))
    assert not shared


def test_training_moves_the_branch_and_its_projection_only(pretrained: Network) -> None:
    import torch

    given = images(pretrained)
    both = beside(pretrained.module, stage=1, dim=8, share=0.3)
    before = {key: value.clone() for key, value in both.state_dict().items()}
    both.train()
    both(given)[:, -8:].sum().backward()
    torch.optim.SGD([v for v in both.parameters() if v.requires_grad], 0.1).step()
    moved = {key for key, value in both.state_dict().items() if not value.equal(before[key])}
    assert {key.split(".")[0] for key in moved} == {"trained", "projection"}
    # Not its batch norms' statistics either, which need no gradient to move.
    assert (both.training, both.trunk.training, both.pretrained.training) == (True, False, False)
    if any("running_mean" in key for key in before):
        assert any("running_mean" in key for key in moved)


@pytest.mark.parametrize("share", [0, 1, -0.5])
def test_a_share_that_leaves_a_branch_out_is_refused(share: float, make: Make) -> None:
    module = make(base("test_vit")).module
    with pytest.raises(EncoderError, match=f"can't decide {share} of the distance: say .*\\.$"):
        beside(module, stage=1, dim=8, share=share)


def test_a_network_that_can_not_be_split_is_refused() -> None:
    with pytest.raises(EncoderError, match="ResNet can't be split"):
        beside(rebuild(base("test_resnet")), stage=1, dim=8, share=0.5)
