"""A threshold that travels with the encoder is taken in preference to one tuned on the gallery."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from retrieval import EncoderError, Gallery, LookalikeError
from retrieval.encoders import Artifact
from retrieval.first_threshold import best_rule, travelling_threshold

BROUGHT: dict[str, Any] = {
    "value": 0.41,
    "rule": "margin",
    "objective": "fpir=0.05",
    "details": {"promised": True, "fpir": 0.04, "fpir_interval": [0.02, 0.07], "items": 900},
    "calibration": {"scores": [0.3, 0.5], "p_values": [0.02, 0.1], "dirs": [0.4, 0.8]},
}


def bring(encoder: Path, folder: Path, **changes: object) -> Path:
    """Copy an encoder, and let it bring a threshold."""
    path = Artifact.load(encoder).copy_to(folder).folder / "encoder.json"
    described = json.loads(path.read_text())
    described["provenance"]["threshold"] = BROUGHT | changes
    path.write_text(json.dumps(described))
    return folder


def assert_brought(gallery: Gallery) -> None:
    threshold = gallery.threshold()
    assert threshold is not None
    assert (threshold.value, threshold.rule, threshold.objective) == (0.41, "margin", "fpir=0.05")
    assert threshold.source == "encoder"
    assert threshold.details == BROUGHT["details"]
    assert threshold.calibration == BROUGHT["calibration"]
    assert threshold.encoder_fingerprint == gallery.info().fingerprint


def test_a_new_gallery_takes_it(tiny_encoder: Path, photos: Path, tmp_path: Path) -> None:
    brought = bring(tiny_encoder, tmp_path / "brought")
    with Gallery.create(tmp_path / "gallery", encoder=str(brought)) as gallery:
        gallery.build(photos / "red")  # too few to tune on
        assert_brought(gallery)
        gallery.build(photos)
        assert_brought(gallery)
        tuned = gallery.tune_threshold(objective="far=0.2")
        gallery.build(photos / "red", prune=True)
        assert gallery.threshold() == tuned  # what was asked for stays
        answer = gallery.identify(photos / "red" / "0.png", threshold=0.5)
        assert answer.decision is not None


def test_a_reembed_takes_it(gallery: Gallery, second_encoder: Path, tmp_path: Path) -> None:
    report = gallery.reembed(str(bring(second_encoder, tmp_path / "brought")))
    assert_brought(gallery)
    assert report.threshold == gallery.threshold()


def test_a_reembed_forgets_the_thresholds_of_before(
    gallery: Gallery, tiny_encoder: Path, second_encoder: Path
) -> None:
    first = gallery.tune_threshold(objective="far=0.2")
    gallery.reembed(str(second_encoder))
    assert gallery.threshold() is None  # fifteen photos are too few to tune on
    gallery.reembed(str(tiny_encoder))
    assert gallery.threshold() is None
    assert gallery.tune_threshold(objective="far=0.2").value == first.value


def test_without_one_there_is_none(tiny_encoder: Path) -> None:
    assert travelling_threshold(Artifact.load(tiny_encoder).spec) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"value": "near"},
        {"value": float("inf")},
        {"rule": "guess"},
        {"details": {"fpir": 2}},
        {"details": {"fpir_interval": [0.1, 0.2]}},
        {"details": {"fpir": 0.1, "fpir_interval": [0.1]}},
        {"details": 7},
        {"calibration": {"scores": [0.3, 0.2], "p_values": [0.1, 0.2]}},
        {"calibration": {"scores": [0.3]}},
        {"calibration": {"guesses": [0.3]}},
    ],
)
def test_one_that_makes_no_sense_is_refused_before_the_work(
    changes: dict[str, Any], gallery: Gallery, second_encoder: Path, tmp_path: Path
) -> None:
    odd = bring(second_encoder, tmp_path / "odd", **changes)
    before = gallery.info()
    for make in (
        lambda: gallery.reembed(str(odd)),
        lambda: Gallery.create(tmp_path / "new", encoder=str(odd)),
    ):
        with pytest.raises(EncoderError, match=r"threshold that comes with the encoder .* can't"):
            make()
    assert gallery.info() == before
    assert not (tmp_path / "new").exists()


def test_labels_an_encoder_learnt_tell_nothing_about_strangers(
    tiny_encoder: Path, photos: Path, tmp_path: Path
) -> None:
    learnt = taught(tiny_encoder, tmp_path / "learnt", ["red", "green"])
    with Gallery.create(tmp_path / "gallery", encoder=str(learnt)) as gallery:
        gallery.build(photos)
        assert gallery.threshold() is None
        with pytest.raises(LookalikeError, match=r"trained on 2 of this gallery's 3 labels"):
            gallery.tune_threshold(objective="f1")
    other = taught(tiny_encoder, tmp_path / "other", ["somebody else"])
    with Gallery.create(tmp_path / "another", encoder=str(other)) as gallery:
        gallery.build(photos)
        gallery.tune_threshold(objective="f1")
        assert gallery.threshold() is not None


def test_the_rule_depends_on_what_the_encoder_was_trained_on(
    tiny_encoder: Path, tmp_path: Path
) -> None:
    labels = [str(label) for label in range(10)]
    for name, learnt, rule in (("other", "x", "margin"), ("own", "3", "rivals")):
        spec = Artifact.load(taught(tiny_encoder, tmp_path / name, [learnt])).spec
        assert best_rule(spec, labels).name == rule
        assert best_rule(spec, labels[:9]).name == "nearest"


@pytest.mark.parametrize(("learnt", "rule"), [("red", "rivals"), ("somebody else", "margin")])
def test_a_threshold_that_is_tuned_takes_that_rule(
    tiny_encoder: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    learnt: str,
    rule: str,
) -> None:
    monkeypatch.setattr("retrieval.rules._LABELS_FOR_RIVALS", 3)
    (tmp_path / "strangers" / "violet").mkdir(parents=True)
    for blue in (200, 210):
        photo = tmp_path / "strangers" / "violet" / f"{blue}.png"
        Image.new("RGB", (40, 30), (150, 80, blue)).save(photo)
    encoder = taught(tiny_encoder, tmp_path / "taught", [learnt])
    with Gallery.create(tmp_path / "gallery", encoder=str(encoder)) as gallery:
        gallery.build(photos)
        if rule == "rivals":  # the other has a threshold of its own by now
            assert gallery.evaluate().rule == rule
        tuned = gallery.tune_threshold(objective="f1", strangers=tmp_path / "strangers")
    assert tuned.rule == rule


def taught(encoder: Path, folder: Path, labels: list[str]) -> Path:
    """Copy an encoder and say in its provenance what it was trained on."""
    artifact = Artifact.load(encoder).copy_to(folder)
    provenance = artifact.spec.provenance | {"training": {"labels": labels}}
    Artifact.describe(folder, replace(artifact.spec, provenance=provenance))
    return folder
