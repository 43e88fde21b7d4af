"""A gallery is brought in line with the objects below a prefix as with a folder."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from object_store import Bucket

from retrieval import Gallery, embedding
from retrieval.errors import LookalikeError
from retrieval.paths import missing
from retrieval.remote import REQUESTS

Png = Callable[[str, int], bytes]
HOSTILE = (
    "a b+c.png",
    "50%25 & 100%.png",
    "who? #1=2;3.png",
    'it\'s "so".png',
    "Käse-漢字-🍏.png",
    "a\\b:name %s.png",
    "double//slash.png",
    "[x]*{y}.png",
)


def paths(gallery: Gallery) -> list[str]:
    return [item.path for item in gallery.items()]


def test_the_objects_below_a_prefix_become_items(filled: Bucket, gallery: Gallery) -> None:
    filled.put("train/alone.png", b"")
    filled.put("train/.hidden/1.png", b"")
    filled.put("train/red/.1.png", b"")
    filled.put("train/notes.txt", b"")
    filled.put("train/empty.png/", b"")
    filled.put("train2/red/1.png", b"")
    report = gallery.build(f"{filled.url}/train/")
    assert report.added == 6
    assert [one.path for one in report.failed] == [f"{filled.url}/train/alone.png"]
    assert paths(gallery)[0] == f"{filled.url}/train/green/0.png"
    assert gallery.labels() == {"red": 3, "green": 3}


def test_photos_beside_the_folders_have_no_label(
    bucket: Bucket, png: Png, gallery: Gallery
) -> None:
    bucket.put("1.png", png("red", 1))
    bucket.put("green//2.png", png("green", 2))
    gallery.build(bucket.url)
    assert [item.label for item in gallery.items()] == [None, None]


def test_unchanged_photos_cost_one_listing(filled: Bucket, gallery: Gallery) -> None:
    gallery.build(f"{filled.url}/train")
    filled.server.forget()
    report = gallery.build(f"{filled.url}/train")
    assert (report.unchanged, report.added) == (6, 0)
    ((method, path),) = filled.server.asked
    assert method == "GET"
    assert "list-type=2" in path


def test_each_new_photo_costs_one_request(filled: Bucket, gallery: Gallery) -> None:
    filled.server.forget()
    gallery.build(f"{filled.url}/train")
    assert len(filled.server.asked) == 7


def test_a_change_is_seen_though_size_and_second_are_the_same(
    bucket: Bucket, png: Png, gallery: Gallery
) -> None:
    first, second = png("red", 1), png("red", 2)
    length = max(len(first), len(second))
    bucket.put("red/1.png", first.ljust(length, b"\0"))
    gallery.build(bucket.url)
    bucket.put("red/1.png", second.ljust(length, b"\0"))
    assert gallery.build(bucket.url).changed == 1
    assert gallery.identify(second, threshold=1e-3).label == "red"


def test_an_object_written_anew_with_the_same_bytes_is_as_it_was(
    filled: Bucket, png: Png, gallery: Gallery
) -> None:
    gallery.build(f"{filled.url}/train")
    filled.put("train/red/1.png", png("red", 1))
    report = gallery.build(f"{filled.url}/train")
    assert (report.unchanged, report.changed, report.added) == (6, 0, 0)


def test_what_has_gone_is_told_and_with_prune_removed(filled: Bucket, gallery: Gallery) -> None:
    gallery.build(f"{filled.url}/train")
    filled.delete("train/red/1.png")
    gone = f"{filled.url}/train/red/1.png"
    assert gallery.build(f"{filled.url}/train").gone == [gone]
    assert gallery.count() == 6
    assert any("1 of 6 items' photos" in note for note in gallery.check().notes)
    assert gallery.build(f"{filled.url}/train", prune=True).removed == 1
    assert gone not in paths(gallery)


def test_another_prefix_leaves_items_alone(filled: Bucket, png: Png, gallery: Gallery) -> None:
    gallery.build(f"{filled.url}/train")
    filled.put("train2/blue/1.png", png("blue", 1))
    report = gallery.build(f"{filled.url}/train2", prune=True)
    assert (report.removed, report.gone, gallery.count()) == (0, [], 7)


def test_an_emptied_prefix_is_no_reason_to_remove_all(filled: Bucket, gallery: Gallery) -> None:
    gallery.build(f"{filled.url}/train")
    with pytest.raises(LookalikeError, match="no such bucket, folder or object"):
        gallery.build(f"{filled.url}/trian", prune=True)
    assert gallery.count() == 6


def test_renamed_photos_are_moved_and_not_embedded(
    filled: Bucket, png: Png, gallery: Gallery
) -> None:
    gallery.build(f"{filled.url}/train")
    ids = gallery.find()
    for number in range(3):
        filled.delete(f"train/red/{number}.png")
        filled.put(f"train/rouge/{number}.png", png("red", number))
    report = gallery.build(f"{filled.url}/train", prune=True)
    assert (report.moved, report.added, report.removed) == (3, 0, 0)
    assert gallery.find() == ids
    assert gallery.labels() == {"green": 3, "rouge": 3}


def test_a_copy_of_a_photo_that_is_there_is_a_duplicate(
    filled: Bucket, png: Png, gallery: Gallery
) -> None:
    gallery.build(f"{filled.url}/train")
    filled.put("train/rouge/1.png", png("red", 1))
    report = gallery.build(f"{filled.url}/train")
    assert [one.path for one in report.duplicates] == [f"{filled.url}/train/rouge/1.png"]
    assert report.moved == 0


def test_photos_moved_from_disk_to_a_store_are_moved(
    bucket: Bucket, gallery: Gallery, photos: Path
) -> None:
    gallery.build(photos)
    for photo in sorted(photos.rglob("*.png")):
        bucket.put(photo.relative_to(photos).as_posix(), photo.read_bytes())
        photo.unlink()
    report = gallery.build(bucket.url)
    assert (report.moved, report.added) == (15, 0)
    assert all(path.startswith(bucket.url) for path in paths(gallery))


def test_what_cannot_be_read_never_ends_a_build(filled: Bucket, gallery: Gallery) -> None:
    filled.put("train/red/broken.png", b"no picture")
    filled.deny("train/green/1.png")
    vanished = "train/red/2.png"
    filled.server.before_reading = lambda: filled.delete(vanished)
    report = gallery.build(f"{filled.url}/train")
    reasons = {one.path.removeprefix(f"{filled.url}/train/"): one.reason for one in report.failed}
    assert reasons.pop("green/1.png") == "can't be read: access is denied"
    assert reasons.pop("red/2.png") == "can't be read: no such bucket, folder or object"
    assert list(reasons) == ["red/broken.png"]
    assert report.added == 4
    assert len(gallery.failures()) == 3


def test_an_object_too_large_for_a_photo_is_not_read(
    filled: Bucket, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.put("train/red/large.png", bytes(100_001))
    monkeypatch.setattr(embedding, "MAX_FILE_SIZE", 100_000)
    (failed,) = gallery.build(f"{filled.url}/train").failed
    assert failed.reason == "100,001 bytes, more than a photo has"
    assert not any("large" in path for path in filled.read())


def test_many_objects_are_under_way_at_a_time(bucket: Bucket, png: Png, gallery: Gallery) -> None:
    data = png("red", 1)
    for number in range(REQUESTS):
        bucket.put(f"{number}.png", data + bytes([number]))
    together = threading.Barrier(REQUESTS, timeout=60)
    bucket.server.before_reading = together.wait  # type: ignore[assignment]
    assert gallery.build(bucket.url).added == REQUESTS


@pytest.mark.parametrize("name", HOSTILE)
def test_keys_are_taken_as_they_are(bucket: Bucket, png: Png, gallery: Gallery, name: str) -> None:
    url = bucket.put(f"it's 100% #1?/{name}", png("red", 1))
    bucket.put("green/1.png", png("green", 1))
    assert gallery.build(bucket.url).failed == []
    assert url in paths(gallery)
    assert gallery.build(bucket.url).unchanged == 2
    answer = gallery.identify(url, threshold=1e-3)
    assert (answer.query, answer.items[0].path) == (url, url)
    assert gallery.find(path=url) == [answer.item_id or answer.items[0].id]
    assert missing([url, f"{url}x"]) == {f"{url}x"}


def test_a_key_that_would_mean_a_version_is_never_mistaken(
    bucket: Bucket, png: Png, gallery: Gallery
) -> None:
    bucket.put("red/1.png", png("red", 1))
    bucket.put("red/1.png?versionId=1.png", png("red", 2))
    report = gallery.build(bucket.url)
    assert (report.added, len(report.failed)) == (1, 1)
