"""A gallery's verifier at work: pairs, and queries ordered by it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval import Gallery
from retrieval.errors import GalleryError, LookalikeError
from retrieval.verifying.answering import tune_distance
from retrieval.verifying.pairs_to_learn import listed_pairs

DrawHue = Callable[[int, int], Image.Image]


@pytest.fixture
def pictures(tmp_path: Path, draw_hue: DrawHue) -> Callable[[int, int], Path]:
    """A function that draws a picture, never an item's, into a file."""

    def write(hue: int, number: int) -> Path:
        path = tmp_path / f"{hue}-{number}.png"
        draw_hue(hue, 100 + number).save(path)
        return path

    return write


@pytest.mark.parametrize("by", ["distance", "classifier"])
def test_new_photos_of_one_hue_are_the_same(
    by: str, trained_path: Path, pictures: Callable[[int, int], Path]
) -> None:
    with Gallery.open(trained_path) as gallery:
        for hue in (0, 4, 8):
            alike = gallery.verify(pictures(hue, 0), pictures(hue, 1), by=by)
            unlike = gallery.verify(pictures(hue, 0), pictures((hue + 6) % 12, 1), by=by)
            assert (alike.decision, unlike.decision) == ("same", "not the same")
            assert alike.probability is not None
            assert unlike.probability is not None
            assert alike.probability > 0.5 > unlike.probability
            assert alike.by == unlike.by == by


def test_either_photo_may_come_first(
    trained_path: Path, pictures: Callable[[int, int], Path]
) -> None:
    a, b = pictures(0, 0), pictures(1, 0)
    with Gallery.open(trained_path) as gallery:
        one, other = gallery.verify(a, b, by="classifier"), gallery.verify(b, a, by="classifier")
        assert (one.score, one.distance) == (other.score, other.distance)
        read = gallery.verify(a.read_bytes(), b.read_bytes(), by="classifier")
    assert (read.photo_a, read.photo_b, read.score) == (None, None, one.score)


def test_a_threshold_is_kept_strictly(
    trained_path: Path, pictures: Callable[[int, int], Path]
) -> None:
    a, b = pictures(0, 0), pictures(1, 0)
    with Gallery.open(trained_path) as gallery:
        for by in ("distance", "classifier"):
            score = gallery.verify(a, b, by=by).score
            at = gallery.verify(a, b, by=by, threshold=score)
            above = gallery.verify(a, b, by=by, threshold=np.nextafter(score, 2))
            assert (at.decision, above.decision) == ("not the same", "same")


def test_without_a_verifier_the_items_tell_which_distance(
    untrained_path: Path, pictures: Callable[[int, int], Path]
) -> None:
    with Gallery.open(untrained_path) as gallery:
        alike = gallery.verify(pictures(0, 0), pictures(0, 1))
        unlike = gallery.verify(pictures(0, 0), pictures(6, 1))
        assert alike.threshold == unlike.threshold == tune_distance(gallery._store)
        with pytest.raises(GalleryError, match="has no classifier: run train-verifier"):
            gallery.verify(pictures(0, 0), pictures(0, 1), by="classifier")
    assert (alike.decision, unlike.decision) == ("same", "not the same")
    assert (alike.by, alike.probability) == ("distance", None)


def test_few_labels_give_no_verdict(gallery: Gallery, photos: Path) -> None:
    a, b = photos / "red" / "0.png", photos / "red" / "1.png"
    found = gallery.verify(a, b)
    assert (found.decision, found.threshold) == (None, None)
    assert found.note is not None
    assert "--threshold" in found.note
    assert gallery.verify(a, b, threshold=2).decision == "same"


def test_the_default_is_what_the_verifier_says(
    trained_path: Path, pictures: Callable[[int, int], Path]
) -> None:
    with Gallery.open(trained_path) as gallery:
        info = gallery.info()
        assert info.verifier is not None
        assert info.verifier_problem is None
        assert gallery.verify(pictures(0, 0), pictures(0, 1)).by == info.verifier.default


def test_few_labels_teach_nothing(gallery: Gallery) -> None:
    with pytest.raises(LookalikeError, match="takes 10 labels"):
        gallery.train_verifier(count=50)
    assert not (gallery.path / "verifier").exists()


