"""From a torch module to OpenVINO's model of it, which takes pixels."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from retrieval.encoders.preprocessing import Preprocessing

if TYPE_CHECKING:
    from torch import nn


def converted(module: nn.Module, preprocessing: Preprocessing) -> Any:
    """Convert a module.

    Args:
        module: Maps float32 `(n, 3, size, size)`, normalised, to one float32 tensor; it is put
            into evaluation mode, and the model shares its weights.
        preprocessing: What the module expects.

    Returns:
        An `openvino.Model` that takes uint8 pixels `(n, size, size, 3)`, with float32 weights.
    """
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
    from openvino.preprocess import PrePostProcessor

    size = preprocessing.size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's advice to its own users about tracing
        # The frontend itself, not `openvino.convert_model`, which reports home when it is used.
        decoder = TorchScriptPythonDecoder(
            module,
            example_input=torch.zeros(2, 3, size, size),
            trace_kwargs={"check_trace": False},  # that would run the network six times more
        )
        frontend = FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(decoder))
    return _on_pixels(PrePostProcessor(model), preprocessing)


def _on_pixels(processor: Any, preprocessing: Preprocessing) -> Any:
    import openvino

    size = preprocessing.size
    tensor = processor.input().tensor()
    tensor.set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    tensor.set_shape([-1, size, size, 3])
    processor.input().model().set_layout(openvino.Layout("NCHW"))
    steps = processor.input().preprocess().convert_element_type(openvino.Type.f32)
    steps.mean((np.array(preprocessing.mean) * 255).tolist())
    steps.scale((np.array(preprocessing.std) * 255).tolist())
    return processor.build()
