"""A verifier on disk: damage is told, another encoder refused, a stop in between harms nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval.encoders import EncoderSpec
from retrieval.errors import GalleryError
from retrieval.verifying.model import Verifier
from retrieval.verifying.storing import load_verifier, save_verifier
from retrieval.verifying.training import LearningPairs, train


@pytest.fixture(scope="module")
def verifier(learning_pairs: Callable[..., LearningPairs], spec: EncoderSpec) -> Verifier:
    """A linear verifier."""
    return train(learning_pairs(), spec, model="linear", components=5)


@pytest.fixture
def folder(verifier: Verifier, tmp_path: Path) -> Path:
    """Its folder."""
    save_verifier(tmp_path / "verifier", verifier)
    return tmp_path / "verifier"


def test_where_there_is_none(tmp_path: Path) -> None:
    assert load_verifier(tmp_path / "verifier", "") is None


def test_another_encoder_is_refused(folder: Path) -> None:
    with pytest.raises(GalleryError, match="trained for another encoder"):
        load_verifier(folder, "f" * 64)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}', "\xff"])
def test_a_damaged_description(text: str, folder: Path, spec: EncoderSpec) -> None:
    (folder / "verifier.json").write_text(text, encoding="latin-1")
    with pytest.raises(GalleryError, match=r"verifier\.json is damaged .*train-verifier"):
        load_verifier(folder, spec.fingerprint)


def test_a_newer_format(folder: Path, spec: EncoderSpec) -> None:
    path = folder / "verifier.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}), encoding="utf-8")
    with pytest.raises(GalleryError, match="upgrade it"):
        load_verifier(folder, spec.fingerprint)


@pytest.mark.parametrize("damage", ["change", "delete"])
def test_damaged_weights(damage: str, folder: Path, spec: EncoderSpec) -> None:
    (path,) = folder.glob("*.safetensors")
    if damage == "delete":
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    with pytest.raises(GalleryError, match="is damaged"):
        load_verifier(folder, spec.fingerprint)


def test_a_new_verifier_takes_the_place_of_the_old(
    folder: Path, learning_pairs: Callable[..., LearningPairs], spec: EncoderSpec
) -> None:
    (old,) = folder.glob("*.safetensors")
    made = train(learning_pairs(), spec, model="xgboost", components=4)
    save_verifier(folder, made)
    assert not old.exists()
    loaded = load_verifier(folder, spec.fingerprint)
    assert loaded is not None
    assert loaded.trained == made.trained


def test_a_stop_before_the_last_step_leaves_the_old_one(
    folder: Path,
    verifier: Verifier,
    learning_pairs: Callable[..., LearningPairs],
    spec: EncoderSpec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = train(learning_pairs(), spec, model="xgboost", components=4)
    replace = Path.replace

    def stop_at_description(path: Path, target: Path) -> Path:
        if target.name == "verifier.json":
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", stop_at_description)
    with pytest.raises(KeyboardInterrupt):
        save_verifier(folder, other)
    loaded = load_verifier(folder, spec.fingerprint)
    assert loaded is not None
    assert loaded.trained == verifier.trained


def test_a_folder_that_cannot_be_written(verifier: Verifier, tmp_path: Path) -> None:
    (tmp_path / "verifier").write_text("in the way")
    with pytest.raises(GalleryError, match="can't be written"):
        save_verifier(tmp_path / "verifier", verifier)
