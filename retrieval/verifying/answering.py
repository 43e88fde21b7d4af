"""Answering: do two photos show the same?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from db import Store
from retrieval.errors import GalleryError
from retrieval.evaluation.pair_lists import count_pairs, draw_pairs
from retrieval.evaluation.sampling import used_only
from retrieval.evaluation.verification import pair_distances
from retrieval.pairing import distinct_items
from retrieval.verifying.figures import best_threshold
from retrieval.verifying.folds import LABELS_NEEDED
from retrieval.verifying.model import CLASSIFIER, DISTANCE, Verifier

AUTO = "auto"
BY = (AUTO, DISTANCE, CLASSIFIER)
# A pair is the same by the classifier where it is likelier than not: 1 - probability below this.
_EVEN = 0.5
# Pairs that a threshold is tuned on where no verifier has one.
_PAIRS = 2000
NO_THRESHOLD = (
    f"There is no threshold for pairs, so there is no verdict: tuning one takes {LABELS_NEEDED} "
    "labels in the gallery, some with several items; give --threshold, or add photos."
)


@dataclass(frozen=True)
class Verification:
    """The answer for a pair of photos.

    Attributes:
        photo_a: The first photo.
        photo_b: The second.
        decision: `same`, `not the same`, or `None` when there is no threshold to decide by.
        by: `distance` or `classifier`.
        model: What it went by: `distance`, `linear` or `xgboost`.
        probability: That both show the same, among pairs like those learnt from; `None` where the
            gallery has no verifier.
        distance: Their cosine distance.
        score: What is compared with the threshold: the distance, or 1 - probability.
        threshold: The pair is the same iff its score is below.
        note: Why there is no decision.
    """

    photo_a: str | None
    photo_b: str | None
    decision: Literal["same", "not the same"] | None
    by: str
    model: str
    probability: float | None
    distance: float
    score: float
    threshold: float | None
    note: str | None


def require_way(by: str, verifier: Verifier | None) -> str:
    """Return what a pair is judged by, `distance` or `classifier`.

    Args:
        by: What was asked for: `auto` takes the verifier's default, or else the distance.
        verifier: The gallery's, if there is one.

    Raises:
        GalleryError: There is no such way, or no classifier.
    """
    if by not in BY:
        raise GalleryError(f"There is no way {by!r} to judge a pair: say {', '.join(BY)}.")
    if by == AUTO:
        return DISTANCE if verifier is None else verifier.trained.default
    if by == CLASSIFIER and (verifier is None or verifier.classifier is None):
        raise GalleryError(
            "This gallery has no classifier: run train-verifier, or say --by distance."
        )
    return by


def judge_pair(
    vectors: NDArray[np.float32],
    verifier: Verifier | None,
    store: Store,
    *,
    by: str,
    threshold: float | None,
    names: tuple[str | None, str | None],
) -> Verification:
    """Judge a pair.

    Args:
        vectors: float32, shape `(2, dim)`, L2-normalised.
        verifier: The gallery's, if there is one.
        store: Without a verifier, its items say which distance tells pairs apart.
        by: `distance` or `classifier`.
        threshold: Of the score; `None` takes the verifier's, or tunes one.
        names: What the photos are called.
    """
    pair = np.array([0]), np.array([1])
    distance = float(pair_distances(vectors, *pair)[0])
    probability = None
    if verifier is not None:
        probability = float(verifier.probabilities(vectors, *pair, by=by)[0])
    score, model = distance, DISTANCE
    if by == CLASSIFIER and verifier is not None and probability is not None:
        score, model = 1 - probability, verifier.trained.model
        threshold = _EVEN if threshold is None else threshold
    elif threshold is None:
        threshold = verifier.distance_threshold if verifier is not None else tune_distance(store)
    decision: Literal["same", "not the same"] | None = None
    if threshold is not None:
        decision = "same" if score < threshold else "not the same"
    return Verification(
        *names,
        decision=decision,
        by=by,
        model=model,
        probability=probability,
        distance=distance,
        score=score,
        threshold=threshold,
        note=NO_THRESHOLD if threshold is None else None,
    )


def tune_distance(store: Store) -> float | None:
    """Choose the distance that tells most of 2,000 pairs of a gallery's items rightly apart.

    Half of the pairs show one label, none is drawn for being hard, and the seed is always the same.

    Returns:
        The distance; `None` with fewer than ten labels, or without two items of one.
    """
    with store.read() as tx:
        items = distinct_items(tx)
        count = min(_PAIRS, 2 * min(count_pairs(items.identities)))
        if not count or len(np.unique(items.identities)) < LABELS_NEEDED:
            return None
        drawn = draw_pairs(items.identities, count)
        used, first, second = used_only(drawn.first, drawn.second)
        vectors = items.at(used).vectors(tx).astype(np.float32)
    return best_threshold(pair_distances(vectors, first, second), drawn.same, 0.5)
