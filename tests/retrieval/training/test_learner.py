"""What training moves and what it leaves alone, and the encoder that comes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from retrieval.encoders.networks import Network, rebuild
from retrieval.errors import EncoderError
from retrieval.training.judging import beside_pretrained
from retrieval.training.learner import Learner, Mode, Shape, default_stage, require_fit

Make = Callable[..., Network]
MODELS = ("test_efficientnet", "test_vit")


def shape(mode: Mode, **other: Any) -> Shape:
    values: dict[str, Any] = {
        "stage": 1 if mode == "partial" else 0,
        "dim": 8,
        "share": 1.0 if mode == "full" else 0.4,
        "dropout": 0.2,
        "batch_norm": "frozen",
    }
    return Shape(mode, **values | other)


def images(network: Network, n: int = 4) -> Any:
    import torch

    size = network.preprocessing.size
    colours = torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return torch.nn.functional.interpolate(colours, size)


def take_steps(learner: Learner, given: Any, steps: int = 3) -> None:
    """Train on what makes every parameter move."""
    import torch
    from torch.nn.functional import normalize

    torch.manual_seed(0)
    groups = learner.parameter_groups(rate=0.01, head_rate=0.01, decay=0.0)
    optimiser = torch.optim.SGD([group for group in groups if group["params"]])
    with torch.no_grad():
        inputs = given if learner.frozen is None else learner.frozen(given)
    for _ in range(steps):
        learner.train()
        optimiser.zero_grad()
        embeddings = normalize(learner.trained(inputs))
        (embeddings @ embeddings.T).sum().backward()
        optimiser.step()
    learner.trained.eval()


def state(module: Any) -> dict[str, Any]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def moved(module: Any, before: dict[str, Any]) -> set[str]:
    return {name for name, value in module.state_dict().items() if not value.equal(before[name])}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("mode", ["head", "partial", "full"])
def test_steps_move_what_is_trained_and_never_the_network(
    mode: Mode, model: str, tiny_network: Make
) -> None:
    network = tiny_network(model)
    before = state(network.module)
    learner = Learner(network, shape(mode), seed=0)
    learnt = state(learner.trained)
    take_steps(learner, images(network))
    assert moved(network.module, before) == set()
    parameters = {name for name, _ in learner.trained.named_parameters()}
    changed = moved(learner.trained, learnt)
    # A bias that a norm follows, or the class token's position, need not matter.
    assert len(changed & parameters) > 0.8 * len(parameters)
    assert not network.module.training


@pytest.mark.parametrize("mode", ["partial", "full"])
def test_frozen_batch_norms_keep_their_statistics_and_learn_the_rest(
    mode: Mode, tiny_network: Make
) -> None:
    network = tiny_network()
    learner = Learner(network, shape(mode), seed=0)
    body = learner.trained[0]  # type: ignore[index]
    before = state(body)
    take_steps(learner, images(network))
    changed = moved(body, before)
    assert not [name for name in changed if "running" in name or "batches" in name]
    norms = [name for name in before if "bn" in name and name.endswith((".weight", ".bias"))]
    assert norms
    assert len(changed & set(norms)) > 0.8 * len(norms)


def test_learnt_batch_norms_observe(tiny_network: Make) -> None:
    network = tiny_network()
    learner = Learner(network, shape("full", batch_norm="learnt"), seed=0)
    body = learner.trained[0]  # type: ignore[index]
    before = state(body)
    take_steps(learner, images(network))
    statistics = {name for name in before if "running" in name}
    assert statistics <= moved(body, before)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("mode", "share"),
    [("head", 0.4), ("head", 1.0), ("partial", 0.4), ("partial", 1.0), ("full", 1.0)],
)
def test_the_network_that_comes_of_it_embeds_as_the_learner_does(
    mode: Mode, share: float, model: str, tiny_network: Make
) -> None:
    import torch
    from torch.nn.functional import normalize

    network = tiny_network(model)
    learner = Learner(network, shape(mode, share=share), seed=0)
    given = images(network)
    take_steps(learner, given)
    made = learner.network({"weights": "trained"})
    assert made.provenance == {"weights": "trained"}
    assert made.preprocessing == network.preprocessing
    again = rebuild(made.architecture)
    again.load_state_dict(made.module.state_dict())
    with torch.inference_mode():
        inputs = given if learner.frozen is None else learner.frozen(given)
        learnt = normalize(learner.trained(inputs)).numpy()
        pretrained = normalize(network.module(given)).numpy()
        embeddings = [module(given).numpy() for module in (made.module, again)]
    expected = beside_pretrained(learnt, pretrained, share)
    # By hand: what each decides of the distance.
    distances = share * (1 - learnt @ learnt.T) + (1 - share) * (1 - pretrained @ pretrained.T)
    assert np.allclose(1 - expected @ expected.T, distances, atol=1e-5)
    for embedding in embeddings:
        assert embedding.shape == expected.shape
        assert np.allclose(1 - embedding @ embedding.T, distances, atol=1e-4)
    assert not np.allclose(learnt @ learnt.T, pretrained @ pretrained.T, atol=0.01)


def test_the_pretrained_features_are_those_of_the_network(tiny_network: Make) -> None:
    import torch

    network = tiny_network()
    given = images(network)
    with torch.inference_mode():
        expected = network.module(given)
    modes: tuple[Mode, ...] = ("head", "partial", "full")
    for mode in modes:
        learner = Learner(network, shape(mode), seed=0)
        take_steps(learner, given, steps=1)
        with torch.inference_mode():
            inputs = given if learner.frozen is None else learner.frozen(given)
            assert learner.pretrained(inputs).allclose(expected, atol=1e-5)


def test_siamese_is_trained_as_it_is_and_stays_one(tiny_network: Make) -> None:
    import torch

    network = tiny_network("siamese")
    learner = Learner(network, shape("full", dim=0, batch_norm="learnt"), seed=0)
    given = images(network, n=2)
    take_steps(learner, given, steps=1)
    made = learner.network({})
    assert made.architecture == network.architecture
    assert learner.dim == 128
    with torch.inference_mode():
        assert made.module(given).equal(learner.trained(given))


def test_a_seed_draws_the_projection(tiny_network: Make) -> None:
    network = tiny_network()
    first, same, other = (state(Learner(network, shape("head"), seed=n).trained) for n in (1, 1, 2))
    assert all(value.equal(same[name]) for name, value in first.items())
    assert not first["1.2.weight"].equal(other["1.2.weight"])


def test_each_parameter_is_in_one_group_and_the_networks_norms_do_not_decay(
    tiny_network: Make,
) -> None:
    learner = Learner(tiny_network(), shape("full"), seed=0)
    groups = learner.parameter_groups(rate=0.1, head_rate=0.2, decay=0.3)
    listed = [id(one) for group in groups for one in group["params"]]
    assert sorted(listed) == sorted(map(id, learner.trained.parameters()))
    head = learner.trained[1]  # type: ignore[index]
    for group in groups:
        for one in group["params"]:
            in_head = any(one is other for other in head.parameters())
            assert group["lr"] == (0.2 if in_head else 0.1)
            assert group["weight_decay"] == (0.3 if in_head or one.ndim > 1 else 0.0)


def test_the_default_stage_is_four_sevenths(tiny_network: Make) -> None:
    network = tiny_network()
    assert default_stage(network) == round(4 / 7 * len(network.module.get_submodule("blocks")))  # type: ignore[arg-type]


def test_what_can_not_be_trained_so_is_refused(tiny_network: Make) -> None:
    untrained = tiny_network("siamese")
    with pytest.raises(EncoderError, match="siamese without weights has nothing to keep"):
        require_fit(untrained, shape("head"))
    require_fit(untrained, shape("full"))
    network = tiny_network()
    last = len(network.module.get_submodule("blocks")) - 1  # type: ignore[arg-type]
    require_fit(network, shape("partial", stage=last))
    with pytest.raises(EncoderError, match=f"leaves nothing to train: say 0 to {last}"):
        require_fit(network, shape("partial", stage=last + 1))
