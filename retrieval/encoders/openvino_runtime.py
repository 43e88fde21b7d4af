"""Encoding on CPUs with OpenVINO. A query needs this module and the artifact, and no torch."""

from __future__ import annotations

from concurrent.futures import Future
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.encoders.artifact import OPENVINO_MODELS, Artifact, EncoderSpec
from retrieval.encoders.batch_queue import BatchQueue
from retrieval.encoders.compiling import HINTS, compiled_network
from retrieval.encoders.protocol import normalise
from retrieval.errors import EncoderError


class OpenVinoEncoder:
    """An encoder that runs an artifact's compiled network on the CPU."""

    # Past 16 the activations of a mobile network leave the cache, and the rate falls.
    batch_size = 16

    def __init__(self, artifact: Artifact, precision: str) -> None:
        """Prepare; the network is compiled, or what was compiled is loaded, at the first call.

        Args:
            artifact: Holds the compiled network.
            precision: `float32`, `bfloat16`, `int8`, or `auto`: bfloat16 where the CPU computes in
                it, else float32.

        Raises:
            EncoderError: The precision is not one of these, or the artifact has no network for it.
        """
        import openvino

        self._spec = artifact.spec
        self._core = openvino.Core()
        if precision == "auto":
            native = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            precision = "bfloat16" if "BF16" in native else "float32"
        if precision not in HINTS:
            raise EncoderError(
                f"There is no precision {precision!r} on this CPU: say auto, {' or '.join(HINTS)}."
            )
        if not artifact.has(OPENVINO_MODELS[precision]):
            raise EncoderError(
                f"{artifact.folder} has no {precision} network: make a gallery from photos with "
                f"`lookalike build-index --precision {precision}`, or restore it from a copy."
            )
        self._precision = precision
        self._artifact = artifact
        self._lock = Lock()
        self._queue_lock = Lock()

    @property
    def spec(self) -> EncoderSpec:
        """What the encoder is."""
        return self._spec

    @property
    def precision(self) -> str:
        """The arithmetic in use."""
        return self._precision

    def encode(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode a few images at once; see `Encoder.encode`."""
        with self._lock:  # one request serves all threads in turn
            request = self._single_request if len(pixels) == 1 else self._request
            request.infer([pixels], share_inputs=True)
            return normalise(request.get_output_tensor(0).data.copy())

    def submit(self, pixels: NDArray[np.uint8]) -> Future[NDArray[np.float32]]:
        """Queue a batch; see `Encoder.submit`."""
        with self._queue_lock:  # it is compiled once, whichever thread is first
            queue = self._queue
        return queue.submit(pixels)

    def close(self) -> None:
        """Finish what was submitted."""
        if "_queue" in self.__dict__:
            self._queue.wait()

    @cached_property
    def _single_request(self) -> Any:
        # A network for one image only is quicker at it by a tenth.
        return self._compiled("LATENCY", images=1).create_infer_request()

    @cached_property
    def _request(self) -> Any:
        return self._compiled("LATENCY").create_infer_request()

    @cached_property
    def _queue(self) -> BatchQueue:
        return BatchQueue(self._compiled("THROUGHPUT"), normalise)

    def _compiled(self, hint: str, *, images: int | None = None) -> Any:
        return compiled_network(
            self._core, self._artifact, precision=self._precision, hint=hint, images=images
        )
