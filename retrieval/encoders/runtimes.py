"""Which runtime runs an encoder here."""

from __future__ import annotations

from importlib.util import find_spec

from retrieval.encoders.artifact import OPENVINO_MODELS, Artifact
from retrieval.encoders.protocol import Encoder


def open_encoder(artifact: Artifact, *, precision: str = "auto", device: str = "cpu") -> Encoder:
    """Start an encoder: OpenVINO on a CPU where it is installed, torch everywhere else.

    Args:
        artifact: The encoder's folder.
        precision: `float32`, `bfloat16`, on CPUs with OpenVINO `int8`, on GPUs `float16`; `auto`
            takes the fastest that the device computes natively at equal quality.
        device: `cpu`, `cuda` or `mps`.

    Raises:
        EncoderError: The artifact is damaged, or device and precision don't go together.
    """
    if device == "cpu" and find_spec("openvino") and artifact.has(OPENVINO_MODELS["float32"]):
        from retrieval.encoders.openvino_runtime import OpenVinoEncoder

        return OpenVinoEncoder(artifact, precision)
    from retrieval.encoders.torch_runtime import TorchEncoder

    return TorchEncoder(artifact, precision, device)
