"""The network that training begins with."""

from __future__ import annotations

from pathlib import Path

from retrieval.encoders.artifact import WEIGHTS, Artifact
from retrieval.encoders.networks import (
    Network,
    is_network,
    make_network,
    rebuild,
    untrained_network,
)
from retrieval.errors import EncoderError
from retrieval.training.planning import Wishes


def starting_network(wishes: Wishes) -> Network:
    """Return a network by its name, or out of an encoder's folder.

    Args:
        wishes: Its `encoder`, a name or a folder; `weights`, a local checkpoint; `from_scratch`.

    Raises:
        EncoderError: There is none, or its weights can't be had.
    """
    name = wishes.encoder
    if wishes.from_scratch:
        return untrained_network(name, seed=wishes.seed)
    if is_network(name) or not Path(name).is_dir():
        return make_network(name, wishes.weights)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    artifact = Artifact.load(Path(name))
    module = rebuild(artifact.spec.architecture)
    path = artifact.folder / WEIGHTS
    try:
        module.load_state_dict(load_file(path))
    except (SafetensorError, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise EncoderError(f"{path} can't be loaded ({reason}): restore it from a copy.") from error
    spec = artifact.spec
    return Network(module, spec.architecture, spec.preprocessing, spec.provenance)
