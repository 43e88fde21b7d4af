"""An encoder's folder: what its fingerprint says, what `load` refuses, what `damage` finds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.encoders import Artifact, EncoderSpec, Preprocessing
from retrieval.encoders.artifact import DESCRIPTION, WEIGHTS
from retrieval.errors import EncoderError

PREPROCESSING = Preprocessing(
    size=8,
    resize=9,
    crop="center",
    interpolation="bicubic",
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
)
ARCHITECTURE = {"library": "timm", "model": "test_efficientnet", "arguments": {"num_classes": 0}}


def weights() -> dict[str, NDArray[Any]]:
    return {
        "layer.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "layer.seen": np.array(7, dtype=np.int64),
    }


def describe(**changes: Any) -> EncoderSpec:
    values: dict[str, Any] = {
        "name": "tiny",
        "architecture": ARCHITECTURE,
        "dim": 2,
        "preprocessing": PREPROCESSING,
        "provenance": {"weights": "seed 0"},
        "weights": weights(),
    }
    values |= changes
    return EncoderSpec.of(values.pop("name"), **values)


def test_a_fingerprint_stays_the_same_from_version_to_version() -> None:
    # Galleries on disk carry it: another way to compute it would make all of them unusable.
    assert describe().fingerprint == (
        "7d069d80dc96baf51e4cbaeb399128e186753530d92949e57dfd8f97d2423b21"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"provenance": {"weights": "elsewhere", "trained_on": ["a", "b"]}},
        {"architecture": dict(reversed(ARCHITECTURE.items()))},
        {"weights": dict(reversed(weights().items()))},
        {"weights": {key: value.copy(order="F") for key, value in weights().items()}},
    ],
    ids=["name", "provenance", "order of architecture", "order of weights", "memory layout"],
)
def test_a_fingerprint_does_not_depend_on_what_leaves_vectors_alone(
    changes: dict[str, Any],
) -> None:
    assert describe(**changes).fingerprint == describe().fingerprint


@pytest.mark.parametrize(
    "changes",
    [
        {"dim": 3},
        {"architecture": ARCHITECTURE | {"model": "test_resnet"}},
        {"architecture": ARCHITECTURE | {"arguments": {"num_classes": 1}}},
        {"preprocessing": replace(PREPROCESSING, size=7)},
        {"preprocessing": replace(PREPROCESSING, resize=10)},
        {"preprocessing": replace(PREPROCESSING, crop="squash")},
        {"preprocessing": replace(PREPROCESSING, interpolation="bilinear")},
        {"preprocessing": replace(PREPROCESSING, mean=(0.5, 0.5, 0.4))},
        {"preprocessing": replace(PREPROCESSING, std=(0.25, 0.5, 0.25))},
    ],
    ids=str,
)
def test_a_fingerprint_depends_on_what_makes_vectors(changes: dict[str, Any]) -> None:
    assert describe(**changes).fingerprint != describe().fingerprint


def nudge(values: dict[str, NDArray[Any]]) -> None:
    values["layer.weight"][1, 2] = np.nextafter(np.float32(5), np.float32(6))


def recount(values: dict[str, NDArray[Any]]) -> None:
    values["layer.seen"] += 1


def rename(values: dict[str, NDArray[Any]]) -> None:
    values["layer.bias"] = values.pop("layer.weight")


def reshape(values: dict[str, NDArray[Any]]) -> None:
    values["layer.weight"] = values["layer.weight"].reshape(3, 2)


def retype(values: dict[str, NDArray[Any]]) -> None:
    values["layer.weight"] = values["layer.weight"].view(np.int32)


def extend(values: dict[str, NDArray[Any]]) -> None:
    values["layer.more"] = np.zeros(0, np.float32)


@pytest.mark.parametrize("change", [nudge, recount, rename, reshape, retype, extend])
def test_a_fingerprint_depends_on_every_weight(
    change: Callable[[dict[str, NDArray[Any]]], None],
) -> None:
    changed = weights()
    change(changed)
    assert describe(weights=changed).fingerprint != describe().fingerprint


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    """An artifact that is whole as a folder, though no runtime could run it."""
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / WEIGHTS).write_bytes(b"weights")
    return Artifact.describe(folder, describe())


def test_what_is_described_can_be_loaded(artifact: Artifact) -> None:
    loaded = Artifact.load(artifact.folder)
    assert loaded == artifact
    assert loaded.spec == describe()
    assert isinstance(hash(loaded.spec.preprocessing), int)


def test_a_runtime_s_network_belongs_to_the_artifact(tiny_encoder: Path) -> None:
    written = {
        path.relative_to(tiny_encoder).as_posix()
        for path in tiny_encoder.rglob("*")
        if path.is_file() and path.suffix != ".blob"  # what this machine compiled is derived
    }
    made = Artifact.load(tiny_encoder)
    assert written == {DESCRIPTION, *made.checksums}
    assert any(name.startswith("openvino/") for name in written)
    assert not made.damage()


def test_a_folder_without_an_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"holds no encoder .*: name a folder") as caught:
        Artifact.load(tmp_path / "nowhere")
    assert is_one_sentence(caught.value)


@pytest.mark.parametrize("version", [2, 0, "1", None])
def test_another_format_is_refused(artifact: Artifact, version: object) -> None:
    alter(artifact, lambda values: values | {"format": version})
    with pytest.raises(EncoderError, match=f"has format {version!r}, .* reads 1") as caught:
        Artifact.load(artifact.folder)
    assert is_one_sentence(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe{}", b"[]", b"null", b"7", b'"format"', b'{"format": 1}'],
)
def test_a_description_of_something_else_is_refused(artifact: Artifact, content: bytes) -> None:
    (artifact.folder / DESCRIPTION).write_bytes(content)
    with pytest.raises(EncoderError, match=r"encoder\.json") as caught:
        Artifact.load(artifact.folder)
    assert is_one_sentence(caught.value)


@pytest.mark.parametrize(
    "key",
    ["name", "architecture", "dim", "preprocessing", "provenance", "fingerprint", "files"],
)
def test_a_description_without_one_of_its_values_is_damaged(artifact: Artifact, key: str) -> None:
    alter(artifact, lambda values: {name: values[name] for name in values if name != key})
    with pytest.raises(EncoderError, match=rf"is damaged \('{key}'\)") as caught:
        Artifact.load(artifact.folder)
    assert is_one_sentence(caught.value)


@pytest.mark.parametrize(
    "changes",
    [{"mean": 0.5}, {"crop": "centre"}, {"interpolation": "cubic"}, {"unheard_of": 1}],
    ids=str,
)
def test_a_description_with_a_preprocessing_we_do_not_know_is_damaged(
    artifact: Artifact, changes: dict[str, Any]
) -> None:
    alter(artifact, lambda values: values | {"preprocessing": values["preprocessing"] | changes})
    with pytest.raises(EncoderError, match="is damaged") as caught:
        Artifact.load(artifact.folder)
    assert is_one_sentence(caught.value)


def test_damage_finds_a_missing_and_a_changed_file(tiny_encoder: Path, tmp_path: Path) -> None:
    copy = Artifact.load(tiny_encoder).copy_to(tmp_path / "copy")
    missing, changed, *_ = sorted(copy.checksums)
    (copy.folder / missing).unlink()
    content = bytearray((copy.folder / changed).read_bytes())
    content[len(content) // 2] ^= 1
    (copy.folder / changed).write_bytes(content)
    found = copy.damage()
    assert len(found) == 2
    assert any(f"{copy.folder / missing} is missing" in sentence for sentence in found)
    assert any(f"{copy.folder / changed} has changed" in sentence for sentence in found)


def test_a_file_is_had_while_it_is_there_and_described(artifact: Artifact) -> None:
    (artifact.folder / "stray").write_bytes(b"")
    assert artifact.has(WEIGHTS)
    assert not artifact.has("stray")
    (artifact.folder / WEIGHTS).unlink()
    assert not artifact.has(WEIGHTS)


def test_a_copy_holds_exactly_the_files_of_the_artifact(tiny_encoder: Path, tmp_path: Path) -> None:
    first = Artifact.load(tiny_encoder).copy_to(tmp_path / "first")
    for stray in ("notes.txt", "openvino/cache.blob", ".DS_Store"):
        (first.folder / stray).write_bytes(b"stray")
    second = first.copy_to(tmp_path / "deep" / "second")
    copied = {
        path.relative_to(second.folder).as_posix()
        for path in second.folder.rglob("*")
        if path.is_file()
    }
    assert copied == {DESCRIPTION, *first.checksums}
    assert all(
        (second.folder / name).read_bytes() == (tiny_encoder / name).read_bytes() for name in copied
    )
    assert (second.folder, second.spec) == (tmp_path / "deep" / "second", first.spec)
    assert not second.damage()


def test_what_lacks_a_file_is_not_copied(artifact: Artifact, tmp_path: Path) -> None:
    (artifact.folder / WEIGHTS).unlink()
    with pytest.raises(EncoderError, match=rf"{WEIGHTS} is missing") as caught:
        artifact.copy_to(tmp_path / "copy")
    assert is_one_sentence(caught.value)


def test_a_description_that_names_files_elsewhere_is_refused(
    artifact: Artifact, tmp_path: Path
) -> None:
    # It may come from anywhere; what it names is read, and written beside the copy.
    (tmp_path / "secret").write_bytes(b"mine")
    alter(artifact, lambda values: values | {"files": {"../secret": "0" * 64}})
    with pytest.raises(EncoderError, match="is damaged") as caught:
        Artifact.load(artifact.folder).copy_to(tmp_path / "to" / "copy")
    assert is_one_sentence(caught.value)
    assert not (tmp_path / "to" / "secret").exists()


def alter(artifact: Artifact, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    path = artifact.folder / DESCRIPTION
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def is_one_sentence(error: EncoderError) -> bool:
    text = str(error)
    return text.endswith(".") and "\n" not in text
