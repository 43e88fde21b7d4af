"""Batches under way in OpenVINO: all come back, whoever asks, and also when nobody waits."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.encoders.artifact import OPENVINO_MODELS
from retrieval.encoders.batch_queue import BatchQueue, Finish


def make_queue(encoder: Path, finish: Finish) -> BatchQueue:
    import openvino

    config = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"}
    model = encoder / OPENVINO_MODELS["float32"]
    return BatchQueue(openvino.Core().compile_model(model, "CPU", config), finish)


def test_threads_get_the_outputs_of_their_own_batches(tiny_encoder: Path) -> None:
    queue = make_queue(tiny_encoder, lambda outputs: outputs)
    pictures = np.random.default_rng(0).integers(0, 256, (8, 160, 160, 3), np.uint8)
    expected = queue.submit(pictures).result()
    made: dict[int, list[NDArray[np.float32]]] = {}

    def ask(one: int) -> None:
        futures = [queue.submit(pictures[one : one + 1]) for _ in range(10)]
        made[one] = [future.result()[0] for future in futures]

    threads = [threading.Thread(target=ask, args=(one,)) for one in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in range(8):
        np.testing.assert_allclose(made[one], np.tile(expected[one], (10, 1)), rtol=1e-4, atol=1e-5)


def test_an_error_is_the_one_of_the_batch_it_happened_to(tiny_encoder: Path) -> None:
    def finish(outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        if len(outputs) == 2:
            raise ZeroDivisionError
        return outputs

    queue = make_queue(tiny_encoder, finish)
    futures = [queue.submit(np.zeros((n, 160, 160, 3), np.uint8)) for n in (1, 2, 3)]
    with pytest.raises(ZeroDivisionError):
        futures[1].result()
    assert [len(futures[place].result()) for place in (0, 2)] == [1, 3]


def test_a_queue_is_dropped_only_when_its_batches_are_done(tiny_encoder: Path) -> None:
    # Without waiting, the process hangs or dies within a few of these.
    for _ in range(10):
        queue = make_queue(tiny_encoder, lambda outputs: outputs)
        futures = [queue.submit(np.zeros((16, 160, 160, 3), np.uint8)) for _ in range(len(queue))]
        del queue
        assert all(future.done() for future in futures)
