"""Photos kept in a gallery's folder are found where the folder is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from retrieval import Gallery


def test_a_gallery_that_is_moved_takes_them_along(
    gallery_path: Path,
    tmp_path: Path,
    photos: Path,
    draw_photo: Callable[..., Image.Image],
    second_encoder: Path,
) -> None:
    with Gallery.open(gallery_path) as gallery:
        kept = gallery.folder_of_kept()
        assert kept == gallery.folder_of_kept() == gallery_path.resolve() / "uploads"
        for number in (8, 9):
            draw_photo("red", number).save(kept / f"{number}.png")
        one, two = gallery.add([kept / "8.png", kept / "9.png"]).item_ids
        gallery.remove([two])
    # Its name holds what a pattern would take for a wildcard.
    moved = tmp_path / "100%_moved" / "gallery"
    shutil.copytree(gallery_path, moved)
    shutil.rmtree(gallery_path)
    with Gallery.open(moved) as gallery:
        (item,) = gallery.items(ids=[one])
        assert item.path == str(moved / "uploads" / "8.png")
        assert gallery.restore(two).path == str(moved / "uploads" / "9.png")
        others = [item.path for item in gallery.items() if item.id not in (one, two)]
        assert all(Path(path).is_relative_to(photos) for path in others)
        assert gallery.check().notes == ()
        assert gallery.reembed(str(second_encoder)).embedded == 17


def test_compaction_deletes_those_that_nobody_can_see_again(
    gallery: Gallery, draw_photo: Callable[..., Image.Image]
) -> None:
    kept = gallery.folder_of_kept()
    for number in range(8, 11):
        draw_photo("red", number).save(kept / f"{number}.png")
    names = [kept / "8.png", kept / "9.png"]
    _, two = gallery.add(names).item_ids
    gallery.remove([two])
    for path in (*names, kept / "10.png"):
        os.utime(path, (0, 0))
    draw_photo("red", 11).save(kept / "11.png")
    assert gallery.compact().purged == 1
    # One is an item's, one may be about to become one's.
    assert {path.name for path in kept.iterdir()} == {"8.png", "11.png"}
    assert gallery.check().notes == ()


def test_a_gallery_that_keeps_none_is_not_written_to(gallery_path: Path) -> None:
    with Gallery.open(gallery_path) as gallery:
        seq = gallery.counts()["seq"]
    with Gallery.open(gallery_path) as gallery:
        assert gallery.counts()["seq"] == seq
    assert not (gallery_path / "uploads").exists()
