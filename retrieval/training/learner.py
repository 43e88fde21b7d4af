"""The part of a network that learns, by mode, and the encoder that comes of it.

head      everything but a projection behind the network is frozen
partial   so are its first stages; a trained copy of the rest stands beside the pretrained one
full      nothing is frozen
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from retrieval.encoders.beside import beside
from retrieval.encoders.networks import LIBRARY, Network
from retrieval.encoders.projected import features_dim, fold_batch_norm, projected
from retrieval.encoders.splitting import split, stages
from retrieval.errors import EncoderError

if TYPE_CHECKING:
    from torch import Tensor, nn

Mode = Literal["head", "partial", "full"]
MODES: tuple[Mode, ...] = ("head", "partial", "full")


@dataclass(frozen=True)
class Shape:
    """What is learnt of a network.

    Attributes:
        mode: See the module.
        stage: Behind how many blocks `partial` splits the network; 0 otherwise.
        dim: Length of the projection; 0 for none, as with `siamese`, which has dense layers.
        share: Share of the distance that what is learnt decides, in (0, 1]; the rest is decided by
            the pretrained features. 1 in mode `full`.
        dropout: Share of the features left out of each step, in front of the projection.
        batch_norm: `frozen` keeps the statistics of the pretraining; `learnt` for a network that is
            trained from nothing.
    """

    mode: Mode
    stage: int
    dim: int
    share: float
    dropout: float
    batch_norm: Literal["frozen", "learnt"]


def default_stage(network: Network) -> int:
    """Return the stage to split a network at: four sevenths of its blocks, in whole blocks.

    Raises:
        EncoderError: The network can't be split.
    """
    return round(stages(network.module) * 4 / 7)


class Learner:
    """A network taken apart for training.

    Attributes:
        shape: What is learnt.
        frozen: Maps images to what `trained` takes; `None` where images are what it takes.
        trained: Maps that to embeddings `(n, dim)`, not normalised; it is trained.
        dim: Their length.
    """

    def __init__(self, network: Network, shape: Shape, *, seed: int) -> None:
        """Take a network apart; its own weights are never changed.

        Args:
            network: The network to begin with.
            shape: What is learnt of it.
            seed: Draws the projection's first weights.

        Raises:
            EncoderError: The network can't be split, or doesn't say how many features it makes.
        """
        import torch
        from torch import nn

        self.shape = shape
        self._network = network
        self.frozen: nn.Module | None = None
        if shape.mode == "full":
            body: nn.Module = copy.deepcopy(network.module)
        elif shape.mode == "partial":
            self.frozen, rest = split(network.module, shape.stage)
            body = copy.deepcopy(rest)
        else:
            self.frozen, body = network.module, nn.Identity()
        body.requires_grad_(requires_grad=True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            head = _head(features_dim(network.module), shape) if shape.dim else nn.Identity()
        self.trained = nn.Sequential(body, head)
        self.trained.to(memory_format=torch.channels_last)
        self.dim = shape.dim or features_dim(network.module)

    def train(self) -> None:
        """Prepare for steps: only a network trained from nothing observes its own statistics."""
        self.trained.train()
        if self.shape.batch_norm == "frozen":
            self.trained[0].eval()

    def parameter_groups(self, *, rate: float, head_rate: float, decay: float) -> list[Any]:
        """Return the parameters for an optimiser.

        Args:
            rate: Learning rate of the network itself.
            head_rate: That of the projection.
            decay: Weight decay; the network's own biases and norms have none.
        """
        body, head = ([*part.parameters()] for part in self.trained)
        return [
            {"params": [one for one in body if one.ndim > 1], "lr": rate, "weight_decay": decay},
            {"params": [one for one in body if one.ndim <= 1], "lr": rate, "weight_decay": 0.0},
            {"params": head, "lr": head_rate, "weight_decay": decay},
        ]

    def pretrained(self, inputs: Tensor) -> Tensor:
        """Return the features that the network made before training, of what `trained` takes."""
        if self.shape.mode == "partial":
            rest: nn.Module = split(self._network.module, self.shape.stage)[1]
            made: Tensor = rest(inputs)
            return made
        return inputs if self.shape.mode == "head" else self._network.module(inputs)

    def network(self, provenance: dict[str, Any]) -> Network:
        """Make the network that embeds as the learner does now, in evaluation mode."""
        shape, base = self.shape, self._network
        body, head = copy.deepcopy(self.trained).eval()
        if not shape.dim:
            return Network(body, base.architecture, base.preprocessing, provenance)
        norm, _, linear = head.children()
        projection = fold_batch_norm(cast("nn.BatchNorm1d", norm), cast("nn.Linear", linear))
        arguments: dict[str, Any] = {"dim": shape.dim}
        if shape.mode == "partial" and shape.share < 1:
            model = "beside"
            arguments |= {"stage": shape.stage, "share": shape.share}
            module = beside(copy.deepcopy(base.module), **arguments)
            module.get_submodule("trained").load_state_dict(body.state_dict())
        else:
            model = "projected"
            arguments |= {"keep": 1 - shape.share if shape.mode == "head" else 0}
            module = projected(self._whole(body), **arguments)
        module.get_submodule("projection").load_state_dict(projection.state_dict())
        arguments["base"] = base.architecture
        architecture = {"library": LIBRARY, "model": model, "arguments": arguments}
        return Network(module.eval(), architecture, base.preprocessing, provenance)

    def _whole(self, body: nn.Module) -> nn.Module:
        """Return the network from images to features, with what was learnt of it in its place."""
        if self.shape.mode == "full":
            return body
        whole = copy.deepcopy(self._network.module)
        if self.shape.mode == "partial":
            split(whole, self.shape.stage)[1].load_state_dict(body.state_dict())
        return whole


def require_fit(network: Network, shape: Shape) -> None:
    """Make sure that a network can be trained in this way.

    Raises:
        EncoderError: It can't; the text says what can be done.
    """
    if network.untrained and shape.mode != "full":
        raise EncoderError(
            f"{network.architecture['model']} without weights has nothing to keep: --mode "
            f"{shape.mode} would leave a part of it as it was drawn; say --mode full."
        )
    if shape.mode == "partial" and not 0 <= shape.stage < stages(network.module):
        raise EncoderError(
            f"--stage {shape.stage} leaves nothing to train: say 0 to {stages(network.module) - 1}."
        )


def _head(features: int, shape: Shape) -> nn.Module:
    from torch import nn

    return nn.Sequential(
        nn.BatchNorm1d(features),
        nn.Dropout(shape.dropout),
        nn.Linear(features, shape.dim, bias=False),
    )
