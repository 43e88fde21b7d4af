"""Learning a verifier: cross-validation over folds of labels, calibration, choice, figures."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from retrieval.embedding import FailedPhoto
from retrieval.encoders import EncoderSpec
from retrieval.evaluation.verification import pair_distances
from retrieval.verifying.calibration import ISOTONIC, PLATT, ScoreCalibration
from retrieval.verifying.classifiers import CLASSIFIERS, LINEAR, XGBOOST, require_xgboost
from retrieval.verifying.features import Projection, pair_features
from retrieval.verifying.figures import (
    JudgedPairs,
    MethodFigures,
    best_threshold,
    brier_losses,
    log_losses,
)
from retrieval.verifying.fitting import FIT, fit_calibration
from retrieval.verifying.folds import FOLDS, TooFewPairs, divisions, label_folds
from retrieval.verifying.model import CLASSIFIER, DISTANCE, TrainedVerifier, Verifier

COMPONENTS = 64
AUTO = "auto"
MODELS = (AUTO, DISTANCE, *CLASSIFIERS)
_Bools = NDArray[np.bool_]
_Scores = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LearningPairs:
    """Pairs to learn from.

    Attributes:
        vectors: float32, shape `(n_photos, dim)`, L2-normalised.
        identities: int64, shape `(n_photos,)`, what each photo shows.
        first: int64, shape `(n,)`, place of each pair's first photo.
        second: int64, shape `(n,)`, place of its second.
        same: bool, shape `(n,)`, whether both show the same.
        hard: bool, shape `(n,)`, whether it was drawn for its distance: then it can't judge.
        source: Where they come from.
        left_out: Pairs left out because a photo of theirs could not be read.
        failed: Photos that could not be read.
    """

    vectors: NDArray[np.float32]
    identities: NDArray[np.int64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    same: _Bools
    hard: _Bools
    source: str
    left_out: int = 0
    failed: tuple[FailedPhoto, ...] = ()


@dataclass(frozen=True, eq=False)
class _HeldOut:
    """Pairs whose labels were held out, fold by fold, with the scores of who had not seen them."""

    judged: JudgedPairs
    folds: NDArray[np.int64]
    scores: dict[str, _Scores]


@dataclass(frozen=True, eq=False)
class _Judged:
    """A method's figures, with what they are made of."""

    figures: MethodFigures
    right: _Bools
    calibration: ScoreCalibration


def require_model(model: str) -> tuple[str, ...]:
    """Return the classifiers to try.

    Raises:
        GalleryError: It takes XGBoost, which is not installed.
    """
    if model == DISTANCE:
        return ()
    if model == AUTO:
        return CLASSIFIERS if find_spec("xgboost") else (LINEAR,)
    if model == XGBOOST:
        require_xgboost()
    return (model,)


def train(
    pairs: LearningPairs,
    encoder: EncoderSpec,
    *,
    model: str = AUTO,
    components: int = COMPONENTS,
    seed: int = 0,
) -> Verifier:
    """Learn a verifier.

    Args:
        pairs: What to learn from.
        encoder: What made the vectors.
        model: One of `MODELS`; `auto` keeps the classifier with the smallest log-loss on held-out
            labels.
        components: How many directions embeddings are projected onto, 0 for none.
        seed: Deals out labels, and grows trees.

    Raises:
        TooFewPairs: There are too few labels, or too few pairs of either class within a fold.
        GalleryError: It takes XGBoost, which is not installed.
    """
    names = require_model(model)
    held_out = _hold_out(pairs, names, components, seed)
    judged = {DISTANCE: _judge(DISTANCE, held_out, None)}
    for name in names:
        judged[name] = _judge(name, held_out, judged[DISTANCE].right)
    chosen = min(names, key=lambda name: judged[name].figures.log_loss.value, default=DISTANCE)
    projection = None
    calibrations = {DISTANCE: judged[DISTANCE].calibration}
    classifier = None
    if chosen != DISTANCE:
        used = np.union1d(pairs.first, pairs.second)
        projection = Projection.fit(pairs.vectors[used], components)
        features = pair_features(pairs.vectors, pairs.first, pairs.second, projection)
        classifier = FIT[chosen](features, pairs.same, seed)
        calibrations[CLASSIFIER] = judged[chosen].calibration
    return Verifier(
        projection=projection,
        classifier=classifier,
        calibrations=calibrations,
        distance_threshold=best_threshold(
            held_out.scores[DISTANCE], held_out.judged.same, held_out.judged.share
        ),
        trained=_trained(pairs, held_out, judged, chosen, encoder, components, seed),
    )


