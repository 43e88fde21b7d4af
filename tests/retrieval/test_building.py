"""What a build keeps of what people said by hand, and what it leaves untouched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from retrieval import Gallery


def test_a_build_with_nothing_to_do_writes_nothing(gallery: Gallery, photos: Path) -> None:
    before = gallery.info().seq
    report = gallery.build(photos)
    assert report.unchanged == 15
    assert gallery.info().seq == before


def test_a_new_picture_under_an_old_name_keeps_the_item_and_what_was_said_of_it(
    gallery: Gallery, photos: Path, tmp_path: Path, draw_photo: Callable[..., Image.Image]
) -> None:
    photo = photos / "red" / "0.png"
    labels = tmp_path / "labels.csv"
    labels.write_text(f"path,label,shelf\n{photo},rose,7\n")
    gallery.build(photos, labels=str(labels))
    (before,) = gallery.items(path=photo)
    assert (before.label, before.metadata) == ("rose", {"shelf": "7"})
    gallery.relabel([before.id], "ruby")
    draw_photo("red", 50).save(photo)
    assert gallery.add([photo]).changed == 1  # named by itself: nothing is said of its label
    (after,) = gallery.items(path=photo)
    assert (after.id, after.label, after.source_label) == (before.id, "ruby", "rose")
    assert after.metadata == {"shelf": "7"}
    assert after.content_hash != before.content_hash
    draw_photo("red", 51).save(photo)
    assert gallery.add([photo], label="cherry").changed == 1
    assert gallery.items(path=photo)[0].label == "cherry"
    assert gallery.check().clean


def test_the_same_photos_from_two_processes_are_stored_once(
    gallery: Gallery, tmp_path: Path, draw_photo: Callable[..., Image.Image]
) -> None:
    photo = tmp_path / "new.png"
    draw_photo("green", 70).save(photo)
    with Gallery.open(gallery.path) as other:
        outcomes = other.add([photo]), gallery.add([photo])
    assert [report.added for report in outcomes] == [1, 0]
    assert outcomes[1].unchanged == 1


def test_a_gone_photo_is_told_and_its_failure_forgotten(gallery: Gallery, photos: Path) -> None:
    broken = photos / "red" / "broken.png"
    broken.write_bytes(b"")
    assert [one.path for one in gallery.build(photos).failed] == [str(broken)]
    broken.unlink()
    (photos / "red" / "0.png").unlink()
    report = gallery.build(photos)
    assert report.gone == [str(photos / "red" / "0.png")]
    assert report.removed == 0
    assert gallery.failures() == []
    assert gallery.info().items == 15
    assert gallery.build(photos, prune=True).removed == 1
    assert gallery.info().items == 14
