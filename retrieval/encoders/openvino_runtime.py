"""Encoding on CPUs with OpenVINO. A query needs this module and the artifact, and no torch."""

from __future__ import annotations

from concurrent.futures import Future
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.encoders.artifact import OPENVINO_MODELS, Artifact, EncoderSpec
from retrieval.encoders.protocol import normalise
from retrieval.errors import EncoderError

_HINTS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoEncoder:
    """An encoder that runs an artifact's compiled network on the CPU."""

    # Past 16 the activations of a mobile network leave the cache, and the rate falls.
    batch_size = 16

    def __init__(self, artifact: Artifact, precision: str) -> None:
        """Prepare; the network is compiled at the first call.

        Args:
            artifact: Holds the compiled network.
            precision: `float32`, `bfloat16`, or `auto`: bfloat16 where the CPU computes in it.

        Raises:
            EncoderError: The precision is not one of these.
        """
        import openvino

        self._spec = artifact.spec
        self._core = openvino.Core()
        if precision == "auto":
            native = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            precision = "bfloat16" if "BF16" in native else "float32"
        if precision not in _HINTS:
            raise EncoderError(
                f"There is no precision {precision!r} on this CPU: say auto, {' or '.join(_HINTS)}."
            )
        self._precision = precision
        self._path = artifact.folder / OPENVINO_MODELS[precision]
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
            request = self._latency_request
            request.infer([pixels], share_inputs=True)
            return normalise(request.get_output_tensor(0).data.copy())

    def submit(self, pixels: NDArray[np.uint8]) -> Future[NDArray[np.float32]]:
        """Queue a batch; see `Encoder.submit`."""
        future: Future[NDArray[np.float32]] = Future()
        with self._queue_lock:  # the queue itself takes from one thread at a time
            # The pixels are shared, not copied: the user data keeps them alive until the callback.
            self._queue.start_async([pixels], userdata=(future, pixels), share_inputs=True)
        return future

    def close(self) -> None:
        """Finish what was submitted."""
        if "_queue" in self.__dict__:
            self._queue.wait_all()

    @cached_property
    def _latency_request(self) -> Any:
        return self._compile("LATENCY").create_infer_request()

    @cached_property
    def _queue(self) -> Any:
        import openvino

        queue = openvino.AsyncInferQueue(self._compile("THROUGHPUT"))
        queue.set_callback(_resolve)
        return queue

    def _compile(self, hint: str) -> Any:
        config = {"PERFORMANCE_HINT": hint, "INFERENCE_PRECISION_HINT": _HINTS[self._precision]}
        try:
            return self._core.compile_model(self._path, "CPU", config)
        except RuntimeError as error:
            raise EncoderError(
                f"{self._path} can't be loaded: it is damaged; restore it from a copy."
            ) from error


def _resolve(request: Any, userdata: tuple[Future[NDArray[np.float32]], object]) -> None:
    future, _ = userdata
    try:
        future.set_result(normalise(request.get_output_tensor(0).data.copy()))
    except Exception as error:  # noqa: BLE001 - handed to whoever waits for the result
        future.set_exception(error)
