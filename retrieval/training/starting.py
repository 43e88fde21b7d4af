"""The network that training begins with."""

from __future__ import annotations

from pathlib import Path

from retrieval.encoders.artifact import Artifact, EncoderSpec
from retrieval.encoders.networks import Network, is_network, make_network, untrained_network
from retrieval.encoders.projected import features_dim
from retrieval.encoders.torch_runtime import load_module
from retrieval.errors import EncoderError
from retrieval.training.wishes import Wishes


def starting_network(wishes: Wishes) -> Network:
    """Return a network by its name, or out of an encoder's folder.

    Args:
        wishes: Its `encoder`, a name or a folder; `weights`, a local checkpoint; `from_scratch`.

    Raises:
        EncoderError: There is none, or its weights can't be had.
    """
    name = wishes.encoder
    if wishes.from_scratch:
        if wishes.weights is not None:
            raise EncoderError("--from-scratch takes no --weights: leave one of them out.")
        return untrained_network(name, seed=wishes.seed)
    # A name wins over a folder that happens to be called like it.
    if is_network(name) or not Path(name).is_dir():
        return make_network(name, wishes.weights)
    if wishes.weights is not None:
        raise EncoderError(
            f"--weights goes with timm:NAME or siamese; the encoder in {name} has its own: leave "
            "it out."
        )
    artifact = Artifact.load(Path(name))
    spec = artifact.spec
    return Network(load_module(artifact), spec.architecture, spec.preprocessing, spec.provenance)


def fingerprint(network: Network) -> str:
    """Return the fingerprint that the network's artifact has, or would have.

    Raises:
        EncoderError: The network doesn't say how many features it makes.
    """
    weights = network.module.state_dict()
    return EncoderSpec.of(
        "",
        architecture=network.architecture,
        dim=features_dim(network.module),
        preprocessing=network.preprocessing,
        provenance={},
        weights={name: value.contiguous().numpy() for name, value in weights.items()},
    ).fingerprint
