"""What a verifier is: a classifier, what its scores mean, and how it was learnt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.embedding import FailedPhoto
from retrieval.evaluation.verification import pair_distances
from retrieval.verifying.calibration import ScoreCalibration
from retrieval.verifying.classifiers import Classifier
from retrieval.verifying.features import Projection, pair_features
from retrieval.verifying.figures import MethodFigures

DISTANCE, CLASSIFIER = "distance", "classifier"


@dataclass(frozen=True)
class TrainedVerifier:
    """How a verifier was learnt, and how it did.

    Attributes:
        model: The classifier it holds: `linear`, `xgboost`, or `distance` for none.
        default: What `verify` goes by: `classifier` where that beats the plain distance outside
            the interval, else `distance`.
        encoder: The encoder's name.
        fingerprint: The encoder's fingerprint: the verifier is for no other.
        source: `gallery`, or the CSV of pairs.
        pairs: How many pairs were learnt from.
        n_positive: How many of them show the same.
        n_negative: How many don't.
        hard: How many were drawn for being hard: these are learnt from, and judge nothing.
        photos: How many different photos they are made of.
        labels: How many labels those show.
        judged_positive: Pairs the figures speak of that show the same: both photos in one fold.
        judged_negative: Those that don't.
        folds: Into how many folds the labels were dealt.
        components: How many directions of the embeddings were asked for, 0 for all.
        seed: What was drawn by.
        methods: The figures of the plain distance, then of each classifier tried.
        left_out: Pairs left out because a photo of theirs could not be read.
        failed: Photos that could not be read.
        created_at: When, UTC, ISO 8601.
    """

    model: str
    default: str
    encoder: str
    fingerprint: str
    source: str
    pairs: int
    n_positive: int
    n_negative: int
    hard: int
    photos: int
    labels: int
    judged_positive: int
    judged_negative: int
    folds: int
    components: int
    seed: int
    methods: tuple[MethodFigures, ...]
    left_out: int
    failed: tuple[FailedPhoto, ...]
    created_at: str

    @property
    def chosen(self) -> MethodFigures:
        """The figures of the classifier it holds; of the distance where it holds none."""
        return next(one for one in self.methods if one.method == self.model)


@dataclass(frozen=True, eq=False)
class Verifier:
    """A verifier at work.

    Attributes:
        projection: What is done to embeddings first; `None` for nothing.
        classifier: Scores features; `None` where there is only the distance.
        calibrations: What scores mean, by `distance` and `classifier`.
        distance_threshold: The distance below which most of the pairs were decided rightly.
        trained: How it was learnt.
    """

    projection: Projection | None
    classifier: Classifier | None
    calibrations: dict[str, ScoreCalibration]
    distance_threshold: float
    trained: TrainedVerifier

    def probabilities(
        self,
        vectors: NDArray[np.float32],
        first: NDArray[np.int64],
        second: NDArray[np.int64],
        *,
        by: str,
    ) -> NDArray[np.float64]:
        """Return the probability that the photos of each pair show the same.

        Args:
            vectors: float32, shape `(n_vectors, dim)`, L2-normalised.
            first: int64, shape `(n,)`, places in `vectors`.
            second: The same of the other photos.
            by: `distance` or `classifier`.

        Returns:
            float64, shape `(n,)`.

        Raises:
            ValueError: There is no classifier.
        """
        if by == DISTANCE:
            return self.calibrations[by](pair_distances(vectors, first, second))
        if self.classifier is None:
            raise ValueError("this verifier holds no classifier")
        features = pair_features(vectors, first, second, self.projection)
        return self.calibrations[by](self.classifier(features))
