"""From an artifact's network to what this CPU runs, kept beside it: compiling takes time.

compiled/NETWORK-KEY.blob holds a checksum and what OpenVINO exports. The key names everything that
compiling depends on, so what one machine left is never loaded on another. Any file may be deleted
at any moment.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from retrieval.encoders.artifact import COMPILED, OPENVINO_MODELS, Artifact
from retrieval.errors import EncoderError

HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}
"""OpenVINO's name of the arithmetic left to the CPU, by precision."""

_log = logging.getLogger(__name__)


def compiled_network(
    core: Any, artifact: Artifact, *, precision: str, hint: str, images: int | None
) -> Any:
    """Load the compiled network, or compile it and keep it for the next process.

    Args:
        core: An `openvino.Core`.
        artifact: Holds the network.
        precision: One of `HINTS`.
        hint: OpenVINO's performance hint, `LATENCY` or `THROUGHPUT`.
        images: How many images a call gets; `None` for any number.

    Raises:
        EncoderError: The artifact's network is damaged.
    """
    model = artifact.folder / OPENVINO_MODELS[precision]
    config = {"PERFORMANCE_HINT": hint, "INFERENCE_PRECISION_HINT": HINTS[precision]}
    network = f"{precision}-{hint.lower()}-{images or 'any'}"
    kept = artifact.folder / COMPILED / f"{network}-{_key(core, artifact, model)}.blob"
    blob = _read(kept)
    if blob is not None:
        try:
            return core.import_model(blob, "CPU", config)
        except RuntimeError:
            _log.warning("%s can't be loaded; the network is compiled anew.", kept)
    try:
        loaded = core.read_model(model)
        if images is not None:
            loaded.reshape([images, *list(loaded.input().partial_shape)[1:]])
        compiled = core.compile_model(loaded, "CPU", config)
    except RuntimeError as error:
        raise EncoderError(
            f"{model} can't be loaded: it is damaged; restore it from a copy."
        ) from error
    try:
        _write(kept, compiled.export_model().getvalue(), replaces=f"{network}-*.blob")
    except OSError as error:  # the next process compiles again
        _log.info("%s can't be kept: %s", kept, error)
    return compiled


def _key(core: Any, artifact: Artifact, model: Path) -> str:
    """Name all that compiling depends on: the network, OpenVINO, the CPU and its cores."""
    import openvino

    name = model.relative_to(artifact.folder).as_posix()
    facts = [
        openvino.__version__,
        core.get_property("CPU", "FULL_DEVICE_NAME"),
        *sorted(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
        str(os.cpu_count()),
        *(artifact.checksums[part] for part in (name, name.replace(".xml", ".bin"))),
    ]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def _read(path: Path) -> bytes | None:
    """Return what `_write` kept; `None` where it is missing or not what was written."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    checksum, blob = data[:32], data[32:]
    return blob if hashlib.sha256(blob).digest() == checksum else None


def _write(path: Path, blob: bytes, *, replaces: str) -> None:
    """Keep a blob under its name, in one step, in place of those that match `replaces`."""
    path.parent.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        try:
            file.write(hashlib.sha256(blob).digest() + blob)
            file.close()
            # Two processes may do this at once: both wrote the same network, the last one stays.
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    for other in path.parent.glob(replaces):
        if other != path:
            other.unlink(missing_ok=True)
