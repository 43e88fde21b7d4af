"""Another encoder: the same as a gallery built with it, of the photos that can be read."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reembedded import assert_like_built, encoder_folders, fingerprint, vectors

from retrieval import Gallery, GalleryError, generations, new_vectors
from retrieval.embedding import Unreadable


def test_it_ends_like_a_gallery_built_with_the_other_encoder(
    gallery: Gallery, photos: Path, tiny_encoder: Path, second_encoder: Path, tmp_path: Path
) -> None:
    before = vectors(gallery)
    items, seq = gallery.items(), gallery.info().seq
    report = gallery.reembed(str(second_encoder))
    assert (report.switched, report.embedded, report.kept, report.dropped) == (True, 15, 0, ())
    assert report.fingerprint == fingerprint(second_encoder) != fingerprint(tiny_encoder)
    assert gallery.items() == items
    assert gallery.info().seq > seq
    assert_like_built(gallery, second_encoder, photos, tmp_path)
    assert not all(np.allclose(before[path], new) for path, new in vectors(gallery).items())
    assert encoder_folders(gallery.path) == [f"encoder-{report.fingerprint[:16]}"]
    assert gallery.identify(photos / "blue" / "1.png").items[0].path == str(photos / "blue/1.png")


def test_there_and_back_again(
    gallery: Gallery,
    photos: Path,
    tiny_encoder: Path,
    second_encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(generations, "_STALE_COUNT", 1)  # index files of both encoders
    gallery.add([photos])
    for encoder in (second_encoder, tiny_encoder, second_encoder):
        gallery.reembed(str(encoder))
        gallery.remove([gallery.items()[0].id])
        gallery.add([photos])
        assert_like_built(gallery, encoder, photos, tmp_path)
        query = photos / "green" / "2.png"
        with Gallery.open(gallery.path) as reader:
            for one in (gallery, reader):
                assert one.identify(query, k=1).items[0].path == str(query)
                assert len(one.identify(query, k=99).items) == 15


def test_its_own_encoder_leaves_nothing_to_do(gallery: Gallery, tiny_encoder: Path) -> None:
    seq = gallery.info().seq
    for encoder in (str(tiny_encoder), "current"):
        report = gallery.reembed(encoder)
        assert (report.switched, report.embedded, report.items) == (False, 0, 15)
    assert encoder_folders(gallery.path) == ["encoder"]
    assert gallery.info().seq <= seq + 2
    with pytest.raises(GalleryError, match="in two precisions: leave --precision float32 out"):
        gallery.reembed("current", precision="float32")


def test_the_precision_moves_with_the_encoder(gallery: Gallery, second_encoder: Path) -> None:
    gallery.reembed(str(second_encoder), precision="float32")
    assert gallery.info().precision == "float32"
    assert gallery.encoder.precision == "float32"


# Photos


@pytest.mark.parametrize("how", ["missing", "changed", "broken"])
def test_photos_that_cannot_be_used_are_refused_or_dropped(
    how: str,
    gallery: Gallery,
    photos: Path,
    tiny_encoder: Path,
    second_encoder: Path,
    tmp_path: Path,
    draw_photo: Callable[..., Image.Image],
) -> None:
    some = [photos / "green" / "1.png", photos / "red" / "0.png"]
    for photo in some:
        if how == "missing":
            photo.unlink()
        elif how == "changed":
            draw_photo("blue", 90).save(photo)
        else:
            photo.write_bytes(b"")
    said = {"missing": "is not there", "changed": "has changed", "broken": "has changed"}[how]
    with pytest.raises(GalleryError, match=rf"2 of 15 items can't .* {some[0]} \({said}.*--drop"):
        gallery.reembed(str(second_encoder))
    assert gallery.info().fingerprint == fingerprint(tiny_encoder)
    assert len(gallery.items()) == 15
    report = gallery.reembed(str(second_encoder), drop_missing=True)
    assert [one.path for one in report.dropped] == [str(photo) for photo in some]
    assert (report.items, report.kept) == (13, 0 if how == "missing" else 13)
    assert [one.path for one in gallery.failures()] == [str(photo) for photo in some]
    for photo in some:
        photo.unlink(missing_ok=True)
    assert_like_built(gallery, second_encoder, photos, tmp_path)


def test_a_photo_that_cannot_be_read_any_more_is_no_item_lost(
    gallery: Gallery, photos: Path, second_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = photos / "red" / "0.png"
    embed = new_vectors.embed

    def embed_but_one(*args: object, **kwargs: object) -> object:
        for one in embed(*args, **kwargs):
            yield Unreadable(one.source, "is cut short") if one.source.path == broken else one

    # Bytes that once were decoded, and now are not: a decoder that has changed.
    monkeypatch.setattr(new_vectors, "embed", embed_but_one)
    with pytest.raises(GalleryError, match=r"1 of 15 .*0\.png \(is cut short\)"):
        gallery.reembed(str(second_encoder))
    monkeypatch.setattr(new_vectors, "embed", embed)
    assert gallery.reembed(str(second_encoder)).embedded == 1


def test_a_gallery_is_not_emptied_because_a_disk_is_away(
    gallery: Gallery, photos: Path, second_encoder: Path
) -> None:
    photos.rename(photos.with_name("away"))
    with pytest.raises(GalleryError, match="would leave nothing"):
        gallery.reembed(str(second_encoder), drop_missing=True)
    assert len(gallery.items()) == 15


def test_afterwards_the_folder_can_be_copied_elsewhere(
    gallery: Gallery, photos: Path, second_encoder: Path, tmp_path: Path
) -> None:
    gallery.reembed(str(second_encoder))
    query = shutil.copy(photos / "blue" / "4.png", tmp_path / "query.png")
    expected = gallery.identify(query)
    gallery.close()
    shutil.move(gallery.path, tmp_path / "elsewhere")
    shutil.rmtree(photos)
    with Gallery.open(tmp_path / "elsewhere") as moved:
        assert moved.identify(query) == expected
