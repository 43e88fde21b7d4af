"""A verifier on disk: a folder inside the gallery's.

verifier.json             calibrations, thresholds, figures, provenance, the other files' checksums
linear-SHA.safetensors    projection and linear classifier
trees-SHA.json            boosted trees, as XGBoost writes them

The other files are named by their content and written first; verifier.json takes its place in one
step. So a process killed at any moment leaves the old verifier or the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.embedding import FailedPhoto
from retrieval.errors import GalleryError
from retrieval.verifying.calibration import ScoreCalibration
from retrieval.verifying.classifiers import Classifier, Linear, Trees
from retrieval.verifying.features import Projection
from retrieval.verifying.figures import Figure, MethodFigures
from retrieval.verifying.model import TrainedVerifier, Verifier

FOLDER, DESCRIPTION = "verifier", "verifier.json"
_FORMAT = 1
_FIGURES = ("accuracy", "auc", "eer", "brier", "log_loss", "gain")


def save_verifier(folder: Path, verifier: Verifier) -> None:
    """Write a verifier in place of the one that is there.

    Args:
        folder: Its folder, made where it is missing.
        verifier: What to write.

    Raises:
        GalleryError: It can't be written.
    """
    from safetensors.numpy import save

    arrays: dict[str, NDArray[Any]] = {}
    if verifier.projection is not None:
        arrays |= {
            "projection_mean": verifier.projection.mean,
            "projection": verifier.projection.directions,
        }
    blobs = {}
    if isinstance(verifier.classifier, Linear):
        linear = verifier.classifier
        arrays |= {"mean": linear.mean, "scale": linear.scale, "weights": linear.weights}
        arrays["intercept"] = np.array([linear.intercept])
    elif verifier.classifier is not None:
        blobs["trees"] = (".json", verifier.classifier.data)
    if arrays:
        blobs["arrays"] = (".safetensors", save(arrays))
    files = {}
    try:
        folder.mkdir(exist_ok=True)
        for role, (suffix, data) in blobs.items():
            checksum = hashlib.sha256(data).hexdigest()
            files[role] = {"name": f"{role}-{checksum[:16]}{suffix}", "sha256": checksum}
            _write(folder / files[role]["name"], data)
        values = {
            "format": _FORMAT,
            "files": files,
            "calibrations": {by: asdict(one) for by, one in verifier.calibrations.items()},
            "distance_threshold": verifier.distance_threshold,
            "trained": asdict(verifier.trained),
        }
        text = json.dumps(values, indent=2).encode("utf-8", "backslashreplace")
        _write(folder / DESCRIPTION, text + b"\n")
        kept = {DESCRIPTION, *(one["name"] for one in files.values())}
        for path in folder.iterdir():
            if path.name not in kept:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise GalleryError(
            f"{folder} can't be written ({error.strerror}): make room, or mend its permissions."
        ) from error


def load_verifier(folder: Path, fingerprint: str) -> Verifier | None:
    """Read a verifier; `None` where there is none.

    Args:
        folder: Its folder.
        fingerprint: Of the gallery's encoder.

    Raises:
        GalleryError: It is damaged, of another format, or for another encoder.
    """
    path = folder / DESCRIPTION
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if not isinstance(values, dict):
        raise _damaged(path, "it describes no verifier")
    if values.get("format") != _FORMAT:
        raise GalleryError(
            f"{path} has format {values.get('format')!r}, this lookalike reads {_FORMAT}: upgrade "
            "it, or run train-verifier --overwrite."
        )
    try:
        trained = _trained(values["trained"])
        if trained.fingerprint != fingerprint:
            raise GalleryError(
                f"The verifier in {folder} was trained for another encoder ({trained.encoder}), "
                "whose vectors don't compare: run train-verifier --overwrite."
            )
        projection, classifier = _parts(folder, values["files"])
        return Verifier(
            projection=projection,
            classifier=classifier,
            calibrations={
                by: ScoreCalibration(one["kind"], tuple(one["scores"]), tuple(one["probabilities"]))
                for by, one in values["calibrations"].items()
            },
            distance_threshold=float(values["distance_threshold"]),
            trained=trained,
        )
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise _damaged(path, error) from error


def _parts(folder: Path, files: dict[str, Any]) -> tuple[Projection | None, Classifier | None]:
    from safetensors.numpy import load

    read = {}
    for role, one in files.items():
        data = (folder / Path(one["name"]).name).read_bytes()
        if hashlib.sha256(data).hexdigest() != one["sha256"]:
            raise ValueError(f"{one['name']} is not what was written")
        read[role] = data
    arrays = load(read["arrays"]) if "arrays" in read else {}
    projection = None
    if "projection" in arrays:
        projection = Projection(arrays["projection_mean"], arrays["projection"])
    classifier: Classifier | None = None
    if "trees" in read:
        classifier = Trees(read["trees"])
    elif "weights" in arrays:
        intercept = float(arrays["intercept"][0])
        classifier = Linear(arrays["mean"], arrays["scale"], arrays["weights"], intercept)
    return projection, classifier


def _trained(values: dict[str, Any]) -> TrainedVerifier:
    methods = []
    for one in values["methods"]:
        figures = {name: one[name] and Figure(**one[name]) for name in _FIGURES}
        methods.append(MethodFigures(**one | figures))
    failed = tuple(FailedPhoto(**one) for one in values["failed"])
    return TrainedVerifier(**values | {"methods": tuple(methods), "failed": failed})


def _damaged(path: Path, what: object) -> GalleryError:
    return GalleryError(
        f"{path} is damaged ({what}): restore it from a copy of the gallery, or run "
        "train-verifier --overwrite."
    )


def _write(path: Path, data: bytes) -> None:
    """Write a file in one step, flushed to disk."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            file.close()
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
