"""int8 arithmetic: the network with its weights and activations rounded to 8 bits by NNCF.

What range each layer's activations have is observed on photos like those the encoder will see.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from retrieval.encoders.artifact import OPENVINO_MODELS, Artifact
from retrieval.encoders.preprocessing import Preprocessing
from retrieval.errors import EncoderError, ImageError
from retrieval.images import decode
from retrieval.paths import AnyPath

# Photos looked at; NNCF's own default.
_PHOTOS = 300
_FEWEST = 10


def quantise(artifact: Artifact, photos: Sequence[AnyPath]) -> Artifact:
    """Add an int8 network to an artifact that has a float32 one.

    Args:
        artifact: The artifact; its folder gets two more files, and its description anew.
        photos: What to observe the activations on; some 300 of them, spread evenly, are read.

    Raises:
        EncoderError: NNCF is not installed, the artifact has no network for OpenVINO, or too few
            photos can be read.
    """
    try:
        os.environ.setdefault("NNCF_CI", "1")  # NNCF reports home otherwise
        import nncf
    except ImportError as error:
        raise EncoderError(
            "--precision int8 needs NNCF: `pip install 'lookalike[int8]'`, or choose another "
            "precision."
        ) from error
    import openvino

    if not artifact.has(OPENVINO_MODELS["float32"]):
        raise EncoderError(
            f"{artifact.folder} has no network for OpenVINO, which int8 needs: choose another "
            "precision."
        )
    images = [pixels[np.newaxis] for pixels in islice(_readable(artifact, photos), _PHOTOS)]
    if len(images) < _FEWEST:
        raise EncoderError(
            f"--precision int8 is made for the photos at hand and needs {_FEWEST} that can be "
            f"read; there are {len(images)}: choose another precision."
        )
    model = openvino.Core().read_model(artifact.folder / OPENVINO_MODELS["float32"])
    first = next(op for op in model.get_ordered_ops() if op.get_type_name() == "Convolution")
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):  # its progress bars
        quantised = nncf.quantize(
            model,
            nncf.Dataset(images),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(images),
            # OpenVINO can't fold 8-bit weights behind the mean it subtracts from the pixels.
            ignored_scope=nncf.IgnoredScope(names=[first.get_friendly_name()]),
        )
    openvino.save_model(
        quantised, artifact.folder / OPENVINO_MODELS["int8"], compress_to_fp16=False
    )
    return Artifact.describe(artifact.folder, artifact.spec)


def _readable(artifact: Artifact, photos: Sequence[AnyPath]) -> Iterator[NDArray[np.uint8]]:
    preprocessing: Preprocessing = artifact.spec.preprocessing
    step = max(len(photos) // _PHOTOS, 1)
    for path in photos[::step]:
        try:
            image = decode(path.read_bytes(), min_side=preprocessing.resize).image
        except (ImageError, OSError):  # the build that follows says what is wrong with it
            continue
        yield preprocessing.apply(image)
