"""Encoders side by side: the figures are those an evaluation would give after the switch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval import Gallery, GalleryError, LookalikeError
from retrieval.evaluation.drawing import draw_whole
from retrieval.evaluation.protocol import OpenSetPlan


@pytest.fixture
def queries(tmp_path: Path, draw_photo: Callable[..., Image.Image]) -> Path:
    """Photos of two labels the gallery knows, and of one that it lacks."""
    folder = tmp_path / "queries"
    for colour, label in (("red", "red"), ("green", "green"), ("blue", "stranger")):
        (folder / label).mkdir(parents=True)
        for number in range(40, 44):
            draw_photo(colour, number).save(folder / label / f"{number}.png")
    return folder


@pytest.mark.parametrize("own", [True, False])
def test_the_figures_are_those_after_a_switch(
    own: bool, gallery: Gallery, queries: Path, second_encoder: Path
) -> None:
    asked = None if own else queries
    seq = gallery.info().seq
    found = gallery.compare(["current", str(second_encoder)], queries=asked)
    assert gallery.info().seq == seq
    assert (found.items, found.of_items, found.labels) == (15, 15, 3)
    assert (found.queries, found.n_mated) == ((15, 15) if own else (12, 8))
    plan = OpenSetPlan(0.2, 10, 0)
    before = gallery.evaluate(asked, rule=found.rule, open_set=plan)
    gallery.reembed(str(second_encoder))
    after = gallery.evaluate(asked, rule=found.rule, open_set=plan)
    for one, expected in zip(found.encoders, (before, after), strict=True):
        assert one.recall == expected.recall
        assert one.map_at_r == pytest.approx(expected.map_at_r)
        assert expected.open_set is not None
        assert len(one.dir_at_fpir) == 3
        assert [point.fpir for point in one.dir_at_fpir] == [0.01, 0.05, 0.1]
        assert [point.dir for point in one.dir_at_fpir] == [
            point.dir for point in expected.open_set.points[1:]
        ]
    current, other = found.encoders
    assert (current.photos_per_second, current.changed, current.examples) == (None, 0, ())
    assert other.photos_per_second is not None
    assert other.fingerprint == gallery.info().fingerprint


def test_changed_answers_are_counted_and_shown(
    gallery: Gallery, photos: Path, second_encoder: Path
) -> None:
    gallery.relabel(gallery.find(), None)  # each an identity of its own: answers differ soon
    gallery.relabel(gallery.find(ids=[1, 2]), "pair")
    found = gallery.compare(["current", str(second_encoder)], queries=photos)

    def nearest() -> list[str]:
        shown = []
        for photo in sorted(photos.rglob("*.png")):
            others = [one for one in gallery.identify(photo, k=15).items if one.path != str(photo)]
            shown.append(others[0].label or others[0].path)
        return shown

    before = nearest()
    gallery.reembed(str(second_encoder))
    after = nearest()
    differ = [(one, other) for one, other in zip(before, after, strict=True) if one != other]
    assert found.encoders[1].changed == len(differ) > 0
    examples = found.encoders[1].examples
    assert [(one.before, one.after) for one in examples] == differ[:5]
    assert all(one.label == Path(one.query).parent.name for one in examples)


def test_a_photo_that_is_gone_is_left_out_for_every_encoder(
    gallery: Gallery, photos: Path, second_encoder: Path, draw_photo: Callable[..., Image.Image]
) -> None:
    (photos / "red" / "0.png").unlink()
    draw_photo("red", 80).save(photos / "red" / "1.png")
    own = gallery.info().fingerprint
    found = gallery.compare([str(second_encoder), own, "current"])
    assert found.items == found.queries == 13
    assert [(Path(one.path).name, one.reason) for one in found.failed] == [
        ("0.png", "can't be read: No such file or directory"),
        ("1.png", "has changed since it was added"),
    ]
    assert found.encoders[1].recall == found.encoders[2].recall
    assert gallery.info().items == 15


def test_some_of_the_items_are_drawn(gallery: Gallery, queries: Path, second_encoder: Path) -> None:
    assert gallery.compare(["current"], limit=10).labels == 2
    with_queries = gallery.compare(["current"], limit=10, queries=queries)
    assert (with_queries.items, with_queries.of_items, with_queries.labels) == (10, 15, 3)
    assert gallery.compare(["current"], limit=4, seed=3) == gallery.compare(
        ["current"], limit=4, seed=3
    )
    with pytest.raises(GalleryError, match="limit is 0"):
        gallery.compare(["current"], limit=0)
    with pytest.raises(GalleryError, match="no encoder to compare"):
        gallery.compare([])


def test_a_gallery_without_its_photos_has_nothing_to_embed(
    gallery: Gallery, photos: Path, second_encoder: Path
) -> None:
    photos.rename(photos.with_name("away"))
    assert gallery.compare(["current"]).items == 15
    with pytest.raises(LookalikeError, match="None of the gallery's photos can be read"):
        gallery.compare(["current", str(second_encoder)])


def test_whole_labels_are_drawn() -> None:
    identities = np.array([4, 5, 6] * 10)
    for seed in range(5):
        drawn = identities[draw_whole(identities, 15, seed)]
        assert sorted(np.unique(drawn, return_counts=True)[1].tolist()) == [5, 10]