def _hold_out(pairs: LearningPairs, names: tuple[str, ...], components: int, seed: int) -> _HeldOut:
    """Score each pair by classifiers that have seen neither of its labels."""
    folds = label_folds(pairs.identities, pairs.first, pairs.second, seed=seed)
    number = np.full(len(pairs.same), -1)
    scores = {name: np.empty(len(pairs.same), dtype=np.float32) for name in names}
    scores[DISTANCE] = pair_distances(pairs.vectors, pairs.first, pairs.second)
    for fold in divisions(folds, pairs.first, pairs.second):
        judged = fold.held_out & ~pairs.hard
        number[judged] = fold.number
        _require_both(pairs.same[fold.learn])
        if not names:
            continue
        used = np.union1d(pairs.first[fold.learn], pairs.second[fold.learn])
        projection = Projection.fit(pairs.vectors[used], components)
        features = pair_features(pairs.vectors, pairs.first, pairs.second, projection)
        for name in names:
            fitted = FIT[name](features[fold.learn], pairs.same[fold.learn], seed)
            scores[name][judged] = fitted(features[judged])
    kept = number >= 0
    for one in range(FOLDS):
        _require_both(pairs.same[kept & (number != one)])
    shown = pairs.identities
    return _HeldOut(
        JudgedPairs(
            first=shown[pairs.first[kept]],
            second=shown[pairs.second[kept]],
            same=pairs.same[kept],
            share=float(pairs.same.mean()),
        ),
        number[kept],
        {name: of_all[kept] for name, of_all in scores.items()},
    )


def _require_both(same: _Bools) -> None:
    if not same.any() or same.all():
        raise TooFewPairs(
            f"The pairs are too few for {FOLDS} folds of labels, as pairs across folds are left "
            "out: draw more of them, or add photos of other labels."
        )


def _judge(name: str, held_out: _HeldOut, by_distance: _Bools | None) -> _Judged:
    """Judge a method fold by fold, each by a threshold and a calibration of the others."""
    pairs, scores = held_out.judged, held_out.scores[name]
    same, weights = pairs.same, pairs.weights
    right = np.empty(len(same), dtype=bool)
    probabilities = {kind: np.empty(len(same)) for kind in (PLATT, ISOTONIC)}
    for fold in range(FOLDS):
        mine = held_out.folds == fold
        threshold = best_threshold(scores[~mine], same[~mine], pairs.share)
        right[mine] = (scores[mine].astype(np.float64) < threshold) == same[mine]
        for kind, told in probabilities.items():
            curve = fit_calibration(kind, scores[~mine], same[~mine], weights[~mine])
            told[mine] = curve(scores[mine])
    losses = {kind: log_losses(told, same) for kind, told in probabilities.items()}
    kind = min(losses, key=lambda one: pairs.mean(losses[one]))
    auc, eer = pairs.ranking(scores)
    figures = MethodFigures(
        method=name,
        accuracy=pairs.mean_bounded(right),
        auc=auc,
        eer=eer,
        brier=pairs.mean_bounded(brier_losses(probabilities[kind], same)),
        log_loss=pairs.mean_bounded(losses[kind]),
        calibration=kind,
        gain=None
        if by_distance is None
        else pairs.mean_bounded(right.astype(np.float64) - by_distance),
    )
    return _Judged(figures, right, fit_calibration(kind, scores, same, weights))


def _trained(
    pairs: LearningPairs,
    held_out: _HeldOut,
    judged: dict[str, _Judged],
    chosen: str,
    encoder: EncoderSpec,
    components: int,
    seed: int,
) -> TrainedVerifier:
    used = np.union1d(pairs.first, pairs.second)
    return TrainedVerifier(
        model=chosen,
        default=CLASSIFIER if judged[chosen].figures.beats_distance else DISTANCE,
        encoder=encoder.name,
        fingerprint=encoder.fingerprint,
        source=pairs.source,
        pairs=len(pairs.same),
        n_positive=int(pairs.same.sum()),
        n_negative=int((~pairs.same).sum()),
        hard=int(pairs.hard.sum()),
        photos=len(used),
        labels=len(np.unique(pairs.identities[used])),
        judged_positive=int(held_out.judged.same.sum()),
        judged_negative=int((~held_out.judged.same).sum()),
        folds=FOLDS,
        components=components,
        seed=seed,
        methods=tuple(one.figures for one in judged.values()),
        left_out=pairs.left_out,
        failed=pairs.failed,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