def test_a_verifier_is_only_replaced_when_asked(trained_path: Path) -> None:
    with Gallery.open(trained_path) as gallery:
        with pytest.raises(GalleryError, match="--overwrite"):
            gallery.train_verifier(count=140, model="linear")
        again = gallery.train_verifier(count=140, model="distance", overwrite=True)
        info = gallery.info()
    assert info.verifier == again


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "forest"}, "no classifier 'forest'"),
        ({"hard": 1.5}, "a share from 0 to 1"),
        ({"components": -1}, "0 or more"),
    ],
)
def test_wrong_arguments(arguments: dict[str, object], message: str, untrained_path: Path) -> None:
    with (
        Gallery.open(untrained_path) as gallery,
        pytest.raises(GalleryError, match=message),
    ):
        gallery.train_verifier(**arguments)


def test_a_list_of_pairs_teaches_too(
    untrained_path: Path, tmp_path: Path, hues: Path, draw_hue: DrawHue
) -> None:
    with Gallery.open(untrained_path) as gallery:
        gallery.make_pairs(tmp_path / "pairs.csv", count=140)
        # Two photos that are no items, and one that can't be read.
        for number in (50, 51):
            draw_hue(3, number).save(tmp_path / f"new-{number}.png")
        (tmp_path / "broken.png").write_bytes(b"")
        with (tmp_path / "pairs.csv").open("a", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("new-50.png", "new-51.png", 1))
            rows.writerow(("broken.png", "new-51.png", 0))
        learning = listed_pairs(gallery._store, tmp_path / "pairs.csv", gallery.encoder)
        trained = gallery.train_verifier(pairs=tmp_path / "pairs.csv", model="linear")
    assert (trained.pairs, trained.n_positive, trained.left_out) == (141, 71, 1)
    assert [one.path for one in trained.failed] == [str(tmp_path / "broken.png")]
    assert trained.source == str(tmp_path / "pairs.csv")
    # Items of one label show the same, linked or not; the new photos are of a label of their own.
    assert trained.labels == 13
    assert learning.same.sum() == 71
    shown = learning.identities
    np.testing.assert_array_equal(shown[learning.first] == shown[learning.second], learning.same)


def test_a_query_is_ordered_by_the_classifier(
    trained_path: Path, pictures: Callable[[int, int], Path]
) -> None:
    query = pictures(5, 0)
    with Gallery.open(trained_path) as gallery:
        nearest = gallery.identify(query, k=48)
        found = gallery.identify(query, k=48, rule="verifier", threshold=0.5)
        told = [
            gallery.verify(query, item.path, by="classifier").score for item in found.items[:10]
        ]
        (same,) = gallery.identify_many([query], k=48, rule="verifier", threshold=0.5)
    assert {item.id for item in found.items} == {item.id for item in nearest.items}
    # Items' vectors are stored in float16.
    assert told == pytest.approx(sorted(told), abs=1e-3)
    assert found.score == pytest.approx(told[0], abs=1e-3)
    assert (found.rule, found.decision, found.label) == ("verifier", "match", "hue-5")
    assert same == found


def test_items_too_far_off_to_be_judged_keep_their_place(
    trained_path: Path, pictures: Callable[[int, int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.verifying.reranking.DEPTH", 5)
    query = pictures(5, 0)
    with Gallery.open(trained_path) as gallery:
        nearest = [item.id for item in gallery.identify(query, k=12).items]
        found = [item.id for item in gallery.identify(query, k=12, rule="verifier").items]
    assert sorted(found[:5]) == sorted(nearest[:5])
    assert found[5:] == nearest[5:]


def test_such_a_query_has_no_verdict_without_a_threshold(
    trained_path: Path, pictures: Callable[[int, int], Path]
) -> None:
    with Gallery.open(trained_path) as gallery:
        found = gallery.identify(pictures(5, 0), k=2, rule="verifier")
    assert (found.decision, len(found.items)) == (None, 2)
    assert found.note is not None
    assert "give --threshold" in found.note


def test_such_a_query_needs_a_classifier(
    untrained_path: Path, pictures: Callable[[int, int], Path]
) -> None:
    query = pictures(5, 0)
    with Gallery.open(untrained_path) as gallery:
        with pytest.raises(GalleryError, match="has no verifier"):
            gallery.identify(query, rule="verifier")
        gallery.train_verifier(count=140, model="distance")
        with pytest.raises(GalleryError, match="holds no classifier"):
            gallery.identify(query, rule="verifier")


def test_such_a_query_of_an_empty_gallery(tmp_path: Path, trained_path: Path, hues: Path) -> None:
    with Gallery.open(trained_path) as gallery:
        gallery.remove(gallery.find())
        found = gallery.identify(hues / "hue-0" / "0.png", rule="verifier", threshold=0.5)
    assert (found.decision, found.items) == ("unknown", ())
