"""`Gallery.audit`: what it tells of planted mistakes, whatever the gallery holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import retrieval.evaluation.distances as distances_module
from retrieval import Gallery, GalleryError
from retrieval.auditing import AuditedItem


def ids(gallery: Gallery, label: str | None) -> list[int]:
    return gallery.find(label=label)


def test_a_planted_mistake_is_the_first_suspect(gallery: Gallery) -> None:
    wrong, *right = ids(gallery, "red")
    gallery.relabel([wrong], "blue")
    found = gallery.audit(duplicates_below=0)
    first = found.suspects[0]
    assert first.item.id == wrong
    assert (first.item.label, first.suggested_label) == ("blue", "red")
    assert first.other.id in right
    assert first.mate.label == "blue"
    assert first.other_distance < first.mate_distance
    assert found.n_suspects == len(found.suspects)
    assert (found.items, found.labels, found.judged) == (15, 3, 15)


def test_the_distances_told_are_those_a_query_tells(gallery: Gallery) -> None:
    wrong = ids(gallery, "red")[0]
    gallery.relabel([wrong], "blue")
    (first, *_) = gallery.audit().suspects
    item = gallery.items(ids=[wrong])[0]
    (nearest,) = gallery.nearest(gallery.embed(item.path)[np.newaxis], k=15)
    distances = {one.id: one.distance for one in nearest}
    assert first.other_distance == pytest.approx(distances[first.other.id], abs=2e-3)
    assert first.mate_distance == pytest.approx(distances[first.mate.id], abs=2e-3)


def test_one_label_or_no_items_have_nothing_to_tell(
    gallery: Gallery, tmp_path: Path, tiny_encoder: Path
) -> None:
    gallery.relabel([*ids(gallery, "green"), *ids(gallery, "blue")], "red")
    one_label = gallery.audit(duplicates_below=2)
    assert (one_label.labels, one_label.judged, one_label.n_suspects) == (1, 15, 0)
    assert one_label.n_duplicates == 0
    with Gallery.create(tmp_path / "empty", encoder=str(tiny_encoder)) as empty:
        nothing = empty.audit()
    assert (nothing.items, nothing.suspects, nothing.duplicates) == (0, (), ())


def test_without_labels_nothing_is_wrong(gallery: Gallery) -> None:
    gallery.relabel([item.id for item in gallery.items()], None)
    found = gallery.audit(duplicates_below=2)
    assert (found.unlabelled, found.judged, found.alone) == (15, 0, 0)
    assert (found.n_suspects, found.n_duplicates) == (0, 0)


def test_labels_of_one_item_are_alone(gallery: Gallery) -> None:
    gallery.relabel(ids(gallery, "red")[:1], "crimson")
    found = gallery.audit()
    assert (found.judged, found.alone) == (14, 1)
    assert "crimson" not in {one.item.label for one in found.suspects}


def test_a_copy_under_another_label_or_none_is_a_pair(
    gallery: Gallery, photos: Path, tmp_path: Path
) -> None:
    original = photos / "red" / "3.png"
    same, again = tmp_path / "same.png", tmp_path / "again.bmp"
    same.write_bytes(original.read_bytes())
    with Image.open(original) as image:
        image.save(again)
    gallery.add([same], label="blue", allow_duplicates=True)
    gallery.add([again])
    # Another label's own twin is no pair: nothing contradicts it.
    twin = tmp_path / "twin.png"
    twin.write_bytes((photos / "green" / "0.png").read_bytes())
    gallery.add([twin], label="green", allow_duplicates=True)
    (red,), (blue,), (loose,) = (gallery.find(path=path) for path in (original, same, again))
    found = gallery.audit(duplicates_below=1e-3)
    told = [(one.first.id, one.second.id, one.same_bytes) for one in found.duplicates]
    assert told[0] == (red, blue, True)
    assert {(red, loose, False), (blue, loose, False)} <= set(told[1:])
    assert {one.second.label for one in found.duplicates if one.second.id == loose} == {None}
    assert all(one.distance < 1e-3 for one in found.duplicates)
    assert all(one.first.label != one.second.label for one in found.duplicates)
    # Same bytes are told at whatever distance.
    assert gallery.audit(duplicates_below=0).n_duplicates == 1


def test_two_copies_without_a_label_are_no_pair(
    gallery: Gallery, tmp_path: Path, draw_photo: Callable[..., Image.Image]
) -> None:
    for suffix in ("png", "bmp"):
        draw_photo("red", 77).save(tmp_path / f"loose.{suffix}")
        gallery.add([tmp_path / f"loose.{suffix}"])
    (png,), (bmp,) = (gallery.find(path=tmp_path / f"loose.{suffix}") for suffix in ("png", "bmp"))
    pairs = {(one.first.id, one.second.id) for one in gallery.audit(duplicates_below=2).duplicates}
    assert (png, bmp) not in pairs
    assert {first for first, _ in pairs}.isdisjoint({png, bmp})


def test_the_limit_cuts_lists_but_not_counts(gallery: Gallery) -> None:
    whole = gallery.audit(duplicates_below=2)
    assert whole.n_duplicates == 75  # 15 items of 3 labels: 10 · 15 / 2
    assert len(whole.duplicates) == 50
    some = gallery.audit(duplicates_below=2, limit=3)
    assert (some.n_duplicates, some.n_suspects) == (75, whole.n_suspects)
    assert some.duplicates == whole.duplicates[:3]
    assert some.suspects == whole.suspects[:3]


def test_blocks_change_nothing(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery.relabel(ids(gallery, "red")[:1], "blue")
    gallery.relabel(ids(gallery, "green")[:2], None)
    whole = gallery.audit(duplicates_below=2)
    monkeypatch.setattr(distances_module, "_SQUARE", 4)
    steps: list[tuple[int, int]] = []
    parts = gallery.audit(duplicates_below=2, progress=lambda done, of: steps.append((done, of)))
    assert [one.item for one in parts.suspects] == [one.item for one in whole.suspects]
    assert parts.n_duplicates == whole.n_duplicates
    assert [one.distance for one in parts.duplicates] == pytest.approx(
        [one.distance for one in whole.duplicates], abs=1e-6
    )
    assert steps == [(4, 13), (8, 13), (12, 13), (13, 13)]


def test_an_audit_changes_nothing_and_tells_where_photos_were(gallery: Gallery) -> None:
    before, seq = gallery.items(), gallery.info().seq
    found = gallery.audit(duplicates_below=2)
    assert gallery.items() == before
    assert gallery.info().seq == seq
    stored = {i.id: AuditedItem(i.id, i.label, i.path, i.content_hash) for i in before}
    for pair in found.duplicates:
        assert pair.first == stored[pair.first.id]
        assert pair.second == stored[pair.second.id]


def test_what_makes_no_sense_is_refused(gallery: Gallery) -> None:
    with pytest.raises(GalleryError, match="limit is 0"):
        gallery.audit(limit=0)
    for distance in (-0.1, 2.1, float("nan")):
        with pytest.raises(GalleryError, match="from 0 to 2"):
            gallery.audit(duplicates_below=distance)
