"""Photos asked together are answered as if each had been asked alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval import Gallery
from retrieval.asking_together import Ask
from retrieval.errors import GalleryError, ImageError
from retrieval.identification import Identification


@pytest.fixture
def queries(draw_photo: Callable[..., Image.Image]) -> list[bytes]:
    """The files of seven pictures of three colours."""
    made = []
    for place in range(7):
        data = BytesIO()
        draw_photo(("red", "green", "blue")[place % 3], 90 + place).save(data, "PNG")
        made.append(data.getvalue())
    return made


def same(one: Identification, other: Identification) -> None:
    """Hold two answers to be the same, but for the arithmetic of a batch."""
    assert replace(one, items=(), **_numbers(other)) == replace(other, items=())
    assert [item.id for item in one.items] == [item.id for item in other.items]
    distances = [[item.distance for item in answer.items] for answer in (one, other)]
    np.testing.assert_allclose(*distances, atol=2e-3)


def _numbers(answer: Identification) -> dict[str, float | None]:
    names = ("distance", "next_distance", "margin", "score")
    return {name: getattr(answer, name) for name in names}


def test_each_question_gets_its_own_answer(gallery: Gallery, queries: list[bytes]) -> None:
    asks = [
        Ask(),
        Ask(k=1),
        Ask(k=9, threshold=0.5),
        Ask(threshold=0.0),
        Ask(rule="margin", threshold=0.9),
        Ask(rule="nac", threshold=0.9),
        Ask(k=99, where="label!=red"),
    ]
    photos = [gallery.prepare(data, name=str(place)) for place, data in enumerate(queries)]
    together = gallery.identify_prepared(photos, asks)
    for place, (data, ask, answer) in enumerate(zip(queries, asks, together, strict=True)):
        alone = gallery.identify(
            data, k=ask.k, threshold=ask.threshold, rule=ask.rule, where=ask.where
        )
        same(answer, replace(alone, query=str(place)))


def test_a_gallery_that_gets_another_encoder_answers_on(
    gallery: Gallery, queries: list[bytes], second_encoder: Path
) -> None:
    photos = [gallery.prepare(data) for data in queries]
    with Gallery.open(gallery.path) as other:
        other.reembed(str(second_encoder))
        expected = [other.identify(data, k=1) for data in queries]
    answers = gallery.identify_prepared(photos, [Ask(k=1)] * len(photos))
    for answer, alone in zip(answers, expected, strict=True):
        same(answer, alone)


def test_a_photo_prepared_for_another_encoder_is_prepared_again(
    gallery: Gallery, queries: list[bytes]
) -> None:
    photo = gallery.prepare(queries[0])
    small = replace(photo.preprocessing, size=8, resize=8)
    other = replace(photo, pixels=np.zeros((8, 8, 3), np.uint8), preprocessing=small)
    (answer,) = gallery.identify_prepared([other], [Ask()])
    same(answer, gallery.identify(queries[0]))


def test_what_is_no_photo_and_no_question_is_refused(
    gallery: Gallery, queries: list[bytes]
) -> None:
    with pytest.raises(ImageError, match=r"^the file is empty$"):
        gallery.prepare(b"")
    with pytest.raises(ImageError, match=r"more than the limit of 0\.001 million"):
        gallery.prepare(queries[0], max_pixels=1000)
    photo = gallery.prepare(queries[0])
    for ask, said in ((Ask(k=0), "k is 0"), (Ask(rule="luck"), "no rule 'luck'")):
        with pytest.raises(GalleryError, match=said):
            gallery.identify_prepared([photo], [ask])
