"""`build-index`: what a run adds, changes, leaves and reports."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from PIL import Image

from retrieval.encoders import Artifact

Run = Callable[..., Result]
Ask = Callable[..., list[dict[str, Any]]]
Draw = Callable[..., Image.Image]

NOTHING = {
    **dict.fromkeys(("added", "changed", "unchanged", "moved", "relabelled", "removed"), 0),
    **{name: [] for name in ("duplicates", "failed", "gone", "item_ids")},
}


def ids_by_path(ask_json: Ask, gallery: Path) -> dict[str, int]:
    return {item["path"]: item["id"] for item in ask_json("list", "-g", gallery)}


def test_a_first_build_says_what_it_added(
    run: Run, photos: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    gallery = tmp_path / "my gallery"
    result = run("build-index", photos, "-g", gallery, "--encoder", tiny_encoder)
    assert result.exit_code == 0
    first, second, third = result.stdout.splitlines()
    assert first == "15 added, 0 unchanged, 0 moved, 0 failed"
    assert second == f"{gallery}: 15 items, 3 labels, timm:test_efficientnet"
    assert third.startswith("no threshold: ")
    assert result.stderr == ""
    assert sorted(path.name for path in gallery.iterdir()) == ["encoder", "gallery.db", "index"]


def test_a_build_says_when_its_encoder_was_trained_on_its_labels(
    run: Run, photos: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    artifact = Artifact.load(tiny_encoder).copy_to(tmp_path / "taught")
    provenance = artifact.spec.provenance | {"training": {"labels": ["red"]}}
    Artifact.describe(tmp_path / "taught", replace(artifact.spec, provenance=provenance))
    result = run("build-index", photos, "-g", tmp_path / "g", "--encoder", tmp_path / "taught")
    assert result.stdout.splitlines()[2].startswith("no threshold: the encoder was trained on")


def test_a_first_build_says_so_in_json(
    ask_json: Ask, photos: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    gallery = tmp_path / "gallery"
    (report,) = ask_json("build-index", photos, "-g", gallery, "--encoder", tiny_encoder)
    assert report == NOTHING | {"added": 15, "item_ids": list(range(1, 16))}
    items = ask_json("list", "-g", gallery)
    assert [(item["label"], item["path"]) for item in items] == [
        (path.parent.name, str(path)) for path in sorted(photos.rglob("*.png"))
    ]


def test_a_build_with_photos_enough_says_its_threshold(
    run: Run, ask_json: Ask, many_photos: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    gallery = tmp_path / "gallery"
    result = run("build-index", many_photos, "-g", gallery, "--encoder", tiny_encoder)
    (info,) = ask_json("info", "-g", gallery)
    assert result.stdout.splitlines()[-1] == (
        f"threshold {info['threshold']['value']:.4f} (nearest, fpir=0.05, tuned on gallery)"
    )


def add_one(photos: Path, draw: Draw) -> None:
    draw("red", 50).save(photos / "red" / "new.png")


def touch_one(photos: Path, draw: Draw) -> None:
    os.utime(photos / "red" / "0.png", ns=(1, 1))


def change_one(photos: Path, draw: Draw) -> None:
    draw("red", 50).save(photos / "red" / "0.png")


def move_one(photos: Path, draw: Draw) -> None:
    (photos / "red" / "0.png").rename(photos / "red" / "moved.png")


def move_one_to_another_label(photos: Path, draw: Draw) -> None:
    (photos / "red" / "0.png").rename(photos / "green" / "was red.png")


def damage_one(photos: Path, draw: Draw) -> None:
    (photos / "red" / "0.png").write_bytes(b"")


def copy_one(photos: Path, draw: Draw) -> None:
    (photos / "red" / "copy.png").write_bytes((photos / "red" / "0.png").read_bytes())


def delete_one(photos: Path, draw: Draw) -> None:
    (photos / "red" / "0.png").unlink()


# `{}` stands for the photos' folder, and 11 is the id of red/0.png.
@pytest.mark.parametrize(
    ("happen", "expected", "items"),
    [
        (lambda *_: None, {"unchanged": 15}, 15),
        (touch_one, {"unchanged": 15}, 15),
        (add_one, {"added": 1, "unchanged": 15, "item_ids": [16]}, 16),
        (change_one, {"changed": 1, "unchanged": 14, "item_ids": [11]}, 15),
        (move_one, {"moved": 1, "unchanged": 14}, 15),
        (move_one_to_another_label, {"moved": 1, "relabelled": 1, "unchanged": 14}, 15),
        (
            damage_one,
            {
                "unchanged": 14,
                "failed": [{"path": "{}/red/0.png", "reason": "the file is empty"}],
            },
            15,
        ),
        (
            copy_one,
            {"unchanged": 15, "duplicates": [{"path": "{}/red/copy.png", "item_id": 11}]},
            15,
        ),
        (delete_one, {"unchanged": 14, "gone": ["{}/red/0.png"]}, 15),
    ],
    ids=[
        *("nothing", "touched", "new", "changed", "moved", "relabelled", "damaged"),
        *("duplicate", "gone"),
    ],
)
def test_a_second_run_does_what_is_new(
    happen: Callable[[Path, Draw], None],
    expected: dict[str, Any],
    items: int,
    ask_json: Ask,
    photos: Path,
    gallery_path: Path,
    draw_photo: Draw,
) -> None:
    before = ids_by_path(ask_json, gallery_path)
    assert before[str(photos / "red" / "0.png")] == 11
    happen(photos, draw_photo)
    (report,) = ask_json("build-index", photos, "-g", gallery_path)
    for one in [*report["failed"], *report["duplicates"]]:
        one["path"] = one["path"].replace(str(photos), "{}")
    report["gone"] = [path.replace(str(photos), "{}") for path in report["gone"]]
    assert report == NOTHING | expected
    after = ids_by_path(ask_json, gallery_path)
    assert len(after) == items
    assert set(before.values()) <= set(after.values())


def test_a_changed_photo_is_found_by_its_new_content(
    run: Run, ask_json: Ask, photos: Path, gallery_path: Path, query_photo: Path
) -> None:
    (photos / "blue" / "0.png").write_bytes(query_photo.read_bytes())
    run("build-index", photos, "-g", gallery_path)
    (answer,) = ask_json("query", query_photo, "-g", gallery_path, "-k", 1)
    assert answer["items"][0]["path"] == str(photos / "blue" / "0.png")
    assert answer["distance"] == pytest.approx(0, abs=1e-3)


def test_a_run_tells_everything_that_happened(
    run: Run, photos: Path, gallery_path: Path, draw_photo: Draw
) -> None:
    draw_photo("blue", 50).save(photos / "blue" / "new.png")
    draw_photo("blue", 51).save(photos / "blue" / "0.png")
    (photos / "green" / "4.png").rename(photos / "red" / "was green.png")
    (photos / "green" / "3.png").unlink()
    (photos / "green" / "empty.jpg").touch()
    (photos / "red" / "copy.png").write_bytes((photos / "red" / "0.png").read_bytes())
    result = run("build-index", photos, "-g", gallery_path)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[:2] == [
        "1 added, 1 changed, 12 unchanged, 1 moved, 1 relabelled, 1 duplicates left out, 1 failed",
        f"{gallery_path}: 16 items, 3 labels, timm:test_efficientnet",
    ]
    assert result.stderr.splitlines() == [
        "can't be used:",
        f"  {photos}/green/empty.jpg: the file is empty",
        "stored already:",
        f"  {photos}/red/copy.png: the same bytes as item 11",
        "gone from the folder (--prune removes these items):",
        f"  {photos}/green/3.png",
    ]


def test_prune_removes_the_items_whose_photo_is_gone(
    run: Run, ask_json: Ask, photos: Path, gallery_path: Path
) -> None:
    delete_one(photos, Image.new)
    result = run("build-index", photos, "-g", gallery_path, "--prune")
    assert result.exit_code == 0
    assert result.stdout.startswith("0 added, 14 unchanged, 0 moved, 1 removed, 0 failed\n")
    assert "gone" not in result.stderr
    assert str(photos / "red" / "0.png") not in ids_by_path(ask_json, gallery_path)
    (photos / "red" / "1.png").unlink()
    (report,) = ask_json("build-index", photos, "-g", gallery_path, "--prune")
    gone = [str(photos / "red" / "1.png")]
    assert report == NOTHING | {"unchanged": 13, "removed": 1, "gone": gone}


def test_photos_of_another_folder_are_not_gone(
    ask_json: Ask, photos: Path, gallery_path: Path, tmp_path: Path, draw_photo: Draw
) -> None:
    other = tmp_path / "photos of another day"
    other.mkdir()
    draw_photo("red", 50).save(other / "0.png")
    (report,) = ask_json("build-index", other, "-g", gallery_path, "--prune")
    assert report == NOTHING | {"added": 1, "item_ids": [16]}
    assert len(ask_json("list", "-g", gallery_path)) == 16


def test_the_same_bytes_twice_in_one_run_are_stored_once(
    ask_json: Ask, photos: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    copy_one(photos, Image.new)
    gallery = tmp_path / "gallery"
    (report,) = ask_json("build-index", photos, "-g", gallery, "--encoder", tiny_encoder)
    (duplicate,) = report["duplicates"]
    assert report["added"] == 15
    assert duplicate["path"] == str(photos / "red" / "copy.png")
    assert duplicate["item_id"] == ids_by_path(ask_json, gallery)[str(photos / "red" / "0.png")]


def test_duplicates_are_stored_when_allowed(
    ask_json: Ask, photos: Path, gallery_path: Path
) -> None:
    copy_one(photos, Image.new)
    (report,) = ask_json("build-index", photos, "-g", gallery_path, "--allow-duplicates")
    assert report == NOTHING | {"added": 1, "unchanged": 15, "item_ids": [16]}
    (report,) = ask_json("build-index", photos, "-g", gallery_path)
    assert report == NOTHING | {"unchanged": 16}


def test_photos_in_the_gallerys_own_folder_are_left_out(
    run: Run, ask_json: Ask, photos: Path, tiny_encoder: Path, draw_photo: Draw
) -> None:
    gallery = photos / "gallery"
    run("build-index", photos, "-g", gallery, "--encoder", tiny_encoder)
    draw_photo("red", 50).save(gallery / "index" / "picture.png")
    (report,) = ask_json("build-index", photos, "-g", gallery)
    assert report == NOTHING | {"unchanged": 15}


def test_an_empty_folder_can_become_a_gallery(
    run: Run, photos: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    (tmp_path / "made before").mkdir()
    result = run("build-index", photos, "-g", tmp_path / "made before", "--encoder", tiny_encoder)
    assert result.stderr == ""
    assert result.exit_code == 0


def test_a_folder_without_photos_makes_an_empty_gallery(
    run: Run, tiny_encoder: Path, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    gallery = tmp_path / "gallery"
    result = run("build-index", tmp_path / "photos", "-g", gallery, "--encoder", tiny_encoder)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "0 added, 0 unchanged, 0 moved, 0 failed",
        f"{gallery}: 0 items, 0 labels, timm:test_efficientnet",
    ]
