"""The gallery as a Python API: what was added is found, what was removed is not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from retrieval import FailedPhoto, Gallery, GalleryError, Identification, ImageError


def test_identify_by_path_and_by_bytes_agree(gallery: Gallery, photos: Path) -> None:
    photo = photos / "red" / "0.png"
    by_path, by_bytes = gallery.identify(photo), gallery.identify(photo.read_bytes())
    assert by_path.items == by_bytes.items
    assert by_path.query == str(photo)
    assert by_bytes.query is None
    assert by_path.items[0].path == str(photo)
    assert by_path.items[0].distance < 0.01


def test_the_threshold_decides(gallery: Gallery, photos: Path) -> None:
    answer = gallery.identify(photos / "red" / "0.png", k=3)
    distance = answer.items[0].distance
    assert len(answer.items) == 3
    above = gallery.identify(photos / "red" / "0.png", threshold=distance + 1e-6)
    assert (above.decision, above.label, above.item_id) == ("match", "red", answer.items[0].id)
    strict = gallery.identify(photos / "red" / "0.png", threshold=distance)
    assert (strict.decision, strict.label, strict.item_id) == ("unknown", None, None)


def test_without_a_threshold_there_is_no_verdict(gallery: Gallery, photos: Path) -> None:
    # Three labels of five items: fifteen searches can't show one in twenty.
    assert gallery.threshold() is None
    answer = gallery.identify(photos / "red" / "0.png")
    assert answer.decision is None
    assert answer.note is not None
    assert "--threshold" in answer.note


def test_a_threshold_comes_with_enough_items_and_is_used(
    tmp_path: Path, tiny_encoder: Path, draw_photo: Callable[..., Image.Image]
) -> None:
    folder = tmp_path / "many"
    for colour in ("red", "green"):
        (folder / colour).mkdir(parents=True)
        for number in range(15):
            draw_photo(colour, number).save(folder / colour / f"{number}.png")
    with Gallery.create(tmp_path / "gallery", encoder=str(tiny_encoder)) as gallery:
        gallery.build(folder)
        threshold = gallery.threshold()
        assert threshold is not None
        assert (threshold.objective, threshold.source) == ("fpir=0.05", "gallery")
        assert threshold.encoder_fingerprint == gallery.encoder.spec.fingerprint
        assert threshold.details["items"] == 30
        assert threshold.details["fpir"] <= 0.05
        answer = gallery.identify(folder / "red" / "0.png")
        assert answer.threshold == threshold.value
        assert (answer.decision == "match") == (answer.items[0].distance < threshold.value)


def test_identify_many_answers_in_order_and_goes_on_after_a_failure(
    gallery: Gallery, photos: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not a picture")
    paths = [*sorted(photos.rglob("*.png")), broken, photos / "red" / "0.png"]
    answers = list(gallery.identify_many(paths, k=1, threshold=2))
    assert len(answers) == len(paths)
    assert isinstance(answers[15], FailedPhoto)
    assert answers[15].path == str(broken)
    for path, answer in zip(paths, answers, strict=True):
        if path != broken:
            assert isinstance(answer, Identification)
            assert answer.items[0].path == str(path)
            single = gallery.identify(path, k=1, threshold=2)
            assert single.items[0].distance == pytest.approx(answer.items[0].distance, abs=1e-3)


def test_added_and_removed_items_are_seen_at_once(
    gallery: Gallery, tmp_path: Path, draw_photo: Callable[..., Image.Image]
) -> None:
    photo = tmp_path / "new.png"
    draw_photo("blue", 77).save(photo)
    before = gallery.identify(photo).items[0]
    report = gallery.add([photo], label="new")
    assert report.added == 1
    nearest = gallery.identify(photo).items[0]
    assert (nearest.id, nearest.label) == (report.item_ids[0], "new")
    assert gallery.remove(report.item_ids) == 1
    assert gallery.identify(photo).items[0] == before


def test_another_open_gallery_sees_changes(gallery: Gallery, photos: Path) -> None:
    with Gallery.open(gallery.path) as other:
        assert other.identify(photos / "red" / "0.png").items[0].label == "red"
        gallery.relabel(gallery.find(label="red"), "crimson")
        assert other.identify(photos / "red" / "0.png").items[0].label == "crimson"
        gallery.remove(gallery.find(label="crimson"))
        assert "crimson" not in {one.label for one in other.identify(photos / "red/0.png").items}


def test_an_unlabelled_item_is_an_identity_of_its_own(gallery: Gallery, photos: Path) -> None:
    gallery.relabel(gallery.find(label="red"), None)
    answer = gallery.identify(photos / "red" / "0.png", threshold=2)
    assert (answer.decision, answer.label) == ("match", None)
    assert answer.item_id == gallery.find(path=photos / "red" / "0.png")[0]
    assert gallery.info().unlabelled == 5


def test_find_meets_every_condition(gallery: Gallery, photos: Path) -> None:
    reds = gallery.find(label="red")
    assert len(reds) == 5
    assert gallery.find(path=photos / "red" / "0.png") == reds[:1]
    assert gallery.find(path=os.path.relpath(photos / "red" / "0.png")) == reds[:1]
    assert gallery.find(label="blue", path=photos / "red" / "0.png") == []
    assert gallery.find(ids=[reds[0], 999]) == reds[:1]
    assert gallery.find(ids=reds[1:], path=photos / "red" / "0.png") == []


def test_an_empty_gallery_knows_nobody(tmp_path: Path, tiny_encoder: Path, photos: Path) -> None:
    with Gallery.create(tmp_path / "empty", encoder=str(tiny_encoder)) as gallery:
        answer = gallery.identify(photos / "red" / "0.png")
        assert (answer.decision, answer.items) == ("unknown", ())
        assert gallery.check().clean


@pytest.mark.parametrize("k", [0, -1])
def test_k_must_be_positive(gallery: Gallery, photos: Path, k: int) -> None:
    with pytest.raises(GalleryError, match="at least 1"):
        gallery.identify(photos / "red" / "0.png", k=k)


def test_a_query_that_is_no_image_is_named(gallery: Gallery, tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_text("hello")
    with pytest.raises(ImageError, match=r"note\.txt"):
        gallery.identify(path)
    with pytest.raises(ImageError, match=r"absent\.png"):
        gallery.identify(tmp_path / "absent.png")
    with pytest.raises(ImageError, match="The image"):
        gallery.identify(b"")


def test_creating_over_something_is_refused(gallery: Gallery, photos: Path) -> None:
    for place in (gallery.path, photos, photos / "red" / "0.png"):
        with pytest.raises(GalleryError, match="not empty"):
            Gallery.create(place, encoder="efficientnet_lite0")


def test_what_a_killed_creation_left_is_cleared_away_later(
    tmp_path: Path, tiny_encoder: Path
) -> None:
    old, young = tmp_path / ".gallery.being-made-old", tmp_path / ".gallery.being-made-young"
    for left in (old, young):
        (left / "gallery").mkdir(parents=True)
    os.utime(old, (0, 0))
    Gallery.create(tmp_path / "gallery", encoder=str(tiny_encoder)).close()
    assert not old.exists()
    assert young.exists()


def test_info_counts(gallery: Gallery) -> None:
    info = gallery.info()
    assert (info.items, info.labels, info.unlabelled, info.failures) == (15, 3, 0, 0)
    assert info.encoder == "timm:test_efficientnet"
    assert info.dim == gallery.encoder.spec.dim
    assert info.size > 100_000
