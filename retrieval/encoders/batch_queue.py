"""Batches that OpenVINO computes side by side, each a future; whoever drops them waits for them."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

Finish = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class BatchQueue:
    """A compiled network at work on several batches. Safe to use from several threads."""

    def __init__(self, compiled: Any, finish: Finish) -> None:
        """Prepare as many requests as suit the network's performance hint.

        Args:
            compiled: An `openvino.CompiledModel` with one input and one output.
            finish: What becomes of each output: float32, and its own to change.
        """
        import openvino

        self._queue = openvino.AsyncInferQueue(compiled)
        self._queue.set_callback(partial(_resolve, finish))
        self._lock = Lock()
        # OpenVINO crashes or hangs where its queue goes while a batch is under way.
        weakref.finalize(self, self._queue.wait_all)

    def __len__(self) -> int:
        """Return how many batches can be under way at once."""
        return len(self._queue)

    def submit(self, pixels: NDArray[np.uint8]) -> Future[NDArray[np.float32]]:
        """Begin a batch, once there is room for it.

        Args:
            pixels: What the network takes; kept, not copied, and not to be changed until then.
        """
        future: Future[NDArray[np.float32]] = Future()
        with self._lock:  # the queue itself takes from one thread at a time
            self._queue.start_async([pixels], userdata=(future, pixels), share_inputs=True)
        return future

    def wait(self) -> None:
        """Return when every batch is done."""
        self._queue.wait_all()


def _resolve(
    finish: Finish, request: Any, userdata: tuple[Future[NDArray[np.float32]], object]
) -> None:
    future, _ = userdata
    try:
        future.set_result(finish(request.get_output_tensor(0).data.copy()))
    except Exception as error:  # noqa: BLE001 - handed to whoever waits for the result
        future.set_exception(error)
