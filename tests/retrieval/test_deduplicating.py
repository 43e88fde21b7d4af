"""`Gallery.dedupe` and `remove_duplicates`: what is grouped, what is kept, what stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import retrieval.evaluation.distances as distances_module
from retrieval import DedupeReport, Gallery, GalleryError

Draw = Callable[..., Image.Image]

# Equal pixels are nearer than this, and `red` is no nearer to another picture.
COPIES = 2e-4


def pairs(report: DedupeReport, of: int | None = None) -> list[tuple[int, list[int]]]:
    """The kept item and the duplicates of each group, or of that which has the item `of`."""
    told = [(one.kept.id, [two.item.id for two in one.duplicates]) for one in report.groups]
    return [(kept, others) for kept, others in told if of in (None, kept, *others)]


@pytest.fixture
def red(gallery: Gallery, photos: Path) -> int:
    """The item whose copies are looked for."""
    (found,) = gallery.find(path=photos / "red" / "3.png")
    return found


def add_copy(
    gallery: Gallery, photos: Path, name: str, *, label: str | None, scale: float = 1
) -> int:
    """Add a copy of that item's picture as another file; a BMP is larger than the PNG."""
    path = photos.parent / name
    if path.suffix == ".png":
        path.write_bytes((photos / "red" / "3.png").read_bytes())
    else:
        with Image.open(photos / "red" / "3.png") as image:
            image.resize((round(image.width * scale), round(image.height * scale))).save(path)
    (made,) = gallery.add([path], label=label, allow_duplicates=True).item_ids
    return made


def test_copies_are_found_and_nothing_is_changed(gallery: Gallery, photos: Path, red: int) -> None:
    again = add_copy(gallery, photos, "again.bmp", label="red")
    same = add_copy(gallery, photos, "same.png", label="red")
    before, seq = gallery.items(), gallery.info().seq
    found = gallery.dedupe(below=COPIES)
    # The BMP is kept: as many pixels as the others, and the largest file.
    assert pairs(found, of=red) == [(again, [red, same])]
    assert (found.items, found.removed) == (17, 0)
    assert found.n_duplicates == sum(len(one.duplicates) for one in found.groups)
    assert (found.below, found.within) == (COPIES, "label")
    assert gallery.items() == before
    assert gallery.info().seq == seq
    stored = {item.id: item for item in before}
    for one in found.groups[0].duplicates:
        item = stored[one.item.id]
        assert one.distance < COPIES
        assert (one.item.path, one.item.content_hash) == (item.path, item.content_hash)
        assert (one.item.width, one.item.height) == (item.width, item.height) == (96, 72)


def test_the_same_bytes_are_duplicates_at_any_distance(
    gallery: Gallery, photos: Path, red: int
) -> None:
    same = add_copy(gallery, photos, "same.png", label="red")
    found = gallery.dedupe(below=0)
    # Nothing tells them apart but their age.
    assert pairs(found) == [(red, [same])]
    assert found.groups[0].duplicates[0].same_bytes


def test_the_largest_picture_is_kept(gallery: Gallery, photos: Path, red: int) -> None:
    small = add_copy(gallery, photos, "small.bmp", label="red", scale=0.9)
    large = add_copy(gallery, photos, "large.bmp", label="red", scale=2)
    (group,) = (one for one in gallery.dedupe(below=0.1).groups if one.kept.label == "red")
    assert group.kept.id == large
    assert {red, small} <= {one.item.id for one in group.duplicates}


def test_a_labelled_item_is_kept_before_a_larger_one(
    gallery: Gallery, photos: Path, red: int
) -> None:
    loose = add_copy(gallery, photos, "copy.bmp", label=None)
    # The labels' own items are compared, and those without one: not these with those.
    assert pairs(gallery.dedupe(below=COPIES), of=loose) == []
    found = gallery.dedupe(below=COPIES, within="any")
    assert pairs(found, of=loose) == [(red, [loose])]


def test_other_labels_are_compared_when_asked(gallery: Gallery, photos: Path, red: int) -> None:
    other = add_copy(gallery, photos, "same.png", label="blue")
    assert pairs(gallery.dedupe(below=0)) == []
    assert pairs(gallery.dedupe(below=0, within="any")) == [(red, [other])]


