"""`train-verifier` and `verify` on the command line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from retrieval import BuildReport, Gallery

Run = Callable[..., Result]
Ask = Callable[..., list[dict[str, Any]]]


def test_training_prints_what_it_measured(run: Run, ask_json: Ask, untrained_path: Path) -> None:
    arguments = ("train-verifier", "-g", untrained_path, "--count", 140, "--overwrite")
    result = run(*arguments)
    assert result.exit_code == 0
    (trained,) = ask_json(*arguments)
    lines = result.stdout.splitlines()
    assert lines[0] == (
        f"70 positive pairs, 70 negative, of {trained['photos']} photos of 12 labels, from gallery"
    )
    assert [line.split()[0] for line in lines[3:6]] == ["distance", "linear", "xgboost"]
    for line, method in zip(lines[3:6], trained["methods"], strict=True):
        assert line.split()[1] == f"{method['accuracy']['value']:.1%}"
        assert f"  {method['auc']['value']:.3f} (" in line
        assert method["calibration"] in line
    assert lines[6].startswith(trained["model"])
    assert "verify goes by" in lines[6]
    (info,) = ask_json("info", "-g", untrained_path)
    assert info["verifier"] == trained
    assert f"verifier   {trained['model']}, " in run("info", "-g", untrained_path).stdout


@pytest.mark.parametrize("by", ["auto", "distance", "classifier"])
def test_an_answer_says_what_it_rests_on(
    by: str, run: Run, ask_json: Ask, trained_path: Path, hues: Path
) -> None:
    arguments = ("verify", hues / "hue-0/0.png", hues / "hue-0/1.png", "-g", trained_path)
    (found,) = ask_json(*arguments, "--by", by)
    assert set(found) == {
        *("photo_a", "photo_b", "decision", "by", "model", "probability", "distance", "score"),
        *("threshold", "note"),
    }
    result = run(*arguments, "--by", by)
    assert result.exit_code == 0
    what = "1 - probability" if found["by"] == "classifier" else "distance"
    assert result.stdout.splitlines() == [
        "same",
        f"probability {found['probability']:.1%} ({found['model']})",
        f"distance {found['distance']:.4f}",
        f"{what} {found['score']:.4f} is below the threshold {found['threshold']:.4f}",
    ]


def test_photos_of_different_things_are_an_answer_too(
    run: Run, trained_path: Path, hues: Path
) -> None:
    result = run("verify", hues / "hue-0/0.png", hues / "hue-6/1.png", "-g", trained_path)
    assert result.exit_code == 0
    assert result.stdout.startswith("not the same\n")


def test_without_a_verdict_the_note_says_why(run: Run, gallery_path: Path, photos: Path) -> None:
    result = run("verify", photos / "red/0.png", photos / "red/1.png", "-g", gallery_path)
    assert result.exit_code == 0
    assert result.stdout.startswith("There is no threshold for pairs")


def test_what_is_refused(
    refusal: Callable[..., str],
    contents: Callable[[Path], dict[str, str]],
    trained_path: Path,
    gallery_path: Path,
    hues: Path,
    tmp_path: Path,
) -> None:
    before = contents(trained_path), contents(gallery_path)
    photo = hues / "hue-0" / "0.png"
    assert "nowhere.png" in refusal("verify", photo, tmp_path / "nowhere.png", "-g", trained_path)
    (tmp_path / "text.png").write_text("no image")
    assert "text.png" in refusal("verify", tmp_path / "text.png", photo, "-g", trained_path)
    assert "--overwrite" in refusal("train-verifier", "-g", trained_path)
    assert "takes 10 labels" in refusal("train-verifier", "-g", gallery_path, "--count", 20)
    assert "at most" in refusal("train-verifier", "-g", trained_path, "--overwrite")
    assert "train-verifier" in refusal(
        "verify", photo, photo, "-g", gallery_path, "--by", "classifier"
    )
    assert "train-verifier" in refusal("query", photo, "-g", gallery_path, "--rule", "verifier")
    assert (contents(trained_path), contents(gallery_path)) == before


def test_a_damaged_verifier_is_told_everywhere(
    run: Run, refusal: Callable[..., str], trained_path: Path, hues: Path
) -> None:
    (weights,) = (trained_path / "verifier").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    photo = hues / "hue-0" / "0.png"
    sentence = refusal("verify", photo, photo, "-g", trained_path)
    assert "is damaged" in sentence
    assert f"problem: {sentence}" in run("check", "-g", trained_path).stdout
    assert sentence in run("info", "-g", trained_path).stdout
    assert run("query", photo, "-g", trained_path).exit_code == 0


def test_the_verifier_of_another_encoder_is_refused(
    refusal: Callable[..., str],
    run: Run,
    gallery_path: Path,
    trained_path: Path,
    hues: Path,
) -> None:
    path = trained_path / "verifier" / "verifier.json"
    values = json.loads(path.read_text())
    values["trained"]["fingerprint"] = "f" * 64
    path.write_text(json.dumps(values))
    shutil.copytree(trained_path / "verifier", gallery_path / "verifier")
    photo = hues / "hue-0" / "0.png"
    assert "for another encoder" in refusal("verify", photo, photo, "-g", gallery_path)
    assert run("check", "-g", gallery_path).exit_code == 1


def test_a_copied_gallery_brings_its_verifier(
    ask_json: Ask, trained_path: Path, hues: Path, tmp_path: Path
) -> None:
    photos = (hues / "hue-0/0.png", hues / "hue-1/1.png", "--by", "classifier")
    before = ask_json("verify", *photos, "-g", trained_path)
    shutil.copytree(trained_path, tmp_path / "elsewhere")
    shutil.rmtree(trained_path)
    assert ask_json("verify", *photos, "-g", tmp_path / "elsewhere") == before


def test_a_linear_verifier_needs_neither_torch_nor_scikit_learn(
    trained_path: Path, hues: Path
) -> None:
    absent = ("torch", "torchvision", "timm", "sklearn", "scipy", "xgboost", "tqdm")
    script = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({absent!r}))\n"  # importing them fails
        "from retrieval.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    photos = (hues / "hue-0" / "0.png", hues / "hue-0" / "1.png")
    for by in ("classifier", "distance"):
        done = subprocess.run(
            [sys.executable, "-c", script, "verify", *photos, "-g", trained_path, "--by", by],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("same\n")


@pytest.mark.grocery
@pytest.mark.slow
def test_on_grocery_photos_the_classifier_beats_the_distance(
    grocery_gallery: Callable[[str, str], tuple[Path, BuildReport]], tmp_path: Path
) -> None:
    shutil.copytree(grocery_gallery("efficientnet_lite0", "auto")[0], tmp_path / "gallery")
    with Gallery.open(tmp_path / "gallery") as gallery:
        trained = gallery.train_verifier(model="linear")
    distance, linear = trained.methods
    assert trained.default == "classifier"
    assert linear.auc.value > distance.auc.value > 0.92
