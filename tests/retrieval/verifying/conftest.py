"""What tests of verifiers share: pairs that a classifier can learn something from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from retrieval.encoders import Artifact, EncoderSpec
from retrieval.evaluation.pair_lists import draw_pairs
from retrieval.verifying.training import LearningPairs

DIM, LABELS, EACH = 12, 24, 6


def _learning_pairs(
    *, hidden: bool = True, hard: float = 0.0, labels: int = LABELS
) -> LearningPairs:
    """Draw pairs; with `hidden` half of the dimensions only say how a photo was taken."""
    rng = np.random.default_rng(0)
    identities = np.repeat(np.arange(labels), EACH)
    vectors = rng.normal(scale=0.25, size=(len(identities), DIM))
    vectors += rng.normal(size=(labels, DIM))[identities]
    if hidden:
        vectors[:, DIM // 2 :] = rng.normal(size=(len(identities), DIM // 2))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    stored = vectors.astype(np.float16)
    drawn = draw_pairs(identities, 12 * labels, vectors=stored, hard=hard)
    return LearningPairs(
        vectors=stored.astype(np.float32),
        identities=identities,
        first=drawn.first,
        second=drawn.second,
        same=drawn.same,
        hard=drawn.hard,
        source="gallery",
    )


@pytest.fixture(scope="session")
def learning_pairs() -> Callable[..., LearningPairs]:
    """The function that draws pairs to learn from."""
    return _learning_pairs


@pytest.fixture(scope="session")
def spec(tiny_encoder: object) -> EncoderSpec:
    """What an encoder is."""
    return Artifact.load(tiny_encoder).spec  # type: ignore[arg-type]
