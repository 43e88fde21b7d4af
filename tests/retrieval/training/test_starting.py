"""The network that training begins with: by name, out of a folder, or without weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval.encoders.artifact import WEIGHTS, Artifact
from retrieval.encoders.networks import Network
from retrieval.errors import EncoderError
from retrieval.training.starting import fingerprint, starting_network
from retrieval.training.wishes import Wishes

TINY = "timm:test_efficientnet"


def test_a_name_with_its_weights(tiny_checkpoint: Path, tiny_encoder: Path) -> None:
    named = starting_network(Wishes(encoder=TINY, weights=tiny_checkpoint))
    folder = starting_network(Wishes(encoder=str(tiny_encoder)))
    ours, theirs = named.module.state_dict(), folder.module.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(value.equal(theirs[name]) for name, value in ours.items())
    spec = Artifact.load(tiny_encoder).spec
    assert fingerprint(named) == fingerprint(folder) == spec.fingerprint
    assert folder.provenance == spec.provenance
    assert not named.untrained
    assert not folder.module.training


def test_other_weights_have_another_fingerprint(tiny_network: Callable[..., Network]) -> None:
    import torch

    network = tiny_network()
    before = fingerprint(network)
    with torch.no_grad():
        next(iter(network.module.parameters())).add_(1e-3)
    assert fingerprint(network) != before


def test_without_weights_the_seed_draws_them() -> None:
    drawn = [
        starting_network(Wishes(encoder=TINY, from_scratch=True, seed=seed)) for seed in (1, 1, 2)
    ]
    assert all(network.untrained for network in drawn)
    first, same, other = map(fingerprint, drawn)
    assert first == same != other


def test_damaged_weights_are_told(tiny_encoder: Path, tmp_path: Path) -> None:
    damaged = Artifact.load(tiny_encoder).copy_to(tmp_path / "damaged")
    (damaged.folder / WEIGHTS).write_bytes(b"nothing")
    with pytest.raises(EncoderError, match=r"can't be loaded .*: restore it from a copy"):
        starting_network(Wishes(encoder=str(damaged.folder)))


def test_weights_that_nobody_would_read_are_refused(
    tiny_encoder: Path, tiny_checkpoint: Path
) -> None:
    with pytest.raises(EncoderError, match="--weights goes with timm:NAME or siamese"):
        starting_network(Wishes(encoder=str(tiny_encoder), weights=tiny_checkpoint))
    with pytest.raises(EncoderError, match="--from-scratch takes no --weights"):
        starting_network(Wishes(encoder=TINY, weights=tiny_checkpoint, from_scratch=True))
    with pytest.raises(EncoderError, match="--weights goes with timm:NAME"):
        starting_network(Wishes(weights=tiny_checkpoint))


@pytest.mark.parametrize("name", ["efficientnet_lite0", "no-such-folder"])
def test_what_has_no_untrained_form_is_refused(name: str) -> None:
    with pytest.raises(EncoderError, match="can't begin without weights: say timm:NAME or siamese"):
        starting_network(Wishes(encoder=name, from_scratch=True))
