"""Learning a verifier: what is applied is what was fitted, and only held-out labels judge."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retrieval.encoders import EncoderSpec
from retrieval.errors import GalleryError
from retrieval.verifying import training
from retrieval.verifying.features import pair_features
from retrieval.verifying.fitting import fit_calibration, fit_linear
from retrieval.verifying.folds import TooFewPairs
from retrieval.verifying.storing import load_verifier, save_verifier
from retrieval.verifying.training import LearningPairs, train

Draw = Callable[..., LearningPairs]


def test_a_stored_linear_model_answers_as_scikit_learn(
    learning_pairs: Draw, spec: EncoderSpec, tmp_path: Path
) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pairs = learning_pairs()
    save_verifier(tmp_path / "verifier", train(pairs, spec, model="linear", components=5))
    stored = load_verifier(tmp_path / "verifier", spec.fingerprint)
    assert stored is not None
    assert stored.classifier is not None
    features = pair_features(pairs.vectors, pairs.first, pairs.second, stored.projection)
    assert features.shape[1] == 11
    theirs = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    theirs.fit(features.astype(np.float64), pairs.same)
    np.testing.assert_allclose(
        -stored.classifier(features), theirs.decision_function(features), atol=1e-4
    )


@pytest.mark.parametrize("model", ["linear", "xgboost"])
def test_what_is_loaded_answers_as_what_was_saved(
    model: str, learning_pairs: Draw, spec: EncoderSpec, tmp_path: Path
) -> None:
    pairs = learning_pairs()
    made = train(pairs, spec, model=model, components=5)
    save_verifier(tmp_path / "verifier", made)
    loaded = load_verifier(tmp_path / "verifier", spec.fingerprint)
    assert loaded is not None
    assert loaded.trained == made.trained
    for by in ("distance", "classifier"):
        one, other = (
            verifier.probabilities(pairs.vectors, pairs.first, pairs.second, by=by)
            for verifier in (made, loaded)
        )
        np.testing.assert_array_equal(one, other)
        assert ((one > 0) & (one < 1)).all()
        assert one[pairs.same].mean() > one[~pairs.same].mean() + 0.2


def test_a_classifier_that_finds_more_becomes_the_default(
    learning_pairs: Draw, spec: EncoderSpec
) -> None:
    trained = train(learning_pairs(), spec, components=0).trained
    assert trained.default == "classifier"
    distance, linear, xgboost = trained.methods
    assert (distance.method, linear.method, xgboost.method) == ("distance", "linear", "xgboost")
    losses = {one.method: one.log_loss.value for one in (linear, xgboost)}
    assert trained.model == min(losses, key=lambda name: losses[name])
    assert distance.gain is None
    assert trained.chosen.gain is not None
    assert trained.chosen.gain.low > 0
    assert trained.chosen.gain.value == pytest.approx(
        trained.chosen.accuracy.value - distance.accuracy.value
    )


def test_a_classifier_that_finds_no_more_does_not(learning_pairs: Draw, spec: EncoderSpec) -> None:
    # Labels drawn at random: nothing about a pair says whether they are equal.
    pairs = learning_pairs()
    noise = np.random.default_rng(1).normal(size=pairs.vectors.shape).astype(np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    trained = train(replace(pairs, vectors=noise), spec, model="linear").trained
    assert (trained.model, trained.default) == ("linear", "distance")
    # What was learnt by heart is no use for labels held out.
    assert trained.chosen.auc.low < 0.5 < trained.chosen.auc.high


def test_hard_pairs_are_learnt_from_and_judge_nothing(
    learning_pairs: Draw, spec: EncoderSpec
) -> None:
    pairs = learning_pairs(hard=0.5)
    assert 0 < pairs.hard.sum() < len(pairs.hard)
    trained = train(pairs, spec, model="linear").trained
    easy = replace(
        pairs,
        **{name: getattr(pairs, name)[~pairs.hard] for name in ("first", "second", "same", "hard")},
    )
    assert trained.hard == pairs.hard.sum()
    assert trained.judged_positive == (~pairs.hard & pairs.same).sum()
    assert easy.same.sum() == trained.judged_positive


def test_equal_seeds_learn_alike(learning_pairs: Draw, spec: EncoderSpec) -> None:
    pairs = learning_pairs()
    one, again, other = (train(pairs, spec, model="xgboost", seed=seed) for seed in (3, 3, 4))
    assert one.classifier.data == again.classifier.data  # type: ignore[union-attr]
    assert one.trained == replace(again.trained, created_at=one.trained.created_at)
    assert one.classifier.data != other.classifier.data  # type: ignore[union-attr]


def test_without_a_classifier_only_the_distance_is_calibrated(
    learning_pairs: Draw, spec: EncoderSpec, tmp_path: Path
) -> None:
    made = train(learning_pairs(), spec, model="distance")
    assert (made.trained.model, made.trained.default) == ("distance", "distance")
    assert [one.method for one in made.trained.methods] == ["distance"]
    save_verifier(tmp_path / "verifier", made)
    assert [path.name for path in (tmp_path / "verifier").iterdir()] == ["verifier.json"]
    loaded = load_verifier(tmp_path / "verifier", spec.fingerprint)
    assert loaded is not None
    assert loaded.classifier is None
    assert loaded.distance_threshold == made.distance_threshold


def test_without_xgboost_auto_is_linear(
    learning_pairs: Draw, spec: EncoderSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    without = lambda name: None if name == "xgboost" else found(name)  # noqa: E731
    monkeypatch.setattr(training, "find_spec", without)
    monkeypatch.setattr("retrieval.verifying.classifiers.find_spec", without)
    assert train(learning_pairs(), spec).trained.model == "linear"
    with pytest.raises(GalleryError, match=r"lookalike\[xgboost\]"):
        train(learning_pairs(), spec, model="xgboost")


def test_too_few_labels_are_refused(learning_pairs: Draw, spec: EncoderSpec) -> None:
    with pytest.raises(TooFewPairs, match="takes 10 labels"):
        train(learning_pairs(labels=8), spec)


def test_pairs_all_across_folds_are_refused(learning_pairs: Draw, spec: EncoderSpec) -> None:
    pairs = learning_pairs()
    different = replace(
        pairs,
        first=pairs.first[~pairs.same],
        second=pairs.second[~pairs.same],
        same=pairs.same[~pairs.same],
        hard=pairs.hard[~pairs.same],
    )
    with pytest.raises(TooFewPairs, match="too few for 5 folds"):
        train(different, spec)


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_calibrated_probabilities_are_the_shares_observed(kind: str) -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=20000).astype(np.float32)
    truth = 1 / (1 + np.exp(2 * scores - 1))
    same = rng.random(len(scores)) < truth
    curve = fit_calibration(kind, scores, same, np.ones(len(scores)))
    assert np.abs(curve(scores) - truth).mean() < 0.02
    assert (np.diff(curve(np.sort(scores))) <= 0).all()


def test_a_score_that_misleads_is_worth_nothing() -> None:
    scores = np.arange(40, dtype=np.float32)
    curve = fit_calibration("platt", scores, scores >= 20, np.ones(40))
    np.testing.assert_allclose(curve([0.0, 39.0]), curve([39.0, 0.0]))


def test_a_feature_that_never_varies_says_nothing() -> None:
    features = np.array([[1, 0.1], [1, 0.2], [1, 0.8], [1, 0.9]], dtype=np.float32)
    scores = fit_linear(features, np.array([True, True, False, False]), 0)(features)
    assert np.isfinite(scores).all()
    assert (np.diff(scores) > 0).all()
