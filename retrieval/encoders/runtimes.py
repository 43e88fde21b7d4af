"""Which runtime runs an encoder here."""

from __future__ import annotations

from importlib.util import find_spec

from retrieval.encoders.artifact import OPENVINO_MODELS, Artifact
from retrieval.encoders.protocol import Encoder

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
DEVICES = ("cpu", "cuda", "mps")


def open_encoder(artifact: Artifact, *, precision: str = "auto", device: str = "cpu") -> Encoder:
    """Start an encoder: OpenVINO on a CPU where it is installed, torch everywhere else.

    Args:
        artifact: The encoder's folder.
        precision: One of `PRECISIONS`; `auto` takes the fastest the device computes natively.
        device: One of `DEVICES`.

    Raises:
        EncoderError: The artifact is damaged, or device and precision don't go together.
    """
    if device == "cpu" and find_spec("openvino") and artifact.has(OPENVINO_MODELS["float32"]):
        from retrieval.encoders.openvino_runtime import OpenVinoEncoder

        return OpenVinoEncoder(artifact, precision)
    from retrieval.encoders.torch_runtime import TorchEncoder

    return TorchEncoder(artifact, precision, device)
