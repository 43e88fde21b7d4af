"""Asking of several photos at once: decoded one by one, then encoded and searched together.

For those who get photos from many sides at a time, like the service: decoding may run in as many
threads as there are cores, and one pass of the encoder over several photos costs less than several
over one.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.asking import Question, answer, search
from retrieval.conditions import Where
from retrieval.encoders import Encoder, Preprocessing
from retrieval.identification import Identification
from retrieval.images import MAX_PIXELS, decode
from retrieval.verifying.of_gallery import PairJudge
from retrieval.with_encoder import Opened


@dataclass(frozen=True)
class Ask:
    """What is to be known of a photo; see `Gallery.identify`."""

    k: int = 5
    threshold: float | None = None
    rule: str | None = None
    where: Where = None


@dataclass(frozen=True, eq=False)
class Prepared:
    """A photo, decoded for an encoder.

    Attributes:
        name: What the answer calls it.
        pixels: uint8 RGB, shape `(size, size, 3)`.
        preprocessing: What made them.
        data: The file's bytes, should the gallery get another encoder meanwhile.
        max_pixels: The limit on these.
    """

    name: str | None
    pixels: NDArray[np.uint8]
    preprocessing: Preprocessing
    data: bytes
    max_pixels: int


def prepare(
    data: bytes,
    preprocessing: Preprocessing,
    *,
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Prepared:
    """Decode a photo for an encoder with this preprocessing; safe to call from many threads.

    Raises:
        ImageError: It is no image we can read, or has more than `max_pixels` pixels; the text is a
            one-line reason.
    """
    image = decode(data, min_side=preprocessing.resize, max_pixels=max_pixels).image
    return Prepared(name, preprocessing.apply(image), preprocessing, data, max_pixels)


class AsksTogether(PairJudge):
    """The part of a `Gallery` that answers several photos at once."""

    def prepare(
        self, data: bytes, *, name: str | None = None, max_pixels: int = MAX_PIXELS
    ) -> Prepared:
        """Decode a photo for `identify_prepared`; safe to call from many threads.

        Args:
            data: The whole file.
            name: What the answer is to call it.
            max_pixels: Limit on width × height.

        Raises:
            ImageError: It is no image we can read, or has more pixels; the text is a one-line
                reason.
        """
        preprocessing = self._opened.artifact.spec.preprocessing
        return prepare(data, preprocessing, name=name, max_pixels=max_pixels)

    def identify_prepared(
        self, photos: Sequence[Prepared], asks: Sequence[Ask]
    ) -> list[Identification]:
        """Say which identity each photo shows, in their order, as `identify` would.

        Args:
            photos: At least one; as many as suit the encoder are encoded in one pass.
            asks: What is to be known of each.

        Raises:
            GalleryError: k is below 1, there is no such rule, no verifier for it, or the conditions
                can't be used.
        """
        questions = [self._question(ask.k, ask.threshold, ask.rule, ask.where) for ask in asks]
        return self._with_opened(lambda opened: _answer(opened, photos, questions))

    @abstractmethod
    def _question(
        self, k: int, threshold: float | None, rule: str | None, where: Where
    ) -> Question:
        """Make a question of what a user said."""


def _answer(
    opened: Opened, photos: Sequence[Prepared], questions: Sequence[Question]
) -> list[Identification]:
    vectors = _encode(opened.encoder, _pixels(photos, opened.encoder))
    alike: dict[Question, list[int]] = defaultdict(list)
    for place, asked in enumerate(questions):
        alike[asked].append(place)
    answers: dict[int, Identification] = {}
    for asked, places in alike.items():
        found = search(opened.searcher, vectors[places], asked)
        for row, place in enumerate(places):
            answers[place] = answer(found, row, asked, photos[place].name, vectors[place])
    return [answers[place] for place in range(len(photos))]


def _encode(encoder: Encoder, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    if len(pixels) == 1:
        return encoder.encode(pixels)
    # A part for each core, side by side: the runtime wastes less than on one batch over all cores.
    parts = np.array_split(pixels, min(len(pixels), os.cpu_count() or 1))
    encoding = [encoder.submit(part) for part in parts]
    return np.concatenate([one.result() for one in encoding])


def _pixels(photos: Sequence[Prepared], encoder: Encoder) -> NDArray[np.uint8]:
    mine = encoder.spec.preprocessing
    again = [
        one
        if one.preprocessing == mine
        else prepare(one.data, mine, name=one.name, max_pixels=one.max_pixels)
        for one in photos
    ]
    return np.stack([one.pixels for one in again])
