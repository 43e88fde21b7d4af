"""Encoding with torch: on GPUs, and on CPUs where OpenVINO is not installed."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retrieval.encoders.artifact import WEIGHTS, Artifact, EncoderSpec
from retrieval.encoders.networks import rebuild
from retrieval.encoders.protocol import normalise
from retrieval.errors import EncoderError

if TYPE_CHECKING:
    from torch import nn

_PRECISIONS = ("float32", "bfloat16", "float16")


class TorchEncoder:
    """An encoder that rebuilds an artifact's network and runs it on one torch device."""

    def __init__(self, artifact: Artifact, precision: str, device: str) -> None:
        """Load the weights onto the device.

        Args:
            artifact: Holds the weights.
            precision: `float32`, `bfloat16`, `float16`, or `auto`: float16 on a GPU, else float32.
            device: `cpu`, `cuda` or `mps`.

        Raises:
            EncoderError: The device is not there, the precision unknown, or the weights damaged.
        """
        import torch

        require_device(device)
        if precision == "auto":
            precision = "float32" if device == "cpu" else "float16"
        if precision not in _PRECISIONS:
            raise EncoderError(
                f"There is no precision {precision!r} in torch: say auto, "
                f"{' or '.join(_PRECISIONS)}."
            )
        module = load_module(artifact)
        self._spec = artifact.spec
        self._precision = precision
        self._device = torch.device(device)
        self._dtype = getattr(torch, precision)
        module = module.to(self._device, self._dtype)
        self._module = module.to(memory_format=torch.channels_last)
        shape = (1, 3, 1, 1)
        preprocessing = artifact.spec.preprocessing
        self._mean = torch.tensor(preprocessing.mean, device=self._device).view(shape) * 255
        self._std = torch.tensor(preprocessing.std, device=self._device).view(shape) * 255
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="torch-encoder")

    @property
    def spec(self) -> EncoderSpec:
        """What the encoder is."""
        return self._spec

    @property
    def precision(self) -> str:
        """The arithmetic in use."""
        return self._precision

    @property
    def batch_size(self) -> int:
        """Images per batch that suit the device."""
        return 16 if self._device.type == "cpu" else 128

    def encode(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode a few images at once; see `Encoder.encode`."""
        import torch

        with torch.inference_mode():
            images = torch.from_numpy(pixels)
            if self._device.type == "cuda":
                images = images.pin_memory()
            images = images.to(self._device, non_blocking=True).permute(0, 3, 1, 2)
            images = ((images - self._mean) / self._std).to(self._dtype)
            features = self._module(images).float().cpu().numpy()
        return normalise(features)

    def submit(self, pixels: NDArray[np.uint8]) -> Future[NDArray[np.float32]]:
        """Queue a batch; see `Encoder.submit`."""
        return self._worker.submit(self.encode, pixels)

    def close(self) -> None:
        """Finish what was submitted."""
        self._worker.shutdown()


def load_module(artifact: Artifact) -> nn.Module:
    """Make an artifact's network again, with its weights, in evaluation mode.

    Raises:
        EncoderError: The weights are missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    module = rebuild(artifact.spec.architecture)
    path = artifact.folder / WEIGHTS
    try:
        module.load_state_dict(load_file(path))
    except (SafetensorError, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise EncoderError(f"{path} can't be loaded ({reason}): restore it from a copy.") from error
    return module


def require_device(device: str) -> None:
    """Make sure that torch can compute on `cpu`, `cuda` or `mps` here.

    Raises:
        EncoderError: It can't.
    """
    import torch

    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device, False):
        raise EncoderError(f"torch finds no device {device!r} here: say --device cpu.")
