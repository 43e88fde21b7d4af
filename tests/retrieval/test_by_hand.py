"""A threshold given by hand is in force, keeps what is known, and is left alone."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from retrieval import Gallery
from retrieval.errors import GalleryError
from retrieval.identification import Calibration


def test_it_decides(gallery: Gallery, photos: Path) -> None:
    query = photos / "red" / "0.png"
    for value, decision in ((1.5, "match"), (0.0, "unknown")):
        stored = gallery.set_threshold(value)
        assert gallery.threshold() == stored
        assert stored.value == value
        assert gallery.identify(query).decision == decision


def test_it_keeps_the_rule_and_its_calibration(gallery: Gallery) -> None:
    tuned = gallery.tune_threshold(objective="fpir=0.5", rule="margin")
    stored = gallery.set_threshold(0.6)
    assert (stored.rule, stored.calibration) == ("margin", tuned.calibration)
    known = Calibration(**tuned.calibration)
    assert stored.details["fpir"] == known.p_value(0.6)
    assert stored.details["dir"] == known.dir(0.6)
    other = gallery.set_threshold(0.6, rule="nac")
    assert (other.rule, other.calibration) == ("nac", {})


def test_without_one_before_it_is_a_distance(tmp_path: Path, tiny_encoder: Path) -> None:
    with Gallery.create(tmp_path / "new", encoder=str(tiny_encoder)) as gallery:
        assert gallery.set_threshold(0.3).rule == "nearest"


def test_a_build_leaves_it_alone(gallery: Gallery, photos: Path) -> None:
    stored = gallery.set_threshold(0.3)
    gallery.remove(gallery.find(label="blue"))
    gallery.build(photos)
    assert gallery.threshold() == stored


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_refused(gallery: Gallery, value: float) -> None:
    with pytest.raises(GalleryError, match="say a number"):
        gallery.set_threshold(value)


def test_a_rule_that_is_none_is_refused(gallery: Gallery) -> None:
    with pytest.raises(GalleryError, match="There is no rule 'luck'"):
        gallery.set_threshold(0.3, rule="luck")


def test_what_the_calibration_tells_errs_on_the_safe_side() -> None:
    known = Calibration([0.2, 0.4], [0.1, 0.3], [0.5, 0.8])
    assert [known.dir(one) for one in (0.1, 0.2, 0.3, 0.4, 0.9)] == [0, 0, 0.5, 0.5, 0.8]
    assert Calibration([0.2], [0.1]).dir(0.3) is None
