"""What any torch module makes of many images, on all cores: a network's features, a trunk's maps.

Unlike an encoder, nothing is kept on disk and nothing normalised.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retrieval.encoders.batch_queue import BatchQueue
from retrieval.encoders.compiling import HINTS
from retrieval.encoders.preprocessing import Preprocessing
from retrieval.encoders.rounding import rounded_for_bfloat16
from retrieval.errors import EncoderError

if TYPE_CHECKING:
    from torch import nn

# Past 16 the activations of a mobile network leave the cache, and the rate falls.
_BATCH = 16


@dataclass(frozen=True)
class Features:
    """A module at work: pixels in, raw outputs out, for any number of images.

    Attributes:
        precision: The arithmetic in use, `float32` or `bfloat16`.
        waiting: Batches that are under way at once.
        submit: Begins a batch of pixels and returns the future of its outputs.
    """

    precision: str
    waiting: int
    submit: Callable[[NDArray[np.uint8]], Future[NDArray[np.float32]]]

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the outputs for some images.

        Args:
            pixels: uint8 RGB, shape `(n, size, size, 3)`, n at least 1.

        Returns:
            float32, shape `(n, …)`: what the module makes, not normalised.
        """
        batches = (pixels[start : start + _BATCH] for start in range(0, len(pixels), _BATCH))
        return np.concatenate(list(self.over(batches)))

    def over(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """Yield the outputs for each batch in turn, while the next ones are fetched and computed.

        Args:
            batches: uint8 RGB, each `(n, size, size, 3)`; some 16 images each suit a CPU best.
        """
        futures: deque[Future[NDArray[np.float32]]] = deque()
        try:
            for pixels in batches:
                futures.append(self.submit(pixels))
                if len(futures) > self.waiting:
                    yield futures.popleft().result()
            while futures:
                yield futures.popleft().result()
        finally:
            wait(futures)  # none is left under way where what was asked for isn't wanted any more


def compile_features(
    module: nn.Module, preprocessing: Preprocessing, precision: str = "auto"
) -> Features:
    """Compile a module in memory for throughput: with OpenVINO, or torch where that is missing.

    Args:
        module: Maps float32 `(n, 3, size, size)`, normalised, to one tensor `(n, …)`. A copy of it
            is compiled, in evaluation mode; training the module further doesn't change that.
        preprocessing: What the module expects.
        precision: `float32`, `bfloat16`, or `auto`: bfloat16 where the CPU computes in it.

    Raises:
        EncoderError: The precision is not one of these, or torch can't compute in it.
    """
    if precision not in ("auto", "float32", "bfloat16"):
        raise EncoderError(
            f"There is no precision {precision!r} for features: say auto, float32 or bfloat16."
        )
    copied = copy.deepcopy(module).cpu().eval()
    if find_spec("openvino"):
        return _with_openvino(copied, preprocessing, precision)
    if precision == "bfloat16":
        raise EncoderError(
            "Features in bfloat16 need OpenVINO: `pip install openvino`, or say float32."
        )
    return _with_torch(copied, preprocessing)


def _with_openvino(module: nn.Module, preprocessing: Preprocessing, precision: str) -> Features:
    import openvino

    from retrieval.encoders.converting import converted

    core = openvino.Core()
    if precision == "auto":
        native = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        precision = "bfloat16" if "BF16" in native else "float32"
    if precision == "bfloat16":
        module = rounded_for_bfloat16(module, preprocessing)
    config = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": HINTS[precision]}
    compiled = core.compile_model(converted(module, preprocessing), "CPU", config)
    queue = BatchQueue(compiled, lambda outputs: outputs)
    return Features(precision, len(queue), queue.submit)


def _with_torch(module: nn.Module, preprocessing: Preprocessing) -> Features:
    import torch

    shape = (1, 3, 1, 1)
    mean = torch.tensor(preprocessing.mean).view(shape) * 255
    std = torch.tensor(preprocessing.std).view(shape) * 255

    def submit(pixels: NDArray[np.uint8]) -> Future[NDArray[np.float32]]:
        future: Future[NDArray[np.float32]] = Future()
        with torch.inference_mode():
            images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
            future.set_result(module((images - mean) / std).numpy())
        return future

    return Features("float32", 0, submit)
