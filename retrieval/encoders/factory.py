"""Making an artifact: from `--encoder NAME` to a folder that needs nobody else."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from retrieval.encoders.artifact import OPENVINO_MODELS, WEIGHTS, Artifact, EncoderSpec
from retrieval.encoders.converting import converted
from retrieval.encoders.networks import Network, is_network, make_network
from retrieval.encoders.preprocessing import Preprocessing
from retrieval.encoders.protocol import Encoder
from retrieval.encoders.rounding import rounded_for_bfloat16
from retrieval.encoders.runtimes import open_encoder
from retrieval.errors import EncoderError

if TYPE_CHECKING:
    from torch import nn


def make_artifact(name: str, folder: Path, *, weights: Path | None = None) -> Artifact:
    """Put the encoder called `name` into a new folder.

    Args:
        name: A packaged encoder, `timm:MODEL`, `siamese`, or the path of another artifact, which
            is copied.
        folder: Where to put it; must not exist yet or be empty.
        weights: A local checkpoint for a timm model or `siamese`.

    Raises:
        EncoderError: The name is unknown, its weights can't be had, or `folder` can't hold them.
    """
    # A name wins over a folder that happens to be called like it.
    if not is_network(name) and Path(name).is_dir():
        if weights is not None:
            raise EncoderError(
                f"--weights goes with timm:NAME or siamese; the encoder in {name} has its own: "
                "leave it out."
            )
        return Artifact.load(Path(name)).copy_to(folder)
    return save_network(name, make_network(name, weights), folder)


@contextmanager
def borrowed_encoder(name: str, *, device: str = "cpu") -> Iterator[Encoder]:
    """Open an encoder by its name for a while; nothing of it stays on disk.

    Args:
        name: See `make_artifact`.
        device: `cpu`, `cuda` or `mps`.

    Raises:
        EncoderError: The name is unknown, or its weights can't be had.
    """
    with TemporaryDirectory(prefix="lookalike-encoder-") as made:
        encoder = open_encoder(make_artifact(name, Path(made) / "encoder"), device=device)
        with closing(encoder):
            yield encoder


def save_network(name: str, network: Network, folder: Path) -> Artifact:
    """Save a network with its weights, compiled for OpenVINO where that is installed.

    A copy of the module is saved, in evaluation mode: one that is being trained stays as it is.
    """
    import torch
    from safetensors.torch import save_file

    module = copy.deepcopy(network.module).cpu().eval()
    weights = {key: value.contiguous() for key, value in module.state_dict().items()}
    size = network.preprocessing.size
    with torch.inference_mode():
        dim = module(torch.zeros(1, 3, size, size)).shape[1]
    folder.mkdir(parents=True, exist_ok=True)
    with _writing(folder / WEIGHTS):
        save_file(weights, folder / WEIGHTS)
    if find_spec("openvino"):  # else the torch runtime reads the weights
        rounded = rounded_for_bfloat16(module, network.preprocessing)
        _save_openvino(module, network.preprocessing, folder / OPENVINO_MODELS["float32"])
        _save_openvino(rounded, network.preprocessing, folder / OPENVINO_MODELS["bfloat16"])
    spec = EncoderSpec.of(
        name,
        architecture=network.architecture,
        dim=dim,
        preprocessing=network.preprocessing,
        provenance=network.provenance,
        weights={key: value.numpy() for key, value in weights.items()},
    )
    return Artifact.describe(folder, spec)


def _save_openvino(module: nn.Module, preprocessing: Preprocessing, path: Path) -> None:
    import openvino

    path.parent.mkdir(parents=True, exist_ok=True)
    model = converted(module, preprocessing)
    with _writing(path):
        openvino.save_model(model, path, compress_to_fp16=False)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Put in words what the libraries that write files say by exceptions of their own."""
    from safetensors import SafetensorError

    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        raise EncoderError(
            f"{path} can't be written: see whether its disk is full, and try again."
        ) from error
