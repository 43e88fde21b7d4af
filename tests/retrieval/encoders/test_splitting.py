"""Splitting: trunk and rest together are the network, whatever its family, wherever the cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from retrieval.encoders.networks import Network, rebuild
from retrieval.encoders.splitting import split, stages
from retrieval.errors import EncoderError

Make = Callable[..., Network]
# A distilled DeiT has a second token and a head of its own; the pooled ViT a norm behind the pool.
MODELS = {
    "test_efficientnet": {},
    "mobilenetv3_small_050": {},
    "test_vit": {},
    "test_vit2": {"global_pool": "avg"},
    "deit_tiny_distilled_patch16_224": {"img_size": 32, "depth": 2},
}


def architecture(model: str) -> dict[str, Any]:
    return {"library": "timm", "model": model, "arguments": {"num_classes": 0, **MODELS[model]}}


@pytest.fixture(params=MODELS)
def network(request: pytest.FixtureRequest, make: Make) -> tuple[Any, Any]:
    """A network and images for it."""
    import torch

    made = make(architecture(request.param))
    size = made.preprocessing.size
    return made.module, torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_trunk_and_rest_are_the_network_at_every_stage(network: tuple[Any, Any]) -> None:
    import torch

    module, images = network
    with torch.inference_mode():
        expected = module(images)
        for stage in range(stages(module) + 1):
            trunk, rest = split(module, stage)
            assert rest(trunk(images)).equal(expected), stage
        assert module(images).equal(expected)  # still whole
    assert stages(module) == len(module.blocks) > 1


def test_each_parameter_is_shared_and_in_one_part_only(network: tuple[Any, Any]) -> None:
    module, _ = network
    trunk, rest = split(module, 1)
    theirs = {id(values) for values in (*trunk.parameters(), *rest.parameters())}
    assert theirs == {id(values) for values in module.parameters()}
    assert not {*map(id, trunk.parameters())} & {*map(id, rest.parameters())}
    assert set(map(id, trunk.buffers())) | set(map(id, rest.buffers())) == set(
        map(id, module.buffers())
    )


def test_a_later_stage_moves_blocks_into_the_trunk(network: tuple[Any, Any]) -> None:
    module, _ = network
    sizes = [
        [sum(p.numel() for p in part.parameters()) for part in split(module, stage)]
        for stage in range(stages(module) + 1)
    ]
    assert sorted(sizes) == sizes
    assert len({trunk for trunk, _ in sizes}) == len(sizes)


def test_training_the_rest_trains_the_network_and_not_its_trunk(network: tuple[Any, Any]) -> None:
    import torch

    module, images = network
    with torch.inference_mode():
        kept = split(module, 1)[0](images)
        before = module(images)
    trunk, rest = split(module, 1)
    rest(trunk(images).detach()).mean().backward()
    torch.optim.SGD(rest.parameters(), 0.01).step()
    with torch.inference_mode():
        assert trunk(images).equal(kept)
        assert not torch.allclose(module(images), before)
        assert rest(trunk(images)).equal(module(images))


@pytest.mark.parametrize("stage", [-1, 99])
def test_a_stage_that_is_not_there_is_refused(stage: int, make: Make) -> None:
    module = make(architecture("test_vit")).module
    with pytest.raises(EncoderError, match=rf"can't be split at stage {stage}: say 0 to \d+\.$"):
        split(module, stage)


@pytest.mark.parametrize("refuse", [stages, lambda module: split(module, 1)])
def test_a_network_of_another_shape_is_refused(refuse: Callable[[Any], object]) -> None:
    module = rebuild({"library": "timm", "model": "test_resnet", "arguments": {"num_classes": 0}})
    with pytest.raises(EncoderError, match=r"^ResNet can't be split .* or choose .*\.$"):
        refuse(module)