def test_items_without_a_label_are_compared_with_each_other(
    gallery: Gallery, photos: Path, red: int
) -> None:
    first = add_copy(gallery, photos, "first.png", label=None)
    second = add_copy(gallery, photos, "second.png", label=None)
    assert pairs(gallery.dedupe(below=0)) == [(first, [second])]


def test_a_second_look_at_what_was_kept_finds_nothing(gallery: Gallery) -> None:
    # At such a limit nearly everything is near something: chains there are many.
    found = gallery.dedupe(below=0.02, within="any")
    assert found.n_duplicates > 3
    done = gallery.remove_duplicates(found)
    assert done.removed == found.n_duplicates
    assert (done.groups, done.items) == (found.groups, 15)
    kept = {one.id for one in gallery.items()}
    assert len(kept) == 15 - done.removed
    assert {one.kept.id for one in found.groups} <= kept
    again = gallery.dedupe(below=0.02, within="any")
    assert (again.groups, again.n_duplicates) == ((), 0)
    seq = gallery.info().seq
    assert gallery.remove_duplicates(again).removed == 0
    assert gallery.info().seq == seq


def test_every_item_is_near_the_one_kept_for_it(gallery: Gallery) -> None:
    found = gallery.dedupe(below=0.02, within="any")
    for group in found.groups:
        assert all(one.distance < 0.02 for one in group.duplicates)
        assert list(group.duplicates) == sorted(group.duplicates, key=lambda one: one.distance)
    sizes = [len(group.duplicates) for group in found.groups]
    assert sizes == sorted(sizes, reverse=True)


def test_what_was_changed_since_stays(
    gallery: Gallery, photos: Path, red: int, draw_photo: Draw
) -> None:
    copies = [add_copy(gallery, photos, f"{name}.png", label="red") for name in ("a", "b")]
    found = gallery.dedupe(below=0)
    assert pairs(found) == [(red, copies)]
    gallery.relabel(copies[:1], "blue")
    assert gallery.remove_duplicates(found).removed == 1
    assert gallery.find(ids=copies) == copies[:1]


@pytest.mark.parametrize("how", ["removed", "another picture"])
def test_nothing_goes_for_an_item_that_is_no_longer_there(
    how: str, gallery: Gallery, photos: Path, red: int, draw_photo: Draw
) -> None:
    copy = add_copy(gallery, photos, "copy.png", label="red")
    found = gallery.dedupe(below=0)
    assert pairs(found) == [(red, [copy])]
    if how == "removed":
        gallery.remove([red])
    else:
        draw_photo("red", 77).save(photos / "red" / "3.png")
        assert gallery.build(photos).changed == 1
    assert gallery.remove_duplicates(found).removed == 0
    assert gallery.find(ids=[copy]) == [copy]


@pytest.mark.parametrize("within", ["label", "any"])
def test_blocks_change_nothing(
    within: str, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = gallery.dedupe(below=0.02, within=within)
    monkeypatch.setattr(distances_module, "_SQUARE", 2)
    steps: list[tuple[int, int]] = []
    parts = gallery.dedupe(
        below=0.02, within=within, progress=lambda done, of: steps.append((done, of))
    )
    assert pairs(parts) == pairs(whole)
    assert steps == sorted(steps)
    assert steps[-1] == (15, 15)


def test_an_empty_gallery_has_none(tmp_path: Path, tiny_encoder: Path) -> None:
    with Gallery.create(tmp_path / "empty", encoder=str(tiny_encoder)) as empty:
        assert empty.dedupe() == DedupeReport(0, 0.05, "label", 0, ())


def test_what_makes_no_sense_is_refused(gallery: Gallery) -> None:
    for distance in (-0.1, 2.1, float("nan")):
        with pytest.raises(GalleryError, match="from 0 to 2"):
            gallery.dedupe(below=distance)
    with pytest.raises(GalleryError, match="within is 'all': say label or any"):
        gallery.dedupe(within="all")
