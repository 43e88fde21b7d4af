"""`build-index`: one gallery, one encoder, one precision; and no gallery from a mistake."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]
Ask = Callable[..., list[dict[str, Any]]]
Contents = Callable[[Path], dict[str, str]]
Sql = Callable[..., list[tuple[Any, ...]]]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--encoder", "{other}"), "belongs to the encoder timm:test_efficientnet"),
        (("--encoder", "efficientnet_lite0"), "not to efficientnet_lite0"),
        (("--encoder", "timm:test_vit"), "not to timm:test_vit"),
        (("--precision", "float32"), "was made with --precision auto, not float32"),
        (("--precision", "bfloat16"), "was made with --precision auto, not bfloat16"),
    ],
)
def test_another_encoder_or_precision_is_refused_and_nothing_changes(
    options: tuple[str, ...],
    said: str,
    refusal: Callable[..., str],
    contents: Contents,
    sql: Sql,
    photos: Path,
    gallery_path: Path,
    query_photo: Path,
    other_encoder: Path,
) -> None:
    (photos / "red" / "new.png").write_bytes(query_photo.read_bytes())
    seq = sql(gallery_path, "SELECT seq FROM gallery")
    before = contents(gallery_path)
    filled = [option.format(other=other_encoder) for option in options]
    sentence = refusal("build-index", photos, "-g", gallery_path, *filled)
    assert said in sentence
    assert str(gallery_path) in sentence
    assert "leave " in sentence
    assert contents(gallery_path) == before
    assert sql(gallery_path, "SELECT seq FROM gallery") == seq


def test_weights_without_an_encoder_are_not_ignored(
    run: Run, photos: Path, gallery_path: Path, other_encoder: Path
) -> None:
    weights = other_encoder / "weights.safetensors"
    result = run("build-index", photos, "-g", gallery_path, "--weights", weights)
    assert result.exit_code == 2
    assert "--weights" in result.stderr


@pytest.mark.parametrize(
    "options",
    [
        ("--encoder", "{tiny}"),
        ("--encoder", "timm:test_efficientnet"),
        ("--precision", "auto"),
    ],
    ids=" ".join,
)
def test_the_gallerys_own_encoder_and_precision_may_be_named_again(
    options: tuple[str, ...],
    ask_json: Ask,
    photos: Path,
    gallery_path: Path,
    tiny_encoder: Path,
) -> None:
    filled = [option.format(tiny=tiny_encoder) for option in options]
    (report,) = ask_json("build-index", photos, "-g", gallery_path, *filled)
    assert report["unchanged"] == 15


@pytest.mark.slow
@pytest.mark.usefixtures("one_torch_thread")
def test_a_gallery_knows_the_checkpoint_it_was_made_with(
    ask_json: Ask,
    refusal: Callable[..., str],
    photos: Path,
    gallery_path: Path,
    tiny_checkpoint: Path,
    other_encoder: Path,
    tmp_path: Path,
) -> None:
    named = ("--encoder", "timm:test_efficientnet", "--weights")
    ask_json("build-index", photos, "-g", tmp_path / "named", *named, tiny_checkpoint)
    (one,), (other,) = (ask_json("info", "-g", path) for path in (gallery_path, tmp_path / "named"))
    assert one["fingerprint"] == other["fingerprint"]
    (report,) = ask_json("build-index", photos, "-g", gallery_path, *named, tiny_checkpoint)
    assert report["unchanged"] == 15
    weights = other_encoder / "weights.safetensors"
    sentence = refusal("build-index", photos, "-g", gallery_path, *named, weights)
    assert "belongs to the encoder timm:test_efficientnet" in sentence


def test_the_precision_is_kept(
    run: Run,
    ask_json: Ask,
    refusal: Callable[..., str],
    photos: Path,
    tiny_encoder: Path,
    tmp_path: Path,
) -> None:
    gallery = tmp_path / "gallery"
    options = ("--encoder", tiny_encoder, "--precision", "float32")
    assert run("build-index", photos, "-g", gallery, *options).exit_code == 0
    (info,) = ask_json("info", "-g", gallery)
    assert info["precision"] == "float32"
    for again in ((), ("--precision", "float32")):
        assert run("build-index", photos, "-g", gallery, *again).exit_code == 0
    assert "float32" in refusal("build-index", photos, "-g", gallery, "--precision", "auto")


@pytest.mark.parametrize(
    ("folder", "options", "said"),
    [
        ("nowhere", (), "nowhere is no folder"),
        ("photos/red/0.png", (), "0.png is no folder"),
        ("photos", ("--encoder", "nonsense"), "nonsense"),
        ("photos", ("--encoder", "timm:nonsense"), "nonsense"),
        ("photos", ("--encoder", "photos"), "photos holds no encoder"),
        ("photos", ("--encoder", "timm:test_vit", "--weights", "nowhere.pth"), "nowhere.pth"),
    ],
)
def test_a_mistake_leaves_no_gallery_behind(
    folder: str,
    options: tuple[str, ...],
    said: str,
    refusal: Callable[..., str],
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in refusal("build-index", folder, "-g", "gallery", *options)
    assert list(tmp_path.iterdir()) == [photos]


def test_a_folder_of_something_else_is_left_alone(
    refusal: Callable[..., str], contents: Contents, photos: Path, tiny_encoder: Path
) -> None:
    before = contents(photos)
    sentence = refusal("build-index", photos, "-g", photos, "--encoder", tiny_encoder)
    assert f"{photos} is no gallery" in sentence
    assert contents(photos) == before


def test_a_gallery_below_a_file_is_refused(
    refusal: Callable[..., str], photos: Path, query_photo: Path, tiny_encoder: Path
) -> None:
    gallery = query_photo / "gallery"
    assert str(gallery) in refusal("build-index", photos, "-g", gallery, "--encoder", tiny_encoder)
