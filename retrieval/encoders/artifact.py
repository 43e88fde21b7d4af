"""An encoder on disk: a folder with its description, its weights and what a runtime compiled.

encoder.json          architecture, preprocessing, dim, provenance, fingerprint, checksums
weights.safetensors   the weights; never a pickle
openvino/*.xml, .bin  the network as OpenVINO reads it, by precision: a query needs nothing else
compiled/*.blob       what OpenVINO made of it for this machine: derived, see `compiling`
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from retrieval.encoders.preprocessing import Preprocessing
from retrieval.errors import EncoderError

DESCRIPTION = "encoder.json"
WEIGHTS = "weights.safetensors"
OPENVINO_MODELS = {
    "float32": "openvino/float32.xml",
    "bfloat16": "openvino/bfloat16.xml",
    "int8": "openvino/int8.xml",
}
_OPENVINO_FILES = [
    PurePosixPath(name).with_suffix(suffix).as_posix()
    for name in OPENVINO_MODELS.values()
    for suffix in (".xml", ".bin")
]
COMPILED = "compiled"
"""Folder of what a runtime has compiled for one machine: no part of the artifact, made at need."""
_FORMAT = 1


@dataclass(frozen=True)
class EncoderSpec:
    """What an encoder is.

    Attributes:
        name: What the user called it.
        architecture: How the network is built again: `library`, `model` and its `arguments`.
        dim: Length of its embeddings.
        preprocessing: What happens to an image before the network.
        provenance: Where the weights come from, for the reader; no part of the fingerprint.
        fingerprint: SHA-256 in hex over weights, architecture, dim and preprocessing: two encoders
            with the same fingerprint give comparable vectors.
    """

    name: str
    architecture: dict[str, Any]
    dim: int
    preprocessing: Preprocessing
    provenance: dict[str, Any]
    fingerprint: str

    @classmethod
    def of(
        cls,
        name: str,
        *,
        architecture: dict[str, Any],
        dim: int,
        preprocessing: Preprocessing,
        provenance: dict[str, Any],
        weights: dict[str, NDArray[Any]],
    ) -> Self:
        """Describe an encoder with these weights; computes the fingerprint."""
        identity = {
            "architecture": architecture,
            "dim": dim,
            "preprocessing": asdict(preprocessing),
            "weights": _digest(weights),
        }
        canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        fingerprint = hashlib.sha256(canonical.encode()).hexdigest()
        return cls(name, architecture, dim, preprocessing, provenance, fingerprint)


@dataclass(frozen=True)
class Artifact:
    """An encoder's folder, read.

    Attributes:
        folder: Where it is.
        spec: What it is.
        checksums: SHA-256 in hex of each file beside the description.
    """

    folder: Path
    spec: EncoderSpec
    checksums: dict[str, str]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the description of an encoder.

        Raises:
            EncoderError: There is none, or it can't be understood.
        """
        path = folder / DESCRIPTION
        try:
            values = json.loads(path.read_bytes())
        except OSError as error:
            raise EncoderError(
                f"{folder} holds no encoder ({path.name}: {error.strerror}): name a folder made by "
                "lookalike, or restore it from a copy."
            ) from error
        except ValueError as error:
            raise EncoderError(f"{path} is damaged ({error}): restore it from a copy.") from error
        if not isinstance(values, dict):
            raise EncoderError(f"{path} describes no encoder: restore it from a copy.")
        if values.get("format") != _FORMAT:
            raise EncoderError(
                f"{path} has format {values.get('format')!r}, this lookalike reads {_FORMAT}: "
                "upgrade it."
            )
        try:
            preprocessing = values["preprocessing"]
            preprocessing = Preprocessing(
                **preprocessing | {key: tuple(preprocessing[key]) for key in ("mean", "std")}
            )
            spec = EncoderSpec(
                values["name"],
                values["architecture"],
                values["dim"],
                preprocessing,
                values["provenance"],
                values["fingerprint"],
            )
            files = {name: str(checksum) for name, checksum in values["files"].items()}
            if not files.keys() <= {WEIGHTS, *_OPENVINO_FILES}:
                raise ValueError("it names files that belong to no encoder")
            return cls(folder, spec, files)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise EncoderError(f"{path} is damaged ({error}): restore it from a copy.") from error

    @classmethod
    def describe(cls, folder: Path, spec: EncoderSpec) -> Self:
        """Write the description of an encoder whose other files are in `folder` already."""
        checksums = {
            name: _file_digest(folder / name)
            for name in (WEIGHTS, *_OPENVINO_FILES)
            if (folder / name).exists()
        }
        values = {"format": _FORMAT, **asdict(spec), "files": checksums}
        (folder / DESCRIPTION).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        return cls(folder, spec, checksums)

    def has(self, name: str) -> bool:
        """Whether a file of the artifact is there."""
        return name in self.checksums and (self.folder / name).is_file()

    def copy_to(self, folder: Path) -> Artifact:
        """Copy the files this artifact is made of, and nothing else, into a new folder."""
        for name in (DESCRIPTION, *self.checksums):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(self.folder / name, target)
            except FileNotFoundError as error:
                raise EncoderError(
                    f"{self.folder / name} is missing: restore the encoder from a copy."
                ) from error
        return Artifact.load(folder)

    def damage(self) -> list[str]:
        """Return a sentence for each file that is missing or not what was written."""
        found = []
        for name, checksum in self.checksums.items():
            path = self.folder / name
            if not path.is_file():
                found.append(f"{path} is missing: restore it from a copy of the gallery.")
            elif _file_digest(path) != checksum:
                found.append(f"{path} has changed: restore it from a copy of the gallery.")
        return found


def _digest(weights: dict[str, NDArray[Any]]) -> str:
    """Hash names, types, shapes and values: the same for any file layout."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name]
        digest.update(f"{name} {tensor.dtype.str} {tensor.shape}\n".encode())
        digest.update(np.ascontiguousarray(tensor).data)
    return digest.hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
