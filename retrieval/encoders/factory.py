"""Making an artifact: from `--encoder NAME` to a folder that needs nobody else."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from retrieval.encoders.artifact import OPENVINO_MODELS, WEIGHTS, Artifact, EncoderSpec
from retrieval.encoders.networks import Network, is_network, make_network
from retrieval.encoders.protocol import Encoder
from retrieval.encoders.rounding import rounded_for_bfloat16
from retrieval.encoders.runtimes import open_encoder
from retrieval.errors import EncoderError


def make_artifact(name: str, folder: Path, *, weights: Path | None = None) -> Artifact:
    """Put the encoder called `name` into a new folder.

    Args:
        name: A packaged encoder, `timm:MODEL`, or the path of another artifact, which is copied.
        folder: Where to put it; must not exist yet or be empty.
        weights: A local checkpoint for a timm model.

    Raises:
        EncoderError: The name is unknown, or its weights can't be had.
    """
    # A name wins over a folder that happens to be called like it.
    if not is_network(name) and Path(name).is_dir():
        if weights is not None:
            raise EncoderError(
                f"--weights goes with timm:NAME; the encoder in {name} has its own: leave it out."
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
    """Save a network with its weights, compiled for OpenVINO where that is installed."""
    import torch
    from safetensors.torch import save_file

    weights = {key: value.contiguous() for key, value in network.module.state_dict().items()}
    size = network.preprocessing.size
    with torch.inference_mode():
        dim = network.module(torch.zeros(1, 3, size, size)).shape[1]
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / WEIGHTS)
    if find_spec("openvino"):  # else the torch runtime reads the weights
        rounded = replace(
            network, module=rounded_for_bfloat16(network.module, network.preprocessing)
        )
        _save_openvino(network, folder / OPENVINO_MODELS["float32"])
        _save_openvino(rounded, folder / OPENVINO_MODELS["bfloat16"])
    spec = EncoderSpec.of(
        name,
        architecture=network.architecture,
        dim=dim,
        preprocessing=network.preprocessing,
        provenance=network.provenance,
        weights={key: value.numpy() for key, value in weights.items()},
    )
    return Artifact.describe(folder, spec)


def _save_openvino(network: Network, path: Path) -> None:
    """Write the network as OpenVINO IR that takes uint8 pixels, float32 weights."""
    import openvino
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
    from openvino.preprocess import PrePostProcessor

    size = network.preprocessing.size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's advice to its own users about tracing
        # The frontend itself, not `openvino.convert_model`, which reports home when it is used.
        decoder = TorchScriptPythonDecoder(
            network.module,
            example_input=torch.zeros(2, 3, size, size),
            trace_kwargs={"check_trace": False},  # that would run the network six times more
        )
        frontend = FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(decoder))
    model = _on_pixels(PrePostProcessor(model), network, openvino)
    path.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(model, path, compress_to_fp16=False)


def _on_pixels(processor: Any, network: Network, openvino: Any) -> Any:
    preprocessing = network.preprocessing
    size = preprocessing.size
    tensor = processor.input().tensor()
    tensor.set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    tensor.set_shape([-1, size, size, 3])
    processor.input().model().set_layout(openvino.Layout("NCHW"))
    steps = processor.input().preprocess().convert_element_type(openvino.Type.f32)
    steps.mean((np.array(preprocessing.mean) * 255).tolist())
    steps.scale((np.array(preprocessing.std) * 255).tolist())
    return processor.build()
